//! A gateway as the reference one looks from outside: no capabilities, response headers only with the first packet, windows of
//! 64 KiB, no answer to a keep-alive. What a peer sent is there to be looked at, down to the bytes.

use std::io;
use std::net::{Shutdown, SocketAddr};
use std::os::fd::AsFd;
use std::pin::Pin;
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use hoop::protocol::params::ConnectionParams;
use hoop::protocol::rpc::transport_server::{Transport, TransportServer};
use hoop::protocol::rpc::{
    HealthCheckRequest, HealthCheckResponse, PreConnectRequest, PreConnectResponse,
};
use hoop::protocol::{MAX_MESSAGE, Packet, PacketType, spec};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::{Handle, Runtime};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_stream::StreamExt;
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
use tonic::metadata::MetadataMap;
use tonic::transport::Server;
use tonic::transport::server::Connected;
use tonic::{Request, Response, Status, Streaming};

use crate::process::{HOOP, apart};

/// Longer than anything that a test waits for.
pub(super) const PATIENCE: Duration = Duration::from_secs(20);
/// grpc-go's windows.
const WINDOW: u32 = 65_535;

type Reply<T> = Result<Response<T>, Status>;
type Packets = mpsc::Receiver<Result<Packet, Status>>;
/// Accepts a call with the packets for it, or refuses it.
type Accept = oneshot::Sender<Result<Packets, Status>>;

/// A gateway; stops when dropped. Its methods wait, and fail instead of waiting for ever.
pub(super) struct Gateway {
    pub(super) address: SocketAddr,
    streams: mpsc::Receiver<Call>,
    announcements: mpsc::Receiver<Announcement>,
    answers: Arc<Mutex<Answers>>,
    connections: Arc<Mutex<Vec<Connection>>>,
    runtime: Runtime,
    _running: JoinSet<Result<(), tonic::transport::Error>>,
}

/// A `PreConnect` call.
pub(super) struct Announcement {
    pub(super) metadata: MetadataMap,
    pub(super) request: PreConnectRequest,
}

/// What unary calls are answered.
struct Answers {
    pre_connect: Result<PreConnectResponse, Status>,
    health_check: Result<(), Status>,
}

/// A TCP connection of a peer: what it sent, and a handle to break it.
struct Connection {
    sent: Arc<Mutex<Vec<u8>>>,
    socket: std::net::TcpStream,
}

struct Call {
    metadata: MetadataMap,
    inbound: Streaming<Packet>,
    accept: Accept,
}

struct Service {
    streams: mpsc::Sender<Call>,
    announcements: mpsc::Sender<Announcement>,
    answers: Arc<Mutex<Answers>>,
}

#[tonic::async_trait]
impl Transport for Service {
    type ConnectStream = ReceiverStream<Result<Packet, Status>>;

    async fn health_check(&self, _: Request<HealthCheckRequest>) -> Reply<HealthCheckResponse> {
        self.answers.lock().unwrap().health_check.clone()?;
        let status = "OK".to_owned();
        Ok(Response::new(HealthCheckResponse { status }))
    }

    async fn pre_connect(&self, request: Request<PreConnectRequest>) -> Reply<PreConnectResponse> {
        let announcement = Announcement {
            metadata: request.metadata().clone(),
            request: request.into_inner(),
        };
        self.announcements.try_send(announcement).expect("room");
        self.answers
            .lock()
            .unwrap()
            .pre_connect
            .clone()
            .map(Response::new)
    }

    async fn connect(&self, request: Request<Streaming<Packet>>) -> Reply<Self::ConnectStream> {
        let (accept, accepted) = oneshot::channel();
        let metadata = request.metadata().clone();
        let inbound = request.into_inner();
        let call = Call {
            metadata,
            inbound,
            accept,
        };
        assert!(self.streams.try_send(call).is_ok(), "room");
        let packets = accepted
            .await
            .map_err(|_| Status::unavailable("the test has no use for this stream"))??;
        Ok(Response::new(ReceiverStream::new(packets)))
    }
}

