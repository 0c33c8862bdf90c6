//! Processes: started with pipes, watched, and ended with everything that they left.

use std::fs;
use std::io;
use std::process::{Child, ChildStdin, ChildStdout, Command, ExitStatus};
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::prctl::{set_child_subreaper, set_pdeathsig};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{Pid, setsid};

use super::reader::Reader;
use super::{PATIENCE, Result, eventually};

/// Makes this program one that sees the end of everything it started, and has no terminal that a wrapper could find. Ends
/// with its parent.
pub(crate) fn settle() -> Result<()> {
    set_child_subreaper(true)?;
    set_pdeathsig(Signal::SIGKILL)?;
    match setsid() {
        // Already a group's leader: then by a shell, in whose session a wrapper may find a terminal.
        Err(Errno::EPERM) if fs::File::open("/dev/tty").is_ok() => {
            Err("run this by cargo bench, or by setsid -w".into())
        }
        _ => Ok(()),
    }
}

/// A running program. Dropped, it is ended with everything below this one.
pub(crate) struct Running {
    child: Child,
    pub(crate) stdin: Option<ChildStdin>,
    pub(crate) stdout: Option<Reader<ChildStdout>>,
}

impl Running {
    pub(crate) fn start(command: &mut Command) -> io::Result<Self> {
        let mut child = command.spawn()?;
        Ok(Self {
            stdin: child.stdin.take(),
            stdout: child.stdout.take().map(Reader::new),
            child,
        })
    }

    /// Starts a program, closes its standard input, waits for its end and output.
    pub(crate) fn complete(command: &mut Command) -> Result<(ExitStatus, String)> {
        let mut running = Self::start(command)?;
        running.stdin = None;
        let output = running.output()?.rest(PATIENCE);
        let status = running.ends(PATIENCE).ok_or("it did not end")?;
        Ok((status, output))
    }

    pub(crate) fn pid(&self) -> Pid {
        Pid::from_raw(self.child.id().cast_signed())
    }

    pub(crate) fn output(&mut self) -> Result<&mut Reader<ChildStdout>> {
        Ok(self.stdout.as_mut().ok_or("no output")?)
    }

    /// Waits for the next line.
    pub(crate) fn line(&mut self) -> Option<String> {
        self.stdout.as_mut()?.line(PATIENCE)
    }

    /// Waits for the end.
    pub(crate) fn ends(&mut self, within: Duration) -> Option<ExitStatus> {
        let mut status = None;
        eventually(within, || {
            status = self.child.try_wait().ok().flatten();
            status.is_some()
        });
        status
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Already gone is what is wanted.
        let _gone = self.child.kill();
        let _gone = self.child.wait();
        sweep();
    }
}

/// A process as /proc shows it.
pub(crate) struct Seen {
    pub(crate) pid: Pid,
    pub(crate) parent: Pid,
    pub(crate) name: String,
    pub(crate) state: char,
    pub(crate) minor_faults: u64,
}

impl Seen {
    /// Reads one process.
    pub(crate) fn of(pid: Pid) -> Option<Self> {
        let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        let (_, rest) = text.split_once('(')?;
        let (name, rest) = rest.rsplit_once(") ")?;
        let mut fields = rest.split(' ');
        Some(Self {
            pid,
            name: name.to_owned(),
            state: fields.next()?.chars().next()?,
            parent: Pid::from_raw(fields.next()?.parse().ok()?),
            minor_faults: fields.nth(5)?.parse().ok()?,
        })
    }

    /// Whether it still runs.
    pub(crate) fn lives(&self) -> bool {
        !matches!(self.state, 'Z' | 'X')
    }
}

/// Whether a process still runs.
pub(crate) fn lives(pid: Pid) -> bool {
    Seen::of(pid).is_some_and(|process| process.lives())
}

/// Every process there is.
pub(crate) fn all() -> Vec<Seen> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter_map(|pid| Seen::of(Pid::from_raw(pid)))
        .collect()
}

/// The children of a process.
pub(crate) fn children(parent: Pid) -> Vec<Seen> {
    let mut all = all();
    all.retain(|process| process.parent == parent);
    all
}

/// Everything below a process.
pub(crate) fn descendants(of: Pid) -> Vec<Seen> {
    let mut rest = all();
    let mut found: Vec<Seen> = Vec::new();
    loop {
        let is_below = |process: &Seen| {
            process.parent == of || found.iter().any(|above| above.pid == process.parent)
        };
        let (below, others): (Vec<_>, Vec<_>) = rest.into_iter().partition(is_below);
        if below.is_empty() {
            return found;
        }
        found.extend(below);
        rest = others;
    }
}

/// Ends and reaps everything below this program.
pub(crate) fn sweep() {
    eventually(PATIENCE, || {
        let left = descendants(Pid::this());
        for process in &left {
            // Already gone is what is wanted.
            let _gone = kill(process.pid, Signal::SIGKILL);
        }
        while matches!(
            waitpid(None, Some(WaitPidFlag::WNOHANG)),
            Ok(status) if status != WaitStatus::StillAlive
        ) {}
        left.is_empty()
    });
}
