//! How we leave: as the application did.

use crate::sys::{process, signal};

/// Added to a signal's number where only an exit code can tell of it.
const SIGNAL_BASE: i32 = 128;

/// The way out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// With a code.
    Code(i32),
    /// By a signal, of which we die too.
    Signal(i32),
}

impl Exit {
    /// The code that a shell would show.
    pub const fn code(self) -> i32 {
        match self {
            Self::Code(code) => code,
            Self::Signal(number) => SIGNAL_BASE + number,
        }
    }

    /// Dies of the signal, without a second core file. Otherwise, or if the signal does not end us, the code to leave with.
    pub fn leave(self) -> i32 {
        if let Self::Signal(number) = self {
            process::forbid_core();
            // Refused only by a sandbox; the limit above does the same for most.
            let _refused = process::set_non_dumpable();
            signal::raise_default(number);
        }
        self.code()
    }
}
