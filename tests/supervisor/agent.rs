//! The agent beside the application, and what its fate means to the application: nothing.

use std::time::{Duration, Instant};

use crate::process::{Running, agent_of, eventually, lives, under_run};

fn waits() -> Running {
    let mut command = under_run(&["sh", "-c", "echo ready; read x; exit 5"]);
    command.env("HOOP_RUN_AGENT_BACKOFF_MAX", "10ms");
    let mut running = Running::start(&mut command);
    assert_eq!(running.line(), "ready");
    running
}

fn ends_with_its_own_code(mut running: Running) {
    running.say("\n");
    let before = Instant::now();
    assert_eq!(running.wait().code(), Some(5));
    assert!(
        before.elapsed() < Duration::from_secs(1),
        "the agent delayed the exit"
    );
}

#[test]
fn a_killed_agent_comes_back() {
    let running = waits();
    let mut last = running.agent();
    for _ in 0..5 {
        hoop::sys::process::signal(last, libc::SIGKILL).unwrap();
        let next = eventually("another agent", || {
            agent_of(running.pid()).filter(|&agent| agent != last)
        });
        last = next;
    }
    ends_with_its_own_code(running);
    assert!(!lives(last), "an agent survived");
}

#[test]
fn a_stopped_agent_is_not_waited_for() {
    let running = waits();
    let agent = running.agent();
    hoop::sys::process::signal(agent, libc::SIGSTOP).unwrap();
    eventually("the stop", || {
        hoop::sys::tree::one(agent).filter(|process| process.stopped)
    });
    ends_with_its_own_code(running);
    assert!(!lives(agent), "a stopped agent survived");
}

#[test]
fn an_agent_stands_apart_and_ignores_what_platforms_send_to_everybody() {
    let running = waits();
    let agent = running.agent();
    let process = hoop::sys::tree::one(agent).unwrap();
    assert_eq!((process.session, process.group), (agent, agent));
    let set = |name: &str| {
        let status = std::fs::read_to_string(format!("/proc/{agent}/status")).unwrap();
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix(name))
            .unwrap();
        u64::from_str_radix(line.trim(), 16).unwrap()
    };
    let ignored = [libc::SIGTERM, libc::SIGINT, libc::SIGHUP, libc::SIGQUIT];
    for number in ignored {
        assert_ne!(
            set("SigIgn:") & 1 << (number - 1),
            0,
            "{number} is not ignored"
        );
    }
    // Blocked by its own first instruction, until it has set itself up.
    eventually("an empty mask", || (set("SigBlk:") == 0).then_some(()));
    for number in ignored {
        hoop::sys::process::signal(agent, number).unwrap();
    }
    assert_eq!(running.agent(), agent);
    ends_with_its_own_code(running);
}
