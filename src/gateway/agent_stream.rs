//! One live stream of an agent: what the gateway knows of it, its sessions, and the loop that receives from it.
//!
//! An agent with the capability `session-streams` gets only the openings of sessions here, and carries each session on a
//! stream of its own. From any other agent everything arrives here, and the loop hands it to the sessions' queues without
//! ever waiting for one. A packet reaches only sessions of this very stream, whatever id it bears.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;
use tonic::{Status, Streaming};
use uuid::Uuid;

use super::registry::{Registration, stream_id};
use super::session::queue;
use crate::protocol::{Capabilities, MAX_SESSIONS, Packet, PacketType};

/// Packets that wait to be written to an agent. One who finds the queue full waits.
pub(crate) const OUTBOUND: usize = 4;

/// Bytes that an agent without streams of its own may be ahead of one client. Enough for bursts on a slow line; a client
/// that is further behind loses its session, because waiting for it would delay the others.
const SESSION_QUEUE: usize = 8 * 1024 * 1024;

/// How long a stream's last word may take to be written.
const LAST_WORD: Duration = Duration::from_secs(5);

/// Where packets, and at the end a status, for a peer go.
pub(crate) type Outbound = mpsc::Sender<Result<Packet, Status>>;

/// A live stream of an agent.
#[derive(Debug)]
pub(crate) struct AgentStream {
    id: Uuid,
    agent_id: Uuid,
    agent_name: String,
    version: Option<String>,
    capabilities: Capabilities,
    outbound: Outbound,
    sessions: Mutex<HashMap<Uuid, Slot>>,
    ending: OnceLock<Ending>,
    ended: CancellationToken,
}

/// Why an agent's stream ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    /// The agent left, or its connection broke.
    Lost,
    /// Its key was deleted.
    Revoked,
    /// This gateway stops.
    Shutdown,
}

/// Both directions of the stream that an agent opened for one session.
#[derive(Debug)]
pub(crate) struct SessionStream {
    pub(crate) inbound: Box<Streaming<Packet>>,
    pub(crate) outbound: Outbound,
}

/// How the packets of a session reach it.
#[derive(Debug)]
enum Slot {
    /// Through the agent's one stream.
    Shared(queue::Sender),
    /// Through a stream that the agent has not opened yet.
    Awaited(oneshot::Sender<SessionStream>),
    /// Through a stream of its own.
    Attached,
}

/// A session's end of its slot; dropping it frees the slot.
#[derive(Debug)]
pub(crate) struct Place {
    stream: Arc<AgentStream>,
    session: Uuid,
}

/// Where a session's packets come from.
#[derive(Debug)]
pub(crate) enum Arrivals {
    /// The agent's one stream.
    Shared(queue::Receiver),
    /// The stream that the agent will open.
    Awaited(oneshot::Receiver<SessionStream>),
}

/// What an agent said when it opened its stream.
#[derive(Debug)]
pub(crate) struct Introduction {
    pub(crate) agent_id: Uuid,
    pub(crate) agent_name: String,
    pub(crate) connection: Option<String>,
    pub(crate) version: Option<String>,
    pub(crate) capabilities: Capabilities,
}

impl AgentStream {
    /// A stream whose packets go to `outbound`.
    pub(crate) fn new(said: Introduction, outbound: Outbound) -> Arc<Self> {
        Arc::new(Self {
            id: stream_id(said.agent_id, said.connection.as_deref()),
            agent_id: said.agent_id,
            agent_name: said.agent_name,
            version: said.version,
            capabilities: said.capabilities,
            outbound,
            sessions: Mutex::default(),
            ending: OnceLock::new(),
            ended: CancellationToken::new(),
        })
    }

    /// The stream's own id.
    pub(crate) fn id(&self) -> Uuid {
        self.id
    }

    /// The agent's id.
    pub(crate) fn agent_id(&self) -> Uuid {
        self.agent_id
    }

    /// The agent's name.
    pub(crate) fn agent_name(&self) -> &str {
        &self.agent_name
    }

    /// The agent's release, if it told.
    pub(crate) fn version(&self) -> Option<&str> {
        self.version.as_deref()
    }

    /// What this gateway and the agent both can.
    pub(crate) fn capabilities(&self) -> Capabilities {
        self.capabilities.and(Capabilities::OURS)
    }

    /// Where packets for the agent go.
    pub(crate) fn outbound(&self) -> &Outbound {
        &self.outbound
    }

    /// Ends the stream; the first reason counts.
    pub(crate) fn end(&self, why: Ending) {
        if self.ending.set(why).is_ok() {
            self.ended.cancel();
        }
    }

    /// Waits for the stream's end.
    pub(crate) async fn ended(&self) -> Ending {
        self.ended.cancelled().await;
        self.ending.get().copied().unwrap_or(Ending::Lost)
    }

    /// A place for a session; `None` when the agent has as many as it may.
    pub(crate) fn open(self: &Arc<Self>, session: Uuid) -> Option<(Place, Arrivals)> {
        let (slot, arrivals) = if self.capabilities().session_streams {
            let (sender, receiver) = oneshot::channel();
            (Slot::Awaited(sender), Arrivals::Awaited(receiver))
        } else {
            let (sender, receiver) = queue::queue(SESSION_QUEUE);
            (Slot::Shared(sender), Arrivals::Shared(receiver))
        };
        let mut sessions = self.lock();
        if sessions.len() >= MAX_SESSIONS as usize {
            return None;
        }
        sessions.insert(session, slot);
        drop(sessions);
        let place = Place {
            stream: Arc::clone(self),
            session,
        };
        Some((place, arrivals))
    }

