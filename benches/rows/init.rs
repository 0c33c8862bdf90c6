//! As PID 1 of a namespace.

use std::process::Command;

use nix::sys::signal::{Signal, kill};

use super::{Cell, Row};
use crate::support::process::{Running, children};
use crate::support::wrapper::Wrapper;
use crate::support::{PATIENCE, Result, probe};

pub(super) const ROWS: &[Row] = &[
    ("TERM ends an application without a handler", term),
    ("leaves with 128+n", code),
    ("orphans are reaped (zombies of 50)", orphans),
    ("leftovers get TERM and time to end", leftovers),
];

/// The words that put a command into a namespace of its own, as its PID 1; nothing where that is not allowed.
fn namespace(wrapper: &Wrapper) -> Option<Vec<&'static str>> {
    let words = ["unshare", "--pid", "--fork", "--mount-proc", "--kill-child"];
    [&[][..], &["--map-root-user"][..]]
        .into_iter()
        .map(|options| words.iter().chain(options).copied().collect::<Vec<_>>())
        .find(|words| {
            let trial: Vec<_> = words.iter().copied().chain(["true"]).collect();
            Running::complete(&mut wrapper.through(&trial))
                .is_ok_and(|(status, _)| status.success())
        })
}

/// The command as PID 1, under the wrapper.
fn as_init(wrapper: &Wrapper, application: &[&str]) -> Option<Command> {
    let mut words = namespace(wrapper)?;
    let prefix: Vec<_> = wrapper.words().filter_map(|word| word.to_str()).collect();
    words.extend(prefix);
    words.extend(application);
    Some(wrapper.through(&words))
}

fn term(wrapper: &Wrapper) -> Result<Cell> {
    let script = ["sh", "-c", "echo started; exec sleep 1000"];
    let Some(mut command) = as_init(wrapper, &script) else {
        return Ok(Cell::Untested);
    };
    let mut running = Running::start(&mut command)?;
    running.line().ok_or("the application did not start")?;
    let init = children(running.pid());
    kill(init.first().ok_or("no PID 1")?.pid, Signal::SIGTERM)?;
    Ok(running.ends(PATIENCE).is_some().into())
}

fn code(wrapper: &Wrapper) -> Result<Cell> {
    let Some(mut command) = as_init(wrapper, &["sh", "-c", "kill -TERM $$"]) else {
        return Ok(Cell::Untested);
    };
    let (status, _) = Running::complete(&mut command)?;
    Ok(match status.code() {
        Some(143) => Cell::Yes,
        code => Cell::Word(format!("exits {}", code.unwrap_or_default())),
    })
}

fn orphans(wrapper: &Wrapper) -> Result<Cell> {
    let probe = probe::path()?;
    let Some(mut command) = as_init(wrapper, &[&probe, "probe", "orphans"]) else {
        return Ok(Cell::Untested);
    };
    let mut running = Running::start(&mut command)?;
    let told = running.output()?.line(3 * PATIENCE).ok_or("no line")?;
    Ok(match told.as_str() {
        "zombies 0" => Cell::Yes,
        told => Cell::Word(told.trim_start_matches("zombies ").to_owned()),
    })
}

fn leftovers(wrapper: &Wrapper) -> Result<Cell> {
    let script = "setsid bash -c 'trap \"sleep 0.2; echo tidied; exit\" TERM; echo started; while :; do sleep 0.01; done' & \
        read go; exit 0";
    let Some(mut command) = as_init(wrapper, &["bash", "-c", script]) else {
        return Ok(Cell::Untested);
    };
    let mut running = Running::start(&mut command)?;
    running.line().ok_or("the daemon did not start")?;
    running.stdin = None;
    Ok((running.line().as_deref() == Some("tidied")).into())
}
