//! A gateway in this process on free ports, and peers that speak its wire packet by packet.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::metadata::MetadataValue;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Response, Status, Streaming};

use hoop::gateway::{Config, Gateway, GatewayError, Timing};
use hoop::protocol::rpc::transport_client::TransportClient;
use hoop::protocol::rpc::{PreConnectRequest, PreConnectResponse};
use hoop::protocol::{Capabilities, Packet, PacketType, spec};

/// Longer than anything that a test waits for.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

/// Time limits short enough to be waited for.
pub(crate) const QUICK: Timing = Timing {
    hold: Duration::from_millis(300),
    open: Duration::from_millis(500),
    silence: Duration::from_secs(25),
};

/// A gateway; stops when dropped.
pub(crate) struct TestGateway {
    pub(crate) grpc: SocketAddr,
    pub(crate) http: SocketAddr,
    pub(crate) token: String,
    data: TempDir,
    stop: CancellationToken,
    running: JoinSet<Result<(), GatewayError>>,
}

/// Connects to a gateway as anything.
#[derive(Clone)]
pub(crate) struct Caller(TransportClient<Channel>);

/// An open `Connect` stream.
pub(crate) struct Wire {
    pub(crate) out: mpsc::Sender<Packet>,
    pub(crate) from: Streaming<Packet>,
}

/// Configuration for a data directory, on free ports.
pub(crate) fn config(data_dir: &Path, timing: Timing) -> Config {
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    Config {
        data_dir: data_dir.to_owned(),
        grpc: any,
        http: any,
        grpc_url: None,
        api_url: None,
        timing,
    }
}

impl TestGateway {
    pub(crate) async fn start() -> Self {
        Self::with(QUICK).await
    }

    pub(crate) async fn with(timing: Timing) -> Self {
        Self::on(tempfile::tempdir().expect("a directory"), timing).await
    }

    pub(crate) async fn on(data: TempDir, timing: Timing) -> Self {
        let gateway = Gateway::open(config(data.path(), timing))
            .await
            .expect("a gateway");
        let file = std::fs::read_to_string(gateway.admin_file().0).expect("the file");
        let file: toml::Table = file.parse().expect("TOML");
        let stop = CancellationToken::new();
        let (grpc, http) = (gateway.grpc_addr(), gateway.http_addr());
        let mut running = JoinSet::new();
        running.spawn(gateway.run(stop.clone()));
        Self {
            grpc,
            http,
            token: file["token"].as_str().expect("a token").to_owned(),
            data,
            running,
            stop,
        }
    }

    /// Stops the gateway in good order; its directory remains.
    pub(crate) async fn stop(mut self) -> TempDir {
        self.stop.cancel();
        let ended = within(self.running.join_next()).await;
        let ended = ended.expect("a gateway").expect("no panic");
        ended.expect("a clean end");
        self.data
    }

    pub(crate) fn data(&self) -> &Path {
        self.data.path()
    }

    pub(crate) fn begin_stop(&self) {
        self.stop.cancel();
    }

    /// A new agent's key.
    pub(crate) async fn key(&self, name: &str) -> String {
        let body = serde_json::json!({ "name": name, "mode": "embedded" });
        let (status, answer) = self.api(Method::POST, "/api/agents", Some(body)).await;
        assert_eq!(status, StatusCode::CREATED, "{answer}");
        answer["token"].as_str().expect("a token").to_owned()
    }

    /// A request of the administrator.
    pub(crate) async fn api(
        &self,
        method: Method,
        path: &str,
        body: Option<Value>,
    ) -> (StatusCode, Value) {
        let bearer = format!("Bearer {}", self.token);
        let (status, _, answer) = request(self.http, method, path, Some(&bearer), body).await;
        (status, answer)
    }

