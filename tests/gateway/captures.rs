//! Recorded sessions of the reference programs, replayed: their client's bytes, their agent's answers, and what their
//! gateway made of both is what ours must make of them.

use std::collections::HashMap;
use std::path::Path;

use http::Method;
use prost::Message;
use serde_json::{Value, json};
use tonic::Status;

use crate::support::gateway::{TestGateway, Wire, within};
use hoop::protocol::params::ConnectionParams;
use hoop::protocol::spec::{self, meta};
use hoop::protocol::{Packet, PacketType};

/// What our gateway does not send.
const FLAGS: &str = "GatewayFeatureFlagUpdate";

/// Recorded session ids and the ones of this run. Both are 36 characters.
type Ids = HashMap<String, String>;

fn capture(name: &str) -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/captures/{name}.json"));
    serde_json::from_str(&std::fs::read_to_string(path).expect("a capture")).expect("JSON")
}

/// The `Connect` streams of a capture.
fn streams(capture: &Value) -> Vec<&Value> {
    let connections = capture["connections"].as_array().expect("connections");
    connections
        .iter()
        .flat_map(|connection| connection["streams"].as_array().expect("streams"))
        .collect()
}

fn recorded(event: &Value) -> Option<Packet> {
    let digits = event["hex"].as_str()?.as_bytes();
    let bytes: Vec<u8> = digits
        .chunks(2)
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).expect("hex"), 16).expect("hex"))
        .collect();
    Some(Packet::decode(bytes.as_slice()).expect("a packet"))
}

fn with_ids(mut packet: Packet, ids: &Ids) -> Packet {
    if let Some(new) = packet.session_id().and_then(|old| ids.get(old)) {
        packet = packet.clone().with(spec::SESSION_ID, new.clone());
    }
    packet
}

/// The recorded metadata that matters, without the credentials.
fn metadata(stream: &Value) -> Vec<(&'static str, &str)> {
    let headers = stream["events"][0]["headers"].as_array().expect("headers");
    let keys = [
        meta::ORIGIN,
        meta::VERB,
        meta::CONNECTION_NAME,
        meta::VERSION,
        meta::PLATFORM,
        meta::HOSTNAME,
        "correlation-id",
        "go-version",
    ];
    keys.into_iter()
        .filter_map(|key| {
            let pair = headers.iter().find(|pair| pair[0] == key)?;
            Some((key, pair[1].as_str().expect("text")))
        })
        .collect()
}

/// Plays one side of a stream: sends what it sent, in order, and expects what it got between.
async fn play(stream: &Value, sent: &str, wire: &mut Wire) {
    let mut ids = Ids::new();
    for event in stream["events"].as_array().expect("events") {
        let Some(packet) = recorded(event) else {
            continue;
        };
        if event["dir"] == sent {
            wire.send(with_ids(packet, &ids)).await;
        } else if packet.r#type != FLAGS {
            let got = wire.next().await;
            if let (Some(old), Some(new)) = (packet.session_id(), got.session_id()) {
                ids.entry(old.to_owned()).or_insert_with(|| new.to_owned());
            }
            assert_same(&got, &with_ids(packet, &ids));
        }
    }
}

