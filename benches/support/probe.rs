//! The applications that run under a wrapper and tell what reaches them. Each is this program, called with `probe NAME`.

use std::io::{BufRead, Write, stdin, stdout};
use std::process::Command;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::SignalFd;
use nix::unistd::Pid;

use super::process::children;
use super::{Result, eventually};

/// How long zombies may take to be reaped.
const REAPED_WITHIN: Duration = Duration::from_secs(1);

/// Orphans that are made.
const ORPHANS: usize = 50;

/// Runs the probe that the arguments name, if they name one; whether it was so.
pub(crate) fn run(arguments: &[String]) -> Result<bool> {
    match arguments {
        [_, probe, name] if probe == "probe" => match name.as_str() {
            "stamp" => stdout().write_all(&now().to_ne_bytes())?,
            "latency" => latency()?,
            "signals" => signals()?,
            "lines" => lines()?,
            "orphans" => orphans()?,
            _ => return Err("no such probe".into()),
        },
        _ => return Ok(false),
    }
    Ok(true)
}

/// This program's path.
pub(crate) fn path() -> Result<String> {
    let path = std::env::current_exe()?;
    Ok(path
        .into_os_string()
        .into_string()
        .map_err(|_| "odd path")?)
}

/// The time in nanoseconds.
pub(crate) fn now() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.map_or(0, |now| u64::try_from(now.as_nanos()).unwrap_or(0))
}

fn ready() -> Result<()> {
    writeln!(stdout(), "ready {} {}", Pid::this(), Pid::parent())?;
    Ok(())
}

/// Tells every signal with the number that came with it.
fn signals() -> Result<()> {
    let everything = SigSet::all();
    everything.thread_block()?;
    let pending = SignalFd::new(&everything)?;
    ready()?;
    while let Some(signal) = pending.read_signal()? {
        writeln!(stdout(), "signal {} {}", signal.ssi_signo, signal.ssi_int)?;
    }
    Ok(())
}

/// Tells every line that is typed.
fn lines() -> Result<()> {
    ready()?;
    for line in stdin().lock().lines() {
        writeln!(stdout(), "got {}", line?)?;
    }
    Ok(())
}

/// Tells when each signal came.
fn latency() -> Result<()> {
    let mut one = SigSet::empty();
    one.add(Signal::SIGUSR1);
    one.thread_block()?;
    ready()?;
    loop {
        one.wait()?;
        stdout().write_all(&now().to_ne_bytes())?;
        stdout().flush()?;
    }
}

/// Makes orphans, for PID 1 of a namespace with its own /proc; tells how many zombies stay.
fn orphans() -> Result<()> {
    for _ in 0..ORPHANS {
        Command::new("sh").args(["-c", "sleep 0.05 & :"]).status()?;
    }
    let adopted = || {
        let mut children = children(Pid::from_raw(1));
        children.retain(|child| child.name == "sleep");
        children
    };
    eventually(REAPED_WITHIN, || adopted().iter().all(|one| !one.lives()));
    eventually(REAPED_WITHIN, || adopted().is_empty());
    writeln!(stdout(), "zombies {}", adopted().len())?;
    Ok(())
}
