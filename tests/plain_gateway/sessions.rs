//! Sessions on one plain stream: consoles, tasks, their ends and their environment.

use std::time::{Duration, Instant};

use hoop::protocol::PacketType::{
    AgentExecWriteStdin, AgentSessionClose, AgentTerminalResizeTty, AgentTerminalWriteStdin,
    ClientSessionOpenOk,
};
use hoop::protocol::params::ConnectionParams;
use hoop::protocol::{gob, spec};

use super::gateway::{Gateway, Stream, console, hoop, opening, task};
use super::life::standard;
use crate::process::Running;

/// What a typed line does to a program that shows its size and the line.
const SIZE_AND_LINE: [&str; 3] = ["sh", "-c", "stty size; read line; echo \"[$line]\""];

fn start() -> (Gateway, Running, Stream) {
    let mut gateway = Gateway::start();
    let agent = standard(&gateway);
    let stream = gateway.agent();
    (gateway, agent, stream)
}

/// The reference client sends the primer and the size at the same moment: either may be first.
#[test]
fn a_console_starts_at_the_primer_with_the_size_that_comes_around_it() {
    let (_gateway, _agent, mut stream) = start();
    for (session, before, after, expected) in [
        ("before", Some("31,97,0,0"), None, "31 97\r\n"),
        ("after", None, Some("32,98,0,0"), "32 98\r\n"),
        ("both", Some("1,2,0,0"), Some("33,99,0,0"), "33 99\r\n"),
        ("none", None, None, "24 80\r\n"),
        ("zero", Some("0,0,0,0"), None, "24 80\r\n"),
        ("garbage", Some("x"), Some("34,99,0,0"), "34 99\r\n"),
    ] {
        stream.open(session, &console(&SIZE_AND_LINE));
        if let Some(size) = before {
            stream.to(session, AgentTerminalResizeTty, size);
        }
        stream.to(session, AgentTerminalWriteStdin, "never seen\n");
        if let Some(size) = after {
            stream.to(session, AgentTerminalResizeTty, size);
        }
        if session == "both" {
            // The program was started with the first.
            stream.output(session, "\r\n");
        } else {
            let shown = stream.output(session, "\r\n");
            assert_eq!(shown, expected, "{session}");
        }
        stream.to(session, AgentTerminalWriteStdin, "typed\n");
        let ended = stream.ended(session);
        assert!(ended.stdout().ends_with("[typed]\r\n"), "{ended:?}");
        assert_eq!((ended.code, ended.text.as_str()), (0, ""));
    }
}

/// A client without a size may type at once.
#[test]
fn what_is_typed_while_the_size_is_waited_for_is_not_lost() {
    let (_gateway, _agent, mut stream) = start();
    for (session, size) in [("late", Some("32,98,0,0")), ("never", None)] {
        stream.open(session, &console(&SIZE_AND_LINE));
        for typed in ["primer\n", "ty", "", "ped\n"] {
            stream.to(session, AgentTerminalWriteStdin, typed);
        }
        if let Some(size) = size {
            stream.to(session, AgentTerminalResizeTty, size);
        }
        let ended = stream.ended(session);
        let shown = if size.is_some() { "32 98" } else { "24 80" };
        assert!(ended.stdout().contains(shown), "{session}: {ended:?}");
        assert!(
            ended.stdout().ends_with("[typed]\r\n"),
            "{session}: {ended:?}"
        );
    }
}

/// Everything that a program wrote comes before its end, and nothing after it.
#[test]
fn a_consoles_output_is_complete_before_its_end() {
    let (_gateway, _agent, mut stream) = start();
    let script = "yes | head -n 50000; echo end; exit 3";
    stream.open("s", &console(&["sh", "-c", script]));
    stream.to("s", AgentTerminalWriteStdin, "\n");
    let ended = stream.ended("s");
    let expected = "y\r\n".repeat(50_000) + "end\r\n";
    assert!(ended.stdout() == expected, "{} bytes", ended.stdout.len());
    assert_eq!(ended.code, 3);
    assert!(ended.text.ends_with("exit status 3"), "{}", ended.text);
    // Other sessions are served, and nothing of this one comes any more.
    assert_eq!(stream.exec("t", &["true"], b"").code, 0);
    assert_eq!(stream.left_of("s"), 0);
}

#[test]
fn a_task_gets_its_whole_input_and_its_streams_stay_apart() {
    let (_gateway, _agent, mut stream) = start();
    let script = b"echo out; echo err >&2; exit 7".as_slice();
    let ended = stream.exec("s", &["sh"], script);
    assert_eq!(
        (ended.stdout(), &ended.stderr[..]),
        ("out\n", &b"err\n"[..])
    );
    assert_eq!(ended.code, 7);
    // As much as fits into a message, and its end of file.
    let input = vec![b'x'; 16 * 1024 * 1024];
    let ended = stream.exec("large", &["sh", "-c", "head -c 3; wc -c"], &input);
    assert_eq!(ended.stdout(), format!("xxx{}\n", input.len() - 3));
    assert_eq!(ended.code, 0);
    // Input that nobody reads hurts nobody.
    assert_eq!(stream.exec("unread", &["true"], &input).code, 0);
    // The first packet is all of it.
    stream.open("once", &task(&["cat"]));
    stream.to("once", AgentExecWriteStdin, "first");
    stream.to("once", AgentExecWriteStdin, "second");
    assert_eq!(stream.ended("once").stdout(), "first");
}

