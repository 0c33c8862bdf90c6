//! The loop: waits, reaps, lets the state decide, performs.

use std::io::Write;
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};
use std::path::Path;
use std::time::Instant;

use super::agent::{Agent, Heard};
use super::config::Config;
use super::event::{Action, Event, Place};
use super::exit::Exit;
use super::state::Machine;
use super::{failure, leftovers};
use crate::control::{AgentStart, ToAgent};
use crate::sys::exec::{Environment, Image, Search, Words};
use crate::sys::fd::{close_all_except, open_path, replace_by_null};
use crate::sys::spawn::{Spawn, SpawnError, Standing, Step};
use crate::sys::wait::{Change, Reaped, any};
use crate::sys::waiting::Waiting;
use crate::sys::{Errno, Inherited, Pid, process, signal, tree, tty};

/// Signals that are taken before children are reaped again: a storm of them must not keep a dead child waiting.
const SIGNALS_PER_TURN: usize = 64;

/// Messages of the agent that are read before signals and children are looked at again.
const MESSAGES_PER_TURN: usize = 16;

/// Standard error.
const STDERR: RawFd = 2;

/// Runs the application until its end; how to leave.
///
/// The process must have one thread, and every descriptor from 3 on is taken for inherited and closed once the application
/// has it. Secrets in our own argument and environment block are the caller's to blank, before this.
pub fn run(config: Config, inherited: &Inherited) -> Exit {
    let place = take_place(config.parent_death);
    // Opened before the application can change or delete it.
    let agent = config
        .agent
        .and_then(|start| prepare_agent(start, inherited));
    let speaks = agent.as_ref().is_some_and(|(_, stderr)| *stderr);
    let mut environment = if config.keep_secrets {
        Environment::of_our_own(inherited.environ())
    } else {
        Environment::with_pid_of_program(inherited.environ(), std::process::id())
    };
    let application = match start(
        &config.program,
        &mut environment,
        place.shares_group,
        config.on_parent_death,
        inherited,
    ) {
        Ok(pid) => pid,
        Err(exit) => return exit,
    };
    environment.settle();
    // A group of its own may have been refused.
    let shares_group = place.shares_group || process::group_of(application) != Some(application);
    let place = Place {
        shares_group,
        ..place
    };
    let agent = agent.map(|(agent, _)| agent);
    let now = Instant::now();
    let supervisor = Supervisor {
        machine: Machine::new(
            config.options.clone(),
            place,
            application,
            agent.is_some(),
            now,
        ),
        signals_group: config.options.group && !place.shares_group,
        place,
        application,
        agent,
        speaks,
        environment,
        waiting: Waiting::new(),
        actions: Vec::new(),
    };
    supervisor.let_go(inherited.program());
    supervisor.watch()
}

/// Becomes ready to have children; where we stand. A sandbox may refuse each step; none is needed by the application.
fn take_place(parent_death: Option<i32>) -> Place {
    // Ignored, it would make exit statuses vanish. The application gets the inherited one.
    signal::set_ignored(libc::SIGCHLD, false);
    let own = Pid::this();
    let init = own.as_raw() == 1;
    if !init {
        let _refused = process::set_subreaper();
    }
    if let Some(number) = parent_death {
        let _refused = process::set_parent_death_signal(number);
    }
    let leads_session = process::session_of(own) == Some(own);
    Place {
        own,
        init,
        shares_group: tty::has_controlling_terminal(),
        leads_session,
    }
}

/// Opens what every life of the agent needs. Without it, there is no agent.
fn prepare_agent(start: AgentStart, inherited: &Inherited) -> Option<(Agent<'_>, bool)> {
    let stderr = start.stderr;
    let prepare = || {
        let program = inherited.program().ok_or(Errno::ENOENT)?;
        let path = inherited.program_path().map(ToOwned::to_owned);
        Agent::new(start, program, path, open_path(Path::new("."))?)
    };
    match prepare() {
        Ok(agent) => Some((agent, stderr)),
        Err(errno) => {
            if stderr {
                say(&format!(
                    "cannot start the agent, the application runs without it: {}",
                    errno.desc()
                ));
            }
            None
        }
    }
}

fn start(
    program: &[std::ffi::OsString],
    environment: &mut Environment,
    shares_group: bool,
    parent_death: Option<i32>,
    inherited: &Inherited,
) -> Result<Pid, Exit> {
    let name = program.first().cloned().unwrap_or_default();
    let refuse = |error: SpawnError, reason: &str| {
        say(&format!("cannot run '{}': {reason}", name.display()));
        Exit::Code(failure::code(error))
    };
    let words = Words::from_arguments(program).map_err(|errno| {
        refuse(
            SpawnError {
                step: Step::Fork,
                errno,
            },
            "a word holds a null byte",
        )
    })?;
    let mut spawn = Spawn {
        image: Image::Search(Search::new(&words, environment)),
        words: &words,
        environment,
        standing: if shares_group {
            Standing::Ours
        } else {
            Standing::NewGroup
        },
        descriptors: Vec::new(),
        directory: None,
        mask: inherited.mask(),
        ignored: inherited.ignored(),
        parent_death,
    };
    spawn
        .run()
        .map_err(|error| refuse(error, &failure::reason(error, &spawn.image)))
}

/// One line on standard error. Nobody can be told if that fails.
fn say(line: &str) {
    let _gone = std::io::stderr().write_all(format!("hoop: {line}\n").as_bytes());
}

