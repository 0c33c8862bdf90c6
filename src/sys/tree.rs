//! Who descends from whom, read from /proc.
//!
//! Nothing here is exact: processes come and go while it is read. It is right for a process that adopts orphans and reads
//! again whenever a child has ended. Without /proc there is no answer. Source: `proc_pid_stat(5)`.

use std::collections::HashSet;
use std::fs;

use nix::unistd::Pid;

/// A process as /proc shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Process {
    /// Its pid.
    pub pid: Pid,
    /// Its parent.
    pub parent: Pid,
    /// Its process group.
    pub group: Pid,
    /// Its session.
    pub session: Pid,
    /// Whether it is stopped.
    pub stopped: bool,
    /// Whether it has ended and waits for its parent to ask.
    pub zombie: bool,
}

/// All processes that can be seen; `None` without /proc.
pub fn all() -> Option<Vec<Process>> {
    let entries = fs::read_dir("/proc").ok()?;
    let processes: Vec<Process> = entries
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter_map(|pid| one(Pid::from_raw(pid)))
        .collect();
    // A directory without processes is not a mounted /proc.
    (!processes.is_empty()).then_some(processes)
}

/// One process.
pub fn one(pid: Pid) -> Option<Process> {
    parse(pid, &fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

/// The living descendants of a process among these, those of `except` and itself left out.
pub fn descendants(processes: &[Process], root: Pid, except: Option<Pid>) -> Vec<Process> {
    let mut family = HashSet::from([root]);
    let mut found = Vec::new();
    loop {
        let before = family.len();
        for process in processes {
            if Some(process.pid) != except
                && family.contains(&process.parent)
                && family.insert(process.pid)
            {
                found.push(*process);
            }
        }
        if family.len() == before {
            break;
        }
    }
    found.retain(|process| !process.zombie);
    found
}

/// Whether nobody would continue our process group if it stopped: no member has a parent that is in another group of the
/// same session. Followed from this process upwards.
pub fn own_group_is_orphaned() -> bool {
    let (Some(session), Some(group)) = (super::process::session_of(Pid::from_raw(0)), own_group())
    else {
        return true;
    };
    let mut parent = Pid::parent();
    while parent.as_raw() > 0 {
        if super::process::session_of(parent) != Some(session) {
            return true;
        }
        if super::process::group_of(parent) != Some(group) {
            return false;
        }
        match one(parent) {
            Some(process) => parent = process.parent,
            None => return true,
        }
    }
    true
}

fn own_group() -> Option<Pid> {
    super::process::group_of(Pid::from_raw(0))
}

/// `PID (NAME) STATE PPID PGRP SESSION …`, where the name may hold anything, also blanks and parentheses.
fn parse(pid: Pid, line: &str) -> Option<Process> {
    let (_, rest) = line.rsplit_once(')')?;
    let mut fields = rest.split_ascii_whitespace();
    let state = fields.next()?;
    let mut number = || fields.next()?.parse().ok().map(Pid::from_raw);
    Some(Process {
        pid,
        parent: number()?,
        group: number()?,
        session: number()?,
        stopped: state == "T",
        zombie: matches!(state, "Z" | "X"),
    })
}

#[cfg(test)]
mod tests {
    use super::{Pid, Process, descendants, parse};

    fn process(pid: i32, parent: i32) -> Process {
        let [pid, parent] = [pid, parent].map(Pid::from_raw);
        Process {
            pid,
            parent,
            group: pid,
            session: pid,
            stopped: false,
            zombie: false,
        }
    }

    #[test]
    fn names_cannot_break_a_line() {
        let found = parse(Pid::from_raw(41), "41 (a) T 1 (b c) T 7 8 9 34816 -1").unwrap();
        assert_eq!(
            (
                found.parent.as_raw(),
                found.group.as_raw(),
                found.session.as_raw()
            ),
            (7, 8, 9)
        );
        assert!(found.stopped && !found.zombie);
        assert_eq!(parse(Pid::from_raw(1), "1 (x"), None);
        assert_eq!(parse(Pid::from_raw(1), "1 (x) S 1"), None);
        assert_eq!(parse(Pid::from_raw(1), ""), None);
    }

    #[test]
    fn descendants_are_found_in_any_order_and_one_branch_can_be_left_out() {
        let all = [
            process(9, 8),
            process(8, 5),
            process(5, 1),
            process(6, 1),
            process(7, 6),
            process(3, 2),
        ];
        let pids = |except| {
            let mut pids: Vec<i32> = descendants(&all, Pid::from_raw(1), except)
                .iter()
                .map(|found| found.pid.as_raw())
                .collect();
            pids.sort_unstable();
            pids
        };
        assert_eq!(pids(None), [5, 6, 7, 8, 9]);
        assert_eq!(pids(Some(Pid::from_raw(5))), [6, 7]);
    }

    #[test]
    fn a_dead_parent_leads_to_its_living_children() {
        let mut parent = process(5, 1);
        parent.zombie = true;
        let found = descendants(&[parent, process(8, 5)], Pid::from_raw(1), None);
        assert_eq!(found, [process(8, 5)]);
    }
}
