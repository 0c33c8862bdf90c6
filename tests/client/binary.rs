//! The program `hoop connect` and `hoop exec`, with an application on this machine: signals, and the terminal after each way out.

#![allow(
    clippy::disallowed_methods,
    reason = "a test starts programs and owns them"
)]

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::process::{Child, Command, Stdio};

use hoop::sys::Pid;
use hoop::sys::tty::{self, set_window_size};
use nix::libc;
use nix::poll::{PollFd, PollFlags, poll};
use nix::sys::termios::{LocalFlags, Termios, tcgetattr};
use tempfile::TempDir;

use super::fake::terminal;
use crate::process::{HOOP, Running, eventually};

/// How long a console's output may take on a busy machine, in milliseconds.
const PATIENCE: u16 = 20_000;

/// An application with its private socket.
struct Application {
    place: TempDir,
    running: Running,
}

impl Application {
    fn start(name: &str) -> Self {
        let place = tempfile::tempdir().unwrap();
        let mut command = program(&place, &["run", "--name", name, "--command", "sh", "--"]);
        let running = Running::start(command.args(["sleep", "1000"]));
        eventually("an announced application", || {
            let listed = program(&place, &["list"]).output().unwrap();
            String::from_utf8_lossy(&listed.stdout)
                .contains("online")
                .then_some(())
        });
        Self { place, running }
    }

    fn command(&self, words: &[&str]) -> Command {
        program(&self.place, words)
    }
}

impl Drop for Application {
    fn drop(&mut self) {
        self.running.signal(libc::SIGTERM);
        self.running.wait();
    }
}

/// `hoop` with nothing configured and a place of its own.
fn program(place: &TempDir, words: &[&str]) -> Command {
    let mut command = Command::new(HOOP);
    command
        .args(words)
        .env_clear()
        .env("PATH", "/usr/bin:/bin")
        .env("TERM", "xterm")
        .env("PS1", "prompt> ")
        .env("HOME", place.path())
        .env("XDG_RUNTIME_DIR", place.path());
    command
}

/// A console on a terminal.
struct Console {
    child: Child,
    screen: File,
    terminal: OwnedFd,
    before: Termios,
    seen: String,
}

impl Console {
    fn open(application: &Application, name: &str) -> Self {
        let (master, slave) = terminal(43, 132);
        let before = tcgetattr(&slave).unwrap();
        let child = application
            .command(&["connect", name])
            .stdin(slave.try_clone().unwrap())
            .stdout(slave.try_clone().unwrap())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut console = Self {
            child,
            screen: master,
            terminal: slave,
            before,
            seen: String::new(),
        };
        console.wait_for("prompt> ");
        assert!(!console.modes().local_flags.contains(LocalFlags::ICANON));
        console
    }

    fn modes(&self) -> Termios {
        tcgetattr(&self.terminal).unwrap()
    }

    fn type_in(&mut self, text: &str) {
        self.screen.write_all(text.as_bytes()).unwrap();
    }

    /// Reads the screen until it shows `text`; what follows is for the next call.
    fn wait_for(&mut self, text: &str) {
        let mut buffer = [0; 4096];
        let at = loop {
            if let Some(at) = self.seen.find(text) {
                break at;
            }
            let mut screen = [PollFd::new(self.screen.as_fd(), PollFlags::POLLIN)];
            let ready = poll(&mut screen, PATIENCE).unwrap();
            assert!(ready > 0, "no {text:?} after {:?}", self.seen);
            let length = self.screen.read(&mut buffer).unwrap();
            self.seen += &String::from_utf8_lossy(&buffer[..length]);
        };
        self.seen.drain(..at + text.len());
    }

    fn signal(&self, number: i32) {
        let pid = Pid::from_raw(self.child.id().try_into().unwrap());
        hoop::sys::process::signal(pid, number).unwrap();
    }

    /// Waits for the end: the exit code, what came to the terminal since, and that its modes are as before.
    fn end(mut self) -> (Option<i32>, String) {
        let status = eventually("the console's end", || self.child.try_wait().unwrap());
        assert_eq!(self.modes(), self.before);
        let Self {
            mut screen,
            terminal,
            seen,
            ..
        } = self;
        drop(terminal);
        let mut rest = Vec::new();
        // At the end a terminal says EIO, after all it has.
        if let Err(error) = screen.read_to_end(&mut rest) {
            assert_eq!(error.raw_os_error(), Some(libc::EIO));
        }
        (status.code(), seen + &String::from_utf8_lossy(&rest))
    }
}

