//! What the supervisor decides: a pure function of its state, an event and the time.
//!
//! Which signal is told to the application: one that a process sent to us, always, but not our own, nor in a shared group
//! the application's own. One from the kernel: in a shared group the terminal has told the whole group already, except a
//! hang-up, which only a session's leader gets; outside one, all but those that are about ourselves.
//!
//! At the end the agent may take as long as its load justifies; as PID 1 everything that is left is asked to end, then
//! killed. Neither outlasts its deadline by more than [`REAP_LIMIT`].

use std::time::{Duration, Instant};

use super::config::{Leftovers, Options, SignalExit};
use super::event::{Action, Event, Place};
use super::exit::Exit;
use crate::control::ToSupervisor;
use crate::sys::Pid;
use crate::sys::signal::Received;
use crate::sys::wait::{Change, Status};

/// How long after the application the first agent is started: an application that has ended by then has no use for one, and
/// one that starts is not to share its processors with it.
const FIRST_START: Duration = Duration::from_millis(10);

/// First pause before a dead agent is started again; doubles with each death.
const BACKOFF: Duration = Duration::from_millis(100);

/// Life of an agent after which the pauses start anew.
const STEADY: Duration = Duration::from_secs(10);

/// How long a killed process may take to be reaped: one that hangs in the kernel must not keep us.
const REAP_LIMIT: Duration = Duration::from_secs(1);

/// The state.
pub(crate) struct Machine {
    options: Options,
    place: Place,
    phase: Phase,
    agent: Agent,
    restarts: u32,
    backoff: Duration,
}

enum Phase {
    Running {
        application: Pid,
        stopped: bool,
        kill_at: Option<Instant>,
    },
    Ending {
        exit: Exit,
        leftovers: Deadline,
    },
    Left,
}

#[derive(Clone, Copy)]
enum Agent {
    /// There is none, and there will be none.
    None,
    /// To be started.
    Due(Instant),
    /// Alive. `ends` is set when the application has ended.
    Alive {
        pid: Pid,
        since: Instant,
        load: Load,
        ends: Deadline,
    },
}

/// What an agent has to do before it may be killed.
#[derive(Clone, Copy, Default)]
struct Load {
    sessions: u32,
    queued: u32,
}

/// A time limit with two steps.
#[derive(Clone, Copy)]
enum Deadline {
    /// Nothing is waited for.
    None,
    /// Kill then.
    Kill(Instant),
    /// Killed; wait no longer than this.
    GiveUp(Instant),
}

impl Deadline {
    fn at(self) -> Option<Instant> {
        match self {
            Self::None => None,
            Self::Kill(at) | Self::GiveUp(at) => Some(at),
        }
    }
}

impl Machine {
    /// The state right after the application was started.
    pub(crate) fn new(
        options: Options,
        place: Place,
        application: Pid,
        with_agent: bool,
        now: Instant,
    ) -> Self {
        let agent = if with_agent {
            Agent::Due(now + FIRST_START)
        } else {
            Agent::None
        };
        let phase = Phase::Running {
            application,
            stopped: false,
            kill_at: None,
        };
        Self {
            options,
            place,
            phase,
            agent,
            restarts: 0,
            backoff: BACKOFF,
        }
    }

    /// Whether the application is stopped.
    pub(crate) fn stopped(&self) -> bool {
        matches!(self.phase, Phase::Running { stopped: true, .. })
    }