impl Gateway {
    pub(super) fn start() -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let listener = runtime.block_on(TcpListener::bind(any)).unwrap();
        let address = listener.local_addr().unwrap();
        let (streams, incoming_streams) = mpsc::channel(64);
        let (announcements, incoming_announcements) = mpsc::channel(1024);
        let answers = Arc::new(Mutex::new(Answers {
            pre_connect: Ok(backoff("")),
            health_check: Ok(()),
        }));
        let connections: Arc<Mutex<Vec<Connection>>> = Arc::default();
        let service = Service {
            streams,
            announcements,
            answers: answers.clone(),
        };
        let seen = connections.clone();
        let incoming = TcpListenerStream::new(listener).map(move |socket| {
            let (tapped, connection) = tap(socket?)?;
            seen.lock().unwrap().push(connection);
            Ok::<_, io::Error>(tapped)
        });
        let serving = Server::builder()
            .initial_stream_window_size(WINDOW)
            .initial_connection_window_size(WINDOW)
            .add_service(TransportServer::new(service).max_decoding_message_size(MAX_MESSAGE))
            .serve_with_incoming(incoming);
        let mut running = JoinSet::new();
        running.spawn_on(serving, runtime.handle());
        Self {
            address,
            streams: incoming_streams,
            announcements: incoming_announcements,
            answers,
            connections,
            runtime,
            _running: running,
        }
    }

    /// A key of this gateway.
    pub(super) fn key(&self, query: &str) -> String {
        format!("grpc://web:xagt-canary@{}{query}", self.address)
    }

    /// The key of a standard agent.
    pub(super) fn standard_key(&self) -> String {
        self.key("?mode=standard")
    }

    /// A command of a user of this gateway.
    pub(super) fn user(&self, words: &[&str]) -> Command {
        let mut command = hoop(words);
        command
            .env("HOOP_GRPCURL", format!("grpc://{}", self.address))
            .env("HOOP_APIURL", "http://127.0.0.1:1")
            .env("HOOP_TOKEN", "canary-of-a-user");
        command
    }

    /// What `PreConnect` is answered from now on.
    pub(super) fn answer(&self, answer: Result<PreConnectResponse, Status>) {
        self.answers.lock().unwrap().pre_connect = answer;
    }

    /// What `HealthCheck` is answered from now on.
    pub(super) fn answer_health_check(&self, answer: Result<(), Status>) {
        self.answers.lock().unwrap().health_check = answer;
    }

    /// The next `PreConnect`.
    pub(super) fn announcement(&mut self) -> Announcement {
        let next = self.announcements.recv();
        wait(self.runtime.handle(), "an announcement", next).unwrap()
    }

    /// The next stream, not yet accepted.
    pub(super) fn call(&mut self) -> Stream {
        let handle = self.runtime.handle().clone();
        let call = wait(&handle, "a stream", self.streams.recv()).unwrap();
        let (out, packets) = mpsc::channel(64);
        Stream {
            metadata: call.metadata,
            handle,
            inbound: call.inbound,
            out,
            accept: Some((call.accept, packets)),
            backlog: Vec::new(),
            keep_alives: 0,
        }
    }

    /// The next stream of an agent, accepted.
    pub(super) fn agent(&mut self) -> Stream {
        let mut stream = self.call();
        stream.send(Packet::new(PacketType::AgentGatewayConnectOk));
        stream
    }

    /// Breaks every TCP connection.
    pub(super) fn cut(&self) {
        for connection in self.connections.lock().unwrap().drain(..) {
            // One that its peer has closed is broken already.
            let _closed = connection.socket.shutdown(Shutdown::Both);
        }
    }

    /// HTTP/2 PING frames that peers sent, answers to ours left out, on how many connections.
    pub(super) fn pings(&self) -> (usize, usize) {
        let connections = self.connections.lock().unwrap();
        let pings = connections
            .iter()
            .map(|connection| pings(&connection.sent.lock().unwrap()))
            .sum();
        (pings, connections.len())
    }
}

/// `hoop` with these words, nothing else configured.
pub(super) fn hoop(words: &[&str]) -> Command {
    let mut command = Command::new(HOOP);
    command
        .args(words)
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .env("HOME", "/nonexistent");
    apart(&mut command);
    command
}

/// The answer of a gateway where nobody waits, or that does not like the name.
pub(super) fn backoff(message: &str) -> PreConnectResponse {
    PreConnectResponse {
        status: "BACKOFF".to_owned(),
        message: message.to_owned(),
    }
}

/// The gateway's end of a `Connect` stream.
pub(super) struct Stream {
    pub(super) metadata: MetadataMap,
    handle: Handle,
    inbound: Streaming<Packet>,
    out: mpsc::Sender<Result<Packet, Status>>,
    accept: Option<(Accept, Packets)>,
    /// Received and not yet asked for.
    backlog: Vec<Packet>,
    keep_alives: usize,
}

