//! Starting a process by our own fork and exec.
//!
//! Why not std: it passes our own signal mask on, changes dispositions, drops the order and duplicates of the environment
//! and has no fallback for scripts without `#!`. To be used in a process with one thread. The child reports why it could
//! not execute through a close-on-exec pipe: end-of-file there means that the program runs.
//!
//! Who waits for the exec lends the child its memory meanwhile (`vfork`), which is what makes the start quick: copying the
//! page tables, and then every page that either touches, costs more than everything else before the exec.

use std::ffi::{c_int, c_void};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::unistd::{Pid, pipe2};

use super::exec::{Environment, Image, Words, exec};
use super::signal::{SignalSet, set_all_ignored, set_mask};
use super::{process, signal, wait};

/// Lowest number for descriptors on their way to their places; above all places that are used.
const PARKING: RawFd = 16;

/// Size of a child's stack, in bytes. It holds a few small arrays and no recursion; unused pages cost nothing.
const CHILD_STACK: usize = 64 * 1024;

/// Exit code of a child that could not execute.
const NOT_EXECUTED: i32 = 125;

/// Where the new process stands among sessions, groups and terminals.
#[derive(Clone, Copy)]
pub enum Standing<'a> {
    /// In our process group.
    Ours,
    /// In a new group of our session. Where that is refused, in ours.
    NewGroup,
    /// In a new session without a terminal.
    NewSession,
    /// In a new session, in the foreground of this terminal.
    Terminal(BorrowedFd<'a>),
}

/// Everything about a process to be started.
pub struct Spawn<'a> {
    /// What to execute.
    pub image: Image,
    /// Its words.
    pub words: &'a Words,
    /// Its environment.
    pub environment: &'a mut Environment,
    /// Its place.
    pub standing: Standing<'a>,
    /// Descriptors and the numbers they get. All others are inherited unless close-on-exec.
    pub descriptors: Vec<(BorrowedFd<'a>, RawFd)>,
    /// Its directory; ours if none.
    pub directory: Option<BorrowedFd<'a>>,
    /// Its signal mask.
    pub mask: SignalSet,
    /// The signals it ignores; all others have their default action.
    pub ignored: SignalSet,
    /// The signal it gets when we die.
    pub parent_death: Option<i32>,
}

/// What was being done when a process could not be started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Step {
    /// Making a process.
    Fork,
    /// Taking the terminal.
    Terminal,
    /// Putting descriptors in place.
    Descriptors,
    /// Entering the directory.
    Directory,
    /// Executing the program.
    Exec,
}

/// Why a process was not started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SpawnError {
    /// What was being done.
    pub step: Step,
    /// Why it failed.
    pub errno: Errno,
}

/// A child between fork and exec, or after it.
pub struct Starting {
    /// The child.
    pub pid: Pid,
    report: OwnedFd,
}

