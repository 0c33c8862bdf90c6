//! `hoop run` as PID 1 of a pid namespace.

use std::process::Command;
use std::time::{Duration, Instant};

use crate::process::{HOOP, Running, apart, available, eventually, skipped};

/// `hoop run -- sh -c SCRIPT` as PID 1, or nothing where namespaces are not to be had.
fn as_pid_1(test: &str, script: &str) -> Option<Running> {
    if !available("unshare") {
        skipped(test, "no unshare");
        return None;
    }
    let unshare = ["-pf", "--mount-proc", "--kill-child"];
    let mut probe = Running::start(Command::new("unshare").args(unshare).arg("true"));
    if !probe.wait().success() {
        skipped(test, &probe.stderr());
        return None;
    }
    let mut command = Command::new("unshare");
    command
        .args(unshare)
        .args([HOOP, "run", "--", "bash", "-c", script]);
    apart(&mut command);
    Some(Running::start(&mut command))
}

/// Sends PID 1 a signal from outside its namespace.
fn signal(running: &Running, number: i32) {
    let processes = hoop::sys::tree::all().unwrap();
    let init = processes
        .iter()
        .find(|process| process.parent == running.pid())
        .unwrap();
    hoop::sys::process::signal(init.pid, number).unwrap();
}

#[test]
fn exit_codes_are_the_applications_and_128_more_for_signals() {
    for (script, code) in [
        ("exit 7", 7),
        ("kill -TERM $$", 143),
        ("kill -KILL $$", 137),
        ("kill -USR1 $$", 138),
    ] {
        let Some(mut running) = as_pid_1("exit codes", script) else {
            return;
        };
        assert_eq!(running.wait().code(), Some(code), "{script}");
    }
}

#[test]
fn signals_from_outside_arrive() {
    let script = "trap 'echo 15' TERM; trap 'echo 1' HUP; trap 'exit 3' USR2; echo ready; while :; do sleep 0.01; done";
    let Some(mut running) = as_pid_1("signals", script) else {
        return;
    };
    assert_eq!(running.line(), "ready");
    signal(&running, libc::SIGTERM);
    assert_eq!(running.line(), "15");
    signal(&running, libc::SIGHUP);
    assert_eq!(running.line(), "1");
    signal(&running, libc::SIGUSR2);
    assert_eq!(running.wait().code(), Some(3));
}

#[test]
fn orphans_are_reaped() {
    let script = "for i in $(seq 300); do (sleep 0.0$((i % 10)) &) ; done; echo made; read x";
    let Some(mut running) = as_pid_1("orphans", script) else {
        return;
    };
    assert_eq!(running.line(), "made");
    let init = || {
        let processes = hoop::sys::tree::all().unwrap();
        let init = processes
            .iter()
            .find(|process| process.parent == running.pid())
            .unwrap()
            .pid;
        processes
            .iter()
            .filter(|process| process.parent == init)
            .count()
    };
    // The application and the agent.
    eventually("the end of all orphans", || (init() == 2).then_some(()));
    running.say("\n");
    assert!(running.wait().success());
}

#[test]
fn leftovers_are_asked_to_end_and_waited_for() {
    let script = "exec 3>&1; setsid bash -c 'trap \"sleep 0.3; echo ended >&3; exit\" TERM; echo up >&3; while :; do sleep 0.01; done' & \
        setsid bash -c 'trap \"echo continued >&3; exit\" TERM; echo up >&3; kill -STOP $$; while :; do sleep 0.01; done' & read x; exit 6";
    let Some(mut running) = as_pid_1("leftovers", script) else {
        return;
    };
    assert_eq!([running.line(), running.line()], ["up", "up"]);
    eventually("the stop", || {
        let processes = hoop::sys::tree::all().unwrap();
        hoop::sys::tree::descendants(&processes, running.pid(), None)
            .iter()
            .any(|process| process.stopped)
            .then_some(())
    });
    running.say("\n");
    let mut told = [running.line(), running.line()];
    told.sort();
    assert_eq!(told, ["continued", "ended"]);
    assert_eq!(running.wait().code(), Some(6));
}

#[test]
fn leftovers_that_ignore_it_are_killed() {
    let script =
        "setsid bash -c 'trap \"\" TERM; echo up; while :; do sleep 0.1; done' & read x; exit 6";
    let Some(mut running) = as_pid_1("stubborn leftovers", script) else {
        return;
    };
    assert_eq!(running.line(), "up");
    let before = Instant::now();
    running.say("\n");
    assert_eq!(running.wait().code(), Some(6));
    let took = before.elapsed();
    assert!(
        took >= Duration::from_secs(2) && took < Duration::from_secs(4),
        "{took:?}"
    );
}
