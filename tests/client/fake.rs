//! A gateway that the test plays itself, packet by packet, and the standard descriptors of a client in this process.

use std::fs::File;
use std::io::Read;
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::pin::Pin;
use std::time::Duration;

use nix::fcntl::OFlag;
use nix::pty::{grantpt, posix_openpt, ptsname_r, unlockpt};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::task::{JoinSet, spawn_blocking};
use tokio::time::timeout;
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
use tokio_stream::{Stream, StreamExt};
use tonic::transport::Server;
use tonic::{Request, Response, Status, Streaming};

use hoop::client::Context;
use hoop::protocol::rpc::transport_server::{Transport, TransportServer};
use hoop::protocol::rpc::{
    HealthCheckRequest, HealthCheckResponse, PreConnectRequest, PreConnectResponse,
};
use hoop::protocol::spec::meta;
use hoop::protocol::{Packet, PacketType};
use hoop::sys::tty::{WindowSize, set_window_size};

/// Longer than anything that a test waits for.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);

type Packets = Pin<Box<dyn Stream<Item = Result<Packet, Status>> + Send>>;

/// A gateway; stops when dropped.
pub(super) struct Fake {
    pub(super) address: SocketAddr,
    peers: mpsc::Receiver<Peer>,
    _running: JoinSet<Result<(), tonic::transport::Error>>,
}

/// One client's stream.
pub(super) struct Peer {
    pub(super) metadata: tonic::metadata::MetadataMap,
    from: Streaming<Packet>,
    to: mpsc::Sender<Result<Packet, Status>>,
}

struct Service {
    capabilities: &'static str,
    peers: mpsc::Sender<Peer>,
}

#[tonic::async_trait]
impl Transport for Service {
    type ConnectStream = Packets;

    async fn health_check(
        &self,
        _: Request<HealthCheckRequest>,
    ) -> Result<Response<HealthCheckResponse>, Status> {
        let mut answer = Response::new(HealthCheckResponse {
            status: "OK".to_owned(),
        });
        if !self.capabilities.is_empty() {
            let value = self.capabilities.parse().unwrap();
            answer.metadata_mut().insert(meta::CAPABILITIES, value);
        }
        Ok(answer)
    }

    async fn pre_connect(
        &self,
        _: Request<PreConnectRequest>,
    ) -> Result<Response<PreConnectResponse>, Status> {
        Err(Status::unimplemented("clients do not announce"))
    }

    /// Like the reference gateway, answers with headers only when there is a first packet.
    async fn connect(
        &self,
        request: Request<Streaming<Packet>>,
    ) -> Result<Response<Packets>, Status> {
        let (to, mut outbound) = mpsc::channel(1);
        let peer = Peer {
            metadata: request.metadata().clone(),
            from: request.into_inner(),
            to,
        };
        self.peers.send(peer).await.unwrap();
        let ended = || Status::cancelled("context canceled");
        let first = outbound.recv().await.unwrap_or_else(|| Err(ended()))?;
        let packets = tokio_stream::once(Ok(first)).chain(ReceiverStream::new(outbound));
        Ok(Response::new(Box::pin(packets)))
    }
}

impl Fake {
    /// A gateway with these capabilities.
    pub(super) async fn start(capabilities: &'static str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (sender, peers) = mpsc::channel(8);
        let service = Service {
            capabilities,
            peers: sender,
        };
        let mut running = JoinSet::new();
        running.spawn(
            Server::builder()
                .add_service(
                    TransportServer::new(service)
                        .max_decoding_message_size(hoop::protocol::MAX_MESSAGE),
                )
                .serve_with_incoming(TcpListenerStream::new(listener)),
        );
        Self {
            address,
            peers,
            _running: running,
        }
    }

    /// The next client's stream.
    pub(super) async fn accept(&mut self) -> Peer {
        let peer = timeout(PATIENCE, self.peers.recv()).await;
        peer.expect("a client connects").unwrap()
    }

    /// The environment that leads here.
    pub(super) fn variable(address: SocketAddr, name: &str) -> Option<String> {
        match name {
            "HOOP_GRPCURL" => Some(format!("grpc://{address}")),
            "HOOP_APIURL" => Some("http://127.0.0.1:1".to_owned()),
            "HOOP_TOKEN" => Some("token".to_owned()),
            "TERM" => Some("xterm-test".to_owned()),
            _ => None,
        }
    }
}

