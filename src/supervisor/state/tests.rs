use super::{
    Action, Change, Duration, Event, Exit, Instant, Leftovers, Machine, Options, Pid, Place,
    Received,
};
use super::{SignalExit, Status, ToSupervisor};

const OWN: i32 = 50;
const APPLICATION: i32 = 51;
const AGENT: i32 = 52;
const SI_KERNEL: i32 = 0x80;
const SI_TKILL: i32 = -6;

const OWN_GROUP: Place = Place {
    own: Pid::from_raw(OWN),
    init: false,
    shares_group: false,
    leads_session: false,
};
const SHARED: Place = Place {
    shares_group: true,
    ..OWN_GROUP
};
const INIT: Place = Place {
    own: Pid::from_raw(1),
    init: true,
    ..OWN_GROUP
};

struct Run {
    machine: Machine,
    now: Instant,
}

impl Run {
    fn new(place: Place) -> Self {
        Self::with(Options::default(), place, false)
    }

    fn with(options: Options, place: Place, agent: bool) -> Self {
        let now = Instant::now();
        Self {
            machine: Machine::new(options, place, Pid::from_raw(APPLICATION), agent, now),
            now,
        }
    }

    fn with_agent(options: Options, place: Place) -> Self {
        let mut run = Self::with(options, place, true);
        assert_eq!(run.after(9), []);
        assert_eq!(run.after(1), [Action::StartAgent { restarts: 0 }]);
        run.agent_lives();
        run
    }