    /// The newest session once it is over.
    pub(crate) async fn finished_session(&self) -> Value {
        within(async {
            loop {
                let (_, list) = self.api(Method::GET, "/api/sessions", None).await;
                let newest = &list["data"][0];
                if newest["status"] == "done" {
                    return newest.clone();
                }
                tokio::task::yield_now().await;
            }
        })
        .await
    }

    pub(crate) fn caller(&self) -> Caller {
        Caller::to(self.grpc)
    }

    /// An agent's stream, accepted. `extra` is added to its metadata.
    pub(crate) async fn agent(&self, key: &str, extra: &[(&'static str, &str)]) -> Wire {
        let mut wire = self.caller().agent(key, extra).await.expect("accepted");
        wire.expect(PacketType::AgentGatewayConnectOk).await;
        wire
    }

    /// Announces a connection.
    pub(crate) async fn announce(&self, key: &str, name: &str) -> PreConnectResponse {
        let request = PreConnectRequest {
            name: name.to_owned(),
            r#type: "custom".to_owned(),
            command: vec!["sh".to_owned()],
            ..PreConnectRequest::default()
        };
        let answer = self.caller().pre_connect(key, request).await;
        answer.expect("an answer").into_inner()
    }

    /// A client's call, with the packet that opens a session already sent.
    pub(crate) async fn client(
        &self,
        verb: &str,
        connection: &str,
        extra: &[(&'static str, &str)],
    ) -> Result<Wire, Status> {
        let wire = self.quiet_client(verb, connection, extra).await?;
        wire.send(Packet::new(PacketType::AgentSessionOpen)).await;
        Ok(wire)
    }

    /// A client's call that has sent nothing.
    pub(crate) async fn quiet_client(
        &self,
        verb: &str,
        connection: &str,
        extra: &[(&'static str, &str)],
    ) -> Result<Wire, Status> {
        let bearer = format!("Bearer {}", self.token);
        let mut metadata = vec![
            (spec::meta::AUTHORIZATION, bearer.as_str()),
            (spec::meta::ORIGIN, "client"),
            (spec::meta::VERB, verb),
            (spec::meta::CONNECTION_NAME, connection),
        ];
        metadata.extend_from_slice(extra);
        self.caller().open(&metadata).await
    }
}

impl Caller {
    pub(crate) fn to(address: SocketAddr) -> Self {
        let channel = Endpoint::from_shared(format!("http://{address}"))
            .expect("a URL")
            .connect_lazy();
        Self::on(channel)
    }

    pub(crate) fn on(channel: Channel) -> Self {
        Self(TransportClient::new(channel).max_decoding_message_size(hoop::protocol::MAX_MESSAGE))
    }

    /// Opens `Connect` with exactly this metadata.
    pub(crate) async fn open(&self, metadata: &[(&'static str, &str)]) -> Result<Wire, Status> {
        let (out, packets) = mpsc::channel(64);
        let request = with_metadata(ReceiverStream::new(packets), metadata);
        let answer = within(self.0.clone().connect(request)).await?;
        Ok(Wire {
            out,
            from: answer.into_inner(),
        })
    }

    /// Opens an agent's stream.
    pub(crate) async fn agent(
        &self,
        key: &str,
        extra: &[(&'static str, &str)],
    ) -> Result<Wire, Status> {
        let bearer = format!("Bearer {key}");
        let mut metadata = vec![
            (spec::meta::AUTHORIZATION, bearer.as_str()),
            (spec::meta::ORIGIN, "agent"),
            (spec::meta::VERSION, "1.2.3"),
        ];
        metadata.extend_from_slice(extra);
        self.open(&metadata).await
    }

    pub(crate) async fn pre_connect(
        &self,
        key: &str,
        request: PreConnectRequest,
    ) -> Result<Response<PreConnectResponse>, Status> {
        let bearer = format!("Bearer {key}");
        let request = with_metadata(request, &[(spec::meta::AUTHORIZATION, &bearer)]);
        within(self.0.clone().pre_connect(request)).await
    }
}

impl Wire {
    pub(crate) async fn send(&self, packet: Packet) {
        within(self.out.send(packet)).await.expect("an open stream");
    }

    /// The next packet, whatever it is.
    pub(crate) async fn next(&mut self) -> Packet {
        let next = within(self.from.message()).await;
        next.expect("no status").expect("a packet")
    }

    /// The next packet, which is of this type.
    pub(crate) async fn expect(&mut self, kind: PacketType) -> Packet {
        let packet = self.next().await;
        assert_eq!(packet.kind(), Some(kind), "{packet:?}");
        packet
    }

    /// How the stream ends, when no packet comes any more; `Ok` is the status `OK`.
    pub(crate) async fn status(&mut self) -> Result<(), Status> {
        match within(self.from.message()).await {
            Ok(None) => Ok(()),
            Err(status) => Err(status),
            Ok(Some(packet)) => panic!("a packet instead of the end: {packet:?}"),
        }
    }

    /// How the stream ends, after whatever packets come before.
    pub(crate) async fn last_status(&mut self) -> Result<(), Status> {
        loop {
            match within(self.from.message()).await? {
                Some(_) => {}
                None => return Ok(()),
            }
        }
    }
}

/// Metadata of a peer with our capabilities.
pub(crate) fn ours() -> (&'static str, String) {
    (spec::meta::CAPABILITIES, Capabilities::OURS.to_text())
}

/// A packet of a session.
pub(crate) fn packet(kind: PacketType, session: &str) -> Packet {
    Packet::new(kind).with(spec::SESSION_ID, session.to_owned())
}

/// The agent's word that a session is over.
pub(crate) fn close(session: &str, code: &str, text: &str) -> Packet {
    packet(PacketType::ClientSessionClose, session)
        .with(spec::EXIT_CODE, code.to_owned())
        .payload(text.to_owned())
}

/// Fails instead of waiting for ever.
pub(crate) async fn within<T>(future: impl Future<Output = T>) -> T {
    timeout(PATIENCE, future).await.expect("in time")
}

/// One HTTP request: status, headers, and the JSON of the answer.
pub(crate) async fn request(
    address: SocketAddr,
    method: Method,
    path: &str,
    authorization: Option<&str>,
    body: Option<Value>,
) -> (StatusCode, http::HeaderMap, Value) {
    let stream = TcpStream::connect(address).await.expect("a connection");
    request_on(stream, method, path, authorization, body).await
}

/// The same on a given connection.
pub(crate) async fn request_on(
    stream: impl tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
    method: Method,
    path: &str,
    authorization: Option<&str>,
    body: Option<Value>,
) -> (StatusCode, http::HeaderMap, Value) {
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .expect("HTTP/1");
    let mut builder = http::Request::builder()
        .method(method)
        .uri(path)
        .header(http::header::HOST, "gateway")
        .header(http::header::CONTENT_TYPE, "application/json");
    if let Some(value) = authorization {
        builder = builder.header(http::header::AUTHORIZATION, value);
    }
    let body = body.map(|value| value.to_string()).unwrap_or_default();
    let request = builder
        .body(Full::new(Bytes::from(body)))
        .expect("a request");
    let exchange = async {
        let answer = sender.send_request(request).await.expect("an answer");
        let (head, body) = answer.into_parts();
        let bytes = body.collect().await.expect("a body").to_bytes();
        let json = serde_json::from_slice(&bytes).unwrap_or(Value::Null);
        (head.status, head.headers, json)
    };
    tokio::select! {
        answer = within(exchange) => answer,
        ended = connection => panic!("the connection ended: {ended:?}"),
    }
}

fn with_metadata<T>(message: T, metadata: &[(&'static str, &str)]) -> Request<T> {
    let mut request = Request::new(message);
    for (key, value) in metadata {
        let value = MetadataValue::try_from(*value).expect("a value");
        request.metadata_mut().insert(*key, value);
    }
    request
}
