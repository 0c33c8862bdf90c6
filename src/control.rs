//! Messages between our own processes: supervisor ↔ agent, agent ↔ session process.
//!
//! Each message is one datagram of a `SOCK_SEQPACKET` socket pair, JSON, at most [`MAX_DATAGRAM`] bytes; a descriptor may
//! ride along (`SCM_RIGHTS`). End-of-file means that the other process is gone. Both sides of a pair are normally the same
//! file; [`VERSION`] is compared where a supervisor starts an agent, because an upgrade may change that.

use serde::{Deserialize, Serialize};

/// Version of these messages.
pub const VERSION: u32 = 1;

/// Largest datagram, in bytes. Well below the default socket buffer, so that a write to an empty socket never blocks.
pub const MAX_DATAGRAM: usize = 64 * 1024;

/// Descriptor of the control socket in an agent and in a session process.
pub const SOCKET_FD: i32 = 3;
/// Descriptor (`O_PATH`) of the application's directory in an agent and in a session process.
pub const DIRECTORY_FD: i32 = 4;
/// Descriptor (`O_PATH`) of our own file in an agent.
pub const PROGRAM_FD: i32 = 5;

/// Supervisor to agent.
#[derive(Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum ToAgent {
    /// First message: what to serve.
    Start(Box<AgentStart>),
    /// The application ended or is being ended: tell sessions, be gone in time.
    Drain {
        /// Milliseconds until the supervisor kills the agent.
        within_ms: u64,
    },
}

/// What an agent needs to know and must not find in its argv or environment.
#[derive(Serialize, Deserialize, Default)]
pub struct AgentStart {
    /// [`VERSION`] of the supervisor.
    pub version: u32,
    /// The agent's key, whole; none for the local gateway.
    pub key: Option<String>,
    /// The connection's name, if one was given.
    pub name: Option<String>,
    /// The words of a console's program, if any were given.
    pub command: Option<Vec<String>>,
    /// Pid of the application.
    pub application_pid: i32,
    /// Which life of the agent this is, from 0. Greetings are said in the first only.
    pub restarts: u32,
    /// Whether descriptor 2 is the supervisor's standard error.
    pub stderr: bool,
    /// Whether that standard error is a terminal.
    pub stderr_is_terminal: bool,
}

/// Agent to supervisor.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum ToSupervisor {
    /// Sent when it changes: how long the exit may have to wait.
    State {
        /// Sessions that are open.
        sessions: u32,
        /// Reports that are queued and not yet delivered.
        queued: u32,
    },
}

/// Agent to session process.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum ToSession {
    /// First message: run the program, whose words are the session process' own arguments and whose environment is its own.
    Start {
        /// Size of the console's terminal; `None` for a task on pipes.
        terminal: Option<TerminalSize>,
    },
    /// Send a signal to the foreground process group (console) or the program's group (task).
    Signal {
        /// Signal number, 1 to 64.
        number: i32,
    },
    /// Hang up: HUP and CONT now, KILL after the grace.
    End {
        /// Milliseconds between the hang-up and KILL.
        grace_ms: u64,
    },
}

/// A terminal's size.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
pub struct TerminalSize {
    /// Rows of characters.
    pub rows: u16,
    /// Columns of characters.
    pub columns: u16,
    /// Width in pixels, 0 if not known.
    pub x: u16,
    /// Height in pixels, 0 if not known.
    pub y: u16,
}

/// Session process to agent.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum FromSession {
    /// The program's exec succeeded. For a console the PTY master rides along.
    Started {
        /// Pid of the program.
        pid: i32,
    },
    /// The program was not started.
    Failed {
        /// What was being done, for a person: `open a terminal`, `enter the directory`, `run PROGRAM`.
        step: String,
        /// The system's error number.
        errno: i32,
        /// 127 not found, 126 not executable, 125 anything else.
        code: i32,
    },
    /// The program ended. Its descendants may still live; the process ends them before it leaves.
    Exited {
        /// Status word of `waitpid`.
        status: i32,
    },
}
