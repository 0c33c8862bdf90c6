//! The agent's three ways to live: beside an application, alone in the foreground, and `hoop start agent`.
//!
//! Order at the start: descriptors made close-on-exec, out-of-memory score, then non-dumpable (the other way round the score
//! cannot be written), then the runtime.

use std::os::fd::OwnedFd;
use std::path::PathBuf;

use clap::Args;
use tokio::runtime::{Builder, Runtime};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

use super::{FAILED, USAGE, local, say, variable};
use crate::agent::{Agent, Base, Config, Connection, Supervised};
use crate::control::{AgentStart, DIRECTORY_FD, PROGRAM_FD, SOCKET_FD};
use crate::key::{Dsn, Secret};
use crate::link::Connector;
use crate::link::tls::TlsSettings;
use crate::protocol::name;
use crate::sys::{Inherited, fd, process};
use crate::telemetry;

/// What the agent adds to its out-of-memory score: it goes before the application does.
const OOM_SCORE: i32 = 500;
/// HTTP/2 over TLS.
const ALPN: &[&[u8]] = &[b"h2"];

/// Options of `hoop start agent`.
#[derive(Args)]
pub(super) struct Options {
    /// Key of a gateway (better by HOOP_KEY)
    #[arg(
        short,
        long,
        env = "HOOP_KEY",
        value_name = "DSN",
        hide_env_values = true
    )]
    key: Option<String>,
}

/// What an agent works with, whatever its way to live.
struct Place {
    directory: OwnedFd,
    directory_name: Option<String>,
    program: OwnedFd,
    environment: Base,
}

/// `hoop agent`: beside an application, started by its supervisor.
pub(super) fn beside(inherited: &Inherited) -> i32 {
    let (Some(socket), Some(directory), Some(program)) = (
        fd::take_fd(SOCKET_FD),
        fd::take_fd(DIRECTORY_FD),
        fd::take_fd(PROGRAM_FD),
    ) else {
        say("hoop agent is started by hoop run; to run an agent alone, use hoop start agent");
        return USAGE;
    };
    let place = settle(inherited, directory, program);
    let Some(runtime) = runtime() else {
        return FAILED;
    };
    let code = runtime.block_on(async {
        let supervised = match Supervised::new(socket) {
            Ok(supervised) => supervised,
            Err(error) => {
                say(&format!("the agent cannot talk to its supervisor: {error}"));
                return FAILED;
            }
        };
        match supervised.start().await {
            Ok(start) => {
                telemetry::init(start.stderr, telemetry::Level::Warn);
                attend(start, place, Some(&supervised)).await;
                0
            }
            Err(_) => FAILED,
        }
    });
    runtime.shutdown_background();
    code
}

/// `hoop run` without an application: the agent in the foreground.
pub(super) fn alone(start: AgentStart, inherited: &mut Inherited) -> i32 {
    let Some(place) = own_place(inherited) else {
        return FAILED;
    };
    telemetry::init(start.stderr, telemetry::Level::Info);
    in_foreground(start, place)
}

/// `hoop start agent`.
pub(super) fn start(options: Options, inherited: &mut Inherited) -> i32 {
    let Some(key) = options
        .key
        .filter(|key| !key.is_empty())
        .or_else(|| variable("HOOP_DSN"))
    else {
        say(
            "hoop start agent needs a key: set HOOP_KEY to what `hoop admin create agent NAME` printed",
        );
        return USAGE;
    };
    let key = match Dsn::parse(&key) {
        Ok(Some(key)) => key,
        Ok(None) => return USAGE,
        Err(error) => {
            say(&format!("the key cannot be used: {error}"));
            return USAGE;
        }
    };
    let Some(place) = own_place(inherited) else {
        return FAILED;
    };
    telemetry::init(true, telemetry::Level::Info);
    let Some(runtime) = runtime() else {
        return FAILED;
    };
    let code = runtime.block_on(async {
        let stop = CancellationToken::new();
        match remote(key, None, place) {
            Ok(config) => until_signal(&stop, Agent::new(config, stop.clone()).run()).await,
            Err(reason) => {
                say(&reason);
                FAILED
            }
        }
    });
    runtime.shutdown_background();
    code
}

