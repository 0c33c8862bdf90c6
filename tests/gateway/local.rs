//! The gateway inside an agent: one socket for gRPC and HTTP, its agent in memory, no token.

use std::path::PathBuf;

use http::{Method, StatusCode};
use hyper_util::rt::TokioIo;
use tempfile::TempDir;
use tokio::net::{UnixListener, UnixStream};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tonic::Code;
use tonic::transport::{Endpoint, Uri};

use crate::support::gateway::{Caller, QUICK, close, ours, packet, request_on, within};
use hoop::gateway::{GatewayError, LocalGateway};
use hoop::key::Secret;
use hoop::protocol::rpc::PreConnectRequest;
use hoop::protocol::spec::{self, meta};
use hoop::protocol::{Packet, PacketType};

struct Local {
    socket: PathBuf,
    key: Secret,
    agent: Caller,
    stop: CancellationToken,
    running: JoinSet<Result<(), GatewayError>>,
    _dir: TempDir,
}

impl Local {
    async fn start() -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let socket = dir.path().join("web.sock");
        let listener = UnixListener::bind(&socket).expect("a socket");
        let gateway = LocalGateway::open(QUICK, "web", &[])
            .await
            .expect("a gateway");
        let (key, connector) = (gateway.agent_key(), gateway.connector());
        let channel = Endpoint::from_static("http://local").connect_with_connector_lazy(
            tower::service_fn(move |_: Uri| {
                let connector = connector.clone();
                async move { connector.connect().await.map(TokioIo::new) }
            }),
        );
        let stop = CancellationToken::new();
        let mut running = JoinSet::new();
        running.spawn(gateway.serve(listener, stop.clone()));
        Self {
            socket,
            key,
            agent: Caller::on(channel),
            stop,
            running,
            _dir: dir,
        }
    }

    fn client(&self) -> Caller {
        let socket = self.socket.clone();
        let channel = Endpoint::from_static("http://local").connect_with_connector_lazy(
            tower::service_fn(move |_: Uri| {
                let socket = socket.clone();
                async move { UnixStream::connect(socket).await.map(TokioIo::new) }
            }),
        );
        Caller::on(channel)
    }

    async fn get(&self, path: &str) -> (StatusCode, serde_json::Value) {
        let stream = UnixStream::connect(&self.socket)
            .await
            .expect("a connection");
        let (status, _, body) = request_on(stream, Method::GET, path, None, None).await;
        (status, body)
    }

    async fn announce(&self) {
        let request = PreConnectRequest {
            name: "web".to_owned(),
            r#type: "custom".to_owned(),
            command: vec!["sh".to_owned()],
            ..PreConnectRequest::default()
        };
        let answer = self.agent.pre_connect(self.key.expose(), request).await;
        assert_eq!(answer.expect("an answer").into_inner().message, "");
    }
}

#[tokio::test]
async fn a_session_needs_no_token_and_listens_on_no_network() {
    let mut local = Local::start().await;
    local.announce().await;
    let (name, value) = ours();
    let extra = [(name, value.as_str()), (meta::CONNECTION_NAME, "web")];
    let mut control = local
        .agent
        .agent(local.key.expose(), &extra)
        .await
        .expect("accepted");
    control.expect(PacketType::AgentGatewayConnectOk).await;
    let (status, list) = local.get("/api/connections").await;
    assert_eq!(
        (status, &list[0]["name"], &list[0]["status"]),
        (StatusCode::OK, &"web".into(), &"online".into())
    );

    let call = [
        (meta::ORIGIN, "client"),
        (meta::VERB, "exec"),
        (meta::CONNECTION_NAME, "web"),
    ];
    let mut client = local.client().open(&call).await.expect("accepted");
    client.send(Packet::new(PacketType::AgentSessionOpen)).await;
    let open = control.expect(PacketType::AgentSessionOpen).await;
    let id = open.session_id().expect("an id").to_owned();
    let attach = [(meta::SESSION_ID, id.as_str())];
    let mut wire = local
        .agent
        .agent(local.key.expose(), &attach)
        .await
        .expect("attached");
    wire.send(packet(PacketType::ClientSessionOpenOk, &id))
        .await;
    client.expect(PacketType::ClientSessionOpenOk).await;
    wire.send(close(&id, "7", "")).await;
    let end = client.expect(PacketType::ClientSessionClose).await;
    assert_eq!(end.text(spec::EXIT_CODE), Some("7"));
    wire.expect(PacketType::AgentSessionClose).await;
    let (_, list) = local.get("/api/sessions").await;
    assert_eq!(list["data"][0]["exit_code"], 7);
    let uid = format!("uid:{}", nix::unistd::geteuid());
    assert_eq!(list["data"][0]["user"], uid);

    local.stop.cancel();
    let status = control.last_status().await.expect_err("a status");
    assert_eq!(status.code(), Code::Unavailable);
    let ended = within(local.running.join_next()).await.expect("a gateway");
    ended.expect("no panic").expect("a clean end");
}

#[tokio::test]
async fn the_agents_side_is_trusted_as_little_as_a_network() {
    let local = Local::start().await;
    local.announce().await;
    let call = [
        (meta::ORIGIN, "client"),
        (meta::VERB, "exec"),
        (meta::CONNECTION_NAME, "web"),
    ];
    let refused = local.agent.open(&call).await.err();
    assert_eq!(refused.map(|s| s.code()), Some(Code::Unauthenticated));
    // And a trusted client is no agent.
    let refused = local.client().open(&[(meta::ORIGIN, "agent")]).await.err();
    assert_eq!(refused.map(|s| s.code()), Some(Code::Unauthenticated));
}
