//! The gateway: agents connect to it with keys, clients with tokens, and it joins them to sessions.
//!
//! Life: [`Gateway::open`] makes the data directory, binds both listeners and opens the store; [`Gateway::run`] serves until
//! it is told to stop, ends what is open and says why. [`LocalGateway`] is the same without a network: on a private Unix
//! socket, its store in memory, inside an agent that has no other gateway.
//!
//! Who does what: `rpc` decides who may open a stream, `agent_stream` and `registry` know the connected agents, `session`
//! moves the packets, `store` remembers, `api` answers over HTTP. Source of the observable behaviour: hoop's public wire.

mod admin;
mod agent_stream;
mod api;
mod auth;
mod local;
mod registry;
mod rpc;
mod session;
mod store;

use std::fs::{DirBuilder, File, OpenOptions};
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use nix::fcntl::{Flock, FlockArg};
use tokio::net::TcpListener;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;

use crate::protocol::rpc::transport_server::TransportServer;
use crate::protocol::{
    CONNECTION_WINDOW, KEEP_ALIVE, KEEP_ALIVE_TIMEOUT, MAX_MESSAGE, MAX_SESSIONS, STREAM_WINDOW,
};
use agent_stream::Ending;
use registry::Registry;
use rpc::Rpc;
use store::Store;

pub use local::{LocalConnector, LocalGateway};
pub use store::StoreError;

/// Streams on one connection: a session each, the agent's own, and calls beside them.
const MAX_STREAMS: u32 = 2 * MAX_SESSIONS;

/// How long each of the three steps of stopping may take: sessions, agents, connections.
const DRAIN_STEP: Duration = Duration::from_secs(2);

/// Where a gateway keeps its state and where it listens.
#[derive(Clone, Debug)]
pub struct Config {
    /// Directory of the database and of the administrator's file; created with mode 0700.
    pub data_dir: PathBuf,
    /// Where agents and clients connect.
    pub grpc: SocketAddr,
    /// Where the HTTP interface listens.
    pub http: SocketAddr,
    /// How agents and clients reach `grpc` from elsewhere, `scheme://host:port`; part of every key.
    pub grpc_url: Option<String>,
    /// How `http` is reached from elsewhere.
    pub api_url: Option<String>,
    /// Time limits.
    pub timing: Timing,
}

/// How long a gateway waits for peers.
#[derive(Clone, Copy, Debug)]
pub struct Timing {
    /// A client for its agent.
    pub hold: Duration,
    /// A client's first packet, and an agent's answer to it.
    pub open: Duration,
    /// A sign of life of a peer that sends keep-alives every 10 s.
    pub silence: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            hold: Duration::from_secs(15),
            open: Duration::from_secs(30),
            silence: KEEP_ALIVE + KEEP_ALIVE_TIMEOUT,
        }
    }
}

