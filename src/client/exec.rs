//! `hoop exec`: a task on three pipes.
//!
//! Where the peer and the agent can, input is streamed, and signals are passed on. Towards others the whole input goes into one
//! packet, and a signal only ends the client. Standard input is read when neither `-i` nor `-f` is given, unless it is a terminal.

use std::collections::BTreeMap;
use std::fs::File;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use nix::sys::signal::Signal;

use super::conversation::{Conversation, Flow, Front, GO_ON, fail, leave};
use super::input::Input;
use super::output::Output;
use super::progress::Progress;
use super::session::{Accepted, Request, UNKNOWN, Verb};
use super::wire::Outbox;
use super::{ClientError, Context, target};
use crate::protocol::environment::client_variable;
use crate::protocol::{MAX_MESSAGE, Packet, PacketType, spec};
use crate::sys::tty::is_terminal;

/// Largest input that goes into one packet, in bytes: a message less room for arguments and variables.
const MAX_INPUT: usize = MAX_MESSAGE - 1024 * 1024;

/// Within which time a further interrupt means more than the one before.
const INSISTING: Duration = Duration::from_secs(2);

/// Exit code of a client that was interrupted and could not pass the signal on.
const INTERRUPTED: i32 = 143;

/// Options of `hoop exec`.
#[derive(Clone, Debug, Default)]
pub struct ExecOptions {
    /// The connection.
    pub name: Option<String>,
    /// Arguments after `--`: the command, or appended to the connection's where that is not granted.
    pub arguments: Vec<String>,
    /// Variables, `NAME=VALUE`.
    pub variables: Vec<String>,
    /// Input as text, instead of standard input.
    pub input: Option<String>,
    /// Input from a file, instead of standard input.
    pub file: Option<PathBuf>,
    /// Say nothing but errors.
    pub silent: bool,
    /// Only an application on this machine.
    pub local: bool,
}

/// Where a task's input comes from.
enum Source {
    /// All of it is in the request.
    Known,
    /// It is read.
    Read(OwnedFd),
}

/// Runs a task and returns its exit code.
pub async fn exec(context: &Context, options: ExecOptions) -> Result<i32, ClientError> {
    let variables = variables(&options.variables)?;
    let (mut source, input) = source(context, &options)?;
    let has_input = !input.is_empty() || matches!(source, Source::Read(_));
    let progress = Progress::start(context, options.silent);
    let peer = target::open(context, options.name.as_deref(), options.local).await?;
    let shared = peer.link.capabilities();
    let mut request = Request {
        task: !options.arguments.is_empty(),
        stream_stdin: true,
        arguments: options.arguments,
        variables,
        input,
        ..Request::default()
    };
    if !shared.tasks
        && let Source::Read(descriptor) = source
    {
        request.input = read_all(descriptor).await?;
        source = Source::Known;
    }
    let output = Output::of(context)?;
    let conversation = Conversation::open(&peer, Verb::Exec, &request, output, progress)?;
    let mut task = Task {
        context,
        silent: options.silent,
        has_input,
        request: &request,
        source: Some(source),
        start: None,
        collected: BytesMut::new(),
        passes_signals: false,
        interrupts: Interrupts::default(),
    };
    let end = conversation.run(&mut task).await?;
    if let Some(message) = end.message {
        context.say(&message);
    }
    Ok(end.code)
}

/// The variables of a command line, `NAME=VALUE`, as they travel.
pub(super) fn variables(assignments: &[String]) -> Result<BTreeMap<String, String>, ClientError> {
    assignments
        .iter()
        .map(|text| {
            client_variable(text).map_err(|error| ClientError::Usage(format!("-e: {error}")))
        })
        .collect()
}

fn source(context: &Context, options: &ExecOptions) -> Result<(Source, Bytes), ClientError> {
    let known = |input| Ok((Source::Known, input));
    match (&options.input, &options.file) {
        (Some(_), Some(_)) => Err(ClientError::Usage(
            "-i and -f exclude each other: there is one input".to_owned(),
        )),
        (Some(text), None) => known(Bytes::from(text.clone())),
        (None, Some(path)) => match File::open(path) {
            Ok(file) => Ok((Source::Read(file.into()), Bytes::new())),
            Err(error) => Err(ClientError::NotRun(format!(
                "cannot read the input file {}: {error}",
                path.display()
            ))),
        },
        (None, None) if is_terminal(context.stdin()) => known(Bytes::new()),
        (None, None) => match context.stdin().try_clone_to_owned() {
            Ok(stdin) => Ok((Source::Read(stdin), Bytes::new())),
            Err(error) => Err(cannot_read(&error)),
        },
    }
}

async fn read_all(descriptor: OwnedFd) -> Result<Bytes, ClientError> {
    let mut input = Input::start(descriptor).map_err(|error| cannot_read(&error))?;
    let mut all = BytesMut::new();
    while let Some(chunk) = input.next().await {
        let chunk = chunk.map_err(|error| cannot_read(&error))?;
        add(&mut all, &chunk)?;
    }
    Ok(all.freeze())
}

fn add(all: &mut BytesMut, chunk: &[u8]) -> Result<(), ClientError> {
    if all.len() + chunk.len() > MAX_INPUT {
        return Err(ClientError::NotRun(format!(
            "the input is larger than {} MiB, and this connection takes it in one piece only",
            MAX_INPUT / 1024 / 1024
        )));
    }
    all.extend_from_slice(chunk);
    Ok(())
}

fn cannot_read(error: &std::io::Error) -> ClientError {
    ClientError::NotRun(format!("cannot read the input: {error}"))
}