/// A9: death by signal n is 128+n; what could not be run has the wire's codes and ours beside them.
#[test]
fn every_way_to_end_has_its_code() {
    let (_gateway, _agent, mut stream) = start();
    for code in [0, 1, 2, 100, 126, 127, 128, 254, 255] {
        let session = format!("exit-{code}");
        let ended = stream.exec(&session, &["sh", "-c", &format!("exit {code}")], b"");
        assert_eq!((ended.code, ended.not_started), (code, None));
    }
    for signal in [1, 6, 9, 15] {
        let session = format!("signal-{signal}");
        let ended = stream.exec(&session, &["sh", "-c", &format!("kill -{signal} $$")], b"");
        assert_eq!(ended.code, 128 + signal);
        assert!(ended.text.contains("SIG"), "{}", ended.text);
    }
    for (session, words, on_wire, ours) in [
        ("missing", &["/does/not/exist"][..], 127, "127"),
        ("unnamed", &["no-such-program-anywhere"], 127, "127"),
        ("folder", &["/"], 126, "126"),
        ("nothing", &[], 254, "125"),
    ] {
        if words.is_empty() {
            stream.send(opening(session, &task(words)));
        } else {
            stream.open(session, &task(words));
            stream.to(session, AgentExecWriteStdin, "");
        }
        let ended = stream.ended(session);
        assert_eq!(ended.code, on_wire, "{ended:?}");
        assert_eq!(ended.not_started.as_deref(), Some(ours), "{ended:?}");
        assert!(!ended.text.is_empty());
    }
    stream.open("console", &console(&["/does/not/exist"]));
    stream.to("console", AgentTerminalWriteStdin, "\n");
    let ended = stream.ended("console");
    assert_eq!(
        (ended.code, ended.not_started.as_deref()),
        (254, Some("127"))
    );
    assert!(ended.text.contains("/does/not/exist"), "{}", ended.text);
}

#[test]
fn an_open_packet_that_makes_no_sense_is_refused_with_a_text() {
    let (_gateway, _agent, mut stream) = start();
    let good = opening("s", &task(&["true"]));
    let with_variable = |key: &str, value: &str| {
        let mut params = task(&["true"]);
        params.env_vars.insert(key.to_owned(), value.to_owned());
        opening("s", &params)
    };
    for broken in [
        good.clone().with(spec::CONNECTION_PARAMS, ""),
        good.clone().with(spec::CONNECTION_PARAMS, "not gob"),
        good.clone().with(
            spec::CONNECTION_PARAMS,
            gob::encode_strings(&["x".to_owned()]),
        ),
        good.with(spec::TERMINAL_ENVVARS, vec![0xff; 9]),
        with_variable("envvar:A", "not base64!"),
        with_variable("envvar:A:B", "Yg=="),
        with_variable("novel:A", "Yg=="),
    ] {
        stream.send(broken);
        let ended = stream.ended("s");
        assert_eq!(
            (ended.code, ended.not_started.as_deref()),
            (254, Some("125"))
        );
        assert!(ended.text.len() > 10, "{}", ended.text);
    }
    assert_eq!(stream.exec("s", &["true"], b"").code, 0);
}

/// The gateway answers every end with a close of its own, and closes what it does not know.
#[test]
fn closing_what_is_over_or_was_never_there_is_nothing() {
    let (_gateway, _agent, mut stream) = start();
    for _ in 0..3 {
        assert_eq!(stream.exec("s", &["true"], b"").code, 0);
        stream.to("s", AgentSessionClose, "");
        stream.to("s", AgentSessionClose, "");
        stream.to("never", AgentSessionClose, "");
        stream.to("s", AgentExecWriteStdin, "late");
        stream.to("s", AgentTerminalResizeTty, "1,1,0,0");
    }
    assert_eq!(stream.exec("t", &["true"], b"").code, 0);
    assert_eq!((stream.left_of("s"), stream.left_of("never")), (0, 0));
    // Closed before anything was started.
    stream.open("early", &task(&["true"]));
    stream.to("early", AgentSessionClose, "");
    stream.open("early-console", &console(&["true"]));
    stream.to("early-console", AgentSessionClose, "");
    // A second request for a session that is open is not a second session.
    stream.open("twice", &task(&["cat"]));
    stream.send(opening("twice", &task(&["echo", "wrong"])));
    stream.to("twice", AgentExecWriteStdin, "right");
    assert_eq!(stream.ended("twice").stdout(), "right");
}

