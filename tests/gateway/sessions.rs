//! One session from its opening to its row, as both peers see it.

use std::time::{Duration, Instant};

use http::Method;
use tonic::Code;

use crate::support::gateway::{QUICK, TestGateway, Wire, close, ours, packet, within};
use hoop::gateway::Timing;
use hoop::protocol::params::ConnectionParams;
use hoop::protocol::spec::{self, meta};
use hoop::protocol::{Packet, PacketType};

/// A gateway with an agent of the plain protocol that announced `web`.
async fn plain() -> (TestGateway, String, Wire) {
    let gateway = TestGateway::start().await;
    let key = gateway.key("demo").await;
    gateway.announce(&key, "web").await;
    let agent = gateway.agent(&key, &[]).await;
    (gateway, key, agent)
}

/// Lets the agent accept the next session; its id.
async fn accept(agent: &mut Wire, client: &mut Wire) -> String {
    let open = agent.expect(PacketType::AgentSessionOpen).await;
    let id = open.session_id().expect("an id").to_owned();
    agent
        .send(packet(PacketType::ClientSessionOpenOk, &id))
        .await;
    client.expect(PacketType::ClientSessionOpenOk).await;
    id
}

#[tokio::test]
async fn a_session_runs_and_its_exit_code_is_stored() {
    let (gateway, _key, mut agent) = plain().await;
    let forged = [(meta::SESSION_ID, "11111111-1111-1111-1111-111111111111")];
    let client = gateway.client("connect", "web", &forged).await;
    let mut client = client.expect("accepted");
    let open = agent.expect(PacketType::AgentSessionOpen).await;
    let id = open.session_id().expect("an id").to_owned();
    // The id is the gateway's own, whatever the client says.
    assert_ne!(id, forged[0].1);
    let params = ConnectionParams::decode(&open.spec[spec::CONNECTION_PARAMS]).expect("gob");
    assert_eq!(params.connection_name, "web");
    assert_eq!(params.cmd_list, ["sh"]);
    assert_eq!(params.user_id, "admin");
    agent
        .send(packet(PacketType::ClientSessionOpenOk, &id))
        .await;
    let ok = client.expect(PacketType::ClientSessionOpenOk).await;
    assert_eq!(ok.text(spec::AGENT_VERSION), Some("1.2.3"));
    assert_eq!(ok.session_id(), Some(id.as_str()));
    client
        .send(packet(PacketType::AgentTerminalWriteStdin, "forged").payload("\n"))
        .await;
    let stdin = agent.expect(PacketType::AgentTerminalWriteStdin).await;
    assert_eq!(
        (stdin.session_id(), &*stdin.payload),
        (Some(id.as_str()), &b"\n"[..])
    );
    agent
        .send(packet(PacketType::ClientWriteStdout, &id).payload("out"))
        .await;
    assert_eq!(
        client.expect(PacketType::ClientWriteStdout).await.payload,
        "out"
    );
    agent.send(close(&id, "3", "exit status 3")).await;
    let end = client.expect(PacketType::ClientSessionClose).await;
    assert_eq!(end.text(spec::EXIT_CODE), Some("3"));
    // The row is written before the client hears of the end.
    let (_, row) = gateway
        .api(Method::GET, &format!("/api/sessions/{id}"), None)
        .await;
    assert_eq!(
        (&row["status"], &row["exit_code"]),
        (&"done".into(), &3.into())
    );
    assert_eq!(row["verb"], "connect");
    let status = client.status().await.expect_err("a status");
    assert_eq!(
        (status.code(), status.message()),
        (Code::Unknown, "exit status 3")
    );
    let told = agent.expect(PacketType::AgentSessionClose).await;
    assert_eq!(told.session_id(), Some(id.as_str()));
}

#[tokio::test]
async fn a_normal_end_is_canceled_for_a_plain_client_and_ok_for_ours() {
    let (gateway, _key, mut agent) = plain().await;
    let (key, value) = ours();
    for (extra, expected) in [
        (&[][..], Some("context canceled")),
        (&[(key, value.as_str())], None),
    ] {
        let mut client = gateway
            .client("exec", "web", extra)
            .await
            .expect("accepted");
        let id = accept(&mut agent, &mut client).await;
        agent.send(close(&id, "0", "")).await;
        client.expect(PacketType::ClientSessionClose).await;
        let status = client.status().await;
        assert_eq!(
            status.err().map(|s| s.message().to_owned()).as_deref(),
            expected
        );
        agent.expect(PacketType::AgentSessionClose).await;
    }
}