fn assert_same(got: &Packet, expected: &Packet) {
    assert_eq!(got.r#type, expected.r#type);
    assert_eq!(got.payload, expected.payload, "{}", got.r#type);
    let keys = |packet: &Packet| {
        let mut keys: Vec<String> = packet.spec.keys().cloned().collect();
        keys.sort();
        keys
    };
    assert_eq!(keys(got), keys(expected), "{}", got.r#type);
    for (key, value) in &expected.spec {
        if key == spec::CONNECTION_PARAMS {
            let params = |bytes: &[u8]| ConnectionParams::decode(bytes).expect("gob");
            // The recording's user, and rules that we do not have.
            let expected = ConnectionParams {
                user_id: "admin".to_owned(),
                user_email: "admin".to_owned(),
                analyzer_metrics_rules: Vec::new(),
                ..params(value)
            };
            assert!(params(&got.spec[key]) == expected, "{expected:?}");
        } else {
            assert_eq!(&got.spec[key], value, "{key} of {}", got.r#type);
        }
    }
}

/// Makes the recorded connections, which an administrator had made.
async fn administrate(gateway: &TestGateway, agent: &Value) {
    let (_, row) = gateway.api(Method::GET, "/api/agents/cap-std", None).await;
    for stream in streams(agent) {
        for event in stream["events"].as_array().expect("events") {
            let open = recorded(event).filter(|p| p.kind() == Some(PacketType::AgentSessionOpen));
            let Some(open) = open else { continue };
            let params =
                ConnectionParams::decode(&open.spec[spec::CONNECTION_PARAMS]).expect("gob");
            let body = json!({
                "name": params.connection_name, "type": "custom", "subtype": params.connection_sub_type,
                "agent_id": row["id"], "command": params.cmd_list, "secret": params.env_vars,
            });
            gateway
                .api(Method::POST, "/api/connections", Some(body))
                .await;
        }
    }
}

async fn replay(scenario: &str) {
    let gateway = TestGateway::start().await;
    let key = gateway.key("cap-std").await;
    let (cli, agent) = (
        capture(&format!("{scenario}.cli")),
        capture(&format!("{scenario}.agent")),
    );
    administrate(&gateway, &agent).await;
    let agents = streams(&agent);
    assert_eq!(agents.len(), 1);
    let mut metadata_of_agent = metadata(agents[0]);
    let bearer = format!("Bearer {key}");
    metadata_of_agent.push((meta::AUTHORIZATION, &bearer));
    let opened = gateway.caller().open(&metadata_of_agent).await;
    let mut agent_wire = opened.expect("accepted");
    let clients = async {
        for stream in streams(&cli) {
            let mut wire = call(&gateway, stream).await.expect("accepted");
            play(stream, "cli>gw", &mut wire).await;
            assert_status(wire.status().await, stream);
        }
    };
    tokio::join!(clients, play(agents[0], "agent>gw", &mut agent_wire));
}

async fn call(gateway: &TestGateway, stream: &Value) -> Result<Wire, Status> {
    let bearer = format!("Bearer {}", gateway.token);
    let mut metadata = metadata(stream);
    metadata.push((meta::AUTHORIZATION, &bearer));
    gateway.caller().open(&metadata).await
}

fn assert_status(got: Result<(), Status>, stream: &Value) {
    let status = got.expect_err("a status");
    assert_eq!(json!(i32::from(status.code())), stream["status"]["code"]);
    assert_eq!(json!(status.message()), stream["status"]["message"]);
}

#[tokio::test]
async fn a_console() {
    within(replay("03a-console")).await;
}

#[tokio::test]
async fn a_console_with_options() {
    within(replay("03c-console-options")).await;
}

#[tokio::test]
async fn tasks() {
    within(replay("04a-exec")).await;
}

#[tokio::test]
async fn an_unknown_connection() {
    let gateway = TestGateway::start().await;
    let cli = capture("05a-unknown-connection.cli");
    for stream in streams(&cli) {
        assert_status(call(&gateway, stream).await.map(|_| ()), stream);
    }
}

#[tokio::test]
async fn an_agent_that_is_offline() {
    let gateway = TestGateway::start().await;
    gateway.key("cap-std").await;
    let cli = capture("05b-agent-offline.cli");
    let (_, row) = gateway.api(Method::GET, "/api/agents/cap-std", None).await;
    for stream in streams(&cli) {
        let name = metadata(stream)
            .into_iter()
            .find_map(|(key, value)| (key == meta::CONNECTION_NAME).then_some(value));
        let body = json!({ "name": name, "type": "custom", "agent_id": row["id"] });
        gateway
            .api(Method::POST, "/api/connections", Some(body))
            .await;
        assert_status(call(&gateway, stream).await.map(|_| ()), stream);
    }
}
