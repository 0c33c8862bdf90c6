//! Signals: sets, masks, dispositions, receiving with all that the kernel tells, and sending.
//!
//! A process that blocks everything and asks for one signal at a time needs no handler, loses none and knows each
//! sender. Sources: `rt_sigprocmask(2)`, `sigaction(2)`, `sigtimedwait(2)`, `rt_sigqueueinfo(2)`, `signalfd(2)`.

use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::time::Duration;

use nix::errno::Errno;
use nix::unistd::Pid;

/// Highest signal number.
pub const LAST: i32 = 64;

/// Size of the kernel's signal set, in bytes.
const SET_SIZE: usize = size_of::<u64>();

/// A set of signals 1 to 64, as the kernel lays it out.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct SignalSet(u64);

impl SignalSet {
    /// No signal.
    pub const EMPTY: Self = Self(0);
    /// Every signal; the kernel leaves KILL and STOP out by itself.
    pub const ALL: Self = Self(u64::MAX);

    /// The set of these signals; numbers that are none are left out.
    pub fn of(numbers: &[i32]) -> Self {
        numbers
            .iter()
            .fold(Self::EMPTY, |set, &number| set.with(number))
    }

    /// This set and one signal more.
    #[must_use]
    pub const fn with(self, number: i32) -> Self {
        Self(self.0 | Self::bit(number))
    }

    /// This set less one signal.
    #[must_use]
    pub const fn without(self, number: i32) -> Self {
        Self(self.0 & !Self::bit(number))
    }

    /// Whether a signal is in it.
    pub const fn contains(self, number: i32) -> bool {
        self.0 & Self::bit(number) != 0
    }

    const fn bit(number: i32) -> u64 {
        if number >= 1 && number <= LAST {
            1 << (number - 1)
        } else {
            0
        }
    }
}

/// A signal that was received, and what the kernel says about it. The same bytes as the kernel's `siginfo_t`.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Received {
    number: i32,
    errno: i32,
    code: i32,
    padding: i32,
    pid: i32,
    uid: u32,
    value: u64,
    rest: [u64; 12],
}

// `siginfo_t` is 128 bytes on every architecture; the kernel writes that many.
const _: () = assert!(size_of::<Received>() == 128);

impl Received {
    /// A signal as it would come from a process that sent it with `kill`, or, with another code, from elsewhere.
    pub const fn new(number: i32, code: i32, sender: i32) -> Self {
        Self {
            number,
            errno: 0,
            code,
            padding: 0,
            pid: sender,
            uid: 0,
            value: 0,
            rest: [0; 12],
        }
    }

    /// Signal number.
    pub const fn number(&self) -> i32 {
        self.number
    }

    /// Whether a process sent it, as opposed to the kernel (a key at the terminal, a timer, a fault).
    pub const fn from_process(&self) -> bool {
        self.code <= 0
    }

    /// Pid of the sender, 0 when it is in another pid namespace. Only for signals [`from_process`](Self::from_process).
    pub const fn sender(&self) -> i32 {
        self.pid
    }

    /// Whether a value came with it (`sigqueue`).
    pub const fn queued(&self) -> bool {
        self.code == libc::SI_QUEUE
    }

    /// The same signal under another number.
    #[must_use]
    pub const fn renumbered(mut self, number: i32) -> Self {
        self.number = number;
        self
    }
}

/// The kernel's `struct sigaction` for the two dispositions that exist here. Architectures differ in what follows the
/// handler (flags, restorer, mask); all of it is zero for both.
#[repr(C)]
struct Disposition {
    handler: usize,
    rest: [usize; 4],
}

/// Replaces the signal mask of this thread, returns the old one.
pub fn set_mask(mask: SignalSet) -> SignalSet {
    let mut old = SignalSet::EMPTY;
    // SAFETY: both pointers are to sets of the size given; the call cannot fail with them. Async-signal-safe.
    unsafe {
        libc::syscall(
            libc::SYS_rt_sigprocmask,
            libc::SIG_SETMASK,
            &raw const mask,
            &raw mut old,
            SET_SIZE,
        )
    };
    old
}

/// The signals that are ignored.
pub fn ignored() -> SignalSet {
    (1..=LAST)
        .filter(|&number| handler(number) == libc::SIG_IGN)
        .fold(SignalSet::EMPTY, SignalSet::with)
}

fn handler(number: i32) -> usize {
    let mut old = Disposition {
        handler: libc::SIG_DFL,
        rest: [0; 4],
    };
    let none = std::ptr::null::<Disposition>();
    // SAFETY: `old` is at least as large as the kernel's structure; nothing is set.
    unsafe { libc::syscall(libc::SYS_rt_sigaction, number, none, &raw mut old, SET_SIZE) };
    old.handler
}

/// Makes a signal ignored, or gives it its default action. Async-signal-safe.
pub fn set_ignored(number: i32, ignore: bool) {
    let handler = if ignore { libc::SIG_IGN } else { libc::SIG_DFL };
    let new = Disposition {
        handler,
        rest: [0; 4],
    };
    let none = std::ptr::null_mut::<Disposition>();
    // SAFETY: `new` is at least as large as the kernel's structure. KILL and STOP are refused, which is right.
    unsafe {
        libc::syscall(
            libc::SYS_rt_sigaction,
            number,
            &raw const new,
            none,
            SET_SIZE,
        )
    };
}

/// Gives every signal one of the two dispositions. Async-signal-safe.
pub fn set_all_ignored(ignored: SignalSet) {
    let mut number = 1;
    while number <= LAST {
        set_ignored(number, ignored.contains(number));
        number += 1;
    }
}

