//! Signals that somebody sends to the wrapper, away from any terminal.

use std::process::Stdio;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::{Cell, Row};
use crate::support::process::{Running, descendants, sweep};
use crate::support::wrapper::Wrapper;
use crate::support::{PATIENCE, Result, eventually, probe};

pub(super) const ROWS: &[Row] = &[
    ("all 28 ordinary signals are forwarded", ordinary),
    ("all 31 real-time signals, with their value", real_time),
    ("early signals lost, of 300", early),
];

/// How long a signal may take that others swallow.
const FORWARDED_WITHIN: Duration = Duration::from_millis(500);

/// Signals that are sent to a wrapper that has just been started, each later than the one before.
const EARLY: u32 = 300;

/// How much later.
const EARLY_STEP: Duration = Duration::from_micros(5);

/// A value to be carried.
const VALUE: &str = "4711";

/// Starts the application that tells its signals.
fn listening(wrapper: &Wrapper) -> Result<Running> {
    let probe = probe::path()?;
    let mut running = Running::start(&mut wrapper.command(&[&probe, "probe", "signals"]))?;
    let line = running.line().ok_or("the application did not start")?;
    Ok(line
        .starts_with("ready")
        .then_some(running)
        .ok_or("odd line")?)
}

fn ordinary(wrapper: &Wrapper) -> Result<Cell> {
    let all = Signal::iterator()
        .filter(|signal| !matches!(signal, Signal::SIGKILL | Signal::SIGSTOP | Signal::SIGCHLD));
    let mut told = Vec::new();
    let mut count = 0;
    for signal in all {
        count += 1;
        let mut running = listening(wrapper)?;
        kill(running.pid(), signal)?;
        let line = format!("signal {} ", signal as i32);
        if running.output()?.sees(&line, FORWARDED_WITHIN) {
            told.push(signal);
        }
    }
    Ok(if told.len() == count {
        Cell::Yes
    } else {
        Cell::Word(format!("{} of {count}", told.len()))
    })
}

fn real_time(wrapper: &Wrapper) -> Result<Cell> {
    let mut running = listening(wrapper)?;
    let pid = running.pid().to_string();
    let (first, last) = (nix::libc::SIGRTMIN(), nix::libc::SIGRTMAX());
    let mut values = true;
    for number in first..=last {
        let number = number.to_string();
        let mut command = wrapper.through(&["env", "kill", "-s", &number, "-q", VALUE, &pid]);
        command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .status()?;
        if !running
            .output()?
            .sees(&format!("signal {number} "), PATIENCE)
        {
            return Ok(Cell::No);
        }
        values &= running.line().is_some_and(|value| value == VALUE);
    }
    Ok(if values {
        Cell::Yes
    } else {
        Cell::Word("value lost".to_owned())
    })
}

/// A TERM right after the wrapper's exec. Whether wrapper and application end of it is asked; how, is not: before the
/// wrapper's first instruction it ends as the command alone would.
fn early(wrapper: &Wrapper) -> Result<Cell> {
    let mut lost = 0;
    for step in 0..EARLY {
        let mut command = wrapper.command(&["sleep", "1000"]);
        command.stdin(Stdio::null()).stdout(Stdio::null());
        let mut running = Running::start(&mut command)?;
        let at = Instant::now() + EARLY_STEP * step;
        while Instant::now() < at {
            std::hint::spin_loop();
        }
        kill(running.pid(), Signal::SIGTERM)?;
        let ended = running.ends(PATIENCE).is_some()
            && eventually(PATIENCE, || {
                let left = descendants(Pid::this());
                !left
                    .iter()
                    .any(|process| process.name == "sleep" && process.lives())
            });
        lost += u32::from(!ended);
        sweep();
    }
    Ok(match lost {
        0 => Cell::Good("0".to_owned()),
        _ => Cell::Word(lost.to_string()),
    })
}
