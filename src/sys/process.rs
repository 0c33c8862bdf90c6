//! What a process says to the kernel about itself, and asks about its family.
//!
//! All of it may be refused by a sandbox; callers decide whether that matters. Sources: `prctl(2)`, `proc(5)`.

use std::ffi::CStr;
use std::io;

use nix::errno::Errno;
use nix::unistd::Pid;

pub use super::signal::send as signal;

/// Tells the kernel how readily to end this process when memory is short, −1000 to 1000. Raising needs no rights.
pub fn set_oom_score_adj(score: i32) -> io::Result<()> {
    std::fs::write("/proc/self/oom_score_adj", score.to_string())
}

/// Keeps other processes of our user from reading our memory, environment and descriptors, and keeps core files away.
/// An exec undoes it.
pub fn set_non_dumpable() -> Result<(), Errno> {
    prctl(libc::PR_SET_DUMPABLE, 0)
}

/// Adopts orphans among our descendants, as PID 1 does.
pub fn set_subreaper() -> Result<(), Errno> {
    prctl(libc::PR_SET_CHILD_SUBREAPER, 1)
}

/// Names this process, as lists of processes show it. Executed from a descriptor, it would be named by a number.
pub fn set_name(name: &CStr) {
    let none: libc::c_ulong = 0;
    // SAFETY: a terminated string; the kernel copies 15 bytes of it at most. A refusal changes nothing.
    unsafe { libc::prctl(libc::PR_SET_NAME, name.as_ptr(), none, none, none) };
}

/// Asks for a signal when the thread that forked us ends. Async-signal-safe.
pub fn set_parent_death_signal(number: i32) -> Result<(), Errno> {
    prctl(
        libc::PR_SET_PDEATHSIG,
        libc::c_ulong::from(number.unsigned_abs()),
    )
}

/// Forbids core files of this process and its later children.
pub fn forbid_core() {
    let none = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: `none` is a valid limit. A refusal changes nothing.
    unsafe { libc::setrlimit(libc::RLIMIT_CORE, &raw const none) };
}

/// Session of a process, 0 for this one.
pub fn session_of(pid: Pid) -> Option<Pid> {
    nix::unistd::getsid(Some(pid)).ok()
}

/// Process group of a process, 0 for this one.
pub fn group_of(pid: Pid) -> Option<Pid> {
    nix::unistd::getpgid(Some(pid)).ok()
}

/// Makes this process the leader of a session of its own. It may be that already.
pub fn new_session() {
    // EPERM says that it leads a group, most often its session; there is nothing to do about the rest.
    let _refused = nix::unistd::setsid();
}

fn prctl(option: i32, argument: libc::c_ulong) -> Result<(), Errno> {
    let none: libc::c_ulong = 0;
    // SAFETY: options used here take numbers only.
    Errno::result(unsafe { libc::prctl(option, argument, none, none, none) }).map(drop)
}
