//! What a supervisor can be told. The defaults are the promise of `hoop run` without options.

use std::ffi::OsString;
use std::time::Duration;

use crate::control::AgentStart;

/// What to run, and how.
pub struct Config {
    /// The application's words.
    pub program: Vec<OsString>,
    /// What the agent beside it needs to know; without, there is none. Pid, version and count of lives are filled in.
    pub agent: Option<AgentStart>,
    /// Whether the program is one of ours and needs our secrets.
    pub keep_secrets: bool,
    /// The signal that the application gets when we die; TERM.
    pub on_parent_death: Option<i32>,
    /// The signal that we get, and forward, when our own parent dies; none.
    pub parent_death: Option<i32>,
    /// How to decide.
    pub options: Options,
}

impl Config {
    /// An application without an agent, everything else by default.
    pub fn new(program: Vec<OsString>) -> Self {
        Self {
            program,
            agent: None,
            keep_secrets: false,
            on_parent_death: Some(libc::SIGTERM),
            parent_death: None,
            options: Options::default(),
        }
    }
}

/// How signals and the end are dealt with.
#[derive(Clone, Debug)]
pub struct Options {
    /// Signals that are forwarded as another one, or not at all.
    pub map: Vec<(i32, Option<i32>)>,
    /// Whether signals go to the application's whole group.
    pub group: bool,
    /// Whether TERM is forwarded. Not, where the platform tells every process itself.
    pub forward_term: bool,
    /// How long after the first forwarded TERM, INT or QUIT the application is killed. Never by default: the platform has a
    /// clock of its own, and ours would break slow but correct stops.
    pub stop_timeout: Option<Duration>,
    /// What happens to what the application leaves behind in its own group.
    pub leftovers: Leftovers,
    /// How long open sessions, and as PID 1 everything else that is left, may take to end.
    pub leftover_grace: Duration,
    /// How long a queued report of the agent may delay the exit.
    pub flush_timeout: Duration,
    /// How the death of the application by a signal is passed on.
    pub signal_exit: SignalExit,
    /// Exit statuses that become 0; 128+n for a death by signal n.
    pub ok_exit: Vec<i32>,
    /// The longest pause before a dead agent is started again.
    pub agent_backoff_max: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            map: Vec::new(),
            group: false,
            forward_term: true,
            stop_timeout: None,
            leftovers: Leftovers::Term,
            leftover_grace: Duration::from_secs(2),
            flush_timeout: Duration::from_millis(200),
            signal_exit: SignalExit::Auto,
            ok_exit: Vec::new(),
            agent_backoff_max: Duration::from_secs(30),
        }
    }
}

/// What to do with the rest of the application's group. PID 1 ends everything in any case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Leftovers {
    /// Nothing.
    Leave,
    /// TERM, without waiting.
    Term,
    /// KILL.
    Kill,
}

/// How to leave when the application died of a signal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SignalExit {
    /// By the same signal; as PID 1, which cannot, with 128+n.
    Auto,
    /// By the same signal.
    Raise,
    /// With 128+n.
    Code,
}
