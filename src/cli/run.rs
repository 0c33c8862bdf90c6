//! `hoop run`.

mod supervising;

use std::ffi::OsString;
use std::io::IsTerminal;

use clap::Args;

use self::supervising::Supervising;
use super::{USAGE, command, say, variable};
use crate::control::AgentStart;
use crate::supervisor::{self, Config};
use crate::sys::Inherited;

/// Options of `hoop run`.
#[derive(Args)]
#[command(
    about = "Run an application in the foreground, with consoles and tasks beside it",
    after_help = "Everything after the first word of CMD belongs to CMD. Without --key the application is reachable from \
    this machine only, by `hoop connect NAME`. Without CMD the agent alone runs in the foreground."
)]
pub(super) struct Options {
    /// Name under which the application is reached; default: the host's name, without a key the directory's
    #[arg(short, long, env = "HOOP_NAME", value_name = "NAME")]
    pub(super) name: Option<String>,
    /// What a console runs, for example 'rails console'; default: $SHELL, else bash, else sh
    #[arg(short, long, env = "HOOP_COMMAND", value_name = "COMMAND")]
    pub(super) command: Option<String>,
    /// Key of a gateway (better by `HOOP_KEY`: an argument is seen by others until the program has started)
    #[arg(
        short,
        long,
        env = "HOOP_KEY",
        value_name = "DSN",
        hide_env_values = true
    )]
    pub(super) key: Option<String>,
    /// Start no agent at all: the supervisor only
    #[arg(long)]
    offline: bool,
    /// Say nothing on standard error
    #[arg(short, long)]
    pub(super) quiet: bool,
    #[command(flatten)]
    supervising: Supervising,
    /// The application and its arguments
    #[arg(value_name = "CMD", trailing_var_arg = true)]
    application: Vec<OsString>,
}

/// Runs the application under the supervisor, or the agent alone.
pub(super) fn run(options: Options, inherited: &mut Inherited) -> i32 {
    let words = match options
        .command
        .as_deref()
        .filter(|text| !text.is_empty())
        .map(command::words)
        .transpose()
    {
        Ok(words) => words,
        Err(reason) => {
            say(&reason);
            return USAGE;
        }
    };
    let key = options
        .key
        .filter(|key| !key.is_empty())
        .or_else(|| variable("HOOP_DSN"))
        .map(|key| key.trim().to_owned());
    let name = options.name.filter(|name| !name.is_empty());
    if let Some(Err(reason)) = name.as_deref().map(check_name) {
        say(&format!("--name: {reason}"));
        return USAGE;
    }
    let stderr_is_terminal = std::io::stderr().is_terminal();
    let stderr =
        !options.quiet && (stderr_is_terminal || key.is_some() || variable("LOG_LEVEL").is_some());
    let agent = AgentStart {
        key,
        name,
        command: words,
        stderr,
        stderr_is_terminal,
        ..AgentStart::default()
    };
    if options.application.is_empty() {
        if options.offline || (agent.command.is_none() && agent.key.is_none()) {
            say(
                "nothing to run: give a command after --, or --command for a console alone (see hoop run --help)",
            );
            return USAGE;
        }
        return alone(agent, inherited);
    }
    inherited.blank_secrets();
    inherited.make_non_dumpable();
    let mut config = Config::new(options.application);
    config.agent = (!options.offline && cfg!(feature = "agent")).then_some(agent);
    options.supervising.apply(&mut config);
    supervisor::run(config, inherited).leave()
}

/// The agent in the foreground. As PID 1 there is a supervisor in front of it after all: somebody has to reap.
#[cfg(feature = "agent")]
fn alone(agent: AgentStart, inherited: &mut Inherited) -> i32 {
    if std::process::id() != 1 {
        return super::agent::alone(agent, inherited);
    }
    let mut program = vec![own_path(inherited)];
    program.extend(inherited.args().into_iter().skip(1));
    let mut config = Config::new(program);
    config.keep_secrets = true;
    inherited.make_non_dumpable();
    supervisor::run(config, inherited).leave()
}

/// Where our own file is: by the kernel's word, else as we were called.
#[cfg(feature = "agent")]
fn own_path(inherited: &Inherited) -> OsString {
    use std::os::unix::ffi::OsStringExt;
    let linked = std::path::Path::new("/proc/self/exe");
    match inherited.program_path() {
        _ if linked.exists() => linked.into(),
        Some(path) => OsString::from_vec(path.to_bytes().to_vec()),
        None => inherited.args().into_iter().next().unwrap_or_default(),
    }
}

#[cfg(not(feature = "agent"))]
fn alone(_: AgentStart, _: &mut Inherited) -> i32 {
    say("this build has no agent: give an application after --");
    super::FAILED
}

#[cfg(feature = "agent")]
fn check_name(name: &str) -> Result<(), String> {
    crate::protocol::name::normalise(name)
        .map(drop)
        .map_err(|error| error.to_string())
}

#[cfg(not(feature = "agent"))]
#[expect(clippy::unnecessary_wraps, reason = "as with an agent")]
fn check_name(_: &str) -> Result<(), String> {
    Ok(())
}