impl Stream {
    /// Metadata as text.
    pub(super) fn meta(&self, key: &str) -> Option<&str> {
        self.metadata.get(key).map(|value| value.to_str().unwrap())
    }

    /// Sends a packet; with the first one the response headers go out. A peer that is gone does not get it.
    pub(super) fn send(&mut self, packet: Packet) {
        self.accept();
        let sending = self.out.send(Ok(packet));
        let _gone = wait(&self.handle, "a packet to be taken", sending);
    }

    fn accept(&mut self) {
        if let Some((accept, packets)) = self.accept.take() {
            accept.send(Ok(packets)).expect("a peer that waits");
        }
    }

    /// Ends the stream with a status, before or after packets.
    pub(super) fn end(mut self, status: Status) {
        match self.accept.take() {
            Some((accept, _)) => accept.send(Err(status)).expect("a peer that waits"),
            // The peer may have left by itself after the last packet.
            None => {
                let _gone = wait(&self.handle, "the end", self.out.send(Err(status)));
            }
        }
    }

    /// The next packet as it comes; `None` when the peer has ended or broken its side.
    pub(super) fn raw(&mut self) -> Option<Packet> {
        let next = self.inbound.message();
        let packet = wait(&self.handle, "a packet", next).ok().flatten();
        let is_keep_alive = |packet: &Packet| packet.kind() == Some(PacketType::GatewayKeepAlive);
        self.keep_alives += usize::from(packet.as_ref().is_some_and(is_keep_alive));
        packet
    }

    /// The first packet so far or to come of which `wanted` holds; others stay for later.
    pub(super) fn take(&mut self, what: &str, wanted: impl Fn(&Packet) -> bool) -> Packet {
        let mut looked_at = 0;
        // Keep-alives come for ever.
        let limit = Instant::now() + PATIENCE;
        loop {
            assert!(Instant::now() < limit, "{what}: did not come");
            if let Some(at) = self.backlog.iter().skip(looked_at).position(&wanted) {
                return self.backlog.remove(looked_at + at);
            }
            looked_at = self.backlog.len();
            match self.raw() {
                Some(packet) => self.backlog.push(packet),
                None => panic!("the stream ended before {what}; got {:?}", self.backlog),
            }
        }
    }

    /// The next packet of a session.
    pub(super) fn next_of(&mut self, session: &str) -> Packet {
        self.take("a packet of the session", |packet| {
            packet.session_id() == Some(session)
        })
    }

    /// The next packet of this type.
    pub(super) fn expect(&mut self, kind: PacketType) -> Packet {
        self.take(kind.as_str(), |packet| packet.kind() == Some(kind))
    }

    /// Packets of a session that have come and were not asked for.
    pub(super) fn left_of(&self, session: &str) -> usize {
        let of_session = |packet: &&Packet| packet.session_id() == Some(session);
        self.backlog.iter().filter(of_session).count()
    }

    /// Opens a session and waits until it is accepted.
    pub(super) fn open(&mut self, session: &str, params: &ConnectionParams) -> Packet {
        self.send(opening(session, params));
        let packet = self.next_of(session);
        assert_eq!(
            packet.kind(),
            Some(PacketType::ClientSessionOpenOk),
            "{packet:?}"
        );
        packet
    }

    /// Sends a packet of a session.
    pub(super) fn to(&mut self, session: &str, kind: PacketType, payload: impl Into<bytes::Bytes>) {
        let packet = Packet::new(kind).with(spec::SESSION_ID, session.to_owned());
        self.send(packet.payload(payload));
    }

    /// Runs a task to its end.
    pub(super) fn exec(&mut self, session: &str, command: &[&str], stdin: &[u8]) -> Ended {
        self.open(session, &task(command));
        self.to(session, PacketType::AgentExecWriteStdin, stdin.to_vec());
        self.ended(session)
    }

    /// Reads a session to its close packet.
    pub(super) fn ended(&mut self, session: &str) -> Ended {
        let mut ended = Ended::default();
        loop {
            let packet = self.next_of(session);
            match packet.kind() {
                Some(PacketType::ClientWriteStdout) => ended.stdout.extend(&packet.payload),
                Some(PacketType::ClientWriteStderr) => ended.stderr.extend(&packet.payload),
                Some(PacketType::ClientSessionClose) => {
                    let code = packet.text(spec::EXIT_CODE).expect("a code");
                    ended.code = code.parse().expect("decimal text");
                    ended.text = String::from_utf8(packet.payload.to_vec()).unwrap();
                    ended.not_started = packet.text(spec::NOT_STARTED).map(str::to_owned);
                    return ended;
                }
                _ => panic!("not of a session's output: {packet:?}"),
            }
        }
    }

