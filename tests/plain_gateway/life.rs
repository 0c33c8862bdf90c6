//! The life of an agent's connection: announced, opened, kept alive, lost, refused, revoked.

use std::time::{Duration, Instant};

use hoop::protocol::{Packet, PacketType, spec};
use nix::libc::SIGTERM;
use tonic::Status;

use super::gateway::{Gateway, Stream, backoff, console, hoop};
use crate::process::{Running, eventually, lives, pid};

/// `hoop run` of an application that ends with its standard input.
fn run(name: &str, key: &str, command: &str) -> Running {
    let words = ["run", "--name", name, "--command", command, "--", "cat"];
    let mut command = hoop(&words);
    Running::start(command.env("HOOP_KEY", key))
}

/// A standard agent.
pub(super) fn standard(gateway: &Gateway) -> Running {
    let mut command = hoop(&["start", "agent"]);
    Running::start(command.env("HOOP_KEY", gateway.standard_key()))
}

/// A keep-alive comes before the gateway has said anything.
fn check_greeting(stream: &mut Stream) {
    let first = stream.raw().expect("a packet");
    assert_eq!(first, Packet::new(PacketType::GatewayKeepAlive));
}

fn check_identity(stream: &Stream, key: &str) {
    let bearer = format!("Bearer {key}");
    assert_eq!(stream.meta("authorization"), Some(bearer.as_str()));
    assert_eq!(stream.meta("origin"), Some("agent"));
    assert_eq!(stream.meta("verb"), None);
    assert!(stream.meta("user-agent").unwrap().starts_with("hoopagent/"));
    for key in [
        "version",
        "platform",
        "hostname",
        "machine-id",
        "kernel-version",
    ] {
        assert!(stream.meta(key).is_some(), "{key}");
    }
}