    /// When [`Event::Time`] is due.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        let phase = match self.phase {
            Phase::Running { kill_at, .. } => kill_at,
            Phase::Ending { leftovers, .. } => leftovers.at(),
            Phase::Left => None,
        };
        let agent = match self.agent {
            Agent::None => None,
            Agent::Due(at) => Some(at),
            Agent::Alive { ends, .. } => ends.at(),
        };
        [phase, agent].into_iter().flatten().min()
    }

    /// Takes an event into account; adds what is to be done, in order.
    pub(crate) fn handle(&mut self, event: Event, now: Instant, actions: &mut Vec<Action>) {
        match event {
            Event::Signal(signal) => self.on_signal(signal, now, actions),
            Event::Child {
                pid,
                change: Change::Ended(status),
                ..
            } => self.on_end(pid, status, now, actions),
            Event::Child {
                pid,
                change: Change::Stopped(number),
                orphaned,
            } => {
                self.on_stop(pid, number, orphaned, actions);
            }
            Event::Child {
                pid,
                change: Change::Continued,
                ..
            } => self.on_continue(pid),
            Event::NoChild => self.on_no_child(),
            Event::AgentStarted(pid) => {
                self.agent = Agent::Alive {
                    pid,
                    since: now,
                    load: Load::default(),
                    ends: Deadline::None,
                };
            }
            Event::AgentFailed => self.agent_is_gone(now),
            Event::AgentSaid(ToSupervisor::State { sessions, queued }) => {
                self.set_load(Load { sessions, queued }, now);
            }
            // It cannot be told anything any more, so there is nothing to wait for at the end.
            Event::AgentSilent => self.set_load(Load::default(), now),
            Event::Time => {}
        }
        self.on_time(now, actions);
        self.leave_if_done(actions);
    }

    fn on_signal(&mut self, signal: Received, now: Instant, actions: &mut Vec<Action>) {
        let Phase::Running {
            application,
            stopped,
            kill_at,
        } = &mut self.phase
        else {
            return;
        };
        let number = signal.number();
        if number == libc::SIGCONT && self.place.shares_group {
            // Whoever continued the whole group has told it.
            if *stopped {
                actions.push(Action::Continue);
            }
            return;
        }
        if !tells_application(self.place, *application, &signal) {
            return;
        }
        if number == libc::SIGTERM && !self.options.forward_term {
            return;
        }
        let mapped = self.options.map.iter().find(|(from, _)| *from == number);
        let Some(number) = mapped.map_or(Some(number), |(_, to)| *to) else {
            return;
        };
        actions.push(Action::Forward(signal.renumbered(number)));
        if matches!(number, libc::SIGTERM | libc::SIGINT | libc::SIGQUIT) && kill_at.is_none() {
            *kill_at = self.options.stop_timeout.map(|limit| now + limit);
        }
    }

    fn on_stop(&mut self, pid: Pid, number: i32, orphaned: bool, actions: &mut Vec<Action>) {
        let Phase::Running {
            application,
            stopped,
            ..
        } = &mut self.phase
        else {
            return;
        };
        if pid != *application {
            return;
        }
        *stopped = true;
        let by_terminal = matches!(number, libc::SIGTSTP | libc::SIGTTIN | libc::SIGTTOU);
        if self.place.shares_group {
            // Where nobody would continue us the kernel ignores the terminal's kind by itself; STOP it does not.
            if !self.place.init && (by_terminal || !orphaned) {
                actions.push(Action::StopOurselves(number));
            }
        } else if by_terminal && orphaned {
            // In our own group the kernel would have ignored it.
            actions.push(Action::Continue);
        }
    }

    fn on_continue(&mut self, pid: Pid) {
        if let Phase::Running {
            application,
            stopped,
            ..
        } = &mut self.phase
            && pid == *application
        {
            *stopped = false;
        }
    }

    fn on_end(&mut self, pid: Pid, status: Status, now: Instant, actions: &mut Vec<Action>) {
        match self.phase {
            Phase::Running { application, .. } if application == pid => {
                self.end(status, now, actions);
            }
            _ => {}
        }
        if matches!(self.agent, Agent::Alive { pid: agent, .. } if agent == pid) {
            self.agent_is_gone(now);
        }
    }

    fn on_no_child(&mut self) {
        if let Phase::Ending { leftovers, .. } = &mut self.phase {
            *leftovers = Deadline::None;
            self.agent = Agent::None;
        }
    }

    /// The application ended.
    fn end(&mut self, status: Status, now: Instant, actions: &mut Vec<Action>) {
        let mut family = None;
        match &mut self.agent {
            Agent::None => {}
            Agent::Due(_) => self.agent = Agent::None,
            Agent::Alive {
                pid, load, ends, ..
            } => {
                family = Some(*pid);
                let within = match load {
                    Load {
                        sessions: 0,
                        queued: 0,
                    } => Duration::ZERO,
                    Load { sessions: 0, .. } => self.options.flush_timeout,
                    Load { .. } => self.options.leftover_grace,
                };
                *ends = Deadline::Kill(now + within);
                if !within.is_zero() {
                    actions.push(Action::DrainAgent { within });
                }
            }
        }
        let leftovers = self.end_leftovers(family, now, actions);
        self.phase = Phase::Ending {
            exit: self.exit(status),
            leftovers,
        };
    }

    fn end_leftovers(
        &self,
        agent: Option<Pid>,
        now: Instant,
        actions: &mut Vec<Action>,
    ) -> Deadline {
        let mut signal = |number| actions.push(Action::SignalLeftovers { number, agent });
        if self.place.init {
            signal(libc::SIGTERM);
            return Deadline::Kill(now + self.options.leftover_grace);
        }
        if !self.place.shares_group {
            match self.options.leftovers {
                Leftovers::Leave => {}
                Leftovers::Term => signal(libc::SIGTERM),
                Leftovers::Kill => signal(libc::SIGKILL),
            }
        }
        Deadline::None
    }

    fn exit(&self, status: Status) -> Exit {
        let exit = match (status.code(), status.signal()) {
            (Some(code), _) => Exit::Code(code),
            (None, signal) => Exit::Signal(signal.unwrap_or(libc::SIGKILL)),
        };
        if self.options.ok_exit.contains(&exit.code()) {
            return Exit::Code(0);
        }
        match self.options.signal_exit {
            SignalExit::Code => Exit::Code(exit.code()),
            SignalExit::Auto if self.place.init => Exit::Code(exit.code()),
            SignalExit::Auto | SignalExit::Raise => exit,
        }
    }

    fn agent_is_gone(&mut self, now: Instant) {
        let lived = match self.agent {
            Agent::Alive { since, .. } => now.saturating_duration_since(since),
            Agent::None | Agent::Due(_) => Duration::ZERO,
        };
        if !matches!(self.phase, Phase::Running { .. }) {
            self.agent = Agent::None;
            return;
        }
        if lived >= STEADY {
            self.backoff = BACKOFF;
        }
        let pause = self.backoff.min(self.options.agent_backoff_max);
        self.backoff = (self.backoff * 2).min(self.options.agent_backoff_max);
        self.restarts = self.restarts.saturating_add(1);
        self.agent = Agent::Due(now + pause);
    }

    fn set_load(&mut self, new: Load, now: Instant) {
        if let Agent::Alive { load, ends, .. } = &mut self.agent {
            *load = new;
            if let (
                Load {
                    sessions: 0,
                    queued: 0,
                },
                Deadline::Kill(at),
            ) = (new, ends)
            {
                *at = now;
            }
        }
    }

    fn on_time(&mut self, now: Instant, actions: &mut Vec<Action>) {
        let due = |at: Instant| at <= now;
        let running = matches!(self.phase, Phase::Running { .. });
        match &mut self.agent {
            Agent::Due(at) if running && due(*at) => {
                actions.push(Action::StartAgent {
                    restarts: self.restarts,
                });
                // The answer to this action says more.
                self.agent = Agent::None;
            }
            Agent::Alive { pid, ends, .. } => match *ends {
                Deadline::Kill(at) if due(at) => {
                    actions.push(Action::KillAgent(*pid));
                    *ends = Deadline::GiveUp(now + REAP_LIMIT);
                }
                Deadline::GiveUp(at) if due(at) => self.agent = Agent::None,
                _ => {}
            },
            Agent::None | Agent::Due(_) => {}
        }
        match &mut self.phase {
            Phase::Running { kill_at, .. } if kill_at.is_some_and(due) => {
                *kill_at = None;
                actions.push(Action::KillApplication);
            }
            Phase::Ending { leftovers, .. } => match *leftovers {
                Deadline::Kill(at) if due(at) => {
                    actions.push(Action::SignalLeftovers {
                        number: libc::SIGKILL,
                        agent: None,
                    });
                    *leftovers = Deadline::GiveUp(now + REAP_LIMIT);
                }
                Deadline::GiveUp(at) if due(at) => *leftovers = Deadline::None,
                _ => {}
            },
            Phase::Running { .. } | Phase::Left => {}
        }
    }

    fn leave_if_done(&mut self, actions: &mut Vec<Action>) {
        if let (
            Phase::Ending {
                exit,
                leftovers: Deadline::None,
            },
            Agent::None,
        ) = (&self.phase, self.agent)
        {
            actions.push(Action::Leave(*exit));
            self.phase = Phase::Left;
        }
    }
}

/// Whether a signal that we got is for the application, which has not got it from elsewhere.
fn tells_application(place: Place, application: Pid, signal: &Received) -> bool {
    let number = signal.number();
    if number == libc::SIGCHLD {
        return false;
    }
    if signal.from_process() {
        let sender = Pid::from_raw(signal.sender());
        return sender != place.own && !(place.shares_group && sender == application);
    }
    match number {
        // About ourselves: faults, our own use of time, files and pipes.
        libc::SIGSEGV
        | libc::SIGBUS
        | libc::SIGFPE
        | libc::SIGILL
        | libc::SIGTRAP
        | libc::SIGSYS
        | libc::SIGPIPE
        | libc::SIGXCPU
        | libc::SIGXFSZ => false,
        libc::SIGINT
        | libc::SIGQUIT
        | libc::SIGWINCH
        | libc::SIGTSTP
        | libc::SIGTTIN
        | libc::SIGTTOU => !place.shares_group,
        libc::SIGHUP => !place.shares_group || place.leads_session,
        _ => true,
    }
}

#[cfg(test)]
mod tests;
