//! The agent's three ways to live: beside an application, alone in the foreground, and `hoop start agent`.
//!
//! Order at the start: descriptors made close-on-exec, out-of-memory score, then non-dumpable (the other way round the score
//! cannot be written), then the runtime.

use std::os::fd::OwnedFd;
use std::path::PathBuf;

use clap::Args;
use tokio::runtime::{Builder, Runtime};
use tokio_util::sync::CancellationToken;

use super::life::{greet, run, until_signal, wait};
use super::local::{self, LocalPlace};
use super::{FAILED, USAGE, say, variable};
use crate::agent::{Agent, Base, Config, Connection, Supervised};
use crate::control::{AgentStart, DIRECTORY_FD, PROGRAM_FD, SOCKET_FD};
use crate::key::Dsn;
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
    /// Key of a gateway (better by `HOOP_KEY`)
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
                Box::pin(attend(start, place, Some(&supervised))).await;
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
    process::set_name(c"hoop agent");
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
        return Box::pin(local::attend(&start, place.into_local(command), supervised)).await;
    };
    let parsed = Dsn::parse(&key).map_err(|error| error.to_string());
    let key = match parsed.and_then(|key| key.ok_or_else(|| "it is empty".to_owned())) {
        Ok(key) => key,
        Err(error) => {
            let line = format!(
                "the key cannot be used: {error}; `hoop admin create agent NAME` makes one"
            );
            if supervised.is_none() {
                say(&line);
                return USAGE;
            }
            tracing::error!("no console is served: {line}");
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
        Ok(config) => Box::pin(run(Agent::new(config, stop.clone()), stop, supervised)).await,
        Err(reason) => {
            tracing::error!("no console is served: {reason}");
            wait(supervised).await;
            0
        }
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
