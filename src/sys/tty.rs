//! A person's terminal: raw mode, size.
//!
//! Sources: `termios(3)`, `ioctl_tty(2)`.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::sys::stat::Mode;
use nix::sys::termios::{SetArg, Termios, cfmakeraw, tcgetattr, tcgetsid, tcsetattr};

use super::fd::{duplicate, standard};

/// A terminal's size.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct WindowSize {
    /// Rows of characters.
    pub rows: u16,
    /// Columns of characters.
    pub columns: u16,
    /// Width in pixels, 0 if not known.
    pub x: u16,
    /// Height in pixels, 0 if not known.
    pub y: u16,
}

/// A terminal in raw mode; its former modes come back when this is dropped.
pub struct RawMode {
    terminal: OwnedFd,
    before: Termios,
}

impl RawMode {
    /// Puts a terminal into raw mode.
    pub fn enter(fd: BorrowedFd<'_>) -> io::Result<Self> {
        let terminal = duplicate(fd)?;
        let before = tcgetattr(&terminal)?;
        let guard = Self { terminal, before };
        guard.again()?;
        Ok(guard)
    }

    /// Puts the terminal into raw mode once more, after [`restore`](Self::restore).
    pub fn again(&self) -> io::Result<()> {
        let mut raw = self.before.clone();
        cfmakeraw(&mut raw);
        Ok(tcsetattr(&self.terminal, SetArg::TCSANOW, &raw)?)
    }

    /// Gives the terminal its former modes back.
    pub fn restore(&self) -> io::Result<()> {
        Ok(tcsetattr(&self.terminal, SetArg::TCSANOW, &self.before)?)
    }
}

impl Drop for RawMode {
    fn drop(&mut self) {
        // A terminal that is gone needs nothing back.
        let _gone = self.restore();
    }
}

/// Whether a descriptor is a terminal.
pub fn is_terminal(fd: BorrowedFd<'_>) -> bool {
    nix::unistd::isatty(fd).unwrap_or(false)
}

/// The size of a terminal.
pub fn window_size(fd: BorrowedFd<'_>) -> io::Result<WindowSize> {
    let mut size = libc::winsize {
        ws_row: 0,
        ws_col: 0,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    // SAFETY: `size` is what the request writes.
    Errno::result(unsafe { libc::ioctl(fd.as_raw_fd(), libc::TIOCGWINSZ, &raw mut size) })?;
    Ok(WindowSize {
        rows: size.ws_row,
        columns: size.ws_col,
        x: size.ws_xpixel,
        y: size.ws_ypixel,
    })
}

/// Sets the size of a terminal; the foreground group is told by SIGWINCH if it changes.
pub fn set_window_size(fd: BorrowedFd<'_>, size: WindowSize) -> io::Result<()> {
    let size = libc::winsize {
        ws_row: size.rows,
        ws_col: size.columns,
        ws_xpixel: size.x,
        ws_ypixel: size.y,
    };
    // SAFETY: `size` is what the request reads.
    Errno::result(unsafe { libc::ioctl(fd.as_raw_fd(), libc::TIOCSWINSZ, &raw const size) })?;
    Ok(())
}

/// Whether this process has a controlling terminal, wherever its standard descriptors lead.
pub fn has_controlling_terminal() -> bool {
    match open(
        "/dev/tty",
        OFlag::O_RDWR | OFlag::O_NOCTTY | OFlag::O_CLOEXEC,
        Mode::empty(),
    ) {
        Ok(_) => true,
        Err(Errno::ENXIO) => false,
        // No /dev here. A terminal names its session only to those whose controlling terminal it is.
        Err(_) => standard().iter().any(|fd| tcgetsid(fd).is_ok()),
    }
}