impl Peer {
    /// The next packet that is no keep-alive; `None` when the client is gone.
    pub(super) async fn next(&mut self) -> Option<Packet> {
        loop {
            let packet = timeout(PATIENCE, self.from.message()).await;
            let packet = packet.expect("the client sends something").ok()??;
            if packet.kind() != Some(PacketType::GatewayKeepAlive) {
                return Some(packet);
            }
        }
    }

    /// The next packet, which must be of this type.
    pub(super) async fn expect(&mut self, kind: PacketType) -> Packet {
        let packet = self.next().await.expect("the client is there");
        assert_eq!(packet.kind(), Some(kind), "{packet:?}");
        packet
    }

    pub(super) async fn send(&self, packet: Packet) {
        self.to.send(Ok(packet)).await.unwrap();
    }

    /// Ends the stream. The client may be gone already.
    pub(super) async fn end(self, status: Status) {
        if self.to.send(Err(status)).await.is_err() {
            assert_eq!(self.to.capacity(), 0, "the client is gone");
        }
    }
}

/// The other ends of a client's descriptors.
pub(super) struct Ends {
    pub(super) stdin: Option<File>,
    pub(super) stdout: File,
    pub(super) stderr: File,
}

impl Ends {
    /// All that was written, once every writer is gone: the client must go on meanwhile.
    pub(super) async fn read(mut self) -> (String, String) {
        let reading = spawn_blocking(move || {
            let mut texts = (String::new(), String::new());
            self.stdout.read_to_string(&mut texts.0).unwrap();
            self.stderr.read_to_string(&mut texts.1).unwrap();
            texts
        });
        timeout(PATIENCE, reading)
            .await
            .expect("the client ends")
            .unwrap()
    }
}

/// Three pipes. Like all descriptors here they are closed in the programs that other tests start.
pub(super) fn pipes() -> ([OwnedFd; 3], Ends) {
    let pipe = || nix::unistd::pipe2(OFlag::O_CLOEXEC).unwrap();
    let ((stdin, write), (stdout, out), (stderr, err)) = (pipe(), pipe(), pipe());
    let ends = Ends {
        stdin: Some(write.into()),
        stdout: stdout.into(),
        stderr: stderr.into(),
    };
    ([stdin, out, err], ends)
}

/// A client on three pipes.
pub(super) fn on_pipes(address: SocketAddr) -> (Context, Ends) {
    let (descriptors, ends) = pipes();
    let context = Context::new(descriptors, move |name| Fake::variable(address, name));
    (context, ends)
}

/// A terminal: the end that a person has, and the one that a program has.
pub(super) fn terminal(rows: u16, columns: u16) -> (File, OwnedFd) {
    let master = posix_openpt(OFlag::O_RDWR | OFlag::O_NOCTTY | OFlag::O_CLOEXEC).unwrap();
    grantpt(&master).unwrap();
    unlockpt(&master).unwrap();
    let slave = File::options()
        .read(true)
        .write(true)
        .custom_flags(OFlag::O_NOCTTY.bits())
        .open(ptsname_r(&master).unwrap())
        .unwrap();
    let size = WindowSize {
        rows,
        columns,
        x: 0,
        y: 0,
    };
    set_window_size(slave.as_fd(), size).unwrap();
    (OwnedFd::from(master).into(), slave.into())
}

/// A client whose standard input and output are a terminal: its descriptors, the terminal's other end, and the client's side of the
/// terminal for looking at.
pub(super) fn on_terminal(
    address: SocketAddr,
    rows: u16,
    columns: u16,
) -> (Context, File, OwnedFd) {
    let (master, slave) = terminal(rows, columns);
    let null = File::options().write(true).open("/dev/null").unwrap();
    let descriptors = [
        slave.try_clone().unwrap(),
        slave.try_clone().unwrap(),
        null.into(),
    ];
    let context = Context::new(descriptors, move |name| Fake::variable(address, name));
    (context, master, slave)
}