struct Task<'a> {
    context: &'a Context,
    silent: bool,
    /// Whether there is anything to read for the program.
    has_input: bool,
    request: &'a Request,
    source: Option<Source>,
    /// Starts the program with its whole input; waits for that.
    start: Option<Packet>,
    collected: BytesMut,
    passes_signals: bool,
    interrupts: Interrupts,
}

impl Front for Task<'_> {
    fn accepted(
        &mut self,
        accepted: &Accepted,
        outbox: &mut Outbox,
    ) -> Result<Option<Input>, ClientError> {
        self.say_what_runs(accepted);
        self.passes_signals = accepted.task || accepted.stream_stdin;
        let write = Packet::new(PacketType::AgentExecWriteStdin);
        let mut whole = self.request.input_packet();
        if let Some(id) = &accepted.session_id {
            whole = whole.with(spec::SESSION_ID, id.clone());
        }
        match (self.source.take(), accepted.stream_stdin) {
            (Some(Source::Read(descriptor)), streams) => {
                if streams {
                    // The first packet starts the program.
                    outbox.push(write);
                } else {
                    self.start = Some(whole);
                }
                let input = Input::start(descriptor).map_err(|error| cannot_read(&error))?;
                return Ok(Some(input));
            }
            (_, true) => {
                outbox.push(write.payload(self.request.input.clone()));
                outbox.push(Packet::new(PacketType::AgentExecCloseStdin));
            }
            (_, false) => outbox.push(whole),
        }
        Ok(None)
    }

    fn input(&mut self, chunk: Option<Bytes>, outbox: &mut Outbox) -> Flow {
        match (chunk, self.start.take()) {
            (Some(chunk), None) => {
                outbox.push(Packet::new(PacketType::AgentExecWriteStdin).payload(chunk));
            }
            (None, None) => outbox.push(Packet::new(PacketType::AgentExecCloseStdin)),
            (Some(chunk), start) => {
                self.start = start;
                if let Err(error) = add(&mut self.collected, &chunk) {
                    return fail(error);
                }
            }
            (None, Some(start)) => {
                outbox.push(start.payload(std::mem::take(&mut self.collected)));
            }
        }
        GO_ON
    }

    fn signal(&mut self, signal: Signal, outbox: &mut Outbox) -> Flow {
        let number = match signal {
            Signal::SIGWINCH => return GO_ON,
            Signal::SIGUSR1 | Signal::SIGUSR2 if !self.passes_signals => return GO_ON,
            _ if !self.passes_signals => return leave(INTERRUPTED, None),
            Signal::SIGINT => self.interrupts.next(Instant::now()),
            other => Some(other),
        };
        let Some(number) = number.map(|signal| signal as i32) else {
            let message = "hoop: left; the task does not end, or the link is dead";
            return leave(UNKNOWN, Some(message.to_owned()));
        };
        outbox.push(Packet::new(PacketType::AgentSessionSignal).payload(number.to_string()));
        GO_ON
    }

    fn output(&mut self, _: &[u8]) {}
}

impl Task<'_> {
    fn say_what_runs(&self, accepted: &Accepted) {
        if self.silent {
            return;
        }
        let command = &accepted.command;
        if self.request.task && !accepted.task {
            self.context.say(&format!(
                "hoop: the arguments are appended to the command of the connection: {command}"
            ));
        }
        if self.context.is_watched() && !accepted.task && self.has_input {
            self.context.say(&format!(
                "<stdin-input> | {command} (the input is piped to this command)"
            ));
        }
    }
}

/// Interrupts in a row: the second in [`INSISTING`] asks to terminate, the third kills, the next gives up.
#[derive(Debug, Default)]
struct Interrupts {
    last: Option<Instant>,
    count: u8,
}

impl Interrupts {
    /// What one more interrupt sends.
    fn next(&mut self, now: Instant) -> Option<Signal> {
        let insists = self
            .last
            .is_some_and(|last| now.duration_since(last) <= INSISTING);
        self.count = if insists {
            self.count.saturating_add(1)
        } else {
            0
        };
        self.last = Some(now);
        match self.count {
            0 => Some(Signal::SIGINT),
            1 => Some(Signal::SIGTERM),
            2 => Some(Signal::SIGKILL),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn interrupts_grow_stronger_only_in_a_row() {
        let start = Instant::now();
        let mut interrupts = Interrupts::default();
        let mut at = |millis| interrupts.next(start + Duration::from_millis(millis));
        assert_eq!(at(0), Some(Signal::SIGINT));
        assert_eq!(at(2_001), Some(Signal::SIGINT));
        assert_eq!(at(4_001), Some(Signal::SIGTERM));
        assert_eq!(at(5_000), Some(Signal::SIGKILL));
        assert_eq!(at(5_001), None);
        assert_eq!(at(9_000), Some(Signal::SIGINT));
    }

    #[test]
    fn a_whole_input_is_taken_up_to_its_limit() {
        let mut all = BytesMut::zeroed(MAX_INPUT - 1);
        assert!(add(&mut all, b"x").is_ok());
        assert_eq!(add(&mut all, b"x").unwrap_err().exit_code(), 125);
    }

    #[test]
    fn a_variable_without_a_value_is_a_usage_error() {
        let error = variables(&["NAME".to_owned()]).unwrap_err();
        assert_eq!(error.exit_code(), 2);
        let found = variables(&["K=a=b,c".to_owned()]).unwrap();
        assert_eq!(found.get("envvar:K").map(String::as_str), Some("YT1iLGM="));
    }
}
