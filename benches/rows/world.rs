//! What the application is given, compared with what it gets unwrapped.

use std::io::{ErrorKind, Write};

use super::{Cell, Row};
use crate::support::process::Running;
use crate::support::wrapper::Wrapper;
use crate::support::{PATIENCE, Result, eventually};

pub(super) const ROWS: &[Row] = &[
    ("an ignored HUP and a blocked USR1 stay so", mask),
    ("started with standard input closed", closed_input),
    (
        "a reader sees the end when the application closes its output",
        end_of_file,
    ),
    (
        "a writer is told when the application closes its input",
        broken_pipe,
    ),
    ("systemd's `LISTEN_PID` names the application", listen_pid),
];

fn mask(wrapper: &Wrapper) -> Result<Cell> {
    let script = "exec env --ignore-signal=HUP --block-signal=USR1 $W grep -E 'Sig(Blk|Ign)' /proc/self/status";
    let words = ["sh", "-c", script];
    let (_, under) = Running::complete(&mut wrapper.through(&words))?;
    let none = Wrapper::none("/tmp".as_ref());
    let (_, alone) = Running::complete(&mut none.through(&words))?;
    Ok((under == alone && !alone.is_empty()).into())
}

fn closed_input(wrapper: &Wrapper) -> Result<Cell> {
    let script = "exec $W sh -c '[ ! -e /proc/$$/fd/0 ] && echo closed' <&-";
    let (_, output) = Running::complete(&mut wrapper.through(&["sh", "-c", script]))?;
    Ok((output == "closed\n").into())
}

fn end_of_file(wrapper: &Wrapper) -> Result<Cell> {
    let script = "exec >&-; exec sleep 1000";
    let mut running = Running::start(&mut wrapper.command(&["sh", "-c", script]))?;
    Ok(running.output()?.ends(PATIENCE).into())
}

fn broken_pipe(wrapper: &Wrapper) -> Result<Cell> {
    let script = "exec <&-; echo closed; exec sleep 1000";
    let mut running = Running::start(&mut wrapper.command(&["sh", "-c", script]))?;
    running.line().ok_or("the application did not start")?;
    let mut input = running.stdin.take().ok_or("no input")?;
    let broken = eventually(PATIENCE, || {
        let written = input.write_all(b"x");
        written.is_err_and(|error| error.kind() == ErrorKind::BrokenPipe)
    });
    Ok(broken.into())
}

fn listen_pid(wrapper: &Wrapper) -> Result<Cell> {
    let script = "LISTEN_FDS=1 LISTEN_PID=$$ exec $W sh -c '[ $$ = $LISTEN_PID ] && echo same'";
    let (_, output) = Running::complete(&mut wrapper.through(&["sh", "-c", script]))?;
    Ok((output == "same\n").into())
}
