//! What the reference gateway sent its agent, byte for byte, sent to ours: the answers mean the same. (Those in the recordings are
//! another agent's: their chunks and texts are not ours.)

use std::collections::BTreeMap;
use std::path::Path;

use hoop::protocol::{Packet, PacketType, spec};
use prost::Message;
use serde_json::Value;

use super::gateway::{Gateway, Stream};
use super::life::standard;
use crate::process::{available, skipped};

/// One packet of the recorded stream.
struct Event {
    to_agent: bool,
    packet: Packet,
}

fn recording(scenario: &str) -> Vec<Event> {
    let path =
        Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/captures/{scenario}.agent.json"));
    let capture: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    let stream = &capture["connections"][0]["streams"][0];
    assert_eq!(stream["method"], "/protobuf.Transport/Connect");
    let events = stream["events"].as_array().unwrap().iter();
    events
        .filter_map(|event| {
            let bytes = unhex(event["hex"].as_str()?);
            Some(Event {
                to_agent: event["dir"] == "gw>agent",
                packet: Packet::decode(bytes.as_slice()).unwrap(),
            })
        })
        .collect()
}

fn unhex(text: &str) -> Vec<u8> {
    let pairs = text.as_bytes().chunks(2);
    pairs
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap())
        .collect()
}

/// What a session of ours has said so far.
#[derive(Default)]
struct Said {
    stdout: Vec<u8>,
    stderr: Vec<u8>,
    /// How much of it was recognised, of standard error (`true`) and of standard output.
    recognised: BTreeMap<bool, usize>,
}

impl Said {
    fn take(&mut self, packet: &Packet) {
        match packet.kind() {
            Some(PacketType::ClientWriteStdout) => self.stdout.extend(&packet.payload),
            Some(PacketType::ClientWriteStderr) => self.stderr.extend(&packet.payload),
            _ => panic!("not output: {packet:?}"),
        }
    }

    /// Whether the words of recorded output have come, in order, after those recognised before.
    fn recognises(&mut self, is_stderr: bool, recorded: &str) -> bool {
        let bytes = if is_stderr {
            &self.stderr
        } else {
            &self.stdout
        };
        let text = without_escapes(&String::from_utf8_lossy(bytes));
        let start = self.recognised.get(&is_stderr).copied().unwrap_or(0);
        let mut at = start;
        for word in words(recorded) {
            let rest = text.get(at..).unwrap_or_default();
            match rest.find(&word) {
                Some(found) => at += found + word.len(),
                None => return false,
            }
        }
        self.recognised.insert(is_stderr, at);
        true
    }
}

/// Words with a letter or digit: prompts depend on the terminal's library.
fn words(text: &str) -> Vec<String> {
    let text = without_escapes(text);
    text.split_whitespace()
        .filter(|word| word.contains(|c: char| c.is_ascii_alphanumeric()))
        .map(str::to_owned)
        .collect()
}

/// Text without control sequences.
fn without_escapes(text: &str) -> String {
    let mut clean = String::new();
    let mut rest = text.chars();
    while let Some(c) = rest.next() {
        if c == '\u{1b}' {
            let _bracket = rest.next();
            let _sequence = rest.find(char::is_ascii_alphabetic);
        } else {
            clean.push(c);
        }
    }
    clean
}

/// Sends what the gateway sent, each packet after our answers to those before it.
fn play(stream: &mut Stream, events: Vec<Event>) {
    let mut sessions: BTreeMap<String, Said> = BTreeMap::new();
    let mut events = events.into_iter().peekable();
    while let Some(Event { to_agent, packet }) = events.next() {
        if to_agent {
            stream.send(packet);
            continue;
        }
        let Some(session) = packet.session_id().map(str::to_owned) else {
            assert_eq!(packet.kind(), Some(PacketType::GatewayKeepAlive));
            continue;
        };
        let said = sessions.entry(session.clone()).or_default();
        match packet.kind().unwrap() {
            PacketType::ClientSessionOpenOk => {
                let ours = stream.next_of(&session);
                assert_eq!(ours.r#type, packet.r#type);
                assert_eq!(ours.spec, packet.spec);
            }
            PacketType::ClientSessionClose => {
                let ours = loop {
                    let ours = stream.next_of(&session);
                    if ours.r#type == packet.r#type {
                        break ours;
                    }
                    said.take(&ours);
                };
                assert_eq!(ours.text(spec::EXIT_CODE), packet.text(spec::EXIT_CODE));
                let text = String::from_utf8_lossy(&packet.payload).into_owned();
                let our_text = String::from_utf8_lossy(&ours.payload).into_owned();
                assert!(our_text.ends_with(&text), "{our_text:?} {text:?}");
                assert_eq!(our_text.is_empty(), text.is_empty());
            }
            kind => {
                let is_stderr = kind == PacketType::ClientWriteStderr;
                let mut text = String::from_utf8_lossy(&packet.payload).into_owned();
                // A word may be in two chunks.
                let continues = |next: &Event| !next.to_agent && next.packet.kind() == Some(kind);
                while let Some(next) = events.next_if(continues) {
                    text += &String::from_utf8_lossy(&next.packet.payload);
                }
                while !said.recognises(is_stderr, &text) {
                    let ours = stream.next_of(&session);
                    said.take(&ours);
                }
            }
        }
    }
}

fn replay(scenario: &str) {
    let mut gateway = Gateway::start();
    let mut agent = standard(&gateway);
    let mut stream = gateway.call();
    play(&mut stream, recording(scenario));
    assert_eq!(
        stream.exec("after", &["echo", "alive"], b"").stdout(),
        "alive\n"
    );
    agent.signal(nix::libc::SIGTERM);
    assert_eq!(agent.wait().code(), Some(0));
}

#[test]
fn a_start_with_changing_flags() {
    replay("01-agent-start");
}

#[test]
fn a_console_that_is_typed_into_and_resized() {
    if !available("python3") {
        return skipped("a_console_that_is_typed_into_and_resized", "no python3");
    }
    replay("03a-console");
}

#[test]
fn a_console_with_arguments_variables_and_control_keys() {
    if !available("python3") {
        return skipped(
            "a_console_with_arguments_variables_and_control_keys",
            "no python3",
        );
    }
    replay("03c-console-options");
}

#[test]
fn four_tasks_on_one_stream() {
    replay("04a-exec");
}