/// Takes a pending blocked signal, waiting for one at most `timeout` (for ever without). `None` when none came.
pub fn take(timeout: Option<Duration>) -> Result<Option<Received>, Errno> {
    let all = SignalSet::ALL;
    let mut received = Received::new(0, 0, 0);
    let limit = timeout.map(timespec);
    let limit = limit.as_ref().map_or(std::ptr::null(), std::ptr::from_ref);
    // SAFETY: `all` has the size given, `received` is as large as a siginfo_t, `limit` is null or a timespec.
    let number = unsafe {
        libc::syscall(
            libc::SYS_rt_sigtimedwait,
            &raw const all,
            &raw mut received,
            limit,
            SET_SIZE,
        )
    };
    match Errno::result(number) {
        Ok(_) => Ok(Some(received)),
        Err(Errno::EAGAIN | Errno::EINTR) => Ok(None),
        Err(errno) => Err(errno),
    }
}

/// A descriptor that is readable while a blocked signal is pending; close-on-exec, non-blocking.
pub fn descriptor() -> Result<OwnedFd, Errno> {
    let all = SignalSet::ALL;
    let flags = libc::SFD_CLOEXEC | libc::SFD_NONBLOCK;
    // SAFETY: `all` has the size given.
    let fd = unsafe { libc::syscall(libc::SYS_signalfd4, -1, &raw const all, SET_SIZE, flags) };
    let fd = i32::try_from(Errno::result(fd)?).map_err(|_| Errno::EBADF)?;
    // SAFETY: the kernel just gave us this descriptor.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Takes a pending signal from a [`descriptor`], for where `sigtimedwait` is refused.
pub fn take_from(descriptor: BorrowedFd<'_>) -> Result<Option<Received>, Errno> {
    let mut info = std::mem::MaybeUninit::<libc::signalfd_siginfo>::zeroed();
    let size = size_of::<libc::signalfd_siginfo>();
    // SAFETY: the buffer has the size given.
    let read = unsafe { libc::read(descriptor.as_raw_fd(), info.as_mut_ptr().cast(), size) };
    match Errno::result(read) {
        Ok(_) => {}
        Err(Errno::EAGAIN | Errno::EINTR) => return Ok(None),
        Err(errno) => return Err(errno),
    }
    // SAFETY: plain numbers, zeroed before the read.
    let info = unsafe { info.assume_init() };
    Ok(Some(Received {
        pid: info.ssi_pid.cast_signed(),
        uid: info.ssi_uid,
        value: info.ssi_ptr,
        ..Received::new(info.ssi_signo.cast_signed(), info.ssi_code, 0)
    }))
}

/// Sends a signal to a process.
pub fn send(pid: Pid, number: i32) -> Result<(), Errno> {
    if pid.as_raw() <= 0 {
        return Err(Errno::ESRCH);
    }
    kill(pid.as_raw(), number)
}

/// Sends a signal to a process group, never to our own by accident: 0 and 1 are refused.
pub fn send_group(group: Pid, number: i32) -> Result<(), Errno> {
    if group.as_raw() <= 1 {
        return Err(Errno::ESRCH);
    }
    kill(-group.as_raw(), number)
}

/// Sends a signal to every process that this one may signal, itself and PID 1 left out. For PID 1 alone.
pub fn send_everyone(number: i32) -> Result<(), Errno> {
    if std::process::id() != 1 {
        return Err(Errno::EPERM);
    }
    kill(-1, number)
}

/// Sends a signal on as it was received: with its value if it has one.
pub fn forward(pid: Pid, signal: &Received) -> Result<(), Errno> {
    if signal.queued() && pid.as_raw() > 0 {
        // SAFETY: `signal` is as large as a siginfo_t; the kernel checks what it says.
        let sent = unsafe {
            libc::syscall(
                libc::SYS_rt_sigqueueinfo,
                pid.as_raw(),
                signal.number,
                std::ptr::from_ref(signal),
            )
        };
        // With a full queue or a kernel that refuses, the signal without its value is better than none.
        if Errno::result(sent).is_ok() {
            return Ok(());
        }
    }
    send(pid, signal.number)
}

/// Sends ourselves a signal with its default action and lets it act. Returns when it did not end us, or after CONT.
pub fn raise_default(number: i32) {
    set_ignored(number, false);
    if kill(Pid::this().as_raw(), number).is_ok() {
        let mask = set_mask(SignalSet::ALL.without(number));
        set_mask(mask);
    }
}

fn kill(target: i32, number: i32) -> Result<(), Errno> {
    // SAFETY: no memory is involved; the callers above keep 0 and −1 out. Async-signal-safe.
    Errno::result(unsafe { libc::kill(target, number) }).map(drop)
}

fn timespec(duration: Duration) -> libc::timespec {
    libc::timespec {
        tv_sec: libc::time_t::try_from(duration.as_secs()).unwrap_or(libc::time_t::MAX),
        tv_nsec: libc::c_long::from(duration.subsec_nanos()),
    }
}

#[cfg(test)]
mod tests {
    use super::{LAST, SignalSet};

    #[test]
    fn a_set_holds_1_to_64_and_nothing_else() {
        assert_eq!(SignalSet::of(&[0, -1, LAST + 1]), SignalSet::EMPTY);
        for number in 1..=LAST {
            let set = SignalSet::of(&[number]);
            assert!(set.contains(number));
            assert_eq!(set.without(number), SignalSet::EMPTY);
            assert!(!SignalSet::ALL.without(number).contains(number));
        }
    }
}
