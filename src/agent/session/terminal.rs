//! A console: a program on a pseudo terminal.
//!
//! Rules: the program starts with the first stdin packet, whose payload is only a primer and is dropped; the size is set
//! before the program starts. Reading and writing the terminal never wait for each other: input that the program does not
//! read yet is held ([`Held`], then the client is held back), output is read only when the last of it was
//! taken by the link. `hoop` itself never writes a byte to the terminal.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use nix::errno::Errno;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::time::{Instant, timeout_at};

use super::closing::{Outcome, Sent};
use super::held::Held;
use super::pipe::{Inbox, LinkGone, Pipe, Tagged};
use super::process::{self, Control, Said, Started};
use super::relay::{self, Drain};
use super::{Ended, Ending, Plan};
use crate::agent::Config;
use crate::control::{FromSession, TerminalSize};
use crate::protocol::{MAX_PAYLOAD, Packet, PacketType};
use crate::sys::tty::{self, WindowSize};
use crate::sys::{fd, reactor};

/// Size of a terminal whose client told none.
const DEFAULT_SIZE: TerminalSize = TerminalSize {
    rows: 24,
    columns: 80,
    x: 0,
    y: 0,
};
/// How long the first size is waited for after the primer: the reference client sends both at the same moment.
const SIZE_WAIT: Duration = Duration::from_millis(100);
/// After the program's end: how long the terminal must be silent before it counts as read empty.
const SILENCE: Duration = Duration::from_millis(100);

/// Runs a console to the end of its program; `None` when it never began.
pub(super) async fn run(
    config: &Config,
    plan: Plan,
    pipe: &mut Pipe,
    ending: &Ending,
) -> Option<Ended> {
    let (size, typed) = if let Some(size) = plan.size {
        (size, None)
    } else {
        tokio::select! {
            begun = begin(&mut pipe.inbox) => {
                let (size, typed) = begun?;
                (size, Some(typed))
            }
            () = ending.asked() => return None,
        }
    };
    let ended = |outcome, running| {
        Some(Ended {
            outcome,
            task: false,
            running,
        })
    };
    let started = process::start(config, &plan.words, &plan.environment.variables, Some(size));
    let mut started = match started {
        Ok(started) => started,
        Err(error) => {
            let code = error.raw_os_error().unwrap_or(libc::EIO);
            return ended(Outcome::failed("start a session process", code, 125), None);
        }
    };
    let master = match opened(&started.control).await {
        Ok(master) => master,
        Err(outcome) => return ended(outcome, Some(started)),
    };
    let outcome = relay(&mut started, &master, pipe, ending, typed).await;
    ended(outcome, Some(started))
}

/// Parses a size; a zero becomes the default.
pub(super) fn size(text: &[u8]) -> Option<TerminalSize> {
    let size = crate::protocol::terminal::WindowSize::parse(text)?;
    if size.rows == 0 || size.cols == 0 {
        return Some(DEFAULT_SIZE);
    }
    Some(TerminalSize {
        rows: size.rows,
        columns: size.cols,
        x: size.x,
        y: size.y,
    })
}

/// Waits for the primer and a size; also what was typed by then.
async fn begin(inbox: &mut Inbox) -> Option<(TerminalSize, Held)> {
    let mut known = None;
    loop {
        let packet = inbox.next().await?;
        match packet.kind() {
            Some(PacketType::AgentTerminalResizeTty) => known = size(&packet.payload).or(known),
            Some(PacketType::AgentTerminalWriteStdin) => break,
            Some(PacketType::AgentSessionClose) => return None,
            _ => {}
        }
    }
    let mut typed = Held::default();
    let limit = Instant::now() + SIZE_WAIT;
    while known.is_none() && !typed.is_full() {
        let Ok(packet) = timeout_at(limit, inbox.next()).await else {
            break;
        };
        let packet = packet?;
        match packet.kind() {
            Some(PacketType::AgentTerminalResizeTty) => known = size(&packet.payload),
            Some(PacketType::AgentTerminalWriteStdin) => typed.push(packet.payload),
            Some(PacketType::AgentSessionClose) => return None,
            _ => {}
        }
    }
    Some((known.unwrap_or(DEFAULT_SIZE), typed))
}

/// The terminal's master, once the program runs.
async fn opened(control: &Control) -> Result<AsyncFd<OwnedFd>, Outcome> {
    let lost = |reason: &str| Outcome::NotStarted {
        reason: reason.to_owned(),
        code: 125,
    };
    match control.next().await {
        Ok(Said::Message(FromSession::Started { .. }, Some(master))) => {
            fd::set_nonblocking(master.as_fd())
                .map_err(io::Error::from)
                .and_then(|()| reactor::async_fd(master))
                .map_err(|error| lost(&format!("cannot use the terminal: {error}")))
        }
        Ok(Said::Message(message, _)) => Err(message.into()),
        Ok(Said::Gone) => Err(lost(
            "the session process ended before it started the program",
        )),
        Err(error) => Err(lost(&format!(
            "the session process cannot be understood: {error}"
        ))),
    }
}

/// Carries bytes both ways until the program has ended and its output is sent.
async fn relay(
    started: &mut Started,
    master: &AsyncFd<OwnedFd>,
    pipe: &mut Pipe,
    ending: &Ending,
    typed: Option<Held>,
) -> Outcome {
    let Pipe { outbox, inbox } = pipe;
    let mut out = Output::default();
    let (said, _) = {
        let output = output(master, outbox, &mut out, None);
        let input = input(master, inbox, outbox, &started.control, typed);
        relay::until_exit(output, input, &started.control, ending).await
    };
    let outcome = relay::outcome(said);
    let Outcome::Exited { status, .. } = outcome else {
        return outcome;
    };
    let left = output(master, outbox, &mut out, Some(Drain::new(SILENCE)));
    relay::drain(left, ending).await;
    Outcome::Exited {
        status,
        sent: out.sent,
    }
}

