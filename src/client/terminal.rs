//! A person's terminal while a console uses it, and how it is given back on every way out.
//!
//! Given back are the line discipline's modes and whatever the program switched on in the terminal itself. It happens
//! when the [`Terminal`] is dropped, after an error or a signal as at a normal end, and when anything panics, before the panic
//! is printed.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, Mutex, PoisonError, TryLockError};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::modes::Modes;
use super::output::write_all;
use crate::sys::tty::RawMode;

/// How long a terminal that takes no output is waited for when it is given back, in milliseconds.
const FLUSH_TIMEOUT: u16 = 200;

/// A terminal in raw mode.
pub(super) struct Terminal(Arc<Mutex<Option<Held>>>);

struct Held {
    /// Puts the line discipline back when dropped.
    raw: RawMode,
    modes: Modes,
    screen: OwnedFd,
}

impl Terminal {
    /// Takes a terminal into raw mode; `screen` is where the program's output goes.
    pub(super) fn take(keyboard: BorrowedFd<'_>, screen: BorrowedFd<'_>) -> io::Result<Self> {
        let held = Held {
            screen: screen.try_clone_to_owned()?,
            modes: Modes::default(),
            raw: RawMode::enter(keyboard)?,
        };
        let shared = Arc::new(Mutex::new(Some(held)));
        let for_panics = Arc::downgrade(&shared);
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            if let Some(shared) = for_panics.upgrade() {
                // The panicking thread itself may hold the lock; then the drop gives back.
                let held = match shared.try_lock() {
                    Ok(mut held) => held.take(),
                    Err(TryLockError::Poisoned(held)) => held.into_inner().take(),
                    Err(TryLockError::WouldBlock) => None,
                };
                drop(held);
            }
            before(panic);
        }));
        Ok(Self(shared))
    }

    /// Watches what is written to the screen.
    pub(super) fn read(&self, output: &[u8]) {
        let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(held) = &mut *held {
            held.modes.read(output);
        }
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        drop(held.take());
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let reset = self.modes.reset();
        if !reset.is_empty() && self.takes_output() {
            let written = self
                .screen
                .try_clone()
                .and_then(|screen| write_all(&mut File::from(screen), &reset));
            if let Err(error) = written {
                tracing::debug!("the terminal's modes are not put back: {error}");
            }
        }
        // A terminal that is gone needs nothing back; `raw` tries once more.
        self.raw.restore().unwrap_or_default();
    }
}

impl Held {
    fn takes_output(&self) -> bool {
        let mut watched = [PollFd::new(self.screen.as_fd(), PollFlags::POLLOUT)];
        poll(&mut watched, PollTimeout::from(FLUSH_TIMEOUT)).is_ok_and(|ready| ready > 0)
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::OpenOptionsExt;

    use nix::fcntl::OFlag;
    use nix::pty::{grantpt, posix_openpt, ptsname_r, unlockpt};
    use nix::sys::termios::tcgetattr;

    use super::*;

    /// Also one in another thread: the message must not come to a raw terminal.
    #[test]
    fn a_panic_gives_the_terminal_back_before_it_is_printed() {
        let master = posix_openpt(OFlag::O_RDWR | OFlag::O_NOCTTY | OFlag::O_CLOEXEC).unwrap();
        grantpt(&master).unwrap();
        unlockpt(&master).unwrap();
        let slave = File::options()
            .read(true)
            .write(true)
            .custom_flags(OFlag::O_NOCTTY.bits())
            .open(ptsname_r(&master).unwrap())
            .unwrap();
        let before = tcgetattr(&slave).unwrap();
        let terminal = Terminal::take(slave.as_fd(), slave.as_fd()).unwrap();
        assert_ne!(tcgetattr(&slave).unwrap(), before);
        let panicked = std::thread::spawn(|| panic!("on purpose")).join();
        assert!(panicked.is_err());
        assert_eq!(tcgetattr(&slave).unwrap(), before);
        drop(terminal);
    }
}