fn in_foreground(start: AgentStart, place: Place) -> i32 {
    let Some(runtime) = runtime() else {
        return FAILED;
    };
    let code = runtime.block_on(attend(start, place, None));
    runtime.shutdown_background();
    code
}

fn runtime() -> Option<Runtime> {
    Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| say(&format!("the agent cannot start: {error}")))
        .ok()
}

/// The place of an agent that nobody started as one: our own file, directory and environment.
fn own_place(inherited: &mut Inherited) -> Option<Place> {
    let directory = fd::open_path(std::path::Path::new("."));
    let program = inherited
        .program()
        .and_then(|program| fd::duplicate(program).ok());
    let (Ok(directory), Some(program)) = (directory, program) else {
        say("the agent cannot open its directory and its own file");
        return None;
    };
    let environment = Base::new(inherited.environ());
    inherited.blank_secrets();
    Some(Place {
        environment,
        ..settle(inherited, directory, program)
    })
}

/// Becomes an agent: score, dumpability, signals; notes the directory's name and leaves it.
fn settle(inherited: &Inherited, directory: OwnedFd, program: OwnedFd) -> Place {
    let environment = Base::new(inherited.environ());
    // Without /proc, or where a sandbox forbids it, the score stays as it is.
    let _optional = process::set_oom_score_adj(OOM_SCORE);
    inherited.make_non_dumpable();
    inherited.set_up_like_std();
    let directory_name = nix::unistd::fchdir(&directory)
        .ok()
        .and_then(|()| std::env::current_dir().ok())
        .and_then(|path: PathBuf| {
            path.file_name()
                .map(|name| name.to_string_lossy().into_owned())
        });
    // The descriptor holds the directory; our own need not.
    let _optional = std::env::set_current_dir("/");
    Place {
        directory,
        directory_name,
        program,
        environment,
    }
}

/// Serves what `start` says until the supervisor drains, or a signal comes; the exit code.
async fn attend(start: AgentStart, place: Place, supervised: Option<&Supervised>) -> i32 {
    let command = start.command.clone().unwrap_or_else(|| vec![shell()]);
    let Some(key) = start.key.clone() else {
        return local::attend(&start, place.into_local(command), supervised).await;
    };
    let key = match Dsn::parse(&key) {
        Ok(Some(key)) => key,
        Ok(None) | Err(_) if supervised.is_none() => {
            say("the key cannot be used: it is not SCHEME://NAME:SECRET@HOST:PORT");
            return USAGE;
        }
        Ok(None) | Err(_) => {
            tracing::error!(
                "the key cannot be used: it is not SCHEME://NAME:SECRET@HOST:PORT; no console is served"
            );
            wait(supervised).await;
            return 0;
        }
    };
    let given = start
        .name
        .clone()
        .unwrap_or_else(crate::link::identity::hostname);
    let name = match name::normalise(&given) {
        Ok(name) => name,
        Err(error) => {
            tracing::error!("no console is served: {error}; give another --name");
            wait(supervised).await;
            return 0;
        }
    };
    greet(&start, &name);
    let stop = CancellationToken::new();
    match remote(key, Some(Connection { name, command }), place) {
        Ok(config) => run(Agent::new(config, stop.clone()), stop, supervised).await,
        Err(reason) => {
            tracing::error!("no console is served: {reason}");
            wait(supervised).await;
            0
        }
    }
}

/// Runs an agent until its supervisor, or a signal, says so.
pub(super) async fn run(
    agent: Agent,
    stop: CancellationToken,
    supervised: Option<&Supervised>,
) -> i32 {
    let sessions = agent.open_sessions();
    match supervised {
        None => until_signal(&stop, agent.run()).await,
        Some(supervised) => {
            let serving = agent.run();
            tokio::pin!(serving);
            tokio::select! {
                () = &mut serving => return 0,
                () = supervised.until_drain(sessions) => stop.cancel(),
            }
            serving.await;
            0
        }
    }
}

