//! Signals that reach the application: each one, once, with what came along, and none too early.

use std::os::unix::process::ExitStatusExt;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::process::{HOOP, Running, available, pid, skipped, under_run};

/// Prints the number of each signal it gets; the last one ends it. It sleeps, because a shell that gets a signal right before
/// it begins to read may lose it.
const TELLS: &str = r#"
for s in $(seq 1 31) $(seq 34 63); do
    case $s in 9|17|19) ;; *) trap "echo $s" $s ;; esac
done
trap "echo 64; exit 5" 64
echo ready
while :; do sleep 0.01; done
"#;

fn catchable() -> impl Iterator<Item = i32> {
    (1..=31)
        .chain(34..=63)
        .filter(|number| ![libc::SIGKILL, libc::SIGSTOP, libc::SIGCHLD].contains(number))
}

#[test]
fn every_signal_is_forwarded_once() {
    let mut running = Running::start(&mut under_run(&["bash", "-c", TELLS]));
    assert_eq!(running.line(), "ready");
    for number in catchable() {
        running.signal(number);
        assert_eq!(running.line(), number.to_string());
    }
    // The same once more is told once more; a second delivery of anything above would show here.
    running.signal(libc::SIGTERM);
    assert_eq!(running.line(), "15");
    running.signal(libc::SIGCHLD);
    running.signal(64);
    assert_eq!(running.line(), "64");
    assert_eq!(running.wait().code(), Some(5));
    assert_eq!(running.line(), "");
}

#[test]
fn a_signal_before_the_application_exists_is_not_lost() {
    for _ in 0..200 {
        let mut running = Running::start(&mut under_run(&["sleep", "1000"]));
        running.signal(libc::SIGTERM);
        // Either we died of it before there was an application, or the application did, and then we.
        assert_eq!(running.wait().signal(), Some(libc::SIGTERM));
    }
}

#[test]
fn a_queued_value_arrives() {
    if !available("python3") {
        return skipped("a_queued_value_arrives", "no python3");
    }
    let receives = r"
import ctypes, os, signal, sys
libc = ctypes.CDLL(None)
class Info(ctypes.Structure):
    _fields_ = [(n, ctypes.c_int) for n in ('signo', 'errno', 'code', 'pad', 'pid', 'uid')] + [('value', ctypes.c_long), ('rest', ctypes.c_byte * 96)]
mask = (ctypes.c_ulong * 16)(1 << (34 - 1))
libc.sigprocmask(0, mask, None)
print('ready', flush=True)
for _ in range(3):
    info = Info()
    libc.sigwaitinfo(mask, ctypes.byref(info))
    print(info.signo, info.code, info.value, flush=True)
";
    let mut running = Running::start(&mut under_run(&["python3", "-c", receives]));
    assert_eq!(running.line(), "ready");
    let sends = format!(
        "import ctypes\nfor v in (7, 8, -9): ctypes.CDLL(None).sigqueue({}, 34, ctypes.c_void_p(v))",
        running.pid()
    );
    Running::start(Command::new("python3").args(["-c", &sends])).wait();
    assert_eq!(
        [running.line(), running.line(), running.line()],
        ["34 -1 7", "34 -1 8", "34 -1 -9"]
    );
}

#[test]
fn a_storm_does_not_keep_a_dead_child_or_a_term_waiting() {
    let mut running = Running::start(&mut under_run(&[
        "sh",
        "-c",
        "trap '' USR1; echo ready; exec sleep 1000",
    ]));
    assert_eq!(running.line(), "ready");
    for _ in 0..10_000 {
        running.signal(libc::SIGUSR1);
    }
    running.signal(libc::SIGTERM);
    assert_eq!(running.wait().signal(), Some(libc::SIGTERM));
}

/// A CHLD that was taken after children had been asked for left the end of the application unnoticed, or its stop.
#[test]
fn an_end_amid_signals_is_noticed() {
    for round in 0..300_u64 {
        let mut running = Running::start(&mut under_run(&["sh", "-c", "echo $$; exec sleep 1000"]));
        let application = pid(&running.line());
        // Wakes us and means nothing to the application, which ends while we look; nothing comes after that.
        running.signal(libc::SIGWINCH);
        let spin = Instant::now() + Duration::from_micros(round);
        while Instant::now() < spin {}
        hoop::sys::process::signal(application, libc::SIGKILL).unwrap();
        assert_eq!(running.wait().signal(), Some(libc::SIGKILL));
    }
}

#[test]
fn the_application_does_not_outlive_us_unseen() {
    let mut running = Running::start(&mut under_run(&[
        "sh",
        "-c",
        "echo $$; trap 'exit 0' TERM; while :; do sleep 1; done",
    ]));
    let application = pid(&running.line());
    let agent = running.agent();
    running.signal(libc::SIGKILL);
    running.wait();
    crate::process::eventually("the application's end", || {
        (!crate::process::lives(application)).then_some(())
    });
    crate::process::eventually("the agent's end", || {
        (!crate::process::lives(agent)).then_some(())
    });
}

#[test]
fn one_supervisor_may_stand_before_another() {
    let mut running = Running::start(&mut under_run(&[HOOP, "run", "--", "bash", "-c", TELLS]));
    assert_eq!(running.line(), "ready");
    running.signal(libc::SIGUSR2);
    assert_eq!(running.line(), "12");
    running.signal(64);
    assert_eq!(running.wait().code(), Some(5));
}