/// A console whose program has switched on the other screen and bracketed paste.
fn with_modes(application: &Application, name: &str) -> Console {
    let mut console = Console::open(application, name);
    console.type_in("printf '\\033[?1049h\\033[?2004h%s' in-full\r");
    console.wait_for("\x1b[?2004hin-full");
    console
}

const OFF: &str = "\x1b[?2004l\x1b[?1049l";

#[test]
fn a_signal_gives_the_terminal_back() {
    let application = Application::start("signals");
    for signal in [libc::SIGTERM, libc::SIGHUP, libc::SIGINT, libc::SIGQUIT] {
        let console = with_modes(&application, "signals");
        console.signal(signal);
        let (code, screen) = console.end();
        assert_eq!(code, Some(128 + signal));
        assert!(screen.ends_with(OFF), "{screen:?}");
    }
}

#[test]
fn a_lost_agent_gives_the_terminal_back() {
    let application = Application::start("lost");
    let console = with_modes(&application, "lost");
    hoop::sys::process::signal(application.running.agent(), libc::SIGKILL).unwrap();
    let (code, screen) = console.end();
    assert_eq!(code, Some(255));
    assert!(screen.ends_with(OFF), "{screen:?}");
}

#[test]
fn leaving_needs_nobody_else() {
    let application = Application::start("stopped");
    let mut console = with_modes(&application, "stopped");
    let agent = application.running.agent();
    hoop::sys::process::signal(agent, libc::SIGSTOP).unwrap();
    console.type_in("\r~.");
    let (code, screen) = console.end();
    hoop::sys::process::signal(agent, libc::SIGCONT).unwrap();
    assert_eq!(code, Some(255));
    assert!(screen.ends_with(OFF), "{screen:?}");
}

#[test]
fn the_size_is_known_from_the_start_and_follows() {
    let application = Application::start("sizes");
    let mut console = Console::open(&application, "sizes");
    console.type_in("stty size\r");
    console.wait_for("43 132");
    let size = tty::WindowSize {
        rows: 50,
        columns: 97,
        x: 0,
        y: 0,
    };
    set_window_size(console.terminal.as_fd(), size).unwrap();
    console.signal(libc::SIGWINCH);
    console.type_in("until stty size | grep '50 97'; do :; done; echo so'me'\r");
    console.wait_for("some");
    console.type_in("exit 6\r");
    assert_eq!(console.end().0, Some(6));
}

#[test]
fn signals_reach_a_task_and_its_code_comes_back() {
    let application = Application::start("tasks");
    for (number, name) in [
        (libc::SIGINT, "INT"),
        (libc::SIGTERM, "TERM"),
        (libc::SIGUSR1, "USR1"),
    ] {
        let script = format!(
            "trap 'echo got {name}; exit 9' {name}; echo ready; while :; do sleep 0.02; done"
        );
        let words = ["exec", "tasks", "--", "sh", "-c", &script];
        let mut task = Running::start(&mut application.command(&words));
        assert_eq!(task.line(), "ready");
        task.signal(number);
        assert_eq!(task.line(), format!("got {name}"));
        assert_eq!(task.wait().code(), Some(9), "{name}");
    }
}

#[test]
fn interrupts_in_a_row_end_a_stubborn_task() {
    let application = Application::start("stubborn");
    let script = "trap 'echo again' INT TERM; echo ready; while :; do sleep 0.02; done";
    let words = ["exec", "stubborn", "--", "sh", "-c", script];
    let mut task = Running::start(&mut application.command(&words));
    assert_eq!(task.line(), "ready");
    for _ in 0..2 {
        task.signal(libc::SIGINT);
        assert_eq!(task.line(), "again");
    }
    task.signal(libc::SIGINT);
    assert_eq!(task.wait().code(), Some(128 + libc::SIGKILL));
}

#[test]
fn a_reader_that_leaves_ends_client_and_task() {
    let application = Application::start("pipes");
    let words = ["exec", "pipes", "--", "sh", "-c", "echo $$; exec yes"];
    let mut task = Running::start(&mut application.command(&words));
    let pid = crate::process::pid(&task.line());
    task.stdout = None;
    assert_eq!(task.wait().code(), Some(128 + libc::SIGPIPE));
    eventually("the task's end", || {
        (!crate::process::lives(pid)).then_some(())
    });
}
