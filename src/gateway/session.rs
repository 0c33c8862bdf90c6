//! One client's session: from its stream's acceptance to the row that says how it ended.
//!
//! Theory of operation: one task owns the session. It waits for the client's `AgentSessionOpen`, rebuilds it for the agent,
//! waits for the agent's own stream if there will be one, and then moves packets in both directions at once. The next
//! packet is read only after the one before was handed on, so a slow reader slows its source and nobody else. Whatever
//! ends the session is one [`End`]; [`Session::run`] then tells the agent, writes the row, and tells the client, in an
//! order that lets the client have its `ClientSessionClose` before its stream ends.

pub(crate) mod client;
pub(crate) mod end;
pub(crate) mod open;
pub(crate) mod queue;

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tonic::Streaming;
use uuid::Uuid;

use super::Core;
use super::agent_stream::{AgentStream, Arrivals, Ending, Outbound, Place};
use super::auth::internal;
use super::store::NewSession;
use crate::protocol::{KEEP_ALIVE, Packet, PacketType, spec};
use client::FromClient;
use end::End;
use open::Opening;

/// How long an agent's last packets may take to arrive after its stream ended.
const GRACE: Duration = Duration::from_secs(5);

/// How long an agent may take to accept the word that a session is over.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);

/// How long a client that does not read keeps its end of a session from being forgotten once the gateway stops.
const LAST_WORD: Duration = Duration::from_secs(1);

/// A client's session that has found its agent.
pub(crate) struct Session {
    pub(crate) core: Arc<Core>,
    pub(crate) id: Uuid,
    pub(crate) opening: Opening,
    pub(crate) agent: Arc<AgentStream>,
    pub(crate) client: FromClient,
    pub(crate) to_client: Outbound,
}

/// Where a session's packets from its agent are read.
enum FromAgent {
    /// What the agent's one stream brought.
    Shared(queue::Receiver),
    /// The stream that the agent opened for this session.
    Own(Box<Streaming<Packet>>),
}

impl Session {
    /// Serves the session to its end. `place` keeps it known to its agent's stream.
    pub(crate) async fn run(mut self, place: Place, arrivals: Arrivals) {
        let (agent, to_client) = (Arc::clone(&self.agent), self.to_client.clone());
        let stop = self.core.stop.clone();
        let ours = self.client.is_ours();
        let mut to_agent = None;
        let end = tokio::select! {
            biased;
            end = self.serve(arrivals, &mut to_agent) => end,
            end = interruption(&agent) => end,
            () = to_client.closed() => End::ClientGone("client disconnected"),
            () = stop.cancelled() => End::Shutdown,
            never = keep_alive(&to_client, ours) => match never {},
        };
        drop(place);
        self.finish(end, to_agent).await;
    }

    async fn serve(&mut self, arrivals: Arrivals, to_agent: &mut Option<Outbound>) -> End {
        let opening = &self.opening;
        let row = NewSession {
            id: self.id,
            user: &opening.user,
            connection: &opening.connection.name,
            connection_type: &opening.connection.kind,
            agent: self.agent.agent_name(),
            verb: opening.verb.as_str(),
        };
        if let Err(error) = self.core.store.open_session(&row).await {
            return End::Refused(internal("cannot record the session", &error));
        }
        tracing::info!(user = %opening.user, verb = opening.verb.as_str(), "session begins");
        self.converse(arrivals, to_agent).await
    }

    /// Opens the session and relays until either side ends it. `to_agent` becomes who must hear of the end.
    async fn converse(&mut self, arrivals: Arrivals, to_agent: &mut Option<Outbound>) -> End {
        let limit = self.core.timing.open;
        let request = match timeout(limit, self.client.open_packet()).await {
            Ok(Ok(packet)) => packet,
            Ok(Err(end)) => return end,
            Err(_) => return End::late("the client did not open its session in time"),
        };
        let capabilities = self.agent.capabilities();
        let open = match self.opening.rebuild(request, self.id, capabilities) {
            Ok(packet) => packet,
            Err(status) => return End::Refused(status),
        };
        self.client
            .permit(open.spec.contains_key(spec::STREAM_STDIN), capabilities);
        let opened = CancellationToken::new();
        tokio::select! {
            biased;
            end = self.relay(open, arrivals, to_agent, &opened) => end,
            () = unopened(limit, &opened) => End::late("the agent did not open the session in time"),
        }
    }