#[tokio::test]
async fn a_client_that_leaves_ends_its_session_without_an_exit_code() {
    let (gateway, _key, mut agent) = plain().await;
    let mut client = gateway
        .client("connect", "web", &[])
        .await
        .expect("accepted");
    let id = accept(&mut agent, &mut client).await;
    drop(client);
    let told = agent.expect(PacketType::AgentSessionClose).await;
    assert_eq!(told.session_id(), Some(id.as_str()));
    let row = gateway.finished_session().await;
    assert_eq!(row["exit_code"], serde_json::Value::Null);
    assert_eq!(row["cause"], "client disconnected");
}

#[tokio::test]
async fn an_agent_that_leaves_ends_its_sessions_after_what_it_had_sent() {
    let (gateway, _key, mut agent) = plain().await;
    let mut client = gateway
        .client("connect", "web", &[])
        .await
        .expect("accepted");
    let id = accept(&mut agent, &mut client).await;
    agent
        .send(packet(PacketType::ClientWriteStdout, &id).payload("last words"))
        .await;
    let Wire { out, from: _from } = agent;
    drop(out);
    assert_eq!(client.next().await.payload, "last words");
    let status = client.status().await.expect_err("a status");
    assert_eq!(
        (status.code(), status.message()),
        (Code::Unknown, "agent has disconnected")
    );
    assert_eq!(
        gateway.finished_session().await["cause"],
        "agent has disconnected"
    );
}

#[tokio::test]
async fn a_mute_agent_does_not_hang_the_client() {
    let (gateway, _key, mut agent) = plain().await;
    let mut client = gateway
        .client("connect", "web", &[])
        .await
        .expect("accepted");
    agent.expect(PacketType::AgentSessionOpen).await;
    let status = client.status().await.expect_err("a status");
    assert_eq!(status.code(), Code::DeadlineExceeded);
    agent.expect(PacketType::AgentSessionClose).await;
}

#[tokio::test]
async fn a_client_is_held_until_its_agent_comes() {
    let timing = Timing {
        hold: Duration::from_secs(9),
        ..QUICK
    };
    let gateway = TestGateway::with(timing).await;
    let key = gateway.key("demo").await;
    assert_eq!(gateway.announce(&key, "web").await.status, "BACKOFF");
    gateway.announce(&key, "db").await;
    let client = gateway.client("exec", "web", &[]);
    let agent = async {
        // An agent that polls is called once a client waits for it, and only for the connection in demand.
        within(async { while gateway.announce(&key, "web").await.status != "CONNECT" {} }).await;
        assert_eq!(gateway.announce(&key, "db").await.status, "BACKOFF");
        // A refused stream releases nobody.
        let wrong = gateway
            .caller()
            .agent(&key, &[(meta::CONNECTION_NAME, "nothing")])
            .await;
        assert!(wrong.is_err());
        let agent = gateway.agent(&key, &[(meta::CONNECTION_NAME, "web")]).await;
        assert_eq!(gateway.announce(&key, "web").await.status, "BACKOFF");
        agent
    };
    let (client, mut agent) = tokio::join!(client, agent);
    let mut client = client.expect("accepted");
    accept(&mut agent, &mut client).await;
}

#[tokio::test]
async fn a_bare_stream_serves_announced_connections_too() {
    let (gateway, key, mut agent) = plain().await;
    gateway.announce(&key, "db").await;
    let mut client = gateway.client("exec", "db", &[]).await.expect("accepted");
    accept(&mut agent, &mut client).await;
    // The stream of the connection's own name goes first.
    let mut named = gateway.agent(&key, &[(meta::CONNECTION_NAME, "db")]).await;
    let mut client = gateway.client("exec", "db", &[]).await.expect("accepted");
    accept(&mut named, &mut client).await;
}

#[tokio::test]
async fn a_deleted_key_ends_its_streams_and_sessions_at_once() {
    let (gateway, key, mut agent) = plain().await;
    let bystander_key = gateway.key("bystander").await;
    let bystander = gateway.agent(&bystander_key, &[]).await;
    let mut client = gateway
        .client("connect", "web", &[])
        .await
        .expect("accepted");
    accept(&mut agent, &mut client).await;
    let begin = Instant::now();
    gateway.api(Method::DELETE, "/api/agents/demo", None).await;
    let status = client.status().await.expect_err("a status");
    assert_eq!(
        (status.code(), status.message()),
        (Code::Unknown, "agent key revoked")
    );
    let status = agent.last_status().await.expect_err("a status");
    assert_eq!(
        (status.code(), status.message()),
        (Code::Unauthenticated, "invalid authentication")
    );
    assert!(begin.elapsed() < Duration::from_secs(2));
    let status = gateway
        .caller()
        .agent(&key, &[])
        .await
        .err()
        .expect("a refusal");
    assert_eq!(status.code(), Code::Unauthenticated);
    let begin = Instant::now();
    let status = gateway
        .client("connect", "web", &[])
        .await
        .err()
        .expect("a refusal");
    assert_eq!(status.message(), "connection not found");
    assert!(begin.elapsed() < QUICK.hold);
    assert_eq!(
        gateway.finished_session().await["cause"],
        "agent key revoked"
    );
    assert!(!bystander.out.is_closed());
}

