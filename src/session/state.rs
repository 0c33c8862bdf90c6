//! What a session's process decides: a pure function of its state, an event and the time.
//!
//! Its life: serving; hung up, with time to end; killing, again and again, because each death may surface orphans. It
//! leaves when its program has ended and no child is left, or when what is left cannot even be killed.

use std::time::{Duration, Instant};

use crate::control::ToSession;
use crate::sys::Pid;
use crate::sys::signal;
use crate::sys::wait::Status;

/// How long programs have after the hang-up when the agent is gone.
const GRACE_WITHOUT_AGENT: Duration = Duration::from_secs(2);

/// How often what is left is killed once more.
const KILL_AGAIN: Duration = Duration::from_millis(20);

/// How long killing may take: a process that hangs in the kernel is left to it.
const KILL_LIMIT: Duration = Duration::from_secs(5);

/// Something that happened.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Event {
    /// The agent said something.
    Message(ToSession),
    /// The agent is gone.
    AgentGone,
    /// A child ended.
    Ended(Pid, Status),
    /// There is no child left.
    NoChild,
    /// Time went by.
    Time,
}

/// Something to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// Tell the agent how the program ended.
    TellExit(Status),
    /// Send the program, or who is in the foreground, a signal.
    Signal(i32),
    /// Send HUP and CONT to the foreground and the program's group.
    HangUp,
    /// Kill every descendant.
    Kill,
    /// Leave.
    Leave,
}

/// The state.
pub(crate) struct Machine {
    program: Pid,
    ended: bool,
    phase: Phase,
}

enum Phase {
    Serving,
    HungUp {
        kill_at: Instant,
    },
    Killing {
        again_at: Instant,
        give_up_at: Instant,
    },
}

impl Machine {
    /// The state right after the program was started.
    pub(crate) fn new(program: Pid) -> Self {
        Self {
            program,
            ended: false,
            phase: Phase::Serving,
        }
    }

    /// When [`Event::Time`] is due.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        match self.phase {
            Phase::Serving => None,
            Phase::HungUp { kill_at } => Some(kill_at),
            Phase::Killing {
                again_at,
                give_up_at,
            } => Some(again_at.min(give_up_at)),
        }
    }

    /// Takes an event into account; adds what is to be done, in order.
    pub(crate) fn handle(&mut self, event: Event, now: Instant, actions: &mut Vec<Action>) {
        match event {
            Event::Message(ToSession::Signal { number }) => {
                if (1..=signal::LAST).contains(&number) {
                    actions.push(Action::Signal(number));
                }
            }
            Event::Message(ToSession::End { grace_ms }) => {
                self.end(Duration::from_millis(grace_ms), now, actions);
            }
            Event::AgentGone => self.end(GRACE_WITHOUT_AGENT, now, actions),
            Event::Ended(pid, status) if pid == self.program && !self.ended => {
                self.ended = true;
                actions.push(Action::TellExit(status));
            }
            Event::NoChild => actions.push(Action::Leave),
            Event::Time => self.on_time(now, actions),
            Event::Message(ToSession::Start { .. }) | Event::Ended(..) => {}
        }
    }

    /// Hangs up; a second time it can only shorten the grace.
    fn end(&mut self, grace: Duration, now: Instant, actions: &mut Vec<Action>) {
        let until = now.checked_add(grace).unwrap_or(now + GRACE_WITHOUT_AGENT);
        match &mut self.phase {
            Phase::Serving => {
                actions.push(Action::HangUp);
                self.phase = Phase::HungUp { kill_at: until };
            }
            Phase::HungUp { kill_at } => *kill_at = until.min(*kill_at),
            Phase::Killing { .. } => {}
        }
    }

    fn on_time(&mut self, now: Instant, actions: &mut Vec<Action>) {
        let give_up_at = match self.phase {
            Phase::HungUp { kill_at } if kill_at <= now => now + KILL_LIMIT,
            Phase::Killing { give_up_at, .. } if give_up_at <= now => {
                return actions.push(Action::Leave);
            }
            Phase::Killing {
                again_at,
                give_up_at,
            } if again_at <= now => give_up_at,
            _ => return,
        };
        actions.push(Action::Kill);
        self.phase = Phase::Killing {
            again_at: now + KILL_AGAIN,
            give_up_at,
        };
    }
}

#[cfg(test)]
mod tests {
    use super::{Action, Duration, Event, Instant, Machine, Pid, Status, ToSession};

    const PROGRAM: i32 = 40;

    struct Run {
        machine: Machine,
        now: Instant,
    }

    impl Run {
        fn new() -> Self {
            Self {
                machine: Machine::new(Pid::from_raw(PROGRAM)),
                now: Instant::now(),
            }
        }

        fn sees(&mut self, event: Event) -> Vec<Action> {
            let mut actions = Vec::new();
            self.machine.handle(event, self.now, &mut actions);
            actions
        }

        fn after(&mut self, milliseconds: u64) -> Vec<Action> {
            self.now += Duration::from_millis(milliseconds);
            self.sees(Event::Time)
        }
    }

    fn ended(pid: i32) -> Event {
        Event::Ended(Pid::from_raw(pid), Status::from_raw(3 << 8))
    }

    const fn end(grace_ms: u64) -> Event {
        Event::Message(ToSession::End { grace_ms })
    }

    #[test]
    fn the_exit_is_told_once_and_only_the_programs() {
        let mut run = Run::new();
        assert_eq!(run.sees(ended(41)), []);
        assert_eq!(
            run.sees(ended(PROGRAM)),
            [Action::TellExit(Status::from_raw(3 << 8))]
        );
        assert_eq!(
            run.sees(ended(PROGRAM)),
            [],
            "the pid came again and was taken for the program"
        );
        assert_eq!(
            run.machine.deadline(),
            None,
            "a leftover is the agent's to end"
        );
        assert_eq!(run.sees(Event::NoChild), [Action::Leave]);
    }

    #[test]
    fn signals_out_of_range_are_dropped() {
        let mut run = Run::new();
        for (number, expected) in [
            (0, false),
            (1, true),
            (64, true),
            (65, false),
            (-9, false),
            (i32::MIN, false),
        ] {
            let actions = run.sees(Event::Message(ToSession::Signal { number }));
            assert_eq!(actions == [Action::Signal(number)], expected, "{number}");
        }
    }

    #[test]
    fn an_end_hangs_up_then_kills_until_nothing_is_left() {
        let mut run = Run::new();
        assert_eq!(run.sees(end(500)), [Action::HangUp]);
        assert_eq!(run.after(499), []);
        assert_eq!(run.after(1), [Action::Kill]);
        assert_eq!(run.after(19), []);
        assert_eq!(run.after(1), [Action::Kill]);
        assert_eq!(run.sees(Event::NoChild), [Action::Leave]);
    }

    #[test]
    fn a_second_end_shortens_and_never_lengthens() {
        let mut run = Run::new();
        assert_eq!(run.sees(Event::AgentGone), [Action::HangUp]);
        assert_eq!(run.sees(end(100)), []);
        assert_eq!(run.sees(end(u64::MAX)), []);
        assert_eq!(run.after(100), [Action::Kill]);
        assert_eq!(run.sees(end(0)), []);
    }

    #[test]
    fn what_cannot_be_killed_is_given_up() {
        let mut run = Run::new();
        assert_eq!(run.sees(end(0)), [Action::HangUp]);
        assert_eq!(run.after(0), [Action::Kill]);
        assert_eq!(run.after(4999), [Action::Kill]);
        assert_eq!(run.after(1), [Action::Leave]);
    }
}
