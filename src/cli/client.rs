//! `hoop connect`, `exec`, `list` and `admin`.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

use super::{FAILED, say};
use crate::admin::{self, AdminCommand, Resource};
use crate::client::{self, ClientError, ConnectOptions, Context, ExecOptions, ListFormat};
use crate::sys::Inherited;
use crate::telemetry;

/// What people type to reach an application, or to administer a gateway.
#[derive(Subcommand)]
pub(super) enum Command {
    /// Open a console of an application or a connection
    #[command(
        visible_alias = "c",
        after_help = "At the start of a line, ~. leaves at once and ~~ is one tilde."
    )]
    Connect(Connect),
    /// Run a task and leave with its exit code
    #[command(
        after_help = "On an application's connection, `-- CMD ARGS…` is the whole command; on others the arguments are appended to \
        the connection's command. Exit codes: the task's own; 125 nothing was run; 126 not executable; 127 not found; 128+n died of \
        signal n; 255 the result is not known. Standard input is the task's when it is a pipe or a file; a terminal is not read: use \
        -i or -f."
    )]
    Exec(Exec),
    /// List what can be reached: applications on this machine, and a gateway's connections
    #[command(visible_alias = "ls")]
    List(List),
    /// Administer a gateway
    Admin {
        #[command(subcommand)]
        what: Admin,
    },
}

/// Options of `hoop connect`.
#[derive(Args)]
pub(super) struct Connect {
    /// The application or connection
    name: Option<String>,
    /// Arguments for the connection's command
    #[arg(value_name = "ARG", trailing_var_arg = true)]
    arguments: Vec<String>,
    #[command(flatten)]
    reach: Reach,
}

/// Options of `hoop exec`.
#[derive(Args)]
pub(super) struct Exec {
    /// The application or connection
    name: Option<String>,
    /// The command, or arguments for the connection's command
    #[arg(value_name = "CMD", trailing_var_arg = true)]
    arguments: Vec<String>,
    /// The task's standard input, as text
    #[arg(short, long, value_name = "TEXT", conflicts_with = "file")]
    input: Option<String>,
    /// The task's standard input, from a file
    #[arg(short, long, value_name = "FILE")]
    file: Option<PathBuf>,
    #[command(flatten)]
    reach: Reach,
}

/// What consoles and tasks have in common.
#[derive(Args)]
struct Reach {
    /// Set a variable of the program (may be repeated)
    #[arg(short = 'e', long = "env", value_name = "NAME=VALUE")]
    variables: Vec<String>,
    /// Say nothing of our own
    #[arg(short, long)]
    silent: bool,
    /// Look on this machine only
    #[arg(long)]
    local: bool,
}

/// Options of `hoop list`.
#[derive(Args)]
pub(super) struct List {
    /// How to print
    #[arg(short, long, value_enum, default_value_t)]
    output: Output,
}

/// A way to print a list.
#[derive(Clone, Copy, Default, ValueEnum)]
pub(super) enum Output {
    /// For people.
    #[default]
    Table,
    /// For programs.
    Json,
}

/// `hoop admin …`.
#[derive(Subcommand)]
pub(super) enum Admin {
    /// Make something
    #[command(subcommand)]
    Create(Create),
    /// List something
    Get {
        /// What
        #[arg(value_enum)]
        what: What,
        /// How to print
        #[arg(short, long, value_enum, default_value_t)]
        output: Output,
    },
    /// Delete something: `delete agent NAME` or `delete agent/NAME`
    Delete {
        /// `agent NAME` or `agent/NAME`
        #[arg(value_name = "WHAT", num_args = 1..=2, required = true)]
        what: Vec<String>,
    },
}

/// `hoop admin create …`.
#[derive(Subcommand)]
pub(super) enum Create {
    /// Make an agent and print its key, which is shown only now
    Agent {
        /// Its name
        name: String,
        /// What the key is for: `embedded` for applications, `standard` for an agent of its own
        #[arg(long, value_parser = ["standard", "embedded"])]
        mode: Option<String>,
    },
}

/// What `hoop admin get` lists.
#[derive(Clone, Copy, ValueEnum)]
pub(super) enum What {
    /// Agents and whether they are connected.
    Agents,
    /// Connections and whether they can be reached.
    Connections,
    /// Sessions and how they ended.
    Sessions,
}

/// Runs a command; its exit code.
pub(super) fn run(command: Command, inherited: &Inherited) -> i32 {
    inherited.set_up_like_std();
    telemetry::init(true, telemetry::Level::Warn);
    let prepared = Context::of_process().and_then(|context| {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()?;
        Ok((context, runtime))
    });
    let (context, runtime) = match prepared {
        Ok(prepared) => prepared,
        Err(error) => {
            say(&format!("cannot start: {error}"));
            return FAILED;
        }
    };
    let result = runtime.block_on(call(&context, command));
    // Threads that read a terminal or write to a stuck pipe must not hold up the exit.
    runtime.shutdown_background();
    match result {
        Ok(code) => code,
        Err(error) => {
            say(&error.to_string());
            error.exit_code()
        }
    }
}

async fn call(context: &Context, command: Command) -> Result<i32, ClientError> {
    match command {
        Command::Connect(Connect {
            name,
            arguments,
            reach,
        }) => {
            let Reach {
                variables,
                silent,
                local,
            } = reach;
            let options = ConnectOptions {
                name,
                arguments,
                variables,
                silent,
                local,
            };
            client::connect(context, options).await
        }
        Command::Exec(Exec {
            name,
            arguments,
            input,
            file,
            reach,
        }) => {
            let Reach {
                variables,
                silent,
                local,
            } = reach;
            let options = ExecOptions {
                name,
                arguments,
                variables,
                input,
                file,
                silent,
                local,
            };
            client::exec(context, options).await
        }
        Command::List(List { output }) => {
            let format = match output {
                Output::Table => ListFormat::Table,
                Output::Json => ListFormat::Json,
            };
            client::list(context, format).await
        }
        Command::Admin { what } => admin::run(context, admin_command(what)?).await,
    }
}

fn admin_command(what: Admin) -> Result<AdminCommand, ClientError> {
    Ok(match what {
        Admin::Create(Create::Agent { name, mode }) => AdminCommand::CreateAgent { name, mode },
        Admin::Get { what, output } => AdminCommand::Get {
            resource: match what {
                What::Agents => Resource::Agents,
                What::Connections => Resource::Connections,
                What::Sessions => Resource::Sessions,
            },
            json: matches!(output, Output::Json),
        },
        Admin::Delete { what } => {
            let words: Vec<&str> = what.iter().map(String::as_str).collect();
            let name = match words.as_slice() {
                ["agent", name] => Some(*name),
                [word] => word.strip_prefix("agent/"),
                _ => None,
            };
            let name = name.filter(|name| !name.is_empty()).ok_or_else(|| {
                ClientError::Usage(format!(
                    "'{}' cannot be deleted: only agent NAME or agent/NAME",
                    words.join(" ")
                ))
            })?;
            AdminCommand::DeleteAgent {
                name: name.to_owned(),
            }
        }
    })
}
