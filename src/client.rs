//! What people type: consoles, tasks and lists.
//!
//! Theory of operation: [`target`] decides where a name leads and connects; [`wire`] carries the packets of one session; [`session`]
//! says what they mean; [`conversation`] is the one loop between them, the standard descriptors and the signals; [`console`]
//! and [`mod@exec`] are the two ways to take part in it.
//!
//! Rules: what a program writes goes to standard output and standard error unchanged; what we say goes to standard error. The
//! standard descriptors and the environment are arguments, a [`Context`]. The exit codes are those of the README's table.

mod console;
mod context;
mod conversation;
mod escape;
mod exec;
pub mod http;
mod input;
mod list;
mod modes;
mod output;
mod progress;
mod session;
mod signals;
pub(crate) mod table;
pub(crate) mod target;
mod terminal;
mod wire;

pub use console::{ConnectOptions, connect};
pub use context::Context;
pub use exec::{ExecOptions, exec};
pub use list::{ListFormat, list};

/// Why a command of a client failed, by the exit code that it gets.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The command line makes no sense.
    #[error("{0}")]
    Usage(String),
    /// Nothing was run.
    #[error("{0}")]
    NotRun(String),
    /// Something was run and its result is not known.
    #[error("{0}")]
    Unknown(String),
    /// A request to the API failed.
    #[error("{0}")]
    Request(String),
}

impl ClientError {
    /// The exit code.
    pub fn exit_code(&self) -> i32 {
        match self {
            Self::Usage(_) => 2,
            Self::NotRun(_) => session::NOT_RUN,
            Self::Unknown(_) => session::UNKNOWN,
            Self::Request(_) => 1,
        }
    }
}