struct Supervisor<'a> {
    machine: Machine,
    place: Place,
    application: Pid,
    /// Whether signals go to the application's group.
    signals_group: bool,
    agent: Option<Agent<'a>>,
    /// Whether standard error is still ours.
    speaks: bool,
    /// The application's, for the agent.
    environment: Environment,
    waiting: Waiting,
    /// What is to be done in this turn.
    actions: Vec<Action>,
}

impl Supervisor<'_> {
    /// Lets go of what the application was given: its streams, its directory, its descriptors.
    fn let_go(&self, program: Option<BorrowedFd<'_>>) {
        for number in 0..STDERR + i32::from(!self.speaks) {
            let _refused = replace_by_null(number);
        }
        let _refused = std::env::set_current_dir("/");
        let agent = self.agent.as_ref().map(Agent::directory);
        let ours = [agent, program, self.waiting.fd()];
        let keep: Vec<RawFd> = ours.iter().flatten().map(AsRawFd::as_raw_fd).collect();
        close_all_except(&keep);
    }

    fn watch(mut self) -> Exit {
        loop {
            self.handle(Event::Time);
            if let Some(exit) = self.perform() {
                return exit;
            }
            let socket = self.agent.as_ref().and_then(Agent::socket);
            if self.waiting.wait(socket, self.machine.deadline()) {
                self.listen();
            }
            // Taken before children are asked for: a CHLD that is taken after would announce a change that nobody looks at.
            let signals: Vec<_> = std::iter::from_fn(|| self.waiting.next_signal())
                .take(SIGNALS_PER_TURN)
                .collect();
            // Told after: whether a CONT is to be passed on depends on whether the application is still stopped.
            self.reap();
            if let Some(exit) = self.perform() {
                return exit;
            }
            for signal in signals {
                self.handle(Event::Signal(signal));
            }
        }
    }

    fn handle(&mut self, event: Event) {
        self.machine
            .handle(event, Instant::now(), &mut self.actions);
    }

    fn reap(&mut self) {
        loop {
            match any() {
                Reaped::Nothing => return,
                Reaped::NoChild => return self.handle(Event::NoChild),
                Reaped::Child(pid, change) => {
                    let stopped = matches!(change, Change::Stopped(_)) && pid == self.application;
                    let orphaned = stopped && (self.place.init || tree::own_group_is_orphaned());
                    self.handle(Event::Child {
                        pid,
                        change,
                        orphaned,
                    });
                    if matches!(change, Change::Ended(_)) {
                        self.complain(|agent| agent.ended(pid));
                    }
                }
            }
        }
    }

    fn listen(&mut self) {
        for _ in 0..MESSAGES_PER_TURN {
            match self.agent.as_mut().map(Agent::receive) {
                Some(Heard::Message(message)) => self.handle(Event::AgentSaid(message)),
                Some(Heard::End) => return self.handle(Event::AgentSilent),
                Some(Heard::Nothing) | None => return,
            }
        }
    }

    /// Does what was decided; the way out, if that is it.
    fn perform(&mut self) -> Option<Exit> {
        while !self.actions.is_empty() {
            for action in std::mem::take(&mut self.actions) {
                if let Action::Leave(exit) = action {
                    return Some(exit);
                }
                self.act(action);
            }
        }
        None
    }

    /// A signal that cannot be sent is for a process that has ended and will be reaped next.
    fn act(&mut self, action: Action) {
        match action {
            Action::Forward(signal) => self.forward(&signal),
            Action::Continue => {
                let _ended = signal::send(self.application, libc::SIGCONT);
            }
            Action::StopOurselves(number) => {
                if self.machine.stopped() {
                    signal::raise_default(number);
                }
            }
            Action::KillApplication => {
                if self.place.shares_group
                    || signal::send_group(self.application, libc::SIGKILL).is_err()
                {
                    let _ended = signal::send(self.application, libc::SIGKILL);
                }
            }
            Action::StartAgent { restarts } => self.start_agent(restarts),
            Action::DrainAgent { within } => {
                let within_ms = u64::try_from(within.as_millis()).unwrap_or(u64::MAX);
                if let Some(agent) = &mut self.agent {
                    agent.send(&ToAgent::Drain { within_ms });
                }
            }
            Action::KillAgent(pid) => {
                let _ended = signal::send(pid, libc::SIGKILL);
            }
            Action::SignalLeftovers { number, agent } if self.place.init => {
                leftovers::signal_everything(number, agent);
            }
            Action::SignalLeftovers { number, .. } => {
                leftovers::signal_group(self.application, number);
            }
            Action::Leave(_) => {}
        }
    }

    fn forward(&self, received: &signal::Received) {
        if self.signals_group && signal::send_group(self.application, received.number()).is_ok() {
            return;
        }
        let _ended = signal::forward(self.application, received);
    }

    fn start_agent(&mut self, restarts: u32) {
        let Some(agent) = &mut self.agent else { return };
        match agent.start(&mut self.environment, self.application, restarts) {
            Ok(pid) => self.handle(Event::AgentStarted(pid)),
            Err(error) => {
                self.complain(|agent| agent.complain_once(error));
                self.handle(Event::AgentFailed);
            }
        }
    }

    fn complain(&mut self, failure: impl FnOnce(&mut Agent<'_>) -> Option<SpawnError>) {
        let error = self.agent.as_mut().and_then(failure);
        if let Some(error) = error.filter(|_| self.speaks) {
            say(&format!(
                "cannot start the agent, the application runs without it: {}",
                error.errno.desc()
            ));
        }
    }
}
