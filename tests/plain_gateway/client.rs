//! `hoop exec` and `hoop connect` against a gateway that is not ours.

#![allow(
    clippy::disallowed_methods,
    reason = "a test starts programs and owns them"
)]

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::process::{Child, Stdio};

use hoop::protocol::{Packet, PacketType, gob, spec};
use hoop::sys::Pid;
use hoop::sys::tty::{WindowSize, set_window_size};
use nix::libc::{SIGHUP, SIGTERM};
use nix::pty::{OpenptyResult, Winsize, openpty};
use nix::sys::termios::{LocalFlags, Termios, tcgetattr};
use std::os::fd::AsFd;
use tonic::Status;

use super::gateway::{Gateway, Stream, hoop};
use crate::process::{Running, eventually};

const SESSION: &str = "e03760f1-3ca2-4ecf-ae41-8a1b29194f4f";

fn packet(kind: PacketType, payload: &'static str) -> Packet {
    Packet::new(kind)
        .with(spec::SESSION_ID, SESSION)
        .payload(payload)
}

/// The agent's word that the session is open, as the gateway passes it on.
fn accepted(command: &'static str) -> Packet {
    packet(PacketType::ClientSessionOpenOk, "")
        .with(spec::CONNECTION_TYPE, "command-line")
        .with(spec::REQUEST_PORT, "")
        .with(spec::CLIENT_COMMAND, command)
        .with(spec::AGENT_VERSION, "unknown")
}

/// Closes a session as the reference gateway does: the packet, and then a status that is no news.
fn close(mut stream: Stream, code: &'static str, text: &'static str) {
    stream.send(packet(PacketType::ClientSessionClose, text).with(spec::EXIT_CODE, code));
    stream.end(if text.is_empty() {
        Status::cancelled("context canceled")
    } else {
        Status::unknown(text)
    });
}

/// The next packet but keep-alives.
fn next(stream: &mut Stream) -> Packet {
    stream.take("a packet", |packet| {
        packet.kind() != Some(PacketType::GatewayKeepAlive)
    })
}

fn exec(gateway: &Gateway, words: &[&str]) -> Running {
    let words = [&["exec", "cap-sh"], words].concat();
    Running::start(&mut gateway.user(&words))
}

#[test]
fn a_task_of_a_gateway_that_is_not_ours() {
    let mut gateway = Gateway::start();
    let words = ["-e", "A=x y", "-i", "the input", "--", "-s", "a b"];
    let mut client = exec(&gateway, &words);
    let mut stream = gateway.call();
    for (key, value) in [
        ("origin", "client"),
        ("verb", "exec"),
        ("connection-name", "cap-sh"),
        ("authorization", "Bearer canary-of-a-user"),
    ] {
        assert_eq!(stream.meta(key), Some(value), "{key}");
    }
    assert!(stream.meta("user-agent").unwrap().starts_with("hoopcli/"));
    let arguments = gob::encode_strings(&["-s".to_owned(), "a b".to_owned()]);
    let variables = [("envvar:A".to_owned(), "eCB5".to_owned())].into();
    let request = Packet::new(PacketType::AgentSessionOpen)
        .with(spec::TERMINAL_ARGS, arguments)
        .with(spec::TERMINAL_ENVVARS, gob::encode_string_map(&variables))
        .payload("the input");
    assert_eq!(
        stream.raw(),
        Some(request.clone()),
        "it is the first packet"
    );
    // Kept alive also while nothing is open yet.
    stream.keep_alives(1);
    stream.send(accepted("sh -s a b"));
    let mut start = request.with(spec::SESSION_ID, SESSION);
    start.r#type = PacketType::AgentExecWriteStdin.as_str().to_owned();
    assert_eq!(next(&mut stream), start);
    stream.send(packet(PacketType::ClientWriteStderr, "err\n"));
    stream.send(packet(PacketType::ClientWriteStdout, "out\n"));
    close(stream, "7", "exit status 7");
    assert_eq!(client.wait().code(), Some(7));
    assert_eq!(client.line(), "out");
    let said = client.stderr();
    assert!(
        said.contains("the arguments are appended to the command of the connection: sh -s a b\n"),
        "{said}"
    );
    assert!(
        said.ends_with("err\n") && !said.contains("canary"),
        "{said}"
    );
    assert_eq!(gateway.pings(), (0, 1));
}

