//! A client in a terminal of its own.

use std::process::Command;
use std::time::Duration;

use expectrl::process::unix::WaitStatus;
use expectrl::session::OsSession;
use expectrl::{Expect, Regex, Session};
use hoop::sys::Pid;

use super::hoop::text;
use crate::process::eventually;

/// How long a program may take to answer.
const PATIENCE: Duration = Duration::from_secs(20);

/// `hoop connect …` in a terminal.
pub(crate) struct Console(OsSession);

impl Console {
    pub(crate) fn start(mut command: Command) -> Self {
        command.env("TERM", "xterm");
        let mut session = Session::spawn(command).unwrap();
        session.set_expect_timeout(Some(PATIENCE));
        Self(session)
    }

    /// Waits for a regular expression on the screen; what was before it.
    #[track_caller]
    pub(crate) fn expect(&mut self, pattern: &str) -> String {
        match self.0.expect(Regex(pattern)) {
            Ok(found) => text(found.before()),
            Err(error) => {
                let seen = self.0.check(Regex("(?s).+"));
                let seen = seen.map(|found| text(found.as_bytes())).unwrap_or_default();
                panic!("{pattern:?} is not on the screen ({error}); seen: {seen:?}");
            }
        }
    }

    /// Types a line.
    pub(crate) fn line(&mut self, line: &str) {
        self.press(&format!("{line}\r"));
    }

    /// Presses keys.
    pub(crate) fn press(&mut self, keys: &str) {
        self.0.send(keys).unwrap();
    }

    pub(crate) fn pid(&self) -> Pid {
        Pid::from_raw(self.0.get_process().pid().as_raw())
    }

    /// Waits for the client's end; its exit code, or 128 and more for a signal.
    #[track_caller]
    pub(crate) fn wait(&mut self) -> i32 {
        eventually("the end of the console", || {
            // A client that cannot write its last words does not end.
            let _read = self.0.try_read(&mut [0; 4096]);
            match self.0.get_process().status().unwrap() {
                WaitStatus::Exited(_, code) => Some(code),
                WaitStatus::Signaled(_, signal, _) => Some(128 + signal as i32),
                _ => None,
            }
        })
    }
}

impl Drop for Console {
    fn drop(&mut self) {
        // A console that was waited for is gone; its number may be another's by now.
        if let Ok(WaitStatus::StillAlive) = self.0.get_process().status() {
            let _ended = hoop::sys::process::signal(self.pid(), libc::SIGKILL);
        }
    }
}