/// Why a gateway did not start, or stopped.
#[derive(Debug, thiserror::Error)]
pub enum GatewayError {
    /// The data directory or a file in it.
    #[error("cannot {what} {}: {source}", .path.display())]
    Data {
        /// What was being done.
        what: &'static str,
        /// To what.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// Two gateways with one memory would contradict each other.
    #[error("another gateway uses {}; choose another --data-dir", .0.display())]
    InUse(PathBuf),
    /// A listener.
    #[error("cannot listen on {address} for {what}: {source}")]
    Bind {
        /// What for.
        what: &'static str,
        /// Where.
        address: SocketAddr,
        /// Why not.
        source: io::Error,
    },
    /// A URL that is to be part of keys.
    #[error("{url:?} is not a URL of the form scheme://host:port")]
    Url {
        /// As it was given.
        url: String,
    },
    /// The database.
    #[error("cannot use {}: {source}", .path.display())]
    Store {
        /// Its file.
        path: PathBuf,
        /// Why not.
        source: StoreError,
    },
    /// The store in memory.
    #[error("cannot set up the local gateway: {0}")]
    Memory(#[source] StoreError),
    /// A server ended by itself.
    #[error("serving {what} failed: {reason}")]
    Serve {
        /// What was served.
        what: &'static str,
        /// Why it ended.
        reason: String,
    },
}

/// A gateway that listens and does not answer yet.
pub struct Gateway {
    core: Arc<Core>,
    grpc: TcpListener,
    http: TcpListener,
    grpc_addr: SocketAddr,
    http_addr: SocketAddr,
    admin_file: (PathBuf, bool),
    _lock: Flock<File>,
}

/// What all parts of one gateway share.
pub(crate) struct Core {
    store: Store,
    registry: Arc<Registry>,
    timing: Timing,
    grpc_url: String,
    api_url: String,
    /// No new streams; sessions end.
    stop: CancellationToken,
    sessions: TaskTracker,
    agents: TaskTracker,
}

impl Gateway {
    /// Prepares the data directory, binds the listeners, opens the store.
    pub async fn open(config: Config) -> Result<Self, GatewayError> {
        let lock = claim(&config.data_dir)?;
        let (grpc, grpc_addr) = bind("gRPC", config.grpc).await?;
        let (http, http_addr) = bind("HTTP", config.http).await?;
        let grpc_url = url(config.grpc_url, "grpc", grpc_addr)?;
        let api_url = url(config.api_url, "http", http_addr)?;
        let path = config.data_dir.join("gateway.db");
        let failed = |source| GatewayError::Store {
            path: path.clone(),
            source,
        };
        let store = Store::open(&path).await.map_err(failed)?;
        let lost = store.close_lost_sessions().await.map_err(failed)?;
        if lost > 0 {
            tracing::warn!(
                "{lost} sessions were open when the gateway stopped; they are closed now"
            );
        }
        let file = config.data_dir.join("admin.toml");
        let created = admin::prepare(&store, &file, &api_url, &grpc_url)
            .await
            .map_err(|error| error.at(&file, &path))?;
        Ok(Self {
            core: Core::new(store, config.timing, grpc_url, api_url),
            grpc,
            http,
            grpc_addr,
            http_addr,
            admin_file: (file, created),
            _lock: lock,
        })
    }

    /// Where agents and clients connect.
    pub fn grpc_addr(&self) -> SocketAddr {
        self.grpc_addr
    }

    /// Where the HTTP interface listens.
    pub fn http_addr(&self) -> SocketAddr {
        self.http_addr
    }

    /// The file with the administrator's token, and whether the token is new.
    pub fn admin_file(&self) -> (&Path, bool) {
        (&self.admin_file.0, self.admin_file.1)
    }

    /// Serves until `stop`, then ends sessions, agents' streams and connections, each with a time limit.
    pub async fn run(self, stop: CancellationToken) -> Result<(), GatewayError> {
        let closing = self.core.stop.clone();
        // Whatever ends this, nothing of it goes on.
        let _ended = closing.clone().drop_guard();
        let incoming = TcpIncoming::from(self.grpc).with_nodelay(Some(true));
        let grpc = server()
            .add_service(service(&self.core))
            .serve_with_incoming_shutdown(incoming, closing.clone().cancelled_owned());
        let http = axum::serve(self.http, api::router(&self.core))
            .with_graceful_shutdown(closing.clone().cancelled_owned());
        let serve = async {
            let grpc = async { grpc.await.map_err(|error| serving("gRPC", &error)) };
            let http = async { http.await.map_err(|error| serving("HTTP", &error)) };
            tokio::try_join!(grpc, http).map(|_| ())
        };
        self.core.serve_until(stop, serve).await
    }
}

impl Core {
    fn new(store: Store, timing: Timing, grpc_url: String, api_url: String) -> Arc<Self> {
        Arc::new(Self {
            store,
            registry: Registry::new(),
            timing,
            grpc_url,
            api_url,
            stop: CancellationToken::new(),
            sessions: TaskTracker::new(),
            agents: TaskTracker::new(),
        })
    }

    /// Drives `serve`, which ends once [`Core::stop`] is cancelled and all connections are done, through the steps of
    /// stopping.
    async fn serve_until(
        &self,
        stop: CancellationToken,
        serve: impl Future<Output = Result<(), GatewayError>>,
    ) -> Result<(), GatewayError> {
        tokio::pin!(serve);
        tokio::select! {
            ended = &mut serve => return ended,
            () = stop.cancelled() => self.stop.cancel(),
        }
        let drain = async {
            self.sessions.close();
            let sessions = timeout(DRAIN_STEP, self.sessions.wait()).await;
            self.registry.end_all(Ending::Shutdown);
            self.agents.close();
            let agents = timeout(DRAIN_STEP, self.agents.wait()).await;
            if sessions.is_err() || agents.is_err() {
                tracing::warn!("some peers did not take their leave in time");
            }
        };
        let (ended, ()) = tokio::join!(timeout(3 * DRAIN_STEP, serve), drain);
        self.store.close().await;
        // Connections that do not end by themselves are cut by leaving.
        ended.unwrap_or(Ok(()))
    }
}

/// A gRPC server with our limits. PINGs find a peer whose machine is gone.
fn server() -> Server {
    Server::builder()
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_concurrent_streams(MAX_STREAMS)
        .http2_keepalive_interval(Some(KEEP_ALIVE))
        .http2_keepalive_timeout(Some(KEEP_ALIVE_TIMEOUT))
}

fn service(core: &Arc<Core>) -> TransportServer<Rpc> {
    TransportServer::new(Rpc::new(Arc::clone(core))).max_decoding_message_size(MAX_MESSAGE)
}

fn serving(what: &'static str, error: &dyn std::error::Error) -> GatewayError {
    let reason = error
        .source()
        .map_or_else(|| error.to_string(), ToString::to_string);
    GatewayError::Serve { what, reason }
}

/// Creates the data directory and takes its lock, which the kernel frees with this process.
fn claim(data_dir: &Path) -> Result<Flock<File>, GatewayError> {
    let failed = |what, path: &Path, source| GatewayError::Data {
        what,
        path: path.to_owned(),
        source,
    };
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(data_dir)
        .map_err(|error| failed("create the data directory", data_dir, error))?;
    let path = data_dir.join("gateway.lock");
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o600)
        .open(&path)
        .map_err(|error| failed("create", &path, error))?;
    Flock::lock(file, FlockArg::LockExclusiveNonblock).map_err(|(_, error)| match error {
        nix::Error::EWOULDBLOCK => GatewayError::InUse(data_dir.to_owned()),
        error => failed("lock", &path, error.into()),
    })
}

async fn bind(
    what: &'static str,
    address: SocketAddr,
) -> Result<(TcpListener, SocketAddr), GatewayError> {
    let failed = |source| GatewayError::Bind {
        what,
        address,
        source,
    };
    let listener = TcpListener::bind(address).await.map_err(failed)?;
    let bound = listener.local_addr().map_err(failed)?;
    Ok((listener, bound))
}

/// A given URL, checked; else one for this machine.
fn url(given: Option<String>, scheme: &str, bound: SocketAddr) -> Result<String, GatewayError> {
    let Some(url) = given else {
        let host = match bound {
            SocketAddr::V4(v4) if v4.ip().is_unspecified() => "127.0.0.1".to_owned(),
            SocketAddr::V6(v6) if v6.ip().is_unspecified() => "[::1]".to_owned(),
            SocketAddr::V4(v4) => v4.ip().to_string(),
            SocketAddr::V6(v6) => format!("[{}]", v6.ip()),
        };
        return Ok(format!("{scheme}://{host}:{}", bound.port()));
    };
    let trimmed = url.trim_end_matches('/');
    let host = http::Uri::try_from(trimmed)
        .ok()
        .filter(|uri| uri.scheme().is_some() && uri.path().len() <= 1)
        .and_then(|uri| uri.host().map(str::to_owned));
    match host {
        Some(host) if !host.is_empty() => Ok(trimmed.to_owned()),
        _ => Err(GatewayError::Url { url }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_default_to_this_machine_and_given_ones_are_checked() {
        let any: SocketAddr = ([0, 0, 0, 0], 8010).into();
        let default = url(None, "grpc", any);
        assert_eq!(default.ok().as_deref(), Some("grpc://127.0.0.1:8010"));
        let given = |text: &str| url(Some(text.to_owned()), "grpc", any).ok();
        assert_eq!(
            given("grpcs://gw.example.test:443/").as_deref(),
            Some("grpcs://gw.example.test:443")
        );
        for wrong in [
            "gw.example.test:443",
            "grpc://",
            "grpc:///x",
            "http://h/path",
            "",
        ] {
            assert_eq!(given(wrong), None, "{wrong}");
        }
    }
}