    /// Where to hand the agent's stream for a session to, if the session waits for it.
    pub(crate) fn attach(&self, session: Uuid) -> Option<oneshot::Sender<SessionStream>> {
        let mut sessions = self.lock();
        let slot = sessions.get_mut(&session)?;
        match std::mem::replace(slot, Slot::Attached) {
            Slot::Awaited(sender) => Some(sender),
            other => {
                *slot = other;
                None
            }
        }
    }

    /// Takes one packet from the agent's own stream.
    fn receive(&self, packet: Packet) {
        match packet.kind() {
            Some(PacketType::GatewayKeepAlive) if self.capabilities().any() => {
                // Full means that the agent has other packets to read: sign of life enough.
                drop(
                    self.outbound
                        .try_send(Ok(Packet::new(PacketType::GatewayKeepAlive))),
                );
            }
            Some(kind) if kind.is_from_agent() => {
                let session = packet.session_id().and_then(|id| id.parse::<Uuid>().ok());
                let sessions = self.lock();
                if let Some(Slot::Shared(queue)) = session.and_then(|id| sessions.get(&id)) {
                    queue.push(packet);
                } else {
                    tracing::debug!("{} for no session of this stream", kind.as_str());
                }
            }
            _ => {}
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Uuid, Slot>> {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.stream.lock().remove(&self.session);
    }
}

/// Receives from an agent until its stream ends, and ends it for the agent too. `silence` is how long an agent with our
/// capabilities, which sends keep-alives, may send nothing.
pub(crate) async fn serve(
    stream: Arc<AgentStream>,
    registration: Registration,
    mut inbound: Streaming<Packet>,
    silence: Duration,
) {
    let status = loop {
        let message = async {
            if stream.capabilities().any() {
                tokio::time::timeout(silence, inbound.message()).await
            } else {
                Ok(inbound.message().await)
            }
        };
        tokio::select! {
            why = stream.ended() => break last_word(why),
            message = message => match message {
                Ok(Ok(Some(packet))) => stream.receive(packet),
                Ok(Ok(None)) => break Status::ok(""),
                Ok(Err(error)) => {
                    tracing::debug!(agent = %stream.agent_name, "stream broke: {}", error.message());
                    break error;
                }
                Err(_) => {
                    tracing::info!(agent = %stream.agent_name, "silent for {silence:?}, taken for dead");
                    break Status::unavailable("no keep-alive came in time");
                }
            },
        }
    };
    // No session may find this stream any more, and the queues of those it has end after what they hold.
    stream.end(Ending::Lost);
    stream.lock().clear();
    drop(registration);
    tracing::info!(agent = %stream.agent_name, "disconnected");
    // A peer that does not read its last word within the limit is cut off with its connection.
    drop(tokio::time::timeout(LAST_WORD, stream.outbound.send(Err(status))).await);
}

fn last_word(why: Ending) -> Status {
    match why {
        Ending::Lost => Status::ok(""),
        Ending::Revoked => Status::unauthenticated("invalid authentication"),
        Ending::Shutdown => Status::unavailable("gateway shutdown"),
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::protocol::spec;

    /// A stream of an agent without capabilities, whose outbound packets go nowhere.
    pub(crate) fn stream(agent: Uuid, connection: Option<&str>) -> Arc<AgentStream> {
        let said = Introduction {
            agent_id: agent,
            agent_name: "demo".to_owned(),
            connection: connection.map(str::to_owned),
            version: None,
            capabilities: Capabilities::default(),
        };
        AgentStream::new(said, mpsc::channel(OUTBOUND).0)
    }

    fn stdout(session: Uuid) -> Packet {
        Packet::new(PacketType::ClientWriteStdout).with(spec::SESSION_ID, session.to_string())
    }

    #[tokio::test]
    async fn packets_reach_only_sessions_of_this_stream_and_only_as_listed_types() {
        let stream = stream(Uuid::from_u128(1), None);
        let session = Uuid::from_u128(2);
        let (_place, arrivals) = stream.open(session).expect("room");
        let Arrivals::Shared(mut queue) = arrivals else {
            panic!("no capability, no streams");
        };
        stream.receive(stdout(Uuid::from_u128(3)));
        stream.receive(Packet::new(PacketType::ClientWriteStdout));
        stream.receive(
            Packet::new(PacketType::AgentSessionOpen).with(spec::SESSION_ID, session.to_string()),
        );
        stream.receive(stdout(session).payload("mine"));
        let first = queue.next().await.expect("a packet");
        assert_eq!(first.payload, "mine");
    }

    #[test]
    fn an_agent_has_as_many_sessions_as_allowed_and_a_freed_place_is_used_again() {
        let stream = stream(Uuid::from_u128(1), None);
        let mut places: Vec<_> = (0..u128::from(MAX_SESSIONS))
            .map(|n| stream.open(Uuid::from_u128(n)).expect("room"))
            .collect();
        assert!(stream.open(Uuid::from_u128(9999)).is_none());
        places.pop();
        assert!(stream.open(Uuid::from_u128(9999)).is_some());
    }

    #[tokio::test]
    async fn the_first_reason_of_an_end_counts() {
        let stream = stream(Uuid::from_u128(1), None);
        stream.end(Ending::Revoked);
        stream.end(Ending::Lost);
        assert_eq!(stream.ended().await, Ending::Revoked);
    }
}
