//! Waiting for children.
//!
//! [`any`] takes whatever child has changed: only a process that owns every wait it does (the supervisor, a session
//! process) may call it. Sources: `waitpid(2)`.

use nix::errno::Errno;
use nix::unistd::Pid;

/// How a process ended: the status word of `waitpid`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Status(i32);

impl Status {
    /// From the raw status word.
    pub const fn from_raw(raw: i32) -> Self {
        Self(raw)
    }

    /// The raw status word.
    pub const fn raw(self) -> i32 {
        self.0
    }

    /// The exit code, if it ended by itself.
    pub const fn code(self) -> Option<i32> {
        if libc::WIFEXITED(self.0) {
            Some(libc::WEXITSTATUS(self.0))
        } else {
            None
        }
    }

    /// The signal it died of, if it did.
    pub const fn signal(self) -> Option<i32> {
        if libc::WIFSIGNALED(self.0) {
            Some(libc::WTERMSIG(self.0))
        } else {
            None
        }
    }
}

/// What happened to a child.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// It ended; its pid is free now.
    Ended(Status),
    /// It was stopped by this signal.
    Stopped(i32),
    /// It was continued.
    Continued,
}

/// The answer of [`any`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reaped {
    /// A child changed.
    Child(Pid, Change),
    /// There are children, none has changed.
    Nothing,
    /// There is no child at all.
    NoChild,
}

/// Takes the next change of any child, without waiting.
pub fn any() -> Reaped {
    match wait(-1, libc::WNOHANG | libc::WUNTRACED | libc::WCONTINUED) {
        Ok((0, _)) => Reaped::Nothing,
        Ok((pid, raw)) => Reaped::Child(Pid::from_raw(pid), change(raw)),
        Err(_) => Reaped::NoChild,
    }
}

/// Waits until a child of ours has ended.
pub fn ended(pid: Pid) -> Result<Status, Errno> {
    wait(pid.as_raw(), 0).map(|(_, raw)| Status(raw))
}

fn change(raw: i32) -> Change {
    if libc::WIFSTOPPED(raw) {
        Change::Stopped(libc::WSTOPSIG(raw))
    } else if libc::WIFCONTINUED(raw) {
        Change::Continued
    } else {
        Change::Ended(Status(raw))
    }
}

#[expect(clippy::disallowed_methods, reason = "the one place that waits")]
fn wait(pid: i32, options: i32) -> Result<(i32, i32), Errno> {
    loop {
        let mut raw = 0;
        // SAFETY: `raw` is a valid place for the status.
        match Errno::result(unsafe { libc::waitpid(pid, &raw mut raw, options) }) {
            Err(Errno::EINTR) => {}
            result => return result.map(|pid| (pid, raw)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Change, Status, change};

    #[test]
    fn status_words_are_told_apart() {
        assert_eq!(change(7 << 8), Change::Ended(Status(7 << 8)));
        assert_eq!(Status(7 << 8).code(), Some(7));
        assert_eq!(Status(7 << 8).signal(), None);
        assert_eq!(Status(libc::SIGTERM).signal(), Some(libc::SIGTERM));
        assert_eq!(Status(libc::SIGSEGV | 0x80).signal(), Some(libc::SIGSEGV));
        assert_eq!(Status(libc::SIGTERM).code(), None);
        assert_eq!(
            change(libc::SIGTSTP << 8 | 0x7f),
            Change::Stopped(libc::SIGTSTP)
        );
        assert_eq!(change(0xffff), Change::Continued);
    }
}
