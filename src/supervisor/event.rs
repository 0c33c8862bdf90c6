//! The vocabulary of the supervisor's state: where it stands, what happens to it, what it does.

use std::time::Duration;

use super::exit::Exit;
use crate::control::ToSupervisor;
use crate::sys::Pid;
use crate::sys::signal::Received;
use crate::sys::wait::Change;

/// Where we stand among processes, as it was at the start.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    /// Our own pid.
    pub(crate) own: Pid,
    /// Whether we are PID 1.
    pub(crate) init: bool,
    /// Whether the application is in our process group.
    pub(crate) shares_group: bool,
    /// Whether we lead our session.
    pub(crate) leads_session: bool,
}

/// Something that happened.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Event {
    /// A signal was taken.
    Signal(Received),
    /// A child changed. `orphaned` tells whether nobody would continue our group if it stopped.
    Child {
        pid: Pid,
        change: Change,
        orphaned: bool,
    },
    /// There is no child left.
    NoChild,
    /// The agent was started.
    AgentStarted(Pid),
    /// The agent could not be started.
    AgentFailed,
    /// The agent told something.
    AgentSaid(ToSupervisor),
    /// The agent closed its end.
    AgentSilent,
    /// Time went by.
    Time,
}

/// Something to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// Tell the application, or its group.
    Forward(Received),
    /// Send the application CONT.
    Continue,
    /// Stop ourselves, as the application has stopped, if it still is.
    StopOurselves(i32),
    /// Kill the application and its group.
    KillApplication,
    /// Start the agent, after so many earlier lives.
    StartAgent { restarts: u32 },
    /// Tell the agent to be gone in time.
    DrainAgent { within: Duration },
    /// Kill the agent.
    KillAgent(Pid),
    /// Send a signal to what the application left behind, to everything but `agent` and its family as PID 1.
    SignalLeftovers { number: i32, agent: Option<Pid> },
    /// Leave.
    Leave(Exit),
}
