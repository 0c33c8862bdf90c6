//! What the application left behind, found and signalled.

use std::collections::HashSet;

use crate::sys::signal::{send, send_everyone, send_group};
use crate::sys::{Pid, tree};

/// As PID 1: sends a signal to every process but ourselves, the agent and the agent's family. One that is stopped is
/// continued, so that it can act on it; others are not, because an extra CONT can be seen.
///
/// Errors are of processes that ended meanwhile.
pub(crate) fn signal_everything(number: i32, agent: Option<Pid>) {
    let Some(processes) = tree::all() else {
        let _nobody = send_everyone(number);
        return;
    };
    let family = agent.map_or_else(Vec::new, |agent| tree::descendants(&processes, agent, None));
    let spared: HashSet<Pid> = family
        .iter()
        .map(|process| process.pid)
        .chain(agent)
        .chain([Pid::this()])
        .collect();
    for process in processes
        .iter()
        .filter(|process| !process.zombie && !spared.contains(&process.pid))
    {
        let _ended = send(process.pid, number);
        if process.stopped && number != libc::SIGKILL {
            let _ended = send(process.pid, libc::SIGCONT);
        }
    }
}

/// Sends a signal to what is left of the application's own group.
pub(crate) fn signal_group(application: Pid, number: i32) {
    // Most often nobody is left there.
    let _nobody = send_group(application, number);
}