/// What is not an option of ours is not taken for a command.
#[test]
fn an_option_that_does_not_exist_is_told() {
    let gateway = Gateway::start();
    for words in [
        &["exec", "cap-sh", "--typo", "--", "ls"][..],
        &["exec", "--typo", "cap-sh"],
        &["connect", "cap-py", "--typo"],
        &["run", "--typo", "true"],
        &["run", "--offline", "--typo", "--", "true"],
    ] {
        let mut client = Running::start(&mut gateway.user(words));
        assert_eq!(client.wait().code(), Some(2), "{words:?}");
        assert!(client.stderr().contains("--typo"));
    }
    // What comes after the command is the command's.
    for words in [
        &["run", "--offline", "echo", "-e", "--typo"][..],
        &["run", "--offline", "--", "echo", "-e", "--typo"],
    ] {
        let mut run = Running::start(&mut hoop(words));
        assert_eq!(run.line(), "--typo");
        assert!(run.wait().success());
    }
}

/// Input from a pipe is read to its end before anything is asked for, and goes out twice, whole.
#[test]
fn piped_input_goes_in_one_piece() {
    let mut gateway = Gateway::start();
    let mut client = exec(&gateway, &[]);
    client.say("one\n");
    client.say("two\n");
    client.stdin = None;
    let mut stream = gateway.call();
    let open = next(&mut stream);
    assert_eq!(&open.payload[..], b"one\ntwo\n");
    assert!(open.spec.is_empty(), "{open:?}");
    stream.send(accepted("sh"));
    let start = next(&mut stream);
    assert_eq!(start.kind(), Some(PacketType::AgentExecWriteStdin));
    assert_eq!(&start.payload[..], b"one\ntwo\n");
    close(stream, "0", "");
    assert_eq!(client.wait().code(), Some(0));
    assert_eq!(client.stderr(), "");
}

#[test]
fn input_that_fits_into_no_message_is_refused_before_anything_is_asked_for() {
    let mut gateway = Gateway::start();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("input");
    let limit = 16 * 1024 * 1024;
    let file = File::create(&path).unwrap();
    file.set_len(limit + 1).unwrap();
    let mut client = exec(&gateway, &["-f", path.to_str().unwrap()]);
    assert_eq!(client.wait().code(), Some(125));
    let said = client.stderr();
    assert!(said.contains("larger than 16 MiB"), "{said}");
    file.set_len(limit).unwrap();
    let mut client = exec(&gateway, &["-f", path.to_str().unwrap()]);
    let mut stream = gateway.call();
    assert_eq!(next(&mut stream).payload.len() as u64, limit);
    stream.send(accepted("sh"));
    assert_eq!(next(&mut stream).payload.len() as u64, limit);
    close(stream, "0", "");
    assert_eq!(client.wait().code(), Some(0));
}

