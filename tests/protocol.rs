//! The wire as the reference programs speak it, recorded byte by byte in `captures/`: gateway, agent and client of hoop,
//! Go 1.26. In a recording, `connections[]` → `streams[]` (with their `method`) → `events[]`; an event with `hex` is one
//! protobuf message, and `message` is what it must decode to: strings, `{"hex": …}` for other bytes, `{"gob": …}` for the
//! values in gob, with zero fields absent. Secrets in the headers are placeholders.

use std::collections::BTreeSet;
use std::path::Path;

use hoop::key::{Dsn, KeyHash};
use hoop::protocol::environment::decode_variables;
use hoop::protocol::gob;
use hoop::protocol::params::ConnectionParams;
use hoop::protocol::rpc::{PreConnectRequest, PreConnectResponse};
use hoop::protocol::spec::{self, meta};
use hoop::protocol::terminal::WindowSize;
use hoop::protocol::{Packet, PacketType};
use prost::Message;
use serde_json::{Map, Value, json};

/// Types that occur and that we deliberately do not know: an agent of ours has no flags.
const IGNORED: [&str; 1] = ["GatewayFeatureFlagUpdate"];

/// One event of a recorded stream.
struct Event {
    place: String,
    method: String,
    json: Value,
}

impl Event {
    fn text(&self, key: &str) -> &str {
        self.json[key].as_str().unwrap_or_default()
    }

    /// The recorded message and its bytes, if the event is one.
    fn message(&self) -> Option<(&Value, Vec<u8>)> {
        Some((&self.json["message"], unhex(self.json["hex"].as_str()?)))
    }

    /// The recorded packet and its bytes, if the event is one.
    fn packet(&self) -> Option<(Packet, &Value)> {
        let (message, bytes) = self.message()?;
        let packet = Packet::decode(bytes.as_slice()).expect(&self.place);
        (self.method == "/protobuf.Transport/Connect").then_some((packet, message))
    }
}

fn events() -> Vec<Event> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/captures");
    let mut events = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let text = std::fs::read_to_string(&path).unwrap();
        let capture: Value = serde_json::from_str(&text).unwrap();
        for connection in list(&capture["connections"]) {
            for stream in list(&connection["streams"]) {
                for (index, event) in list(&stream["events"]).iter().enumerate() {
                    events.push(Event {
                        place: format!(
                            "{} stream {} event {index}",
                            path.display(),
                            stream["stream"]
                        ),
                        method: stream["method"].as_str().unwrap().to_owned(),
                        json: event.clone(),
                    });
                }
            }
        }
    }
    assert!(events.len() > 300, "the captures are there");
    events
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn unhex(text: &str) -> Vec<u8> {
    let digit = |byte: &u8| u8::try_from(char::from(*byte).to_digit(16).unwrap()).unwrap();
    text.as_bytes()
        .chunks(2)
        .map(|pair| digit(&pair[0]) << 4 | digit(&pair[1]))
        .collect()
}

fn bytes_as_recorded(bytes: &[u8]) -> Value {
    if let Ok(text) = std::str::from_utf8(bytes) {
        return json!(text);
    }
    let nibbles = bytes.iter().flat_map(|byte| [byte >> 4, byte & 0xf]);
    let hex: String = nibbles
        .filter_map(|nibble| char::from_digit(nibble.into(), 16))
        .collect();
    json!({ "hex": hex })
}

fn gob_as_recorded(value: &gob::Value<'_>) -> Value {
    match value {
        gob::Value::Nil => Value::Null,
        gob::Value::Bool(value) => json!(value),
        gob::Value::Int(value) => json!(value),
        gob::Value::Uint(value) => json!(value),
        gob::Value::Float(value) => json!(value),
        gob::Value::Complex(re, im) => json!([re, im]),
        gob::Value::Bytes(bytes) | gob::Value::Text(bytes) => bytes_as_recorded(bytes),
        gob::Value::List(items) => items.iter().map(gob_as_recorded).collect(),
        gob::Value::Map(entries) => {
            let entry = |(key, value): &(gob::Value<'_>, gob::Value<'_>)| match gob_as_recorded(key)
            {
                Value::String(key) => (key, gob_as_recorded(value)),
                key => panic!("a key {key}"),
            };
            Value::Object(entries.iter().map(entry).collect())
        }
        gob::Value::Struct(fields) => {
            let sent = fields.iter().filter(|(_, value)| *value != gob::Value::Nil);
            Value::Object(
                sent.map(|(name, value)| ((*name).to_owned(), gob_as_recorded(value)))
                    .collect(),
            )
        }
    }
}