/// E15: with a key of one agent the connection is announced by name and reached by the agent's unnamed stream. E16: quotes
/// in a command group words.
#[test]
fn a_connection_is_announced_and_then_served_at_once() {
    let mut gateway = Gateway::start();
    let key = gateway.key("?mode=embedded");
    let mut agent = run("Wéb Äpp", &key, r#"sh -c 'echo "a  b"' x\ y"#);
    let announcement = gateway.announcement();
    let bearer = announcement.metadata.get("authorization").unwrap();
    assert_eq!(bearer.to_str().unwrap(), format!("Bearer {key}"));
    assert_eq!(announcement.request.name, "web_app");
    assert_eq!(announcement.request.r#type, "custom");
    assert_eq!(
        announcement.request.command,
        ["sh", "-c", "echo \"a  b\"", "x y"]
    );
    assert!(announcement.request.envs.is_empty());
    let mut stream = gateway.call();
    check_identity(&stream, &key);
    assert_eq!(stream.meta("connection-name"), None);
    check_greeting(&mut stream);
    stream.send(Packet::new(PacketType::AgentGatewayConnectOk));
    assert!(agent.wait().success());
}

#[test]
fn only_an_organisations_key_names_its_stream() {
    let mut gateway = Gateway::start();
    let key = gateway.key("");
    let mut agent = run("org-web", &key, "sh");
    assert_eq!(gateway.announcement().request.name, "org-web");
    let stream = gateway.call();
    check_identity(&stream, &key);
    assert_eq!(stream.meta("connection-name"), Some("org-web"));
    assert!(agent.wait().success());
}

#[test]
fn a_standard_agent_announces_nothing_and_leaves_when_told() {
    let mut gateway = Gateway::start();
    let mut agent = standard(&gateway);
    let mut stream = gateway.call();
    check_identity(&stream, &gateway.standard_key());
    assert_eq!(stream.meta("connection-name"), None);
    check_greeting(&mut stream);
    stream.send(Packet::new(PacketType::AgentGatewayConnectOk));
    agent.signal(SIGTERM);
    assert_eq!(agent.wait().code(), Some(0));
    assert_eq!(stream.raw(), None);
}

/// A name that belongs to another agent: a person must choose another, and is told once.
#[test]
fn a_refused_name_is_told_once_and_tried_again() {
    let mut gateway = Gateway::start();
    let text = "connection taken is not being managed by this process, choose another name";
    gateway.answer(Ok(backoff(text)));
    let mut agent = run("taken", &gateway.key("?mode=embedded"), "sh");
    for _ in 0..3 {
        gateway.announcement();
    }
    gateway.answer(Ok(backoff("")));
    let _accepted = gateway.agent();
    assert!(agent.wait().success());
    let said = agent.stderr();
    assert_eq!(said.matches(text).count(), 1, "{said}");
    assert!(!said.contains("canary"), "{said}");
}

/// What a newer gateway sends beside what we know changes nothing.
#[test]
fn packets_and_flags_that_are_not_known_are_ignored() {
    let mut gateway = Gateway::start();
    let _agent = standard(&gateway);
    let mut stream = gateway.agent();
    let unknown = |kind: &str| Packet {
        r#type: kind.to_owned(),
        ..Packet::default()
    };
    stream.send(
        unknown("GatewayFeatureFlagUpdate").with("feature-flags", r#"{"beta.x":true,"n":[1]}"#),
    );
    stream.send(unknown("SysBareExecRequest").payload("{}"));
    stream.send(unknown(""));
    stream.send(unknown("AgentNovelty").with(spec::SESSION_ID, "\u{1}"));
    stream.send(Packet::new(PacketType::AgentSessionOpen));
    stream.send(Packet::new(PacketType::ClientSessionClose).with(spec::SESSION_ID, "s"));
    let open = super::gateway::opening("s", &super::gateway::task(&["sh"]));
    stream.send(open.with("jit.timeout", "5m").with("novel", "1"));
    stream.send(unknown("AgentNovelty").with(spec::SESSION_ID, "s"));
    stream.expect(PacketType::ClientSessionOpenOk);
    stream.to("s", PacketType::AgentExecWriteStdin, "echo works");
    assert_eq!(stream.ended("s").stdout(), "works\n");
}

/// The reference gateway ends connections with HTTP/2 PINGs, and finds an agent by its packets.
#[test]
fn an_agent_keeps_alive_by_packets_and_never_by_ping() {
    let mut gateway = Gateway::start();
    let _agent = standard(&gateway);
    let mut stream = gateway.agent();
    stream.exec("s", &["sh"], b"head -c 300000 /dev/zero");
    stream.keep_alives(1);
    if std::env::var_os("HOOP_TEST_FULL").is_some() {
        let start = Instant::now();
        stream.keep_alives(3);
        let elapsed = start.elapsed();
        assert!(
            elapsed > Duration::from_secs(15) && elapsed < Duration::from_secs(25),
            "{elapsed:?}"
        );
    }
    assert_eq!(gateway.pings(), (0, 1));
}

/// A gateway that takes the call and then says nothing is left.
#[test]
fn a_gateway_that_never_accepts_is_tried_again() {
    if std::env::var_os("HOOP_TEST_FULL").is_none() {
        return;
    }
    let mut gateway = Gateway::start();
    let _agent = standard(&gateway);
    let _mute = gateway.call();
    let mut stream = gateway.agent();
    assert_eq!(stream.exec("s", &["true"], b"").code, 0);
}

#[test]
fn a_lost_link_ends_its_sessions_and_is_made_again() {
    let mut gateway = Gateway::start();
    let _agent = standard(&gateway);
    for round in ["one", "two", "three"] {
        let mut stream = gateway.agent();
        stream.open(round, &console(&["sh", "-c", "echo $$; sleep 1000"]));
        stream.to(round, PacketType::AgentTerminalWriteStdin, "\n");
        let shell = pid(&stream.output(round, "\n"));
        assert!(lives(shell));
        gateway.cut();
        eventually("the session's end", || (!lives(shell)).then_some(()));
    }
}

/// A stream that the gateway ends in good order is opened again, too.
#[test]
fn a_stream_that_is_refused_or_ends_is_opened_again() {
    let mut gateway = Gateway::start();
    let _agent = standard(&gateway);
    gateway
        .call()
        .end(Status::failed_precondition("agent already connected"));
    gateway.agent().end(Status::unknown("gateway shutdown"));
    let mut stream = gateway.agent();
    assert_eq!(stream.exec("s", &["true"], b"").code, 0);
}

/// The reference gateway leaves a deleted key's stream and its sessions as they are. A program that does not want to end does
/// not put the end off.
#[test]
fn an_agent_finds_out_that_its_key_was_revoked() {
    let mut gateway = Gateway::start();
    let key = gateway.key("?mode=embedded");
    let mut agent = run(
        "revoked",
        &key,
        r#"sh -c 'trap "" HUP TERM; echo $$; sleep 1000; sleep 1000'"#,
    );
    let mut stream = gateway.agent();
    stream.open("s", &console(&[]));
    stream.to("s", PacketType::AgentTerminalWriteStdin, "\n");
    let shell = pid(&stream.output("s", "\n"));
    gateway.answer(Err(Status::unauthenticated("invalid authentication")));
    let start = Instant::now();
    eventually("the session's end", || (!lives(shell)).then_some(()));
    while stream.raw().is_some() {}
    let elapsed = start.elapsed();
    assert!(elapsed < Duration::from_secs(2), "{elapsed:?}");
    assert!(!agent.ended(), "the application goes on");
    // Time enough for a second complaint.
    while gateway.announcement().metadata.is_empty() {}
    assert!(agent.wait().success());
    let said = agent.stderr();
    assert_eq!(said.matches("revoked").count(), 1, "{said}");
    assert!(!said.contains("canary"), "{said}");
}

/// Sessions that come and go faster than the question is asked do not put it off.
#[test]
fn a_busy_agent_finds_out_too() {
    let mut gateway = Gateway::start();
    let _agent = standard(&gateway);
    let mut stream = gateway.agent();
    gateway.answer(Err(Status::unauthenticated("invalid authentication")));
    let start = Instant::now();
    for count in 0.. {
        let session = format!("s{count}");
        stream.send(super::gateway::opening(&session, &console(&["sh"])));
        stream.to(&session, PacketType::AgentSessionClose, "");
        let Some(_) = stream.raw() else { break };
        let elapsed = start.elapsed();
        assert!(elapsed < Duration::from_secs(8), "{elapsed:?}");
    }
}
