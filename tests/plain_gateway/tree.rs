//! What a session's program leaves behind ends with the session.

use std::time::{Duration, Instant};

use hoop::protocol::PacketType::{AgentExecWriteStdin, AgentSessionClose, AgentTerminalWriteStdin};

use super::gateway::{Gateway, console, task};
use super::life::standard;
use crate::process::{eventually, lives, pid};

/// A program that ends neither by HUP nor by TERM, with a child that does not either and has a session of its own.
const STUBBORN: &str = "trap '' TERM HUP; setsid sh -c 'trap \"\" TERM HUP; echo $$; sleep 1000; sleep 1000' & \
    echo $$; while :; do sleep 1000; done";

/// A8: the reference agent sends TERM once, which an interactive shell ignores.
#[test]
fn a_close_ends_the_whole_tree() {
    let mut gateway = Gateway::start();
    let _agent = standard(&gateway);
    let mut stream = gateway.agent();
    let words = ["sh", "-c", STUBBORN];
    for (session, params, start) in [
        ("console", console(&words), AgentTerminalWriteStdin),
        ("task", task(&words), AgentExecWriteStdin),
    ] {
        stream.open(session, &params);
        stream.to(session, start, "\n");
        let mut shown = String::new();
        while shown.matches('\n').count() < 2 {
            shown += &stream.output(session, "\n");
        }
        let tree: Vec<_> = shown.lines().map(pid).collect();
        assert!(tree.iter().all(|pid| lives(*pid)), "{shown}");
        let asked = Instant::now();
        stream.to(session, AgentSessionClose, "");
        eventually("the tree's end", || {
            (!tree.iter().any(|pid| lives(*pid))).then_some(())
        });
        assert!(
            asked.elapsed() < Duration::from_secs(3),
            "{session}: {:?}",
            asked.elapsed()
        );
        stream.ended(session);
    }
}

/// An interactive shell, which ignores TERM, ends at once by HUP.
#[test]
fn a_close_ends_an_interactive_shell_at_once() {
    let mut gateway = Gateway::start();
    let _agent = standard(&gateway);
    let mut stream = gateway.agent();
    stream.open("s", &console(&["sh", "-i"]));
    stream.to("s", AgentTerminalWriteStdin, "\n");
    stream.to("s", AgentTerminalWriteStdin, "echo \"pid \"$$\" said\"\n");
    let shown = stream.output("s", " said\r\n");
    let number = shown.rsplit("pid ").next().unwrap().split(' ').next();
    let shell = pid(number.unwrap());
    assert!(lives(shell));
    let asked = Instant::now();
    stream.to("s", AgentSessionClose, "");
    stream.ended("s");
    assert!(!lives(shell));
    assert!(
        asked.elapsed() < Duration::from_millis(1500),
        "{:?}",
        asked.elapsed()
    );
}

/// What a program says while it ends is read: it does not get stuck on it until it is killed.
#[test]
fn a_program_that_says_much_at_its_end_gets_there() {
    let mut gateway = Gateway::start();
    let _agent = standard(&gateway);
    let mut stream = gateway.agent();
    let script = "trap 'yes | head -n 100000; exit 9' HUP; echo ready; sleep 1000 & wait";
    let words = ["sh", "-c", script];
    for (session, params, start) in [
        ("console", console(&words), AgentTerminalWriteStdin),
        ("task", task(&words), AgentExecWriteStdin),
    ] {
        stream.open(session, &params);
        stream.to(session, start, "");
        stream.output(session, "ready");
        stream.to(session, AgentSessionClose, "");
        let ended = stream.ended(session);
        assert_eq!(ended.code, 9, "{session}: {}", ended.text);
        let count = ended.stdout().matches('y').count();
        assert_eq!(count, 100_000, "{session}");
    }
}
