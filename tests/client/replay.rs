//! What the reference client sent in the recordings, sent by ours when it is played the same packets.

use std::fs::File;
use std::io::Write;
use std::path::Path;

use nix::sys::signal::{Signal, raise};
use prost::Message;
use serde_json::Value;
use tonic::{Code, Status};

use hoop::client::{ConnectOptions, ExecOptions, connect, exec};
use hoop::protocol::terminal::WindowSize;
use hoop::protocol::{Packet, PacketType, gob, spec};
use hoop::sys::tty::{self, set_window_size};
use std::os::fd::{AsFd, OwnedFd};

use super::fake::{Fake, Peer, on_pipes, on_terminal};

/// A recorded connection of the reference client.
struct Recording {
    /// Packets in order, and whether the client sent them.
    packets: Vec<(bool, Packet)>,
    status: Option<Status>,
    exit_status: i32,
}

fn recording(scenario: &str, connection: usize) -> Recording {
    let path = format!("tests/captures/{scenario}.cli.json");
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    let capture: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    let connection = &capture["connections"][connection];
    let streams = connection["streams"].as_array().unwrap();
    let stream = streams
        .iter()
        .find(|stream| stream["method"] == "/protobuf.Transport/Connect")
        .unwrap();
    let packets = stream["events"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|event| {
            let bytes = unhex(event["hex"].as_str()?);
            Some((
                event["dir"] == "cli>gw",
                Packet::decode(bytes.as_slice()).unwrap(),
            ))
        });
    let status = &stream["status"];
    let status = status["code"].as_i64().map(|code| {
        let message = status["message"].as_str().unwrap_or_default();
        Status::new(Code::from(i32::try_from(code).unwrap()), message)
    });
    Recording {
        packets: packets.collect(),
        status,
        exit_status: i32::try_from(connection["exit_status"].as_i64().unwrap()).unwrap(),
    }
}

fn unhex(text: &str) -> Vec<u8> {
    let digits: Vec<_> = text.chars().map(|c| c.to_digit(16).unwrap()).collect();
    let byte = |pair: &[u32]| u8::try_from(pair[0] * 16 + pair[1]).unwrap();
    digits.chunks(2).map(byte).collect()
}

