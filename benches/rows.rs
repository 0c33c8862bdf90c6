//! The rows of the table: what is tried, and how a wrapper's answer is read.

mod end;
mod init;
mod signals;
mod terminal;
mod world;

use std::fmt;

use crate::support::Result;
use crate::support::wrapper::Wrapper;

/// What a wrapper did in a row.
pub(crate) enum Cell {
    /// As it should be.
    Yes,
    /// Not.
    No,
    /// As it should be, in a word.
    Good(String),
    /// Not as it should be, in a word.
    Word(String),
    /// The machine does not allow the test.
    Untested,
}

impl From<bool> for Cell {
    fn from(holds: bool) -> Self {
        if holds { Self::Yes } else { Self::No }
    }
}

impl fmt::Display for Cell {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Yes => write!(to, "yes"),
            Self::No => write!(to, "**no**"),
            Self::Good(word) => write!(to, "{word}"),
            Self::Word(word) => write!(to, "**{word}**"),
            Self::Untested => write!(to, "–"),
        }
    }
}

/// A question, and how it is put to a wrapper.
pub(crate) type Row = (&'static str, fn(&Wrapper) -> Result<Cell>);

/// Questions about one thing.
pub(crate) type Group = (&'static str, &'static [Row]);

/// Every question.
pub(crate) const GROUPS: &[Group] = &[
    ("in a terminal", terminal::ROWS),
    ("signals", signals::ROWS),
    ("what the application is given", world::ROWS),
    ("the end", end::ROWS),
    ("as PID 1", init::ROWS),
];