/// A4: one session that does not read holds up nobody, and can be closed; when too much waits for it, it ends.
#[test]
fn a_session_that_does_not_read_blocks_no_other() {
    let (_gateway, _agent, mut stream) = start();
    let deaf = ["sh", "-c", "stty raw -echo; echo deaf; exec sleep 1000"];
    for session in ["closed", "flooded"] {
        stream.open(session, &console(&deaf));
        stream.to(session, AgentTerminalWriteStdin, "\n");
        stream.output(session, "deaf");
    }
    let part = vec![b'x'; 16 * 1024];
    for _ in 0..100 {
        stream.to("closed", AgentTerminalWriteStdin, part.clone());
    }
    let start = Instant::now();
    for count in 0..1280 {
        stream.to("flooded", AgentTerminalWriteStdin, part.clone());
        if count % 320 == 0 {
            let ended = stream.exec(&format!("other-{count}"), &["cat"], b"x");
            assert_eq!(ended.stdout(), "x");
        }
    }
    let ended = stream.ended("flooded");
    assert!(ended.text.contains("does not read"), "{}", ended.text);
    stream.to("closed", AgentSessionClose, "");
    stream.ended("closed");
    assert!(
        start.elapsed() < Duration::from_secs(8),
        "{:?}",
        start.elapsed()
    );
}

/// Output that is not taken waits in its pipes, and comes whole when it is.
#[test]
fn sessions_with_much_output_share_the_stream() {
    let (_gateway, _agent, mut stream) = start();
    for (session, bytes) in [("a", "3000000"), ("b", "3000000"), ("c", "6")] {
        stream.open(session, &task(&["head", "-c", bytes, "/dev/zero"]));
        stream.to(session, AgentExecWriteStdin, "");
    }
    for (session, bytes) in [("c", 6), ("b", 3_000_000), ("a", 3_000_000)] {
        assert_eq!(stream.ended(session).stdout.len(), bytes, "{session}");
    }
}

/// E8: no credential of ours in a session. E9: the connection's values win over the host's and the client's, and odd names of
/// the host are no reason to fail.
#[test]
fn a_sessions_environment_is_the_applications_under_the_connections() {
    let beside = ["run", "--name", "env", "--command", "env", "--", "cat"];
    let alone = ["run", "--name", "env", "--command", "env"];
    for words in [&beside[..], &alone, &["start", "agent"]] {
        let mut gateway = Gateway::start();
        let mut command = hoop(words);
        command
            .env("HOOP_KEY", gateway.key("?mode=embedded"))
            .env("HOOP_DSN", "grpc://canary")
            .env("HOOP_TOKEN", "canary")
            .env("HOOP_DB_URI", "postgres://canary@h/d")
            .env("PGHOST", "of-the-host")
            .env("A:B", "odd")
            .env("TOKEN", "of-the-application");
        let _agent = Running::start(&mut command);
        let mut stream = gateway.agent();
        check_environment(&mut stream, "task", task(&["env"]));
        check_environment(&mut stream, "console", console(&["env"]));
    }
}

fn check_environment(stream: &mut Stream, session: &str, mut params: ConnectionParams) {
    let map = |pairs: &[(&str, &str)]| {
        let pairs = pairs.iter();
        pairs
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect()
    };
    params.env_vars = map(&[("envvar:PGHOST", "b2Ytc2VjcmV0"), ("envvar:EMPTY", "")]);
    let of_the_client = map(&[
        ("envvar:PGHOST", "eA=="),
        ("envvar:MINE", "eSB6"),
        ("envvar:LD_PRELOAD", "eA=="),
    ]);
    let of_the_client = gob::encode_string_map(&of_the_client);
    stream.send(opening(session, &params).with(spec::TERMINAL_ENVVARS, of_the_client));
    stream.expect(ClientSessionOpenOk);
    let start = if session == "task" {
        AgentExecWriteStdin
    } else {
        AgentTerminalWriteStdin
    };
    stream.to(session, start, "");
    let ended = stream.ended(session);
    let lines: Vec<&str> = ended.stdout().lines().collect();
    for line in [
        "PGHOST=of-secret",
        "EMPTY=",
        "MINE=y z",
        "A:B=odd",
        "TOKEN=of-the-application",
        "HOOP_CONNECTION_NAME=web",
        "HOOP_USER_EMAIL=a@b.c",
        &format!("HOOP_SESSION_ID={session}"),
    ] {
        assert!(lines.contains(&line), "{line}: {lines:?}");
    }
    assert_eq!(lines.contains(&"TERM=xterm-256color"), session == "console");
    let text = ended.stdout();
    assert!(
        !text.contains("canary") && !text.contains("LD_PRELOAD"),
        "{text}"
    );
}
