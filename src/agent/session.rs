//! One session, from its open packet to its close packet.
//!
//! A console is [`terminal`], a task is [`task`]; both run their program in a session process ([`process`]), which owns
//! everything that the program starts. Rules: a session answers with exactly one `ClientSessionOpenOK` or one
//! `ClientSessionClose`, and with one close at its end, after all output; it waits until its process is gone.

mod closing;
mod held;
pub(super) mod pipe;
mod process;
mod relay;
mod task;
mod terminal;

use std::ffi::CString;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use tokio_util::sync::CancellationToken;

use self::closing::Outcome;
use self::pipe::{Inbox, Pipe};
use super::{Config, SESSION_GRACE, environment};
use crate::protocol::params::ConnectionParams;
use crate::protocol::{Packet, PacketType, spec};

/// How long the gateway may take for our close packet when the session is to end. A client that is only slow has all the time
/// it wants: what is on its way, and the exit code behind it, would be lost.
const FAREWELL: Duration = Duration::from_secs(1);

/// A session's end, told once by whoever comes first.
#[derive(Clone, Default)]
pub(super) struct Ending {
    token: CancellationToken,
    told: Arc<OnceLock<Told>>,
}

/// What an ending was told.
struct Told {
    cause: String,
    grace: Duration,
}

impl Ending {
    /// Ends the session; the first cause counts.
    pub(super) fn end(&self, cause: &str) {
        self.end_within(cause, SESSION_GRACE);
    }

    /// The same with another time for the program between the hang-up and KILL.
    pub(super) fn end_within(&self, cause: &str, grace: Duration) {
        let cause = cause.to_owned();
        self.told.get_or_init(|| Told { cause, grace });
        self.token.cancel();
    }

    /// Returns `time` after the session was to end.
    async fn overdue(&self, time: Duration) {
        self.asked().await;
        tokio::time::sleep(time).await;
    }

    /// Returns when the session is to end.
    async fn asked(&self) {
        self.token.cancelled().await;
    }

    /// Why, once it is to end.
    fn cause(&self) -> Option<&str> {
        self.told.get().map(|told| told.cause.as_str())
    }

    /// How long what is to end has.
    fn grace(&self) -> Duration {
        self.told.get().map_or(SESSION_GRACE, |told| told.grace)
    }
}

/// What a session runs.
struct Plan {
    /// The program and its arguments.
    words: Vec<CString>,
    /// `NAME=value`, in order.
    environment: environment::Built,
    /// Whether it is a task on pipes, and not a console.
    task: bool,
    /// Whether a task's input comes in many packets.
    stream_stdin: bool,
    /// A console's size, when the open packet said it.
    size: Option<crate::control::TerminalSize>,
}

/// Serves a session to its end.
pub(super) async fn serve(config: Arc<Config>, open: Packet, mut pipe: Pipe, ending: Ending) {
    let outcome = match plan(&config, &open) {
        Err(reason) => {
            let outcome = Outcome::NotStarted { reason, code: 125 };
            farewell(&mut pipe, outcome.packet(true, None), &ending).await;
            return;
        }
        Ok((plan, accepted)) => {
            if pipe.outbox.send(accepted).await.is_err() {
                return;
            }
            if plan.task {
                task::run(&config, plan, &mut pipe, &ending).await
            } else {
                terminal::run(&config, plan, &mut pipe, &ending).await
            }
        }
    };
    // The session process and what it left are ended while the client already knows.
    match outcome {
        None => {}
        Some(Ended {
            outcome,
            task,
            mut running,
        }) => {
            let packet = outcome.packet(task, ending.cause());
            let leave = farewell(&mut pipe, packet, &ending);
            match &mut running {
                None => leave.await,
                Some(started) => {
                    let end = process::end(&mut started.child, &started.control, ending.grace());
                    tokio::join!(leave, end);
                }
            }
        }
    }
}

/// A session that is over but for its farewell.
struct Ended {
    outcome: Outcome,
    task: bool,
    /// The session process, if there is one to end.
    running: Option<process::Started>,
}

/// Refuses a session.
pub(super) async fn refuse(mut pipe: Pipe, reason: &str, ending: &Ending) {
    let outcome = Outcome::NotStarted {
        reason: reason.to_owned(),
        code: 125,
    };
    farewell(&mut pipe, outcome.packet(true, None), ending).await;
}

/// Sends the close packet and, on a stream of its own, waits until the gateway has taken it.
async fn farewell(pipe: &mut Pipe, close: Packet, ending: &Ending) {
    let leave = async {
        if pipe.outbox.send(close).await.is_err() {
            return;
        }
        if let Inbox::Stream(_) = pipe.inbox {
            // Dropping the stream before its end could take the close packet with it.
            while let Some(packet) = pipe.inbox.next().await {
                if packet.kind() == Some(PacketType::AgentSessionClose) {
                    break;
                }
            }
        }
    };
    tokio::select! {
        () = leave => {}
        () = ending.overdue(FAREWELL) => {
            tracing::debug!("the gateway did not end a closed session's stream");
        }
    }
}

/// Reads an open packet: what to run, and the packet that accepts it.
fn plan(config: &Config, open: &Packet) -> Result<(Plan, Packet), String> {
    let id = open.session_id().unwrap_or_default();
    let encoded = open
        .spec
        .get(spec::CONNECTION_PARAMS)
        .map(Bytes::as_ref)
        .unwrap_or_default();
    let params = ConnectionParams::decode(encoded)
        .map_err(|error| format!("session {id} failed to decode connection params: {error}"))?;
    let task = params.client_verb != "connect";
    if let Some(connection) = &config.connection
        && !params.connection_name.is_empty()
        && params.connection_name != connection.name
    {
        // A key of an agent may have other connections; their commands are not this application's.
        return Err(format!(
            "this agent serves the connection {:?} only, not {:?}",
            connection.name, params.connection_name
        ));
    }
    let own_command = open.text(spec::TASK).is_some() && task && config.connection.is_some();
    let command = match &config.connection {
        // What an application's console runs was decided where the application runs.
        Some(connection) => &connection.command,
        None => &params.cmd_list,
    };
    let mut words: Vec<String> = if own_command {
        Vec::new()
    } else {
        command.clone()
    };
    words.extend(params.client_args.iter().cloned());
    if words.is_empty() {
        return Err("the connection has no command".to_owned());
    }
    let environment = environment::build(&config.environment, open, &params, id)?;
    let stream_stdin = task && open.text(spec::STREAM_STDIN).is_some();
    let mut accepted = Packet::new(PacketType::ClientSessionOpenOk)
        .with(spec::CONNECTION_TYPE, params.connection_type.clone())
        .with(
            spec::REQUEST_PORT,
            open.spec
                .get(spec::REQUEST_PORT)
                .cloned()
                .unwrap_or_default(),
        )
        .with(spec::CLIENT_COMMAND, words.join(" "));
    if own_command {
        accepted = accepted.with(spec::TASK, "1");
    }
    if stream_stdin {
        accepted = accepted.with(spec::STREAM_STDIN, "1");
    }
    let words = words
        .into_iter()
        .map(|word| CString::new(word).map_err(|_| "an argument holds a NUL byte".to_owned()))
        .collect::<Result<_, _>>()?;
    let size = open
        .spec
        .get(spec::WINDOW_SIZE)
        .and_then(|text| terminal::size(text));
    Ok((
        Plan {
            words,
            environment,
            task,
            stream_stdin,
            size,
        },
        accepted,
    ))
}