/// Says once, to a person, how to get in.
pub(super) fn greet(start: &AgentStart, name: &str) {
    if start.stderr && start.stderr_is_terminal && start.restarts == 0 {
        say(&format!(
            "a console is one command away: hoop connect {name}"
        ));
    }
}

/// With nothing to serve: waits for the end.
pub(super) async fn wait(supervised: Option<&Supervised>) {
    if let Some(supervised) = supervised {
        let (_none, sessions) = tokio::sync::watch::channel(0);
        supervised.until_drain(sessions).await;
    }
}

/// The configuration of an agent of a gateway.
fn remote(key: Dsn, connection: Option<Connection>, place: Place) -> Result<Config, String> {
    let address = key.address().to_owned();
    let tls = if key.is_tls() {
        let settings = TlsSettings::from_variables(|name| variable(name));
        Some(
            settings
                .client(&address, ALPN)
                .map_err(|error| format!("TLS to {address}: {error}"))?,
        )
    } else {
        if !crate::link::connector::is_loopback(&address) {
            tracing::warn!("the connection to {address} is not encrypted: the key says plain text");
        }
        None
    };
    Ok(Config {
        connection,
        connector: Connector::tcp(&address, tls),
        address,
        key,
        directory: place.directory,
        program: place.program,
        environment: place.environment,
    })
}

/// What an agent of the local gateway needs.
pub(super) struct LocalPlace {
    pub(super) command: Vec<String>,
    pub(super) directory_name: Option<String>,
    pub(super) directory: OwnedFd,
    pub(super) program: OwnedFd,
    pub(super) environment: Base,
}

impl Place {
    fn into_local(self, command: Vec<String>) -> LocalPlace {
        let Self {
            directory,
            directory_name,
            program,
            environment,
        } = self;
        LocalPlace {
            command,
            directory_name,
            directory,
            program,
            environment,
        }
    }
}

impl LocalPlace {
    /// The configuration of an agent of a gateway in this process.
    pub(super) fn config(self, name: String, key: &Secret, connector: Connector) -> Option<Config> {
        let key = Dsn::parse(key.expose()).ok().flatten()?;
        Some(Config {
            connection: Some(Connection {
                name,
                command: self.command,
            }),
            address: "localhost:80".to_owned(),
            key,
            connector,
            directory: self.directory,
            program: self.program,
            environment: self.environment,
        })
    }
}

/// A console's program when none was given.
fn shell() -> String {
    if let Some(shell) = variable("SHELL") {
        return shell;
    }
    let has_bash = std::env::var_os("PATH").is_some_and(|path| {
        std::env::split_paths(&path).any(|folder| folder.join("bash").is_file())
    });
    if has_bash { "bash" } else { "sh" }.to_owned()
}

/// Runs to the end; TERM, INT, HUP or QUIT stops it, a second one ends the process at once.
async fn until_signal(stop: &CancellationToken, serving: impl Future<Output = ()>) -> i32 {
    let kinds = [
        SignalKind::terminate(),
        SignalKind::interrupt(),
        SignalKind::hangup(),
        SignalKind::quit(),
    ];
    let signals: Result<Vec<Signal>, _> = kinds.into_iter().map(signal).collect();
    let mut signals = match signals {
        Ok(signals) => signals,
        Err(error) => {
            say(&format!("the agent cannot handle signals: {error}"));
            return FAILED;
        }
    };
    tokio::pin!(serving);
    for _ in 0..2 {
        tokio::select! {
            () = &mut serving => return 0,
            () = any(&mut signals) => stop.cancel(),
        }
    }
    FAILED
}

async fn any(signals: &mut [Signal]) {
    let waits = signals.iter_mut().map(|signal| Box::pin(signal.recv()));
    futures_util::future::select_all(waits).await;
}
