//! A pair of pseudo-terminal ends for a console.
//!
//! portable-pty opens the pair; its way of starting a program is not used, because it loses exec errors and wait statuses.
//! Between opening and marking the ends close-on-exec another thread could fork, so only a process with one thread may
//! call [`open`]. Source: `ioctl_tty(2)`, `TIOCGPTPEER`.

use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use nix::errno::Errno;
use nix::sys::termios::{InputFlags, SetArg, tcgetattr, tcsetattr};
use portable_pty::{PtySize, PtySystem};
use std::os::fd::AsFd;

use super::fd::duplicate;
use super::tty::WindowSize;

/// Size of a terminal whose person told none.
pub const DEFAULT_SIZE: WindowSize = WindowSize {
    rows: 24,
    columns: 80,
    x: 0,
    y: 0,
};

/// The two ends.
pub struct Pair {
    /// The end that a terminal emulator holds.
    pub master: OwnedFd,
    /// The end that a program sees.
    pub terminal: OwnedFd,
}

/// Opens a pair, sized and set up for UTF-8 input. Takes no controlling terminal.
pub fn open(size: WindowSize) -> Result<Pair, Errno> {
    let size = if size.rows == 0 || size.columns == 0 {
        DEFAULT_SIZE
    } else {
        size
    };
    let size = PtySize {
        rows: size.rows,
        cols: size.columns,
        pixel_width: size.x,
        pixel_height: size.y,
    };
    // The error names no number; what the failed call left is the best there is.
    let pair = portable_pty::unix::UnixPtySystem::default()
        .openpty(size)
        .map_err(|_| Errno::last())?;
    let master = pair.master.as_raw_fd().ok_or(Errno::EBADF)?;
    // SAFETY: the pair holds it open.
    let master = duplicate(unsafe { BorrowedFd::borrow_raw(master) })?;
    let terminal = peer(&master)?;
    let mut modes = tcgetattr(&terminal)?;
    modes.input_flags.insert(InputFlags::IUTF8);
    tcsetattr(&terminal, SetArg::TCSANOW, &modes)?;
    Ok(Pair { master, terminal })
}

/// The process group in the foreground of the terminal behind a master.
pub fn foreground(master: &OwnedFd) -> Option<nix::unistd::Pid> {
    nix::unistd::tcgetpgrp(master.as_fd())
        .ok()
        .filter(|group| group.as_raw() > 0)
}

fn peer(master: &OwnedFd) -> Result<OwnedFd, Errno> {
    let flags = libc::O_RDWR | libc::O_NOCTTY | libc::O_CLOEXEC;
    // SAFETY: the request takes flags as its argument.
    let number =
        Errno::result(unsafe { libc::ioctl(master.as_raw_fd(), libc::TIOCGPTPEER, flags) })?;
    // SAFETY: the kernel just gave us this descriptor.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}

#[cfg(test)]
mod tests {
    use super::{DEFAULT_SIZE, open};
    use crate::sys::tty::{WindowSize, is_terminal, window_size};
    use std::os::fd::AsFd;

    #[test]
    fn a_pair_has_the_size_asked_for_or_the_default() {
        let size = WindowSize {
            rows: 43,
            columns: 132,
            x: 1320,
            y: 860,
        };
        let pair = open(size).unwrap();
        assert!(is_terminal(pair.terminal.as_fd()));
        assert_eq!(window_size(pair.master.as_fd()).unwrap(), size);
        let pair = open(WindowSize::default()).unwrap();
        assert_eq!(window_size(pair.terminal.as_fd()).unwrap(), DEFAULT_SIZE);
    }
}