fn packet_as_recorded(packet: &Packet) -> Value {
    let mut message = Map::new();
    message.insert("type".to_owned(), json!(packet.r#type));
    let spec: Map<String, Value> = packet
        .spec
        .iter()
        .map(|(key, bytes)| {
            let value = match key.as_str() {
                spec::CONNECTION_PARAMS | spec::TERMINAL_ARGS | spec::TERMINAL_ENVVARS => {
                    json!({"gob": gob_as_recorded(&gob::decode(bytes).unwrap())})
                }
                _ => bytes_as_recorded(bytes),
            };
            (key.clone(), value)
        })
        .collect();
    if !spec.is_empty() {
        message.insert("spec".to_owned(), Value::Object(spec));
    }
    if !packet.payload.is_empty() {
        message.insert("payload".to_owned(), bytes_as_recorded(&packet.payload));
    }
    Value::Object(message)
}

/// A message without its absent fields, which are empty.
fn without_empty(fields: &[(&str, Value)]) -> Value {
    let is_empty = |value: &Value| match value {
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(map) => map.is_empty(),
        _ => false,
    };
    let present = fields.iter().filter(|(_, value)| !is_empty(value));
    Value::Object(
        present
            .map(|(key, value)| ((*key).to_owned(), value.clone()))
            .collect(),
    )
}

#[test]
fn every_recorded_packet_decodes_to_its_meaning_and_survives() {
    let mut seen = BTreeSet::new();
    for event in events() {
        let Some((packet, message)) = event.packet() else {
            continue;
        };
        assert_eq!(packet_as_recorded(&packet), *message, "{}", event.place);
        let again = packet.encode_to_vec();
        assert_eq!(Packet::decode(again.as_slice()).unwrap(), packet);
        seen.insert(packet.r#type);
    }
    assert!(seen.len() > 12, "{seen:?}");
}

#[test]
fn every_recorded_preconnect_decodes_to_its_meaning() {
    let mut seen = 0;
    for event in events() {
        let (Some((message, bytes)), "/protobuf.Transport/PreConnect") =
            (event.message(), event.method.as_str())
        else {
            continue;
        };
        let decoded = if event.text("dir") == "agent>gw" {
            let request = PreConnectRequest::decode(bytes.as_slice()).unwrap();
            without_empty(&[
                ("name", json!(request.name)),
                ("type", json!(request.r#type)),
                ("subtype", json!(request.subtype)),
                ("command", json!(request.command)),
                ("envs", json!(request.envs)),
                ("reviewers", json!(request.reviewers)),
                ("redact_types", json!(request.redact_types)),
            ])
        } else {
            let response = PreConnectResponse::decode(bytes.as_slice()).unwrap();
            without_empty(&[
                ("status", json!(response.status)),
                ("message", json!(response.message)),
            ])
        };
        assert_eq!(decoded, *message, "{}", event.place);
        seen += 1;
    }
    assert!(seen > 6, "{seen} messages");
}

#[test]
fn every_recorded_type_is_known_and_goes_its_direction() {
    for event in events() {
        let Some((packet, _)) = event.packet() else {
            continue;
        };
        let Some(kind) = packet.kind() else {
            assert!(
                IGNORED.contains(&packet.r#type.as_str()),
                "{}: {}",
                event.place,
                packet.r#type
            );
            continue;
        };
        let allowed = match event.text("dir") {
            "cli>gw" => kind.is_from_client() || kind == PacketType::GatewayKeepAlive,
            "agent>gw" => kind.is_from_agent() || kind == PacketType::GatewayKeepAlive,
            "gw>cli" => kind.is_from_agent(),
            "gw>agent" => {
                kind.is_from_client()
                    || matches!(
                        kind,
                        PacketType::AgentGatewayConnectOk | PacketType::AgentSessionClose
                    )
            }
            other => panic!("direction {other}"),
        };
        assert!(allowed, "{}: {kind:?}", event.place);
    }
}

/// The reference gateway numbers its types from 64, ours from 65; otherwise what we encode means the same.
#[test]
fn recorded_parameters_are_understood_and_encoded_with_the_same_meaning() {
    let mut seen = 0;
    for event in events() {
        let Some((packet, _)) = event.packet() else {
            continue;
        };
        let Some(bytes) = packet.spec.get(spec::CONNECTION_PARAMS) else {
            continue;
        };
        let params = ConnectionParams::decode(bytes).expect(&event.place);
        assert!(params.connection_name.starts_with("cap-"), "{params:?}");
        assert_eq!(
            Some(params.connection_type.as_str()),
            packet.text(spec::CONNECTION_TYPE)
        );
        decode_variables(&params.env_vars).expect(&event.place);
        let ours = params.encode();
        assert_eq!(
            gob_as_recorded(&gob::decode(&ours).unwrap()),
            gob_as_recorded(&gob::decode(bytes).unwrap()),
            "{}",
            event.place
        );
        seen += 1;
    }
    assert!(seen > 10, "{seen} blobs");
}

#[test]
fn recorded_arguments_and_variables_are_understood() {
    let mut seen = BTreeSet::new();
    for event in events() {
        let Some((packet, message)) = event.packet() else {
            continue;
        };
        if let Some(bytes) = packet.spec.get(spec::TERMINAL_ARGS) {
            let args = gob::decode_strings(bytes).expect(&event.place);
            assert_eq!(json!({ "gob": args }), message["spec"][spec::TERMINAL_ARGS]);
            assert_eq!(gob::decode(&gob::encode_strings(&args)), gob::decode(bytes));
            seen.insert(spec::TERMINAL_ARGS);
        }
        if let Some(bytes) = packet.spec.get(spec::TERMINAL_ENVVARS) {
            let map = gob::decode_string_map(bytes).expect(&event.place);
            assert_eq!(
                json!({ "gob": map }),
                message["spec"][spec::TERMINAL_ENVVARS]
            );
            assert_eq!(
                gob::decode_string_map(&gob::encode_string_map(&map)),
                Ok(map.clone())
            );
            decode_variables(&map).expect(&event.place);
            seen.insert(spec::TERMINAL_ENVVARS);
        }
        if packet.kind() == Some(PacketType::AgentTerminalResizeTty) {
            let size = WindowSize::parse(&packet.payload).expect(&event.place);
            assert_eq!(size.to_string().as_bytes(), packet.payload);
            seen.insert("size");
        }
    }
    assert_eq!(seen.len(), 3, "{seen:?}");
}

#[test]
fn recorded_keys_are_understood() {
    let mut names = BTreeSet::new();
    for event in events() {
        for header in list(&event.json["headers"]) {
            let (Some(meta::AUTHORIZATION), Some(value)) = (header[0].as_str(), header[1].as_str())
            else {
                continue;
            };
            let token = value.strip_prefix("Bearer ").expect(&event.place);
            if token.contains("://") {
                let dsn = Dsn::parse(token).expect(&event.place).unwrap();
                let (_, secret) = token.split_once(dsn.name()).unwrap();
                let secret = secret.strip_prefix(':').unwrap().split('@').next().unwrap();
                assert_eq!(secret.len(), 48);
                assert_eq!(dsn.hash(), KeyHash::of(secret));
                assert!(dsn.address().starts_with("127.0.0.1:") && !dsn.is_tls());
                names.insert(dsn.name().to_owned());
            }
        }
    }
    assert!(
        names.contains("_default") && names.contains("cap-std"),
        "{names:?}"
    );
}