/// A packet as it is compared: gob decoded, spec in order.
fn comparable(packet: &Packet) -> String {
    let mut spec: Vec<_> = packet
        .spec
        .iter()
        .map(|(key, value)| match key.as_str() {
            spec::TERMINAL_ARGS => format!("{key}={:?}", gob::decode_strings(value).unwrap()),
            spec::TERMINAL_ENVVARS => format!("{key}={:?}", gob::decode_string_map(value).unwrap()),
            _ => format!("{key}={value:?}"),
        })
        .collect();
    spec.sort();
    format!("{} {} {:?}", packet.r#type, spec.join(" "), packet.payload)
}

/// The person and the terminal that a console has.
struct Person {
    keyboard: File,
    terminal: OwnedFd,
}

impl Person {
    /// Does what made the reference client send this packet.
    fn act(&mut self, packet: &Packet, is_first_size: bool) {
        match packet.kind() {
            Some(PacketType::AgentTerminalWriteStdin) if &*packet.payload != b"\n" => {
                self.keyboard.write_all(&packet.payload).unwrap();
            }
            Some(PacketType::AgentTerminalResizeTty) if !is_first_size => {
                let size = WindowSize::parse(&packet.payload).unwrap();
                let size = tty::WindowSize {
                    rows: size.rows,
                    columns: size.cols,
                    x: size.x,
                    y: size.y,
                };
                set_window_size(self.terminal.as_fd(), size).unwrap();
                raise(Signal::SIGWINCH).unwrap();
            }
            _ => {}
        }
    }
}

/// Plays the gateway's part and checks the client's. Packets sent at the same moment may come in any order.
async fn play(mut peer: Peer, recording: &Recording, mut person: Option<&mut Person>) {
    let mut size: Option<String> = None;
    let mut packets = recording.packets.iter().peekable();
    while let Some((from_client, packet)) = packets.next() {
        if !from_client {
            peer.send(packet.clone()).await;
            continue;
        }
        let mut group = vec![packet];
        while let Some((true, packet)) = packets.peek() {
            group.push(packet);
            packets.next();
        }
        group.retain(|packet| packet.kind() != Some(PacketType::GatewayKeepAlive));
        let mut expected: Vec<_> = group.iter().map(|packet| comparable(packet)).collect();
        for packet in group {
            if let Some(person) = &mut person {
                person.act(packet, size.is_none());
            }
        }
        while !expected.is_empty() {
            let packet = peer.next().await.expect("the client is there");
            let got = comparable(&packet);
            if packet.kind() == Some(PacketType::AgentTerminalResizeTty) {
                // A test beside this one may have made the same size be told again.
                if size.replace(got.clone()).as_ref() == Some(&got) {
                    continue;
                }
            }
            let at = expected.iter().position(|wanted| *wanted == got);
            expected.remove(at.unwrap_or_else(|| panic!("got {got}, expected {expected:#?}")));
        }
    }
    match &recording.status {
        Some(status) => peer.end(status.clone()).await,
        None => drop(peer),
    }
}

async fn console(scenario: &str, connection: usize, options: ConnectOptions) -> (i32, i32) {
    let mut recording = recording(scenario, connection);
    // A flag that ours does not have.
    for (_, packet) in &mut recording.packets {
        packet.spec.remove("jit.timeout");
    }
    let first_size = recording
        .packets
        .iter()
        .find(|(_, packet)| packet.kind() == Some(PacketType::AgentTerminalResizeTty))
        .and_then(|(_, packet)| WindowSize::parse(&packet.payload));
    let size = first_size.unwrap_or(WindowSize {
        rows: 24,
        cols: 80,
        x: 0,
        y: 0,
    });
    let mut gateway = Fake::start("").await;
    let (context, keyboard, terminal) = on_terminal(gateway.address, size.rows, size.cols);
    let mut person = Person { keyboard, terminal };
    let playing = async {
        let peer = gateway.accept().await;
        assert_eq!(peer.metadata.get("verb").unwrap(), "connect");
        assert_eq!(peer.metadata.get("origin").unwrap(), "client");
        assert_eq!(peer.metadata.get("authorization").unwrap(), "Bearer token");
        play(peer, &recording, Some(&mut person)).await;
    };
    let (code, ()) = tokio::join!(connect(&context, options), playing);
    (code.unwrap(), recording.exit_status)
}

fn console_of(name: &str) -> ConnectOptions {
    ConnectOptions {
        name: Some(name.to_owned()),
        ..ConnectOptions::default()
    }
}

#[tokio::test]
async fn a_console_is_as_recorded() {
    let (ours, theirs) = console("03a-console", 0, console_of("cap-py")).await;
    assert_eq!((ours, theirs), (3, 3));
    let (ours, theirs) = console("03b-console-real-agent", 0, console_of("cap-py")).await;
    assert_eq!((ours, theirs), (1, 1));
}

#[tokio::test]
async fn a_console_with_options_is_as_recorded() {
    let options = ConnectOptions {
        arguments: ["-c", "import time; print('up'); time.sleep(60)"]
            .map(str::to_owned)
            .to_vec(),
        variables: vec!["CAP_E=x y".to_owned()],
        ..console_of("cap-py")
    };
    assert_eq!(console("03c-console-options", 0, options).await, (0, 0));
}

/// The reference client leaves with 1 in all of these; ours tells what is known of the result.
#[tokio::test]
async fn a_console_that_is_cut_off_has_an_unknown_result() {
    for scenario in ["05c-killed-session", "05d-agent-lost"] {
        assert_eq!(console(scenario, 0, console_of("cap-py")).await, (255, 1));
    }
    let refused = console("05a-unknown-connection", 1, console_of("cap-none")).await;
    assert_eq!(refused, (125, 1));
}

async fn task(
    scenario: &str,
    connection: usize,
    options: ExecOptions,
    stdin: &str,
) -> (i32, i32, String, String) {
    let recording = recording(scenario, connection);
    let mut gateway = Fake::start("").await;
    let (context, mut ends) = on_pipes(gateway.address);
    let mut writer = ends.stdin.take().unwrap();
    writer.write_all(stdin.as_bytes()).unwrap();
    drop(writer);
    let playing = async {
        let peer = gateway.accept().await;
        assert_eq!(peer.metadata.get("verb").unwrap(), "exec");
        assert_eq!(
            peer.metadata.get("connection-name").unwrap(),
            options.name.as_deref().unwrap()
        );
        play(peer, &recording, None).await;
    };
    let (code, ()) = tokio::join!(exec(&context, options.clone()), playing);
    drop(context);
    let (stdout, stderr) = ends.read().await;
    (code.unwrap(), recording.exit_status, stdout, stderr)
}

fn task_of(name: &str, input: Option<&str>) -> ExecOptions {
    ExecOptions {
        name: Some(name.to_owned()),
        input: input.map(str::to_owned),
        silent: true,
        ..ExecOptions::default()
    }
}

#[tokio::test]
async fn tasks_are_as_recorded() {
    let text = |text: &str| text.to_owned();
    let input = Some("echo out; echo err >&2; exit 0");
    let result = task("04a-exec", 0, task_of("cap-sh", input), "").await;
    assert_eq!(result, (0, 0, text("out\n"), text("err\n")));
    let result = task(
        "04a-exec",
        1,
        task_of("cap-sh", None),
        "echo piped\nexit 7\n",
    )
    .await;
    assert_eq!(result, (7, 7, text("piped\n"), String::new()));
    let options = ExecOptions {
        arguments: ["-s", "a b", "c"].map(str::to_owned).to_vec(),
        variables: ["CAP_E=x y", "CAP_F=2"].map(str::to_owned).to_vec(),
        ..task_of("cap-sh", Some("echo \"$1|$2|$CAP_E|$CAP_F\""))
    };
    let result = task("04a-exec", 2, options, "not read").await;
    assert_eq!(result, (0, 0, text("a b|c|x y|2\n"), String::new()));
    let options = ExecOptions {
        arguments: ["-s", "a b"].map(str::to_owned).to_vec(),
        variables: vec![text("CAP_E=x y")],
        ..task_of("cap-sh", Some("echo out"))
    };
    let (ours, theirs, _, stderr) = task("04b-exec-real-agent", 0, options, "").await;
    assert_eq!((ours, theirs), (1, 1));
    assert_eq!(
        stderr,
        "hoop: missing protocol hoop library for terminal-exec, contact your administrator\n"
    );
}

#[tokio::test]
async fn a_refused_task_was_not_run_and_says_why() {
    let refused = [
        (
            "05a-unknown-connection",
            "cap-none",
            "x",
            "connection not found",
        ),
        ("05b-agent-offline", "cap-sh", "echo x", "agent is offline"),
    ];
    for (scenario, name, input, reason) in refused {
        let (ours, theirs, stdout, stderr) =
            task(scenario, 0, task_of(name, Some(input)), "").await;
        assert_eq!((ours, theirs, stdout.as_str()), (125, 1, ""), "{scenario}");
        assert!(stderr.contains(reason) && stderr.contains(name), "{stderr}");
    }
}
