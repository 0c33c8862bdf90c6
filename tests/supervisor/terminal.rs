//! In a terminal, under a shell with job control: as if the application stood there alone.

use std::time::Duration;

use expectrl::{Eof, Expect, Session, session::OsSession};

use crate::process::{HOOP, available, skipped};
use hoop::sys::Pid;

/// An interactive shell on a terminal of its own, where `hoop` is the program under test.
fn shell() -> OsSession {
    let mut command = std::process::Command::new("bash");
    command
        .args(["--norc", "--noprofile", "-i"])
        .env("PS1", "$ ")
        .env("TERM", "dumb");
    crate::process::apart(&mut command);
    let mut shell = Session::spawn(command).unwrap();
    shell.set_expect_timeout(Some(Duration::from_secs(20)));
    shell.expect("$ ").unwrap();
    shell
        .send_line(format!(
            "alias h='{HOOP} run --'; shopt -s expand_aliases; stty -echo"
        ))
        .unwrap();
    shell.expect("$ ").unwrap();
    shell
}

#[test]
fn a_key_is_told_once() {
    let counts = r#"h sh -c 'n=0; trap "n=\$((n+1)); echo int \$n" INT; trap "echo total \$n; exit" QUIT; echo ready; while :; do sleep 0.01; done'"#;
    let mut shell = shell();
    shell.send_line(counts).unwrap();
    shell.expect("ready").unwrap();
    for count in 1..=3 {
        shell.send("\x03").unwrap();
        shell.expect(format!("int {count}")).unwrap();
    }
    shell.send("\x1c").unwrap();
    shell.expect("total 3").unwrap();
    shell.expect("$ ").unwrap();
}

#[test]
fn a_key_comes_from_the_terminal_alone() {
    if !available("python3") {
        return skipped("a_key_comes_from_the_terminal_alone", "no python3");
    }
    // Told by who sent it: 128 is the kernel, 0 a process.
    let receives = "import signal; s = {2, 3, 28}; signal.pthread_sigmask(0, s); print('ready', flush=True)\n\
        for n in range(2): print('from', signal.sigwaitinfo(s).si_code, flush=True)\n\
        print('then', signal.sigtimedwait(s, 0.5))";
    let mut command = std::process::Command::new(HOOP);
    command.args(["run", "--", "python3", "-c", receives]);
    crate::process::apart(&mut command);
    let mut session = Session::spawn(command).unwrap();
    session.set_expect_timeout(Some(Duration::from_secs(20)));
    session.expect("ready").unwrap();
    let supervisor = Pid::from_raw(session.get_process().pid().as_raw());
    for key in ["\x03", "\x1c"] {
        // Held back, so that what it might send cannot merge with what the terminal sent.
        hoop::sys::process::signal(supervisor, libc::SIGSTOP).unwrap();
        session.send(key).unwrap();
        session.expect("from 128").unwrap();
        hoop::sys::process::signal(supervisor, libc::SIGCONT).unwrap();
    }
    session.expect("then None").unwrap();
}

#[test]
fn a_stop_gives_the_prompt_back_and_fg_goes_on() {
    let mut shell = shell();
    shell.send_line("h cat").unwrap();
    shell.send_line("one").unwrap();
    shell.expect("one").unwrap();
    for word in ["two", "three"] {
        shell.send("\x1a").unwrap();
        shell.expect("Stopped").unwrap();
        shell.expect("$ ").unwrap();
        shell.send_line("jobs; echo jobs told").unwrap();
        shell.expect("Stopped").unwrap();
        shell.expect("jobs told").unwrap();
        shell.send_line("fg").unwrap();
        shell.send_line(word).unwrap();
        shell.expect(word).unwrap();
    }
    shell.send("\x04").unwrap();
    shell.expect("$ ").unwrap();
}

#[test]
fn a_script_ends_by_ctrl_c_as_it_does_without_us() {
    let mut shell = shell();
    shell
        .send_line(format!(
            "bash -c '{HOOP} run -- sh -c \"echo ready; exec sleep 1000\"; echo next'"
        ))
        .unwrap();
    shell.expect("ready").unwrap();
    shell.send("\x03").unwrap();
    shell.send_line("echo status $?").unwrap();
    let before = shell.expect("status 130").unwrap();
    let before = String::from_utf8_lossy(before.before()).into_owned();
    assert!(!before.contains("next"), "{before}");
}

#[test]
fn in_the_background_the_terminal_stays_with_the_shell() {
    let mut shell = shell();
    shell.send_line("h sleep 1000 &").unwrap();
    shell.expect("$ ").unwrap();
    shell.send_line("echo still here").unwrap();
    shell.expect("still here").unwrap();
    shell.send_line("kill %1; wait %1; echo status $?").unwrap();
    shell.expect("status 143").unwrap();
}

#[test]
fn a_pager_behind_a_pipe_keeps_the_keyboard() {
    let mut shell = shell();
    shell
        .send_line("h echo text | { read l </dev/tty; echo read $l; cat; }; echo done")
        .unwrap();
    shell.send_line("key").unwrap();
    shell.expect("read key").unwrap();
    shell.expect("text").unwrap();
    shell.expect("done").unwrap();
}

#[test]
fn the_application_can_open_its_terminal() {
    let mut shell = shell();
    shell
        .send_line("h sh -c 'echo to the terminal >/dev/tty'; echo status $?")
        .unwrap();
    shell.expect("to the terminal").unwrap();
    shell.expect("status 0").unwrap();
    shell.send_line("exit").unwrap();
    shell.expect(Eof).unwrap();
}