/// 125: nothing was run. 255: nobody knows.
#[test]
fn what_a_status_means_depends_on_when_it_comes() {
    let mut gateway = Gateway::start();
    for (opened, status, code) in [
        (false, Status::not_found("connection not found"), 125),
        (false, Status::failed_precondition("agent is offline"), 125),
        (
            false,
            Status::unauthenticated("invalid authentication"),
            125,
        ),
        (true, Status::unknown("session killed by the user"), 255),
        (true, Status::cancelled("context canceled"), 255),
        (true, Status::unknown("agent has disconnected"), 255),
    ] {
        let mut client = exec(&gateway, &["-i", "x"]);
        let mut stream = gateway.call();
        if opened {
            stream.send(accepted("sh"));
            stream.expect(PacketType::AgentExecWriteStdin);
        }
        let text = status.message().to_owned();
        stream.end(status);
        assert_eq!(client.wait().code(), Some(code), "{text}");
        let said = client.stderr();
        assert!(said.contains(&text) && said.contains("cap-sh"), "{said}");
    }
    // The link itself.
    let mut client = exec(&gateway, &["-i", "x"]);
    let mut stream = gateway.call();
    stream.send(accepted("sh"));
    stream.expect(PacketType::AgentExecWriteStdin);
    gateway.cut();
    assert_eq!(client.wait().code(), Some(255));
}

#[test]
fn an_approval_is_asked_for_and_waited_for() {
    let mut gateway = Gateway::start();
    let mut client = exec(&gateway, &["-i", "x"]);
    let mut stream = gateway.call();
    let open = next(&mut stream);
    let url = "http://127.0.0.1:8009/sessions/e03760f1";
    stream.send(packet(PacketType::ClientSessionOpenWaitingApproval, url));
    stream.send(packet(PacketType::ClientSessionOpenApproveOk, ""));
    assert_eq!(next(&mut stream), open);
    stream.send(accepted("sh"));
    stream.expect(PacketType::AgentExecWriteStdin);
    close(stream, "0", "");
    assert_eq!(client.wait().code(), Some(0));
    assert!(client.stderr().contains(url));
    // Refused, without a code.
    let mut client = exec(&gateway, &["-i", "x"]);
    let mut stream = gateway.call();
    stream.send(packet(PacketType::ClientSessionOpenWaitingApproval, url));
    let text = "Access to connection has been denied\nReason: no";
    stream.send(packet(PacketType::ClientSessionClose, text));
    assert_eq!(client.wait().code(), Some(254));
    assert!(client.stderr().contains(text));
}

/// A gateway from before the call that asks how it is.
#[test]
fn a_gateway_that_knows_no_health_check_is_one_without_our_extensions() {
    let mut gateway = Gateway::start();
    gateway.answer_health_check(Err(Status::unimplemented("unknown method HealthCheck")));
    let mut client = exec(&gateway, &["-i", "x"]);
    let mut stream = gateway.call();
    stream.send(accepted("sh"));
    stream.expect(PacketType::AgentExecWriteStdin);
    close(stream, "0", "");
    assert_eq!(client.wait().code(), Some(0));
}

/// A console of a person at a terminal.
struct Console {
    child: Child,
    screen: File,
    terminal: OwnedFd,
    before: Termios,
}

impl Console {
    fn start(gateway: &Gateway, words: &[&str]) -> Self {
        let size = Winsize {
            ws_row: 31,
            ws_col: 97,
            ws_xpixel: 0,
            ws_ypixel: 0,
        };
        let OpenptyResult { master, slave } = openpty(&size, None).unwrap();
        let before = tcgetattr(&slave).unwrap();
        let words = [&["connect", "cap-py"], words].concat();
        let child = gateway
            .user(&words)
            .env("TERM", "xterm")
            .stdin(slave.try_clone().unwrap())
            .stdout(slave.try_clone().unwrap())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        Self {
            child,
            screen: master.into(),
            terminal: slave,
            before,
        }
    }

    fn is_raw(&self) -> bool {
        let modes = tcgetattr(&self.terminal).unwrap();
        !modes
            .local_flags
            .intersects(LocalFlags::ICANON | LocalFlags::ISIG | LocalFlags::ECHO)
    }

    fn type_in(&mut self, text: &str) {
        self.screen.write_all(text.as_bytes()).unwrap();
    }

    fn shows(&mut self, text: &str) {
        let mut seen = String::new();
        let mut buffer = [0; 1024];
        while !seen.contains(text) {
            let length = self.screen.read(&mut buffer).unwrap();
            seen += &String::from_utf8_lossy(&buffer[..length]);
        }
    }

