//! What one peer can do to others: nothing.

use tonic::Code;

use crate::support::gateway::{PATIENCE, TestGateway, Wire, close, packet};
use hoop::protocol::spec::{self, meta};
use hoop::protocol::{Packet, PacketType};

async fn session(gateway: &TestGateway, agent: &mut Wire, name: &str) -> (Wire, String) {
    let mut client = gateway
        .client("connect", name, &[])
        .await
        .expect("accepted");
    let open = agent.expect(PacketType::AgentSessionOpen).await;
    let id = open.session_id().expect("an id").to_owned();
    agent
        .send(packet(PacketType::ClientSessionOpenOk, &id))
        .await;
    client.expect(PacketType::ClientSessionOpenOk).await;
    (client, id)
}

#[tokio::test]
async fn an_agent_reaches_only_its_own_sessions() {
    let gateway = TestGateway::start().await;
    let (good, evil) = (gateway.key("good").await, gateway.key("evil").await);
    gateway.announce(&good, "web").await;
    gateway.announce(&evil, "trap").await;
    let mut agent = gateway.agent(&good, &[]).await;
    let mut attacker = gateway.agent(&evil, &[]).await;
    let (mut client, id) = session(&gateway, &mut agent, "web").await;
    attacker
        .send(packet(PacketType::ClientWriteStdout, &id).payload("injected"))
        .await;
    attacker.send(close(&id, "0", "")).await;
    // The attacker's own session proves that its packets were taken before the honest ones are sent.
    let (_trapped, _) = session(&gateway, &mut attacker, "trap").await;
    agent
        .send(packet(PacketType::ClientWriteStdout, &id).payload("true"))
        .await;
    assert_eq!(client.next().await.payload, "true");
    // Nor can it take the session's stream.
    let refused = gateway
        .caller()
        .agent(&evil, &[(meta::SESSION_ID, &id)])
        .await;
    assert_eq!(refused.err().map(|s| s.code()), Some(Code::NotFound));
}

#[tokio::test]
async fn forged_types_go_nowhere_in_either_direction() {
    let gateway = TestGateway::start().await;
    let key = gateway.key("demo").await;
    gateway.announce(&key, "web").await;
    let mut agent = gateway.agent(&key, &[]).await;
    let (mut client, id) = session(&gateway, &mut agent, "web").await;
    for kind in [
        "GatewayFeatureFlagUpdate",
        "AgentGatewayConnectOK",
        "AgentSessionClose",
        "AgentSessionOpen",
        "ClientSessionClose",
        "ClientWriteStdout",
        "SysBareExecRequest",
        // Extensions that this agent does not have.
        "AgentExecCloseStdin",
        "AgentSessionSignal",
        "",
    ] {
        let forged = Packet {
            r#type: kind.to_owned(),
            ..packet(PacketType::GatewayKeepAlive, &id)
        };
        client.send(forged.clone()).await;
        if kind != "ClientSessionClose" && kind != "ClientWriteStdout" {
            agent.send(forged).await;
        }
    }
    client
        .send(Packet::new(PacketType::AgentTerminalWriteStdin).payload("honest"))
        .await;
    assert_eq!(agent.next().await.payload, "honest");
    agent
        .send(packet(PacketType::ClientWriteStdout, &id).payload("honest"))
        .await;
    assert_eq!(client.next().await.payload, "honest");
}

#[tokio::test]
async fn a_message_above_the_limit_ends_its_session_only() {
    let gateway = TestGateway::start().await;
    let key = gateway.key("demo").await;
    gateway.announce(&key, "web").await;
    let mut agent = gateway.agent(&key, &[]).await;
    let (mut fat, _) = session(&gateway, &mut agent, "web").await;
    let (thin, _) = session(&gateway, &mut agent, "web").await;
    let limit = hoop::protocol::MAX_MESSAGE;
    fat.send(Packet::new(PacketType::AgentExecWriteStdin).payload(vec![0; limit + 1]))
        .await;
    let status = fat.status().await.expect_err("a status");
    assert_eq!(status.code(), Code::ResourceExhausted);
    agent.expect(PacketType::AgentSessionClose).await;
    thin.send(Packet::new(PacketType::AgentExecWriteStdin).payload("fine"))
        .await;
    assert_eq!(agent.next().await.payload, "fine");
}

#[tokio::test]
async fn with_plain_framing_a_stalled_client_loses_its_session_and_the_others_finish() {
    let gateway = TestGateway::start().await;
    let key = gateway.key("demo").await;
    gateway.announce(&key, "web").await;
    let mut agent = gateway.agent(&key, &[]).await;
    let (mut stalled, stalled_id) = session(&gateway, &mut agent, "web").await;
    let mut others = Vec::new();
    for _ in 0..9 {
        others.push(session(&gateway, &mut agent, "web").await);
    }
    // More than the windows on the way and the session's queue hold.
    let chunk = vec![b'x'; 512 * 1024];
    for _ in 0..64 {
        agent
            .send(packet(PacketType::ClientWriteStdout, &stalled_id).payload(chunk.clone()))
            .await;
    }
    for (client, id) in &mut others {
        agent
            .send(packet(PacketType::ClientWriteStdout, id).payload("mine"))
            .await;
        agent.send(close(id, "0", "")).await;
        assert_eq!(client.next().await.payload, "mine");
        client.expect(PacketType::ClientSessionClose).await;
    }
    // The stalled one wakes up and is told.
    let last = tokio::time::timeout(PATIENCE, async {
        loop {
            let packet = stalled.next().await;
            if packet.kind() == Some(PacketType::ClientSessionClose) {
                return packet;
            }
        }
    });
    let last = last.await.expect("in time");
    assert_eq!(last.payload, "session closed: the client reads too slowly");
    assert_eq!(last.text(spec::EXIT_CODE), Some("254"));
    let status = stalled.status().await.expect_err("a status");
    assert_eq!(status.code(), Code::Unknown);
}
