//! `hoop connect`: a console, with the person's terminal in raw mode.
//!
//! Rules: what is typed goes out as it is, and nothing else does; only [`Escape`] keeps keys to itself, and only where standard input
//! is a terminal. A standard input that is none may end: the console lives on until its program ends.

use std::os::fd::BorrowedFd;

use bytes::Bytes;
use nix::sys::signal::Signal;

use super::conversation::{Conversation, Flow, Front, GO_ON, leave};
use super::escape::Escape;
use super::exec::variables;
use super::input::Input;
use super::output::Output;
use super::progress::Progress;
use super::session::{Accepted, Request, UNKNOWN, Verb};
use super::signals;
use super::terminal::Terminal;
use super::wire::Outbox;
use super::{ClientError, Context, target};
use crate::protocol::terminal::WindowSize;
use crate::protocol::{Packet, PacketType};
use crate::sys::tty::{is_terminal, window_size};

/// The packet that starts a console's program carries this; the agent drops it.
const PRIMER: &[u8] = b"\n";

/// Size of a console whose client has no terminal, or one that does not know its size.
const DEFAULT_SIZE: WindowSize = WindowSize {
    rows: 24,
    cols: 80,
    x: 0,
    y: 0,
};

/// Types of connections that are forwarded, not typed into.
const FORWARDED: &[&str] = &[
    "tcp",
    "ssh",
    "postgres",
    "mysql",
    "mssql",
    "mongodb",
    "oracledb",
    "httpproxy",
    "mcpproxy",
    "rdp",
    "aws-ssm",
];

/// Options of `hoop connect`.
#[derive(Clone, Debug, Default)]
pub struct ConnectOptions {
    /// The connection.
    pub name: Option<String>,
    /// Arguments after the name, appended to the connection's command.
    pub arguments: Vec<String>,
    /// Variables, `NAME=VALUE`.
    pub variables: Vec<String>,
    /// Say nothing but errors.
    pub silent: bool,
    /// Only an application on this machine.
    pub local: bool,
}

/// Opens a console and returns its program's exit code.
pub async fn connect(context: &Context, options: ConnectOptions) -> Result<i32, ClientError> {
    let variables = variables(&options.variables)?;
    let progress = Progress::start(context, options.silent);
    let peer = target::open(context, options.name.as_deref(), options.local).await?;
    let request = Request {
        arguments: options.arguments,
        variables,
        window_size: Some(size(context).to_string()),
        term: context.variable("TERM"),
        ..Request::default()
    };
    let output = Output::of(context)?;
    let conversation = Conversation::open(&peer, Verb::Connect, &request, output, progress)?;
    let mut console = Console {
        context,
        silent: options.silent,
        terminal: None,
        escape: None,
    };
    let end = conversation.run(&mut console).await;
    // The terminal is given back before anything is said.
    drop(console);
    let end = end?;
    if let Some(message) = end.message {
        context.say(&message);
    }
    Ok(end.code)
}

struct Console<'a> {
    context: &'a Context,
    silent: bool,
    terminal: Option<Terminal>,
    escape: Option<Escape>,
}

impl Front for Console<'_> {
    fn accepted(
        &mut self,
        accepted: &Accepted,
        outbox: &mut Outbox,
    ) -> Result<Option<Input>, ClientError> {
        let kind = accepted.connection_type.as_str();
        if FORWARDED.contains(&kind) {
            return Err(ClientError::NotRun(format!(
                "this connection is of type {kind}, which has no console"
            )));
        }
        if !self.silent {
            self.context
                .say(&format!("{} (stdin and tty allocated)", accepted.command));
        }
        let stdin = self.context.stdin();
        let failed = |error| ClientError::Unknown(format!("cannot use the terminal: {error}"));
        if is_terminal(stdin) {
            let terminal = Terminal::take(stdin, self.context.stdout()).map_err(failed)?;
            self.terminal = Some(terminal);
            self.escape = Some(Escape::new());
        }
        outbox.push(resize(self.context));
        outbox.push(Packet::new(PacketType::AgentTerminalWriteStdin).payload(PRIMER));
        let stdin = stdin.try_clone_to_owned().map_err(failed)?;
        Input::start(stdin).map(Some).map_err(failed)
    }

    fn input(&mut self, chunk: Option<Bytes>, outbox: &mut Outbox) -> Flow {
        let Some(chunk) = chunk else {
            return GO_ON;
        };
        let (typed, leaves) = match &mut self.escape {
            Some(escape) => {
                let (typed, leaves) = escape.filter(&chunk);
                (Bytes::from(typed), leaves)
            }
            None => (chunk, false),
        };
        if leaves {
            return leave(UNKNOWN, Some("\r\nhoop: left the console".to_owned()));
        }
        if !typed.is_empty() {
            outbox.push(Packet::new(PacketType::AgentTerminalWriteStdin).payload(typed));
        }
        GO_ON
    }

    fn signal(&mut self, signal: Signal, outbox: &mut Outbox) -> Flow {
        match signal {
            Signal::SIGWINCH => {
                outbox.push_last(resize(self.context));
                GO_ON
            }
            Signal::SIGUSR1 | Signal::SIGUSR2 => GO_ON,
            _ => leave(signals::exit_code(signal), None),
        }
    }

    fn output(&mut self, bytes: &[u8]) {
        if let Some(terminal) = &self.terminal {
            terminal.read(bytes);
        }
    }
}

fn resize(context: &Context) -> Packet {
    Packet::new(PacketType::AgentTerminalResizeTty).payload(size(context).to_string())
}

/// The size of the first standard descriptor that is a terminal and knows it.
fn size(context: &Context) -> WindowSize {
    let of = |descriptor: BorrowedFd<'_>| {
        let size = window_size(descriptor).ok()?;
        (size.rows > 0 && size.columns > 0).then_some(WindowSize {
            rows: size.rows,
            cols: size.columns,
            x: size.x,
            y: size.y,
        })
    };
    of(context.stdin())
        .or_else(|| of(context.stdout()))
        .or_else(|| of(context.stderr()))
        .unwrap_or(DEFAULT_SIZE)
}