impl Spawn<'_> {
    /// Starts the process and waits until its exec has succeeded.
    pub fn run(&mut self) -> Result<Pid, SpawnError> {
        let starting = self.fork(libc::CLONE_VM | libc::CLONE_VFORK)?;
        match starting.failure() {
            None => Ok(starting.pid),
            Some(error) => {
                // It ends at once; nobody else waits for it yet.
                let _ended = wait::ended(starting.pid);
                Err(error)
            }
        }
    }

    /// Starts the process without waiting for its exec.
    pub fn start(&mut self) -> Result<Starting, SpawnError> {
        self.fork(0)
    }

    fn fork(&mut self, memory: c_int) -> Result<Starting, SpawnError> {
        let failed = |errno| SpawnError {
            step: Step::Fork,
            errno,
        };
        let (report, writer) = pipe2(OFlag::O_CLOEXEC).map_err(failed)?;
        let mut stack = Vec::<u128>::with_capacity(CHILD_STACK / size_of::<u128>());
        let top = stack.spare_capacity_mut().as_mut_ptr_range().end;
        let mut child = Child {
            spawn: self,
            writer: writer.as_fd(),
            parent: Pid::this(),
        };
        // SAFETY: the child has a stack and a `Child` that outlive it: its memory is its own copy, or we wait until it has
        // left this one. It allocates nothing and ends in exec or _exit.
        let pid = unsafe {
            libc::clone(
                Child::main,
                top.cast(),
                memory | libc::SIGCHLD,
                (&raw mut child).cast(),
            )
        };
        let pid = Pid::from_raw(Errno::result(pid).map_err(failed)?);
        self.environment.set_pid(pid.as_raw().unsigned_abs());
        if matches!(self.standing, Standing::NewGroup) {
            // In both processes, so that neither has to wait for the other. Refused once the child has executed.
            let _done = nix::unistd::setpgid(pid, pid);
        }
        Ok(Starting { pid, report })
    }

    /// In the child: becomes the program, or reports why not.
    fn child(&mut self, writer: BorrowedFd<'_>, parent: Pid) -> ! {
        let Some(writer) = park(writer.as_raw_fd()) else {
            exit()
        };
        let error = match self.prepare(parent) {
            Ok(()) => SpawnError {
                step: Step::Exec,
                errno: exec(&mut self.image, self.words, self.environment),
            },
            Err(error) => error,
        };
        let [a, b, c, d] = (error.errno as i32).to_ne_bytes();
        let report = [error.step as u8, a, b, c, d];
        // SAFETY: the buffer has the length given. An unread report changes nothing.
        unsafe { libc::write(writer, report.as_ptr().cast(), report.len()) };
        exit()
    }

    fn prepare(&mut self, parent: Pid) -> Result<(), SpawnError> {
        let at = |step| move |errno| SpawnError { step, errno };
        if let Image::Ourselves {
            program: Some(program),
            ..
        } = &mut self.image
        {
            // It may lie where a descriptor is going to be put.
            *program = park(*program)
                .ok_or(Errno::EMFILE)
                .map_err(at(Step::Descriptors))?;
        }
        self.stand().map_err(at(Step::Terminal))?;
        self.place_descriptors().map_err(at(Step::Descriptors))?;
        if let Some(directory) = self.directory {
            nix::unistd::fchdir(directory).map_err(at(Step::Directory))?;
        }
        if let Some(number) = self.parent_death {
            // Where it is refused, the program outlives us.
            let _refused = process::set_parent_death_signal(number);
            if Pid::parent() != parent {
                let _gone = signal::send(Pid::this(), number);
            }
        }
        self.environment
            .set_pid(Pid::this().as_raw().unsigned_abs());
        set_all_ignored(self.ignored);
        set_mask(self.mask);
        Ok(())
    }

    fn stand(&self) -> Result<(), Errno> {
        match self.standing {
            Standing::Ours => {}
            Standing::NewGroup => {
                let _refused = nix::unistd::setpgid(Pid::from_raw(0), Pid::from_raw(0));
            }
            Standing::NewSession => process::new_session(),
            Standing::Terminal(terminal) => {
                process::new_session();
                // SAFETY: the request takes a number; 0 steals from nobody.
                Errno::result(unsafe { libc::ioctl(terminal.as_raw_fd(), libc::TIOCSCTTY, 0) })?;
            }
        }
        Ok(())
    }

    /// First out of the way of each other, then into place.
    fn place_descriptors(&self) -> Result<(), Errno> {
        let mut parked = [-1; PARKING as usize];
        for (slot, (fd, _)) in parked.iter_mut().zip(&self.descriptors) {
            *slot = park(fd.as_raw_fd()).ok_or(Errno::EMFILE)?;
        }
        for (slot, (_, target)) in parked.iter().zip(&self.descriptors) {
            // SAFETY: in a forked child, before exec, the numbers are ours to give. Not close-on-exec there.
            Errno::result(unsafe { libc::dup2(*slot, *target) })?;
        }
        Ok(())
    }
}

/// What a child needs to know.
struct Child<'a, 'b> {
    spawn: &'a mut Spawn<'b>,
    writer: BorrowedFd<'a>,
    parent: Pid,
}

impl Child<'_, '_> {
    /// Where the child begins.
    extern "C" fn main(child: *mut c_void) -> c_int {
        // SAFETY: `fork` passes one, which nobody else uses meanwhile.
        let child = unsafe { &mut *child.cast::<Child<'_, '_>>() };
        child.spawn.child(child.writer, child.parent)
    }
}

impl Starting {
    /// Waits until the child has executed or failed: `None`, or why.
    pub fn failure(&self) -> Option<SpawnError> {
        let mut report = [0; 5];
        loop {
            match nix::unistd::read(self.report.as_fd(), &mut report) {
                Err(Errno::EINTR) => {}
                Ok(length) if length == report.len() => {
                    let [step, a, b, c, d] = report;
                    let errno = Errno::from_raw(i32::from_ne_bytes([a, b, c, d]));
                    return Some(SpawnError {
                        step: Step::from_number(step),
                        errno,
                    });
                }
                _ => return None,
            }
        }
    }
}

impl Step {
    fn from_number(number: u8) -> Self {
        let all = [
            Self::Fork,
            Self::Terminal,
            Self::Descriptors,
            Self::Directory,
        ];
        all.into_iter()
            .find(|&step| step as u8 == number)
            .unwrap_or(Self::Exec)
    }
}

/// A copy of a descriptor above all places, close-on-exec.
fn park(fd: RawFd) -> Option<RawFd> {
    // SAFETY: the descriptor is open.
    Errno::result(unsafe { libc::fcntl(fd, libc::F_DUPFD_CLOEXEC, PARKING) }).ok()
}

fn exit() -> ! {
    // SAFETY: ends the forked child without running anything of its parent's.
    unsafe { libc::_exit(NOT_EXECUTED) }
}
