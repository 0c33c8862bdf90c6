//! What a command of a client works with: three descriptors and the environment.

use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use super::ClientError;
use super::output::write_all;
use crate::local::Places;
use crate::sys::tty::is_terminal;

/// Reads a variable of the environment.
type Variable = Arc<dyn Fn(&str) -> Option<String> + Send + Sync>;

/// Standard descriptors and environment of a command.
#[derive(Clone)]
pub struct Context {
    descriptors: Arc<[OwnedFd; 3]>,
    variable: Variable,
}

impl Context {
    /// Those of this process.
    pub fn of_process() -> io::Result<Self> {
        Ok(Self::new(
            [
                io::stdin().as_fd().try_clone_to_owned()?,
                io::stdout().as_fd().try_clone_to_owned()?,
                io::stderr().as_fd().try_clone_to_owned()?,
            ],
            |name| std::env::var(name).ok(),
        ))
    }

    /// Any descriptors, for standard input, output and error, and any environment.
    pub fn new(
        descriptors: [OwnedFd; 3],
        variable: impl Fn(&str) -> Option<String> + Send + Sync + 'static,
    ) -> Self {
        Self {
            descriptors: Arc::new(descriptors),
            variable: Arc::new(variable),
        }
    }

    pub(super) fn stdin(&self) -> BorrowedFd<'_> {
        self.descriptors[0].as_fd()
    }

    pub(super) fn stdout(&self) -> BorrowedFd<'_> {
        self.descriptors[1].as_fd()
    }

    pub(super) fn stderr(&self) -> BorrowedFd<'_> {
        self.descriptors[2].as_fd()
    }

    /// A variable that is set and not empty.
    pub(super) fn variable(&self, name: &str) -> Option<String> {
        (self.variable)(name).filter(|value| !value.is_empty())
    }

    /// The environment as `config` wants it.
    pub(super) fn variables(&self) -> impl Fn(&str) -> Option<String> + '_ {
        |name| (self.variable)(name)
    }

    /// Where private sockets lie.
    pub(super) fn places(&self) -> Places {
        Places::new(&|name| (self.variable)(name).map(OsString::from))
    }

    /// Whether people read standard error.
    pub(super) fn is_watched(&self) -> bool {
        is_terminal(self.stderr())
    }

    /// Says one line on standard error. If that cannot be written there is nobody to tell.
    pub(super) fn say(&self, text: &str) {
        if let Ok(file) = self.stderr().try_clone_to_owned() {
            write_all(&mut File::from(file), format!("{text}\n").as_bytes()).unwrap_or_default();
        }
    }

    /// Prints a command's result on standard output. A reader that has gone away had enough.
    pub(crate) fn print(&self, text: &str) -> Result<(), ClientError> {
        let file = self.stdout().try_clone_to_owned();
        let written = file.and_then(|file| write_all(&mut File::from(file), text.as_bytes()));
        match written {
            Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(ClientError::Request(
                format!("cannot write to standard output: {error}"),
            )),
            _ => Ok(()),
        }
    }
}