    fn signal(&self, number: i32) {
        let pid = Pid::from_raw(self.child.id().try_into().unwrap());
        hoop::sys::process::signal(pid, number).unwrap();
    }

    /// The exit code; the terminal is as it was.
    fn end(mut self) -> Option<i32> {
        let status = eventually("the console's end", || self.child.try_wait().unwrap());
        assert_eq!(tcgetattr(&self.terminal).unwrap(), self.before);
        status.code()
    }
}

impl Drop for Console {
    fn drop(&mut self) {
        let _ended = self.child.kill();
        let _reaped = self.child.wait();
    }
}

/// The packets that start a console's program, the two after the first in any order.
fn start_program(stream: &mut Stream) -> Packet {
    let open = stream.raw().unwrap();
    assert_eq!(open.kind(), Some(PacketType::AgentSessionOpen));
    assert!(open.payload.is_empty() && !open.spec.contains_key(spec::WINDOW_SIZE));
    stream.send(accepted("python3 -q -i"));
    let size = stream.expect(PacketType::AgentTerminalResizeTty);
    assert_eq!(&size.payload[..], b"31,97,0,0");
    let primer = stream.expect(PacketType::AgentTerminalWriteStdin);
    assert_eq!(&primer.payload[..], b"\n");
    stream.send(packet(PacketType::ClientWriteStdout, ">>> "));
    open
}

#[test]
fn a_console_of_a_gateway_that_is_not_ours() {
    let mut gateway = Gateway::start();
    let mut console = Console::start(&gateway, &["-e", "A=x y", "--", "-c", "print()"]);
    let mut stream = gateway.call();
    assert_eq!(stream.meta("verb"), Some("connect"));
    assert_eq!(stream.meta("connection-name"), Some("cap-py"));
    let open = start_program(&mut stream);
    let arguments = gob::decode_strings(&open.spec[spec::TERMINAL_ARGS]).unwrap();
    assert_eq!(arguments, ["-c", "print()"]);
    let variables = gob::decode_string_map(&open.spec[spec::TERMINAL_ENVVARS]).unwrap();
    assert_eq!(variables["envvar:A"], "eCB5");
    console.shows(">>> ");
    assert!(console.is_raw());
    // Every key is the program's; there is no packet for a signal or an end of file.
    for keys in ["6*7\r", "\u{3}", "\u{1a}", "\u{4}"] {
        console.type_in(keys);
        let typed = stream.expect(PacketType::AgentTerminalWriteStdin);
        assert_eq!(&typed.payload[..], keys.as_bytes());
    }
    let size = WindowSize {
        rows: 40,
        columns: 120,
        x: 0,
        y: 0,
    };
    set_window_size(console.terminal.as_fd(), size).unwrap();
    console.signal(nix::libc::SIGWINCH);
    let size = stream.expect(PacketType::AgentTerminalResizeTty);
    assert_eq!(&size.payload[..], b"40,120,0,0");
    close(stream, "3", "exit status 3");
    assert_eq!(console.end(), Some(3));
}

#[test]
fn a_console_that_ends_any_other_way_gives_the_terminal_back() {
    let mut gateway = Gateway::start();
    for (signal, code) in [(Some(SIGTERM), 143), (Some(SIGHUP), 129), (None, 255)] {
        let mut console = Console::start(&gateway, &[]);
        let mut stream = gateway.call();
        start_program(&mut stream);
        console.shows(">>> ");
        assert!(console.is_raw());
        match signal {
            Some(number) => {
                console.signal(number);
                while stream.raw().is_some() {}
            }
            None => stream.end(Status::unknown("session killed by the user")),
        }
        assert_eq!(console.end(), Some(code));
    }
    // Killed before it was answered: nothing was run.
    let console = Console::start(&gateway, &[]);
    let _held = gateway.call();
    console.signal(SIGTERM);
    assert_eq!(console.end(), Some(143));
}
