//! The agent: keeps one connection to a gateway and serves sessions in the application's environment and directory.
//!
//! # Theory of operation
//!
//! [`Agent::run`] connects, announces the connection (`PreConnect`), opens the control stream and stays; what ends the
//! stream ends its sessions, and the next attempt follows after a back-off. The receive loop only routes: every session is a
//! task of its own with its own process, and talks to the gateway by a stream of its own (capability `session-streams`) or,
//! in plain framing, through a queue bounded in bytes. A session that cannot take what it is sent is closed, never waited for.
//!
//! Rules: the agent waits for session processes only. It enforces its own limits and its own command, whatever a gateway
//! says. A panic in a session ends that session. Sources: the wire's fact sheet, sections 4 to 7.

mod connection;
mod environment;
mod revocation;
mod session;
mod sessions;
mod supervised;

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::key::Dsn;
use crate::link::Connector;

pub use environment::Base;
pub use supervised::{Supervised, SupervisorGone};

/// How long a session's program has between the hang-up and KILL.
pub const SESSION_GRACE: Duration = Duration::from_secs(2);

/// What an agent serves, and how it reaches its gateway.
pub struct Config {
    /// The connection that this agent announces; `None` for a standard agent, whose connections an administrator makes.
    pub connection: Option<Connection>,
    /// The key, sent as bearer token.
    pub key: Dsn,
    /// The address for messages and request authority, `host:port`.
    pub address: String,
    /// How bytes get there.
    pub connector: Connector,
    /// Directory of sessions, opened `O_PATH`.
    pub directory: OwnedFd,
    /// Our own file, opened `O_PATH`: session processes are started from it.
    pub program: OwnedFd,
    /// The application's environment.
    pub environment: Base,
}

/// A connection announced by its agent.
#[derive(Clone, Debug)]
pub struct Connection {
    /// Its name, already normalised.
    pub name: String,
    /// The words of a console's program.
    pub command: Vec<String>,
}

/// An agent, ready to run.
pub struct Agent {
    config: Arc<Config>,
    stop: CancellationToken,
    open_sessions: watch::Sender<u32>,
}

impl Agent {
    /// An agent that runs until `stop` is cancelled, and then ends its sessions.
    pub fn new(config: Config, stop: CancellationToken) -> Self {
        Self {
            config: Arc::new(config),
            stop,
            open_sessions: watch::Sender::new(0),
        }
    }

    /// How many sessions are open, at any time.
    pub fn open_sessions(&self) -> watch::Receiver<u32> {
        self.open_sessions.subscribe()
    }

    /// Serves until stopped; returns when every session process is gone.
    pub async fn run(self) {
        connection::keep(self.config, self.stop, self.open_sessions).await;
    }
}
