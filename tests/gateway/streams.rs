//! Sessions on streams of their own (capability `session-streams`).

use tokio::task::JoinSet;
use tonic::Code;

use crate::support::gateway::{Caller, TestGateway, Wire, close, ours, packet, within};
use hoop::protocol::spec::{self, meta};
use hoop::protocol::{Packet, PacketType};

struct Agent {
    key: String,
    caller: Caller,
    control: Wire,
}

impl Agent {
    async fn start(gateway: &TestGateway) -> Self {
        let key = gateway.key("demo").await;
        Self::connect(gateway, &key).await
    }

    /// Connects as soon as a predecessor's place is free.
    async fn connect(gateway: &TestGateway, key: &str) -> Self {
        gateway.announce(key, "web").await;
        let caller = gateway.caller();
        let (name, value) = ours();
        let extra = [(name, value.as_str()), (meta::CONNECTION_NAME, "web")];
        let mut control = loop {
            match caller.agent(key, &extra).await {
                Ok(control) => break control,
                Err(status) => assert_eq!(status.message(), "agent already connected"),
            }
        };
        control.expect(PacketType::AgentGatewayConnectOk).await;
        let key = key.to_owned();
        Self {
            key,
            caller,
            control,
        }
    }

    /// Takes the next session and opens its stream.
    async fn take(&mut self) -> (Packet, String, Wire) {
        let open = self.control.expect(PacketType::AgentSessionOpen).await;
        let id = open.session_id().expect("an id").to_owned();
        let wire = self.attach(&id).await.expect("attached");
        (open, id, wire)
    }

    async fn attach(&self, id: &str) -> Result<Wire, tonic::Status> {
        self.caller
            .agent(&self.key, &[(meta::SESSION_ID, id)])
            .await
    }
}

#[tokio::test]
async fn everything_of_a_session_flows_on_its_own_stream() {
    let gateway = TestGateway::start().await;
    let mut agent = Agent::start(&gateway).await;
    let client = gateway.quiet_client("exec", "web", &[]).await;
    let mut client = client.expect("accepted");
    let open = Packet::new(PacketType::AgentSessionOpen)
        .with(spec::TASK, "1")
        .with(spec::STREAM_STDIN, "1");
    client.send(open).await;
    let (open, id, mut wire) = agent.take().await;
    assert!(
        open.spec.contains_key(spec::TASK),
        "granted: announced, and the agent can"
    );
    // A session has one stream.
    let second = agent.attach(&id).await.err().expect("a refusal");
    assert_eq!(second.code(), Code::NotFound);
    wire.send(packet(PacketType::ClientSessionOpenOk, "forged"))
        .await;
    let ok = client.expect(PacketType::ClientSessionOpenOk).await;
    assert_eq!(ok.session_id(), Some(id.as_str()));
    client
        .send(Packet::new(PacketType::AgentExecWriteStdin).payload("in"))
        .await;
    assert_eq!(
        wire.expect(PacketType::AgentExecWriteStdin).await.payload,
        "in"
    );
    client
        .send(Packet::new(PacketType::AgentSessionSignal).payload("2"))
        .await;
    wire.expect(PacketType::AgentSessionSignal).await;
    // Half-closing is the end of standard input.
    let Wire { out, mut from } = client;
    drop(out);
    wire.expect(PacketType::AgentExecCloseStdin).await;
    wire.send(close(&id, "7", "")).await;
    wire.expect(PacketType::AgentSessionClose).await;
    wire.status().await.expect("the stream ends well");
    let end = within(from.message()).await.expect("no status");
    assert_eq!(end.expect("a packet").text(spec::EXIT_CODE), Some("7"));
    assert_eq!(gateway.finished_session().await["exit_code"], 7);
}

