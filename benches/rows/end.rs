//! How it ends: with the application, before it, without it.

use std::os::unix::process::ExitStatusExt;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::{Cell, Row};
use crate::support::process::{Running, Seen, lives};
use crate::support::wrapper::Wrapper;
use crate::support::{PATIENCE, Result, eventually};

pub(super) const ROWS: &[Row] = &[
    ("every exit status 0–255 is passed on", statuses),
    ("dies of the application's signal", same_death),
    (
        "126 for what cannot be executed, 127 for what is not there",
        not_started,
    ),
    ("a script without `#!` runs", plain_script),
    ("killed itself, it leaves no application running", killed),
    ("orphans become its children", adopts),
];

fn statuses(wrapper: &Wrapper) -> Result<Cell> {
    for status in 0..=255 {
        let script = format!("exit {status}");
        let mut command = wrapper.command(&["sh", "-c", &script]);
        if Running::complete(&mut command)?.0.code() != Some(status) {
            return Ok(Cell::No);
        }
    }
    Ok(Cell::Yes)
}

fn same_death(wrapper: &Wrapper) -> Result<Cell> {
    let mut command = wrapper.command(&["sh", "-c", "kill -TERM $$"]);
    let (status, _) = Running::complete(&mut command)?;
    Ok(match (status.signal(), status.code()) {
        (Some(number), _) => (number == Signal::SIGTERM as i32).into(),
        (None, code) => Cell::Word(format!("exits {}", code.unwrap_or_default())),
    })
}

fn not_started(wrapper: &Wrapper) -> Result<Cell> {
    let mut codes = Vec::new();
    for name in ["/etc", "/no/such/program"] {
        // Through a shell, which says for the unwrapped command what a wrapper should.
        let script = format!("$W {name}; exit $?");
        let (status, _) = Running::complete(&mut wrapper.through(&["sh", "-c", &script]))?;
        codes.push(status.code().unwrap_or_default());
    }
    Ok(match codes.as_slice() {
        [126, 127] => Cell::Yes,
        codes => Cell::Word(format!("{codes:?}")),
    })
}

fn plain_script(wrapper: &Wrapper) -> Result<Cell> {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir()?;
    let script = folder.path().join("script");
    std::fs::write(&script, "echo ran\n")?;
    std::fs::set_permissions(&script, PermissionsExt::from_mode(0o755))?;
    let through = format!("$W {}", script.display());
    let (_, output) = Running::complete(&mut wrapper.through(&["sh", "-c", &through]))?;
    Ok((output == "ran\n").into())
}

fn killed(wrapper: &Wrapper) -> Result<Cell> {
    let mut command = wrapper.command(&["sh", "-c", "echo $$; exec sleep 1000"]);
    let mut running = Running::start(&mut command)?;
    let application = Pid::from_raw(running.line().ok_or("no line")?.parse()?);
    kill(running.pid(), Signal::SIGKILL)?;
    Ok(eventually(PATIENCE, || !lives(application)).into())
}

fn adopts(wrapper: &Wrapper) -> Result<Cell> {
    if wrapper.is_none() {
        return Ok(Cell::Untested);
    }
    let script = "sh -c 'sleep 1000 >/dev/null & echo $!'; exec sleep 1000";
    let mut running = Running::start(&mut wrapper.command(&["sh", "-c", script]))?;
    let orphan = Pid::from_raw(running.line().ok_or("no line")?.parse()?);
    let parent = || Seen::of(orphan).map(|orphan| orphan.parent);
    Ok(eventually(PATIENCE, || parent() == Some(running.pid())).into())
}