    /// Reads a session's standard output until it holds `text`.
    pub(super) fn output(&mut self, session: &str, text: &str) -> String {
        let mut seen = Vec::new();
        loop {
            let packet = self.next_of(session);
            assert_eq!(
                packet.kind(),
                Some(PacketType::ClientWriteStdout),
                "{packet:?}"
            );
            seen.extend(&packet.payload);
            let so_far = String::from_utf8_lossy(&seen);
            if so_far.contains(text) {
                return so_far.into_owned();
            }
        }
    }

    /// Reads until so many keep-alives have come.
    pub(super) fn keep_alives(&mut self, count: usize) {
        while self.keep_alives < count {
            let packet = self.raw().expect("an open stream");
            self.backlog.push(packet);
        }
    }
}

/// How a session ended, and what it said before.
#[derive(Debug, Default)]
pub(super) struct Ended {
    pub(super) stdout: Vec<u8>,
    pub(super) stderr: Vec<u8>,
    pub(super) code: i32,
    pub(super) text: String,
    pub(super) not_started: Option<String>,
}

impl Ended {
    pub(super) fn stdout(&self) -> &str {
        std::str::from_utf8(&self.stdout).unwrap()
    }
}

/// The parameters of a task.
pub(super) fn task(command: &[&str]) -> ConnectionParams {
    ConnectionParams {
        connection_name: "web".to_owned(),
        connection_type: "command-line".to_owned(),
        user_id: "u1".to_owned(),
        user_email: "a@b.c".to_owned(),
        cmd_list: command.iter().map(|&word| word.to_owned()).collect(),
        client_verb: "exec".to_owned(),
        client_origin: "client".to_owned(),
        ..ConnectionParams::default()
    }
}

/// The parameters of a console.
pub(super) fn console(command: &[&str]) -> ConnectionParams {
    ConnectionParams {
        client_verb: "connect".to_owned(),
        ..task(command)
    }
}

/// The packet that opens a session.
pub(super) fn opening(session: &str, params: &ConnectionParams) -> Packet {
    Packet::new(PacketType::AgentSessionOpen)
        .with(spec::SESSION_ID, session.to_owned())
        .with(spec::CONNECTION_TYPE, params.connection_type.clone())
        .with(spec::CONNECTION_PARAMS, params.encode())
}

fn wait<T>(handle: &Handle, what: &str, future: impl Future<Output = T>) -> T {
    let value = handle.block_on(async { timeout(PATIENCE, future).await });
    value.unwrap_or_else(|_| panic!("{what}: did not come"))
}

/// A connection whose incoming bytes are kept.
struct Tapped {
    stream: TcpStream,
    sent: Arc<Mutex<Vec<u8>>>,
}

fn tap(stream: TcpStream) -> io::Result<(Tapped, Connection)> {
    let sent: Arc<Mutex<Vec<u8>>> = Arc::default();
    let socket = stream.as_fd().try_clone_to_owned()?.into();
    let connection = Connection {
        sent: sent.clone(),
        socket,
    };
    Ok((Tapped { stream, sent }, connection))
}

impl Connected for Tapped {
    type ConnectInfo = ();
    fn connect_info(&self) {}
}

impl AsyncRead for Tapped {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let polled = Pin::new(&mut self.stream).poll_read(context, buffer);
        let new = buffer.filled().get(before..).unwrap_or_default();
        self.sent.lock().unwrap().extend_from_slice(new);
        polled
    }
}

impl AsyncWrite for Tapped {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

/// PING frames that are no answers, in what a client sent.
fn pings(sent: &[u8]) -> usize {
    const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    const PING: u8 = 6;
    let mut rest = sent.strip_prefix(PREFACE).expect("HTTP/2");
    let (mut count, mut frames) = (0, 0);
    while let [a, b, c, kind, flags, ..] = *rest {
        let length = usize::from(a) << 16 | usize::from(b) << 8 | usize::from(c);
        frames += 1;
        count += usize::from(kind == PING && flags & 1 == 0);
        rest = rest.get(9 + length..).unwrap_or_default();
    }
    assert!(frames > 2, "frames were found");
    count
}