#[tokio::test]
async fn of_ten_clients_one_stalls_and_the_others_finish() {
    let gateway = TestGateway::start().await;
    let mut agent = Agent::start(&gateway).await;
    let mut clients = Vec::new();
    let mut programs = JoinSet::new();
    for number in 0..10 {
        let client = gateway.client("exec", "web", &[]).await.expect("accepted");
        let (_, id, wire) = agent.take().await;
        wire.send(packet(PacketType::ClientSessionOpenOk, &id))
            .await;
        programs.spawn(produce(wire, id, number));
        clients.push(client);
    }
    // The first client reads nothing; far more than all windows is waiting for it.
    let mut stalled = clients.remove(0);
    for client in &mut clients {
        assert_eq!(read_all(client).await, PRODUCED);
    }
    for _ in 0..9 {
        let number = within(programs.join_next()).await.expect("a program");
        assert_ne!(number.expect("no panic"), 0);
    }
    assert!(
        programs.try_join_next().is_none(),
        "its source is stalled too"
    );
    // Nothing was lost for the one who was slow.
    assert_eq!(read_all(&mut stalled).await, PRODUCED);
}

const CHUNK: usize = 16 * 1024;
const PRODUCED: usize = 1024 * CHUNK;

async fn produce(mut wire: Wire, id: String, number: usize) -> usize {
    for _ in 0..PRODUCED / CHUNK {
        let chunk = packet(PacketType::ClientWriteStdout, &id).payload(vec![b'x'; CHUNK]);
        wire.out.send(chunk).await.expect("an open stream");
    }
    wire.out
        .send(close(&id, "0", ""))
        .await
        .expect("an open stream");
    let told = wire.from.message().await.expect("no status");
    assert_eq!(
        told.and_then(|p| p.kind()),
        Some(PacketType::AgentSessionClose)
    );
    number
}

async fn read_all(client: &mut Wire) -> usize {
    let mut size = 0;
    loop {
        let packet = client.next().await;
        size += packet.payload.len();
        if packet.kind() == Some(PacketType::ClientSessionClose) {
            return size;
        }
    }
}

#[tokio::test]
async fn an_agent_that_leaves_after_closing_its_session_takes_no_exit_code_with_it() {
    let gateway = TestGateway::start().await;
    let key = gateway.key("demo").await;
    for _ in 0..20 {
        let mut agent = Agent::connect(&gateway, &key).await;
        let mut client = gateway.client("exec", "web", &[]).await.expect("accepted");
        let (_, id, wire) = agent.take().await;
        wire.send(packet(PacketType::ClientSessionOpenOk, &id))
            .await;
        wire.send(close(&id, "5", "")).await;
        let Agent { control, .. } = agent;
        drop(control);
        client.expect(PacketType::ClientSessionOpenOk).await;
        let end = client.expect(PacketType::ClientSessionClose).await;
        assert_eq!(end.text(spec::EXIT_CODE), Some("5"));
        drop(wire);
    }
}

#[tokio::test]
async fn a_session_whose_agent_never_opens_its_stream_ends_in_time() {
    let gateway = TestGateway::start().await;
    let mut agent = Agent::start(&gateway).await;
    let mut client = gateway.client("exec", "web", &[]).await.expect("accepted");
    let open = agent.control.expect(PacketType::AgentSessionOpen).await;
    let status = client.status().await.expect_err("a status");
    assert_eq!(status.code(), Code::DeadlineExceeded);
    agent.control.expect(PacketType::AgentSessionClose).await;
    let late = agent.attach(open.session_id().expect("an id")).await;
    assert_eq!(late.err().map(|s| s.code()), Some(Code::NotFound));
}

#[tokio::test]
async fn a_deleted_key_ends_sessions_on_their_own_streams_too() {
    let gateway = TestGateway::start().await;
    let mut agent = Agent::start(&gateway).await;
    let mut client = gateway.client("exec", "web", &[]).await.expect("accepted");
    let (_, id, mut wire) = agent.take().await;
    wire.send(packet(PacketType::ClientSessionOpenOk, &id))
        .await;
    client.expect(PacketType::ClientSessionOpenOk).await;
    gateway
        .api(http::Method::DELETE, "/api/agents/demo", None)
        .await;
    let status = client.status().await.expect_err("a status");
    assert_eq!(status.message(), "agent key revoked");
    wire.expect(PacketType::AgentSessionClose).await;
    let status = agent.control.last_status().await.expect_err("a status");
    assert_eq!(status.code(), Code::Unauthenticated);
}