#[tokio::test]
async fn a_stopping_gateway_tells_everybody() {
    let (gateway, _key, mut agent) = plain().await;
    let mut client = gateway
        .client("connect", "web", &[])
        .await
        .expect("accepted");
    accept(&mut agent, &mut client).await;
    gateway.begin_stop();
    let status = client.status().await.expect_err("a status");
    assert_eq!(
        (status.code(), status.message()),
        (Code::Unavailable, "gateway shutdown")
    );
    agent.expect(PacketType::AgentSessionClose).await;
    let status = agent.status().await.expect_err("a status");
    assert_eq!(
        (status.code(), status.message()),
        (Code::Unavailable, "gateway shutdown")
    );
    let begin = Instant::now();
    gateway.stop().await;
    assert!(begin.elapsed() < Duration::from_secs(2));
}

#[tokio::test]
async fn a_restart_keeps_agents_connections_and_the_token() {
    let (gateway, key, mut agent) = plain().await;
    let token = gateway.token.clone();
    let mut client = gateway
        .client("connect", "web", &[])
        .await
        .expect("accepted");
    accept(&mut agent, &mut client).await;
    let data = gateway.stop().await;
    let gateway = TestGateway::on(data, QUICK).await;
    assert_eq!(gateway.token, token);
    let mut agent = gateway.agent(&key, &[]).await;
    let mut client = gateway
        .client("connect", "web", &[])
        .await
        .expect("accepted");
    let id = accept(&mut agent, &mut client).await;
    agent.send(close(&id, "0", "")).await;
    client.expect(PacketType::ClientSessionClose).await;
    let (_, sessions) = gateway.api(Method::GET, "/api/sessions", None).await;
    assert_eq!(sessions["total"], 2);
    assert_eq!(sessions["data"][1]["cause"], "gateway shutdown");
}

#[tokio::test]
async fn sessions_of_a_gateway_that_died_are_closed_at_its_next_start() {
    let (gateway, _key, mut agent) = plain().await;
    let mut client = gateway
        .client("connect", "web", &[])
        .await
        .expect("accepted");
    accept(&mut agent, &mut client).await;
    // What a killed gateway leaves behind: its files as they are now.
    let data = tempfile::tempdir().expect("a directory");
    for file in ["gateway.db", "gateway.db-wal", "admin.toml"] {
        let (from, to) = (gateway.data().join(file), data.path().join(file));
        std::fs::copy(from, to).expect("copied");
    }
    let successor = TestGateway::on(data, QUICK).await;
    let row = successor.finished_session().await;
    assert_eq!(
        (&row["exit_code"], &row["cause"]),
        (&255.into(), &"gateway restarted".into())
    );
}

#[tokio::test]
async fn keep_alives_stay_at_the_gateway_and_ours_are_answered() {
    let (gateway, _key, mut agent) = plain().await;
    let (key, value) = ours();
    let extra = [(key, value.as_str())];
    let client = gateway.quiet_client("exec", "web", &extra).await;
    let mut client = client.expect("accepted");
    client.send(Packet::new(PacketType::GatewayKeepAlive)).await;
    client.send(Packet::new(PacketType::AgentSessionOpen)).await;
    client.expect(PacketType::GatewayKeepAlive).await;
    agent.expect(PacketType::AgentSessionOpen).await;
}

#[tokio::test]
async fn a_silent_peer_of_ours_is_taken_for_dead() {
    let timing = Timing {
        silence: Duration::from_millis(200),
        ..QUICK
    };
    let gateway = TestGateway::with(timing).await;
    let key = gateway.key("demo").await;
    gateway.announce(&key, "web").await;
    let (name, value) = ours();
    let mut silent = gateway.agent(&key, &[(name, &value)]).await;
    let status = silent.status().await.expect_err("a status");
    assert_eq!(status.code(), Code::Unavailable);
    // An agent without our capabilities may be silent, a client of ours may not.
    let mut agent = gateway.agent(&key, &[]).await;
    let client = gateway.client("exec", "web", &[(name, &value)]).await;
    let mut client = client.expect("accepted");
    agent.expect(PacketType::AgentSessionOpen).await;
    client.last_status().await.expect_err("a status");
    assert_eq!(
        gateway.finished_session().await["cause"],
        "client fell silent"
    );
}