/// Output on its way; survives a cancelled [`output`].
#[derive(Default)]
struct Output {
    /// Read and not yet taken by the link.
    buffer: BytesMut,
    sent: Sent,
}

/// Terminal to link, until nobody holds it any more or, with `drain`, until that is over. What one wake-up finds goes into one
/// packet. Cancel safe.
async fn output(
    master: &AsyncFd<OwnedFd>,
    outbox: &Tagged,
    out: &mut Output,
    mut drain: Option<Drain>,
) -> Result<(), LinkGone> {
    loop {
        if !out.buffer.is_empty() {
            let before = Instant::now();
            let slot = outbox.slot().await?;
            if let Some(drain) = &mut drain {
                drain.sent(out.buffer.len(), before.elapsed());
            }
            out.sent.stdout += out.buffer.len() as u64;
            slot.output(PacketType::ClientWriteStdout, out.buffer.split().freeze());
        }
        let reading = fill(master, &mut out.buffer);
        let filled = match &drain {
            None => Some(reading.await),
            Some(drain) => drain.next(reading).await,
        };
        let Some(Ok(true)) = filled else {
            return Ok(());
        };
    }
}

/// Reads what is there, at least one byte; false at the end of the terminal. Cancel safe: what was read stays in the buffer.
async fn fill(master: &AsyncFd<OwnedFd>, buffer: &mut BytesMut) -> io::Result<bool> {
    loop {
        let mut ready = master.readable().await?;
        match read_available(master.get_ref(), buffer)? {
            Found::End => return Ok(!buffer.is_empty()),
            Found::Empty => ready.clear_ready(),
            Found::Full => {}
        }
        if !buffer.is_empty() {
            return Ok(true);
        }
    }
}

/// What reading came to.
enum Found {
    /// Nobody holds the terminal any more.
    End,
    /// Nothing more for now.
    Empty,
    /// The buffer holds one packet's worth.
    Full,
}

/// Reads until there is nothing or the buffer is full. The kernel hands out some 4 KiB at a time.
fn read_available(master: &OwnedFd, buffer: &mut BytesMut) -> io::Result<Found> {
    let mut chunk = [0; 4096];
    while buffer.len() < MAX_PAYLOAD {
        let room = chunk.len().min(MAX_PAYLOAD - buffer.len());
        let part = chunk.get_mut(..room).unwrap_or_default();
        match nix::unistd::read(master, part) {
            Ok(0) | Err(Errno::EIO) => return Ok(Found::End),
            Ok(length) => buffer.extend_from_slice(part.get(..length).unwrap_or_default()),
            Err(Errno::EINTR) => {}
            Err(Errno::EAGAIN) => return Ok(Found::Empty),
            Err(errno) => return Err(errno.into()),
        }
    }
    Ok(Found::Full)
}

/// Link to terminal, after what was typed before; returns when the client is gone. Without that the primer is yet to come.
async fn input(
    master: &AsyncFd<OwnedFd>,
    inbox: &mut Inbox,
    outbox: &Tagged,
    control: &Control,
    typed: Option<Held>,
) {
    let mut primed = typed.is_some();
    let mut held = typed.unwrap_or_default();
    loop {
        tokio::select! {
            packet = inbox.next(), if !held.is_full() => {
                let Some(packet) = packet else { return };
                match packet.kind() {
                    Some(PacketType::AgentTerminalWriteStdin) => {
                        if std::mem::replace(&mut primed, true) {
                            held.push(packet.payload);
                        }
                    }
                    Some(PacketType::AgentSessionClose) => return,
                    _ => other(&packet, master, control),
                }
            }
            // With input held back, a client that is gone shows only here.
            () = outbox.gone(), if held.is_full() => return,
            written = write_some(master, held.front()), if !held.is_empty() => {
                // After an error nobody will read it any more.
                if let Ok(length) = written {
                    held.written(length);
                } else {
                    held.clear();
                }
            }
        }
    }
}

/// A resize or a signal.
fn other(packet: &Packet, master: &AsyncFd<OwnedFd>, control: &Control) {
    let result = match packet.kind() {
        Some(PacketType::AgentTerminalResizeTty) => match size(&packet.payload) {
            None => Ok(()),
            Some(TerminalSize {
                rows,
                columns,
                x,
                y,
            }) => tty::set_window_size(
                master.get_ref().as_fd(),
                WindowSize {
                    rows,
                    columns,
                    x,
                    y,
                },
            ),
        },
        Some(PacketType::AgentSessionSignal) => relay::signal(packet, control),
        _ => Ok(()),
    };
    if let Err(error) = result {
        tracing::debug!("{} has no effect: {error}", packet.r#type);
    }
}

/// Writes what the terminal takes of `bytes`. Cancel safe: nothing is written unless it returns.
async fn write_some(master: &AsyncFd<OwnedFd>, bytes: Option<&Bytes>) -> io::Result<usize> {
    let Some(bytes) = bytes else {
        return std::future::pending().await;
    };
    master
        .async_io(Interest::WRITABLE, |terminal| {
            nix::unistd::write(terminal, bytes).map_err(io::Error::from)
        })
        .await
}
