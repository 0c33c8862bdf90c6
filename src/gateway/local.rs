//! The gateway inside an agent that has no other: reached through a private Unix socket, and by its agent in memory.
//!
//! gRPC and the HTTP interface share the socket. A peer there is trusted when it runs as us or as root, and needs no token;
//! all others are hung up on. The one agent key is made at start and never leaves this process.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::Stream;
use futures_util::stream::unfold;
use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;
use tonic::transport::server::Connected;

use super::auth::Peer;
use super::store::{Announcement, Store};
use super::{Core, GatewayError, Timing, api, server, service, serving};
use crate::key::{Dsn, KeyHash, Secret, generate_agent_secret};

/// Name of the local gateway's one agent.
const AGENT: &str = "local";

/// Type of an application's connection.
const KIND: &str = "custom";

/// Bytes in memory between the agent and its gateway, per direction.
const PIPE: usize = 64 * 1024;

/// Connections of the agent that wait to be served; it makes one at a time.
const PIPES: usize = 4;

/// Pause after the kernel refused to hand out a connection, for instance because no descriptor was free.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// A gateway for this machine and account.
pub struct LocalGateway {
    core: Arc<Core>,
    key: Secret,
    connector: LocalConnector,
    pipes: mpsc::Receiver<DuplexStream>,
}

/// Makes connections to a [`LocalGateway`] in the same process. Cheap to clone.
#[derive(Clone)]
pub struct LocalConnector(mpsc::Sender<DuplexStream>);

impl LocalConnector {
    /// One connection, trusted as little as one over a network.
    pub async fn connect(&self) -> io::Result<DuplexStream> {
        let (ours, theirs) = tokio::io::duplex(PIPE);
        self.0
            .send(theirs)
            .await
            .map_err(|_| io::Error::other("the local gateway is not running"))?;
        Ok(ours)
    }
}

impl LocalGateway {
    /// A gateway with a key for its one agent, which will announce `name` with `command`. The name is known from now on: a
    /// client that comes before the agent waits for it.
    pub async fn open(
        timing: Timing,
        name: &str,
        command: &[String],
    ) -> Result<Self, GatewayError> {
        let store = Store::memory().await.map_err(GatewayError::Memory)?;
        let secret = generate_agent_secret();
        let hash = KeyHash::of(secret.expose()).to_hex();
        store
            .create_agent(AGENT, "embedded", &hash)
            .await
            .map_err(GatewayError::Memory)?;
        let agents = store.agents().await.map_err(GatewayError::Memory)?;
        for agent in agents {
            let said = Announcement {
                name: name.to_owned(),
                kind: KIND.to_owned(),
                command: command.to_vec(),
                ..Announcement::default()
            };
            store
                .announce(agent.id, &said)
                .await
                .map_err(GatewayError::Memory)?;
        }
        let key = Dsn::build("grpc", AGENT, &secret, "localhost:0", Some("embedded"));
        let (sender, pipes) = mpsc::channel(PIPES);
        Ok(Self {
            core: Core::new(store, timing, String::new(), String::new()),
            key,
            connector: LocalConnector(sender),
            pipes,
        })
    }

    /// The key of the gateway's one agent, a DSN.
    pub fn agent_key(&self) -> Secret {
        self.key.clone()
    }

    /// How the agent connects.
    pub fn connector(&self) -> LocalConnector {
        self.connector.clone()
    }

    /// Serves the agent, and clients on `listener`, until `stop`.
    pub async fn serve(
        self,
        listener: UnixListener,
        stop: CancellationToken,
    ) -> Result<(), GatewayError> {
        let closing = self.core.stop.clone();
        let _ended = closing.clone().drop_guard();
        let routes = Routes::from(api::router(&self.core)).add_service(service(&self.core));
        let serve = server()
            .accept_http1(true)
            .add_routes(routes)
            .serve_with_incoming_shutdown(
                incoming(listener, self.pipes),
                closing.clone().cancelled_owned(),
            );
        let serve = async {
            serve
                .await
                .map_err(|error| serving("the local socket", &error))
        };
        self.core.serve_until(stop, serve).await
    }
}

/// Trusted peers of the socket, and the agent's connections.
fn incoming(
    listener: UnixListener,
    pipes: mpsc::Receiver<DuplexStream>,
) -> impl Stream<Item = io::Result<LocalIo>> {
    unfold((listener, pipes), |(listener, mut pipes)| async move {
        loop {
            let next = tokio::select! {
                accepted = listener.accept() => match accepted {
                    Ok((stream, _)) => trusted(stream),
                    Err(error) => {
                        tracing::warn!("cannot accept a local connection: {error}");
                        tokio::time::sleep(ACCEPT_PAUSE).await;
                        None
                    }
                },
                Some(pipe) = pipes.recv() => Some(LocalIo {
                    io: Box::new(pipe),
                    peer: Peer::Anyone,
                }),
            };
            if let Some(io) = next {
                return Some((Ok(io), (listener, pipes)));
            }
        }
    })
}

fn trusted(stream: UnixStream) -> Option<LocalIo> {
    match stream.peer_cred() {
        Ok(peer) if peer.uid() == nix::unistd::geteuid().as_raw() || peer.uid() == 0 => {
            Some(LocalIo {
                io: Box::new(stream),
                peer: Peer::Trusted(peer.uid()),
            })
        }
        Ok(peer) => {
            tracing::warn!("uid {} is not let in on the local socket", peer.uid());
            None
        }
        Err(error) => {
            tracing::warn!("cannot tell who is on the local socket: {error}");
            None
        }
    }
}

trait Io: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}

/// A connection, and who is on its other end.
struct LocalIo {
    io: Box<dyn Io>,
    peer: Peer,
}

impl Connected for LocalIo {
    type ConnectInfo = Peer;

    fn connect_info(&self) -> Peer {
        self.peer
    }
}

impl AsyncRead for LocalIo {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_read(cx, buf)
    }
}

impl AsyncWrite for LocalIo {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}
