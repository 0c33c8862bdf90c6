//! Programs for tests: started, watched until a condition holds, ended when dropped.

#![allow(
    clippy::disallowed_methods,
    reason = "a test starts programs and owns them"
)]

use std::ffi::OsStr;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, ExitStatus, Output, Stdio};
use std::time::{Duration, Instant};

use hoop::sys::Pid;

/// The program under test.
pub(crate) const HOOP: &str = env!("CARGO_BIN_EXE_hoop");

/// How long a condition may take to come true on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);

/// Waits until a condition holds.
#[track_caller]
pub(crate) fn eventually<T>(what: &str, condition: impl FnMut() -> Option<T>) -> T {
    attempt(condition).unwrap_or_else(|| panic!("{what}: did not happen"))
}

/// Waits until a condition holds, but not for ever.
pub(crate) fn attempt<T>(mut condition: impl FnMut() -> Option<T>) -> Option<T> {
    let limit = Instant::now() + PATIENCE;
    loop {
        let value = condition();
        if value.is_some() || Instant::now() > limit {
            return value;
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Checks that something holds, and goes on holding for a while.
#[track_caller]
pub(crate) fn stays(what: &str, time: Duration, mut condition: impl FnMut() -> bool) {
    let limit = Instant::now() + time;
    while Instant::now() < limit {
        assert!(condition(), "{what}: no longer");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Says why a test did not run. Where `HOOP_TEST_NO_SKIP` is 1, every test must run.
///
/// Written past the test harness, which keeps to itself what a passing test prints.
#[track_caller]
pub(crate) fn skipped(test: &str, why: &str) {
    let line = format!("SKIPPED {test}: {}", why.trim());
    let must_run = std::env::var("HOOP_TEST_NO_SKIP").is_ok_and(|value| value == "1");
    assert!(!must_run, "{line}");
    std::io::stderr()
        .write_all(format!("{line}\n").as_bytes())
        .unwrap();
}

/// Whether a program can be run.
pub(crate) fn available(program: &str) -> bool {
    let probe = Command::new("sh")
        .args(["-c", "command -v \"$0\"", program])
        .output();
    probe.is_ok_and(|output| output.status.success())
}

/// Runs `hoop run -- WORDS`, waits, returns everything.
pub(crate) fn run<S: AsRef<OsStr>>(words: &[S]) -> Output {
    output(&mut under_run(words))
}

/// Runs a command, waits, returns everything.
pub(crate) fn output(command: &mut Command) -> Output {
    command.output().unwrap()
}

/// The command `hoop run -- WORDS`, away from the private sockets of whoever runs the tests.
pub(crate) fn under_run<S: AsRef<OsStr>>(words: &[S]) -> Command {
    let mut command = Command::new(HOOP);
    command.args(["run", "--"]).args(words).stdin(Stdio::null());
    apart(&mut command);
    command
}

/// Gives a command a runtime directory of the tests' own.
pub(crate) fn apart(command: &mut Command) {
    static PLACE: std::sync::OnceLock<tempfile::TempDir> = std::sync::OnceLock::new();
    let place = PLACE.get_or_init(|| tempfile::tempdir().unwrap());
    command.env("XDG_RUNTIME_DIR", place.path());
}

/// A running program with pipes.
pub(crate) struct Running {
    child: Child,
    pub(crate) stdin: Option<ChildStdin>,
    pub(crate) stdout: Option<BufReader<ChildStdout>>,
}

impl Running {
    pub(crate) fn start(command: &mut Command) -> Self {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let (stdin, stdout) = (child.stdin.take(), child.stdout.take().map(BufReader::new));
        Self {
            child,
            stdin,
            stdout,
        }
    }

    /// With descriptors as the command says; there is nothing to read or write here.
    pub(crate) fn start_as_is(command: &mut Command) -> std::io::Result<Self> {
        Ok(Self {
            child: command.spawn()?,
            stdin: None,
            stdout: None,
        })
    }

    pub(crate) fn pid(&self) -> Pid {
        Pid::from_raw(self.child.id().try_into().unwrap())
    }

    #[track_caller]
    pub(crate) fn line(&mut self) -> String {
        let mut line = String::new();
        self.stdout.as_mut().unwrap().read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }

    pub(crate) fn say(&mut self, line: &str) {
        self.stdin
            .as_mut()
            .unwrap()
            .write_all(line.as_bytes())
            .unwrap();
    }

    pub(crate) fn signal(&self, number: i32) {
        hoop::sys::process::signal(self.pid(), number).unwrap();
    }

    pub(crate) fn wait(&mut self) -> ExitStatus {
        self.stdin = None;
        eventually("the end of the program", || self.child.try_wait().unwrap())
    }

    pub(crate) fn ended(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }

    pub(crate) fn stderr(&mut self) -> String {
        let mut text = String::new();
        self.child
            .stderr
            .take()
            .unwrap()
            .read_to_string(&mut text)
            .unwrap();
        text
    }

    /// The agent that this supervisor runs.
    pub(crate) fn agent(&self) -> Pid {
        eventually("an agent", || agent_of(self.pid()))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ended = self.child.kill();
        let _reaped = self.child.wait();
    }
}

/// The living agent among a process' children.
pub(crate) fn agent_of(supervisor: Pid) -> Option<Pid> {
    let processes = hoop::sys::tree::all()?;
    let mut children = processes
        .iter()
        .filter(|process| process.parent == supervisor && !process.zombie);
    children
        .find(|child| command_line(child.pid) == "hoop\0agent\0")
        .map(|child| child.pid)
}

/// Whether a process lives: exists and is no zombie.
pub(crate) fn lives(pid: Pid) -> bool {
    hoop::sys::tree::one(pid).is_some_and(|process| !process.zombie)
}

/// The arguments of a process, each ended by a null.
pub(crate) fn command_line(pid: Pid) -> String {
    fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default()
}

/// A number printed by a program.
#[track_caller]
pub(crate) fn pid(line: &str) -> Pid {
    Pid::from_raw(line.trim().parse().unwrap())
}