    async fn relay(
        &mut self,
        open: Packet,
        arrivals: Arrivals,
        to_agent: &mut Option<Outbound>,
        opened: &CancellationToken,
    ) -> End {
        let shared = self.agent.outbound();
        if shared.send(Ok(open)).await.is_err() {
            return End::AgentLost;
        }
        *to_agent = Some(shared.clone());
        let mut overflowed = CancellationToken::new();
        let (mut from_agent, outbound) = match arrivals {
            Arrivals::Shared(queue) => {
                overflowed = queue.overflowed();
                (FromAgent::Shared(queue), shared.clone())
            }
            Arrivals::Awaited(stream) => match stream.await {
                Ok(stream) => {
                    *to_agent = Some(stream.outbound.clone());
                    (FromAgent::Own(stream.inbound), stream.outbound)
                }
                Err(_) => return End::AgentLost,
            },
        };
        let down = down(
            self.id,
            &self.agent,
            &mut from_agent,
            &self.to_client,
            opened,
        );
        let up = up(self.id, &mut self.client, &outbound);
        tokio::select! {
            biased;
            () = overflowed.cancelled() => End::TooSlow,
            end = down => end,
            end = up => end,
        }
    }

    /// Tells everybody how the session ended. The row is written before the client hears, so that it can be asked for.
    async fn finish(self, end: End, to_agent: Option<Outbound>) {
        let close = async {
            if let Some(to_agent) = to_agent {
                let packet = Packet::new(PacketType::AgentSessionClose)
                    .with(spec::SESSION_ID, self.id.to_string());
                // An agent that takes nothing is found dead by its own stream.
                drop(timeout(CLOSE_TIMEOUT, to_agent.send(Ok(packet))).await);
            }
        };
        let record = async {
            let (code, cause) = end.record();
            tracing::info!(sid = %self.id, code, cause = cause.as_deref(), "session ended");
            let stored = self
                .core
                .store
                .close_session(self.id, code, cause.as_deref());
            if let Err(error) = stored.await {
                tracing::error!(sid = %self.id, "cannot record the end of the session: {error}");
            }
            let words = async {
                let (packet, status) = end.last_words(self.id, self.client.is_ours());
                for word in packet.map(Ok).into_iter().chain(status.map(Err)) {
                    // A client that is gone needs no words.
                    if self.to_client.send(word).await.is_err() {
                        return;
                    }
                }
            };
            let stopped = async {
                self.core.stop.cancelled().await;
                tokio::time::sleep(LAST_WORD).await;
            };
            tokio::select! {
                () = words => {}
                () = stopped => {}
            }
        };
        tokio::join!(close, record);
    }
}

impl FromAgent {
    /// The next packet; `None` when the agent's stream is over. Cancel safe.
    async fn next(&mut self) -> Option<Packet> {
        match self {
            Self::Shared(queue) => queue.next().await,
            // What broke is told by the end of the agent's control stream.
            Self::Own(stream) => stream.message().await.ok().flatten(),
        }
    }
}

/// Agent to client, until the agent closes the session.
async fn down(
    id: Uuid,
    agent: &AgentStream,
    from_agent: &mut FromAgent,
    to_client: &Outbound,
    opened: &CancellationToken,
) -> End {
    while let Some(mut packet) = from_agent.next().await {
        match packet.kind() {
            Some(PacketType::ClientSessionClose) => {
                opened.cancel();
                return End::Closed(packet);
            }
            Some(PacketType::ClientSessionOpenOk) => {
                opened.cancel();
                if let Some(version) = agent.version() {
                    packet = packet.with(spec::AGENT_VERSION, version.to_owned());
                }
            }
            Some(kind) if kind.is_from_agent() => {}
            _ => continue,
        }
        let packet = packet.with(spec::SESSION_ID, id.to_string());
        if to_client.send(Ok(packet)).await.is_err() {
            return End::ClientGone("client disconnected");
        }
    }
    End::AgentLost
}

/// Client to agent, until the client is gone.
async fn up(id: Uuid, client: &mut FromClient, to_agent: &Outbound) -> End {
    loop {
        match client.next().await {
            Ok(packet) => {
                let packet = packet.with(spec::SESSION_ID, id.to_string());
                if to_agent.send(Ok(packet)).await.is_err() {
                    // The agent may have closed the session already: the other direction knows.
                    return std::future::pending().await;
                }
            }
            Err(end) => return end,
        }
    }
}

/// Ends a session from outside: its agent's stream is over. What a lost agent had sent may still come.
async fn interruption(agent: &AgentStream) -> End {
    match agent.ended().await {
        Ending::Revoked => End::Revoked,
        Ending::Shutdown => End::Shutdown,
        Ending::Lost => {
            tokio::time::sleep(GRACE).await;
            End::AgentLost
        }
    }
}

/// Returns when a session was not opened in time.
async fn unopened(limit: Duration, opened: &CancellationToken) {
    if timeout(limit, opened.cancelled()).await.is_ok() {
        std::future::pending::<()>().await;
    }
}

/// Shows a client that the gateway lives, also while its own packets wait for a slow program and go unanswered.
async fn keep_alive(to_client: &Outbound, wanted: bool) -> Infallible {
    if !wanted {
        return std::future::pending().await;
    }
    loop {
        tokio::time::sleep(KEEP_ALIVE).await;
        // Full means that the client has other packets to read.
        drop(to_client.try_send(Ok(Packet::new(PacketType::GatewayKeepAlive))));
    }
}
