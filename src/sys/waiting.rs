//! One place to wait for signals, a deadline and a socket: the loop of the supervisor and of a session process.
//!
//! All signals are blocked; a descriptor tells that one is pending, and `sigtimedwait` takes it. Each of the two may be
//! refused by a sandbox: without the descriptor the socket is looked at every [`TICK`], without `sigtimedwait` signals are
//! read from the descriptor. No periodic wake-up otherwise.

use std::collections::VecDeque;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, ppoll};
use nix::sys::time::TimeSpec;

use super::signal::{Received, descriptor, take, take_from};

/// How often a socket is looked at where a sandbox allows no descriptor for signals.
const TICK: Duration = Duration::from_millis(50);

/// What is waited for besides sockets and deadlines. Signals must be blocked before it is made.
pub struct Waiting {
    descriptor: Option<OwnedFd>,
    /// Signals that were taken while waiting; one at most.
    taken: VecDeque<Received>,
}

impl Waiting {
    /// Asks the kernel for the descriptor.
    pub fn new() -> Self {
        Self {
            descriptor: descriptor().ok(),
            taken: VecDeque::new(),
        }
    }

    /// The descriptor to keep open.
    pub fn fd(&self) -> Option<BorrowedFd<'_>> {
        self.descriptor.as_ref().map(AsFd::as_fd)
    }

    /// Waits until a signal is pending, the socket is readable or closed, or the deadline has come. May return early.
    /// Tells whether the socket is worth reading.
    pub fn wait(&mut self, socket: Option<BorrowedFd<'_>>, deadline: Option<Instant>) -> bool {
        let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        match (&self.descriptor, socket) {
            (Some(signals), socket) => {
                let mut fds = vec![PollFd::new(signals.as_fd(), PollFlags::POLLIN)];
                fds.extend(socket.map(|socket| PollFd::new(socket, PollFlags::POLLIN)));
                let ready = ppoll(&mut fds, left.map(TimeSpec::from_duration), None);
                ready.is_ok() && fds.get(1).is_some_and(|fd| fd.any() == Some(true))
            }
            (None, None) => {
                self.take_for(left);
                false
            }
            (None, Some(socket)) => {
                self.take_for(Some(left.map_or(TICK, |left| left.min(TICK))));
                let mut fds = [PollFd::new(socket, PollFlags::POLLIN)];
                nix::poll::poll(&mut fds, PollTimeout::ZERO).is_ok_and(|ready| ready > 0)
            }
        }
    }

    /// The next pending signal, if there is one.
    pub fn next_signal(&mut self) -> Option<Received> {
        if let Some(taken) = self.taken.pop_front() {
            return Some(taken);
        }
        match (take(Some(Duration::ZERO)), &self.descriptor) {
            (Ok(signal), _) => signal,
            (Err(_), Some(descriptor)) => take_from(descriptor.as_fd()).ok().flatten(),
            (Err(_), None) => None,
        }
    }

    /// Waits for a signal without the descriptor.
    fn take_for(&mut self, limit: Option<Duration>) {
        match take(limit) {
            Ok(signal) => self.taken.extend(signal),
            // Nothing tells of signals here. Children must be reaped all the same.
            Err(Errno::ENOSYS | Errno::EPERM) => {
                std::thread::sleep(limit.map_or(TICK, |limit| limit.min(TICK)));
            }
            Err(_) => {}
        }
    }
}

impl Default for Waiting {
    fn default() -> Self {
        Self::new()
    }
}
