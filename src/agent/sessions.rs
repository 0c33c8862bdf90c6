//! The sessions of an agent: opened, routed to, counted, ended.
//!
//! Rules: routing never waits. At most [`MAX_SESSIONS`]; a session id opens once. Every session is a task of the tracker and
//! is waited for at the end.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio_util::task::TaskTracker;

use super::session::pipe::{self, Inbox, Outbox, Pipe};
use super::session::{self, Ending};
use super::{Config, SESSION_GRACE};
use crate::link::Link;
use crate::protocol::spec::meta;
use crate::protocol::{MAX_SESSIONS, Packet, PacketType};

/// Sessions in the table, with those that are being refused for the limit; beyond it a request is dropped.
const MAX_REGISTERED: usize = 2 * MAX_SESSIONS as usize;

/// How a session's packets travel.
#[derive(Clone)]
pub(super) enum Framing {
    /// Each session by a stream of its own on this link.
    Streams(Link),
    /// All sessions by the control stream.
    Plain(mpsc::Sender<Packet>),
}

/// All sessions. Cheap to clone.
#[derive(Clone)]
pub(super) struct Sessions {
    config: Arc<Config>,
    table: Arc<Mutex<HashMap<String, Entry>>>,
    tasks: TaskTracker,
    count: watch::Sender<u32>,
}

struct Entry {
    ending: Ending,
    /// Plain framing only.
    inbox: Option<pipe::Feeder>,
}

impl Sessions {
    pub(super) fn new(config: Arc<Config>, count: watch::Sender<u32>) -> Self {
        Self {
            config,
            table: Arc::default(),
            tasks: TaskTracker::new(),
            count,
        }
    }

    /// How many are open.
    pub(super) fn count(&self) -> watch::Receiver<u32> {
        self.count.subscribe()
    }

    /// Acts on a packet of the control stream.
    pub(super) fn route(&self, packet: Packet, framing: &Framing) {
        let Some(kind) = packet.kind() else { return };
        let Some(id) = packet.session_id().map(str::to_owned) else {
            return;
        };
        if kind == PacketType::AgentSessionOpen {
            self.open(id, packet, framing);
            return;
        }
        let table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        // A late packet of a session that is over is normal.
        let Some(entry) = table.get(&id) else { return };
        if kind == PacketType::AgentSessionClose {
            entry.ending.end("closed by the gateway");
        } else if let Some(inbox) = &entry.inbox
            && inbox.push(packet).is_err()
        {
            tracing::warn!(sid = %id, "session closed: its program does not read its input");
            entry.ending.end("the program does not read its input");
        }
    }

    /// The link is gone: every session ends, its program within `grace`.
    pub(super) fn lost(&self, reason: &str, grace: Duration) {
        for entry in self
            .table
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .values()
        {
            entry.ending.end_within(reason, grace);
        }
    }

    /// Ends every session and waits until their processes are gone.
    pub(super) async fn finish(&self) {
        self.lost("the application ended", SESSION_GRACE);
        self.tasks.close();
        self.tasks.wait().await;
        self.tasks.reopen();
    }

    fn open(&self, id: String, packet: Packet, framing: &Framing) {
        let mut table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        if table.contains_key(&id) {
            tracing::warn!(sid = %id, "the gateway opened a session twice; the second request is ignored");
            return;
        }
        if table.len() >= MAX_REGISTERED {
            tracing::warn!(sid = %id, "the gateway opens sessions faster than they can be refused; ignored");
            return;
        }
        let full = table.len() >= MAX_SESSIONS as usize;
        let ending = Ending::default();
        let (inbox, feeder) = match framing {
            Framing::Streams(_) => (None, None),
            Framing::Plain(_) => {
                let (feeder, inbox) = pipe::queue();
                (Some(inbox), Some(feeder))
            }
        };
        table.insert(
            id.clone(),
            Entry {
                ending: ending.clone(),
                inbox: feeder,
            },
        );
        self.count
            .send_replace(u32::try_from(table.len()).unwrap_or(u32::MAX));
        drop(table);
        let guard = Registered {
            sessions: self.clone(),
            id: id.clone(),
        };
        let (config, framing) = (self.config.clone(), framing.clone());
        self.tasks.spawn(async move {
            let guard = guard;
            let Some(pipe) = connect(&id, framing, inbox).await else {
                return;
            };
            if full {
                session::refuse(
                    pipe,
                    &format!("the agent's limit of {MAX_SESSIONS} sessions is reached"),
                    &ending,
                )
                .await;
            } else {
                session::serve(config, packet, pipe, ending).await;
            }
            drop(guard);
        });
    }
}

/// Removes a session from the table when its task ends, however it ends.
struct Registered {
    sessions: Sessions,
    id: String,
}

impl Drop for Registered {
    fn drop(&mut self) {
        let mut table = self
            .sessions
            .table
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        table.remove(&self.id);
        self.sessions
            .count
            .send_replace(u32::try_from(table.len()).unwrap_or(u32::MAX));
    }
}

/// The session's way to the gateway.
async fn connect(id: &str, framing: Framing, inbox: Option<pipe::Inbox>) -> Option<Pipe> {
    match (framing, inbox) {
        (Framing::Plain(sender), Some(inbox)) => Some(Pipe::new(id, Outbox::new(sender), inbox)),
        (Framing::Plain(_), None) => None,
        (Framing::Streams(link), _) => {
            // One packet: what a slow reader holds up is bounded by the stream's window.
            let (sender, queue) = mpsc::channel(1);
            match link.open(&[(meta::SESSION_ID, id)], queue).await {
                Ok(stream) => Some(Pipe::new(
                    id,
                    Outbox::new(sender),
                    Inbox::Stream(Box::new(stream)),
                )),
                Err(error) => {
                    tracing::warn!(sid = %id, "cannot open the session's stream: {error}");
                    None
                }
            }
        }
    }
}