    fn agent_lives(&mut self) {
        assert_eq!(self.sees(Event::AgentStarted(Pid::from_raw(AGENT))), []);
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

    fn child(&mut self, pid: i32, change: Change) -> Vec<Action> {
        self.sees(Event::Child {
            pid: Pid::from_raw(pid),
            change,
            orphaned: true,
        })
    }

    fn ends(&mut self, code: i32) -> Vec<Action> {
        self.child(APPLICATION, Change::Ended(Status::from_raw(code << 8)))
    }

    fn dies_of(&mut self, signal: i32) -> Vec<Action> {
        self.child(APPLICATION, Change::Ended(Status::from_raw(signal)))
    }

    fn agent_dies(&mut self) -> Vec<Action> {
        self.child(AGENT, Change::Ended(Status::from_raw(9)))
    }

    fn load(&mut self, sessions: u32, queued: u32) -> Vec<Action> {
        self.sees(Event::AgentSaid(ToSupervisor::State { sessions, queued }))
    }

    fn forwards(&mut self, number: i32, code: i32, sender: i32) -> bool {
        let signal = Received::new(number, code, sender);
        match self.sees(Event::Signal(signal)).as_slice() {
            [] => false,
            [Action::Forward(forwarded)] => *forwarded == signal,
            [Action::Continue] => number == libc::SIGCONT,
            other => panic!("{other:?}"),
        }
    }
}

fn kill_agent() -> Action {
    Action::KillAgent(Pid::from_raw(AGENT))
}

fn leftovers(number: i32, agent: bool) -> Action {
    Action::SignalLeftovers {
        number,
        agent: agent.then_some(Pid::from_raw(AGENT)),
    }
}

#[test]
fn every_signal_that_a_process_sent_is_told_but_chld() {
    for place in [OWN_GROUP, SHARED, INIT] {
        for code in [libc::SI_USER, libc::SI_QUEUE, SI_TKILL] {
            for number in 1..=64 {
                // CONT in a shared group has a rule of its own.
                let expected =
                    number != libc::SIGCHLD && !(place.shares_group && number == libc::SIGCONT);
                assert_eq!(
                    Run::new(place).forwards(number, code, 7),
                    expected,
                    "{number} {place:?}"
                );
            }
        }
    }
}

#[test]
fn a_signal_is_told_each_time_it_comes() {
    let mut run = Run::new(OWN_GROUP);
    for _ in 0..3 {
        assert!(run.forwards(libc::SIGINT, libc::SI_USER, 7));
    }
}

#[test]
fn what_the_terminal_told_the_group_is_not_told_again() {
    let keys = [
        libc::SIGINT,
        libc::SIGQUIT,
        libc::SIGTSTP,
        libc::SIGTTIN,
        libc::SIGTTOU,
        libc::SIGWINCH,
        libc::SIGHUP,
    ];
    for number in keys {
        assert!(!Run::new(SHARED).forwards(number, SI_KERNEL, 0), "{number}");
        assert!(
            Run::new(OWN_GROUP).forwards(number, SI_KERNEL, 0),
            "{number}"
        );
    }
    let leader = Place {
        leads_session: true,
        ..SHARED
    };
    assert!(
        Run::new(leader).forwards(libc::SIGHUP, SI_KERNEL, 0),
        "a hang-up is told to the session's leader only"
    );
    assert!(!Run::new(leader).forwards(libc::SIGINT, SI_KERNEL, 0));
    assert!(
        Run::new(SHARED).forwards(libc::SIGALRM, SI_KERNEL, 0),
        "a timer that we inherited is the application's"
    );
}

#[test]
fn what_is_about_ourselves_is_not_told() {
    let ours = [
        libc::SIGSEGV,
        libc::SIGBUS,
        libc::SIGFPE,
        libc::SIGILL,
        libc::SIGTRAP,
        libc::SIGSYS,
        libc::SIGPIPE,
        libc::SIGXCPU,
        libc::SIGXFSZ,
        libc::SIGCHLD,
    ];
    for number in ours {
        assert!(!Run::new(OWN_GROUP).forwards(number, 1, 0), "{number}");
    }
    assert!(
        !Run::new(OWN_GROUP).forwards(libc::SIGTERM, libc::SI_USER, OWN),
        "from ourselves"
    );
    assert!(
        !Run::new(SHARED).forwards(libc::SIGTERM, libc::SI_USER, APPLICATION),
        "the application signalled its group"
    );
    assert!(Run::new(OWN_GROUP).forwards(libc::SIGTERM, libc::SI_USER, APPLICATION));
}

#[test]
fn signals_can_be_mapped_dropped_and_held_back() {
    let map = vec![(libc::SIGTERM, Some(libc::SIGQUIT)), (libc::SIGUSR1, None)];
    let mut run = Run::with(
        Options {
            map,
            ..Options::default()
        },
        OWN_GROUP,
        false,
    );
    let term = Received::new(libc::SIGTERM, libc::SI_USER, 7);
    assert_eq!(
        run.sees(Event::Signal(term)),
        [Action::Forward(term.renumbered(libc::SIGQUIT))]
    );
    assert!(!run.forwards(libc::SIGUSR1, libc::SI_USER, 7));
    let mut run = Run::with(
        Options {
            forward_term: false,
            ..Options::default()
        },
        OWN_GROUP,
        false,
    );
    assert!(!run.forwards(libc::SIGTERM, libc::SI_USER, 7));
    assert!(run.forwards(libc::SIGINT, libc::SI_USER, 7));
}

#[test]
fn in_a_shared_group_we_stop_as_the_application_stops() {
    let mut run = Run::new(SHARED);
    assert_eq!(
        run.child(APPLICATION, Change::Stopped(libc::SIGTSTP)),
        [Action::StopOurselves(libc::SIGTSTP)]
    );
    assert!(run.machine.stopped());
    assert!(
        run.forwards(libc::SIGCONT, libc::SI_USER, 7),
        "only we were continued"
    );
    assert_eq!(run.child(APPLICATION, Change::Continued), []);
    assert!(
        !run.forwards(libc::SIGCONT, libc::SI_USER, 7),
        "the whole group was continued"
    );
    assert_eq!(
        run.child(99, Change::Stopped(libc::SIGTSTP)),
        [],
        "not the application"
    );
    assert_eq!(
        run.child(APPLICATION, Change::Stopped(libc::SIGSTOP)),
        [],
        "nobody would continue us"
    );
    let stopped = Event::Child {
        pid: Pid::from_raw(APPLICATION),
        change: Change::Stopped(libc::SIGSTOP),
        orphaned: false,
    };
    assert_eq!(
        Run::new(SHARED).sees(stopped),
        [Action::StopOurselves(libc::SIGSTOP)]
    );
    let mut init = Run::new(Place {
        shares_group: true,
        ..INIT
    });
    assert_eq!(
        init.child(APPLICATION, Change::Stopped(libc::SIGTSTP)),
        [],
        "PID 1 cannot be stopped"
    );
}

#[test]
fn in_its_own_group_the_application_does_not_stay_stopped_where_it_would_not_have_stopped() {
    for number in [libc::SIGTSTP, libc::SIGTTIN, libc::SIGTTOU] {
        assert_eq!(
            Run::new(OWN_GROUP).child(APPLICATION, Change::Stopped(number)),
            [Action::Continue]
        );
    }
    assert_eq!(
        Run::new(OWN_GROUP).child(APPLICATION, Change::Stopped(libc::SIGSTOP)),
        []
    );
    let watched = Event::Child {
        pid: Pid::from_raw(APPLICATION),
        change: Change::Stopped(libc::SIGTSTP),
        orphaned: false,
    };
    assert_eq!(Run::new(OWN_GROUP).sees(watched), []);
    assert!(Run::new(OWN_GROUP).forwards(libc::SIGCONT, libc::SI_USER, 7));
}

#[test]
fn we_leave_as_the_application_did() {
    let term = leftovers(libc::SIGTERM, false);
    for code in 0..=255 {
        assert_eq!(
            Run::new(OWN_GROUP).ends(code),
            [term, Action::Leave(Exit::Code(code))]
        );
    }
    assert_eq!(
        Run::new(SHARED).dies_of(libc::SIGINT),
        [Action::Leave(Exit::Signal(libc::SIGINT))]
    );
    let exit = |signal_exit, place| {
        let mut run = Run::with(
            Options {
                signal_exit,
                ..Options::default()
            },
            place,
            false,
        );
        run.dies_of(libc::SIGTERM);
        run.sees(Event::NoChild);
        run.machine.exit(Status::from_raw(libc::SIGTERM))
    };
    assert_eq!(exit(SignalExit::Auto, OWN_GROUP), Exit::Signal(15));
    assert_eq!(exit(SignalExit::Auto, INIT), Exit::Code(143));
    assert_eq!(exit(SignalExit::Raise, INIT), Exit::Signal(15));
    assert_eq!(exit(SignalExit::Code, OWN_GROUP), Exit::Code(143));
    let mut run = Run::with(
        Options {
            ok_exit: vec![143, 7],
            ..Options::default()
        },
        SHARED,
        false,
    );
    assert_eq!(run.dies_of(libc::SIGTERM), [Action::Leave(Exit::Code(0))]);
}

#[test]
fn after_the_end_nothing_is_told_and_nothing_said_twice() {
    let mut run = Run::new(SHARED);
    assert_eq!(run.ends(1), [Action::Leave(Exit::Code(1))]);
    assert_eq!(run.ends(2), []);
    assert!(!run.forwards(libc::SIGTERM, libc::SI_USER, 7));
    assert_eq!(run.after(100_000), []);
}

#[test]
fn leftovers_of_the_group_are_treated_as_asked() {
    for (choice, expected) in [
        (Leftovers::Leave, None),
        (Leftovers::Term, Some(leftovers(libc::SIGTERM, false))),
        (Leftovers::Kill, Some(leftovers(libc::SIGKILL, false))),
    ] {
        let mut run = Run::with(
            Options {
                leftovers: choice,
                ..Options::default()
            },
            OWN_GROUP,
            false,
        );
        let expected: Vec<Action> = expected
            .into_iter()
            .chain([Action::Leave(Exit::Code(0))])
            .collect();
        assert_eq!(run.ends(0), expected);
    }
}

#[test]
fn pid_1_asks_waits_kills_and_does_not_wait_for_ever() {
    let mut run = Run::new(INIT);
    assert_eq!(run.ends(3), [leftovers(libc::SIGTERM, false)]);
    assert_eq!(run.child(99, Change::Ended(Status::from_raw(0))), []);
    assert_eq!(run.sees(Event::NoChild), [Action::Leave(Exit::Code(3))]);

    let mut run = Run::new(INIT);
    run.ends(3);
    assert_eq!(run.after(1999), []);
    assert_eq!(run.after(1), [leftovers(libc::SIGKILL, false)]);
    assert_eq!(run.after(999), []);
    assert_eq!(run.after(1), [Action::Leave(Exit::Code(3))]);
}

#[test]
fn an_idle_agent_is_killed_at_once_and_reaped() {
    let mut run = Run::with_agent(Options::default(), SHARED);
    run.load(1, 1);
    run.load(0, 0);
    assert_eq!(run.ends(0), [kill_agent()]);
    assert_eq!(run.agent_dies(), [Action::Leave(Exit::Code(0))]);
}

#[test]
fn a_busy_agent_gets_the_time_that_its_load_justifies() {
    for (sessions, queued, milliseconds) in [(0, 1, 200), (1, 0, 2000), (3, 5, 2000)] {
        let within = Duration::from_millis(milliseconds);
        let mut run = Run::with_agent(Options::default(), SHARED);
        run.load(sessions, queued);
        assert_eq!(run.ends(0), [Action::DrainAgent { within }]);
        assert_eq!(run.after(milliseconds - 1), []);
        assert_eq!(run.after(1), [kill_agent()]);
        assert_eq!(
            run.after(1000),
            [Action::Leave(Exit::Code(0))],
            "an agent that hangs in the kernel kept us"
        );
    }
}

#[test]
fn an_agent_that_has_become_idle_is_not_waited_for() {
    let mut run = Run::with_agent(Options::default(), SHARED);
    run.load(2, 0);
    run.ends(0);
    assert_eq!(run.load(1, 0), []);
    assert_eq!(run.load(0, 0), [kill_agent()]);
    let mut run = Run::with_agent(Options::default(), SHARED);
    run.load(2, 0);
    run.sees(Event::AgentSilent);
    assert_eq!(
        run.ends(0),
        [kill_agent()],
        "it cannot hear that it shall drain"
    );
}

#[test]
fn a_dead_agent_comes_back_ever_later_and_a_steady_one_soon() {
    let mut run = Run::with_agent(Options::default(), OWN_GROUP);
    let mut restarts = 0;
    for pause in [
        100, 200, 400, 800, 1600, 3200, 6400, 12_800, 25_600, 30_000, 30_000,
    ] {
        assert_eq!(run.agent_dies(), []);
        assert_eq!(run.after(pause - 1), []);
        restarts += 1;
        assert_eq!(run.after(1), [Action::StartAgent { restarts }]);
        run.agent_lives();
    }
    assert_eq!(run.after(10_000), []);
    run.agent_dies();
    assert_eq!(
        run.after(100),
        [Action::StartAgent {
            restarts: restarts + 1
        }]
    );
    assert_eq!(run.sees(Event::AgentFailed), []);
    assert_eq!(
        run.after(200),
        [Action::StartAgent {
            restarts: restarts + 2
        }]
    );
}

#[test]
fn the_pause_can_be_capped_and_ends_with_the_application() {
    let options = Options {
        agent_backoff_max: Duration::from_millis(10),
        ..Options::default()
    };
    let mut run = Run::with_agent(options, SHARED);
    run.agent_dies();
    assert_eq!(run.after(10), [Action::StartAgent { restarts: 1 }]);
    run.agent_lives();
    run.agent_dies();
    assert_eq!(
        run.ends(0),
        [Action::Leave(Exit::Code(0))],
        "an agent that is not there was waited for"
    );
}

#[test]
fn a_stop_that_takes_too_long_is_ended_only_where_asked() {
    let options = Options {
        stop_timeout: Some(Duration::from_secs(5)),
        ..Options::default()
    };
    let mut run = Run::with(options, OWN_GROUP, false);
    assert!(run.forwards(libc::SIGUSR1, libc::SI_USER, 7));
    assert_eq!(run.machine.deadline(), None);
    assert!(run.forwards(libc::SIGTERM, libc::SI_USER, 7));
    run.now += Duration::from_secs(3);
    assert!(
        run.forwards(libc::SIGTERM, libc::SI_USER, 7),
        "and the clock is not set back"
    );
    assert_eq!(run.after(2000), [Action::KillApplication]);
    assert_eq!(run.after(100_000), []);
    let mut run = Run::new(OWN_GROUP);
    assert!(run.forwards(libc::SIGTERM, libc::SI_USER, 7));
    assert_eq!(run.machine.deadline(), None);
}
