//! The command line: arguments → validated configuration → one call; one place prints an error and one number leaves.
//!
//! `hoop session` and `hoop agent` are started by our own processes and take no options; they are dispatched before anything
//! else is parsed, because a session's start is somebody's wait for a prompt. `hoop run` is parsed without the other
//! commands' options being laid out, which would take longer than all the rest that is done before the application starts.

#[cfg(feature = "agent")]
mod agent;
#[cfg(feature = "client")]
mod client;
mod command;
#[cfg(feature = "gateway")]
mod gateway;
#[cfg(feature = "agent")]
mod life;
#[cfg(feature = "agent")]
mod local;
mod run;

use std::ffi::{OsStr, OsString};
use std::io::Write;

use clap::{Args, CommandFactory, FromArgMatches, Parser, Subcommand};

use crate::sys::Inherited;

/// Columns of a help text.
const MAX_WIDTH: usize = 100;

/// Exit code for wrong usage.
const USAGE: i32 = 2;
/// Exit code when we failed and nothing was run.
const FAILED: i32 = 125;

/// Runs an application and serves consoles and tasks in its environment.
#[derive(Parser)]
#[command(
    name = "hoop",
    version,
    max_term_width = MAX_WIDTH,
    disable_help_subcommand = true
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    #[command(visible_alias = "r")]
    Run(run::Options),
    /// Start a gateway, or an agent without an application
    #[cfg(feature = "wire")]
    Start {
        #[command(subcommand)]
        what: Start,
    },
    #[cfg(feature = "client")]
    #[command(flatten)]
    Client(client::Command),
}

/// `hoop start …`.
#[cfg(feature = "wire")]
#[derive(Subcommand)]
enum Start {
    /// Serve the connections that an administrator makes for this key
    #[cfg(feature = "agent")]
    Agent(agent::Options),
    /// Take in agents and clients
    #[cfg(feature = "gateway")]
    Gateway(gateway::Options),
}

/// Runs the command that the arguments name; its exit code.
pub fn main(mut inherited: Inherited) -> i32 {
    let arguments = inherited.args();
    match arguments.get(1).and_then(|word| word.to_str()) {
        Some("session") if arguments.len() > 3 => {
            return crate::session::run(arguments.get(3..).unwrap_or_default(), &inherited);
        }
        #[cfg(feature = "agent")]
        Some("agent") if arguments.len() == 2 => return agent::beside(&inherited),
        _ => {}
    }
    let parsed = parse(&arguments);
    match parsed {
        Ok(command) => dispatch(command, &mut inherited),
        Err(error) => {
            // A reader that is gone has seen enough.
            let _gone = error.print();
            error.exit_code()
        }
    }
}

fn parse(arguments: &[OsString]) -> Result<Command, clap::Error> {
    match arguments.split_first() {
        Some((_, words))
            if words
                .first()
                .is_some_and(|word| word == "run" || word == "r") =>
        {
            let matches = run_alone().try_get_matches_from(words)?;
            run::Options::from_arg_matches(&matches).map(Command::Run)
        }
        _ => {
            let matches = Cli::command().try_get_matches_from(arguments)?;
            Cli::from_arg_matches(&matches).map(|cli| cli.command)
        }
    }
}

/// The command `run` as it is among the others.
fn run_alone() -> clap::Command {
    let command = clap::Command::new("run")
        .bin_name("hoop run")
        .max_term_width(MAX_WIDTH);
    run::Options::augment_args(command)
}

fn dispatch(command: Command, inherited: &mut Inherited) -> i32 {
    match command {
        Command::Run(options) => run::run(options, inherited),
        #[cfg(feature = "agent")]
        Command::Start {
            what: Start::Agent(options),
        } => agent::start(options, inherited),
        #[cfg(feature = "gateway")]
        Command::Start {
            what: Start::Gateway(options),
        } => gateway::start(options, inherited),
        #[cfg(feature = "client")]
        Command::Client(command) => client::run(command, inherited),
    }
}

/// Says one line of ours on standard error.
fn say(line: &str) {
    // Where standard error is gone, there is nobody to tell.
    let _gone = std::io::stderr().write_all(format!("hoop: {line}\n").as_bytes());
}

/// A variable of our environment, if it is set, not empty and text.
fn variable(name: impl AsRef<OsStr>) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

#[cfg(test)]
mod tests {
    use super::{Cli, run_alone};
    use clap::CommandFactory;

    #[test]
    fn run_reads_the_same_alone_as_among_the_others() {
        let mut all = Cli::command();
        all.build();
        let among = all.find_subcommand_mut("run").unwrap();
        let mut alone = run_alone();
        alone.build();
        assert_eq!(
            alone.render_long_help().to_string(),
            among.render_long_help().to_string()
        );
    }
}
