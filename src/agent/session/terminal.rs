//! A console: a program on a pseudo terminal.
//!
//! Rules: the program starts with the first stdin packet, whose payload is only a primer and is dropped; the size is set
//! before the program starts. Reading and writing the terminal never wait for each other: input that the program does not
//! read yet is held (at most [`PENDING`] bytes, then the client is held back), output is read only when the last of it was
//! taken by the link. `hoop` itself never writes a byte to the terminal.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::time::Instant;

use super::closing::{Outcome, Sent};
use super::pipe::{Inbox, LinkGone, Pipe, Tagged};
use super::process::{self, Control, Said, Started};
use super::{Ended, Ending, Plan};
use crate::agent::Config;
use crate::control::{FromSession, TerminalSize, ToSession};
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
/// Bytes of input that are held for a program that does not read.
const PENDING: usize = 64 * 1024;
/// After the program's end: how long the terminal must be silent before it counts as read empty…
const SILENCE: Duration = Duration::from_millis(100);
/// …and how long output of others that still hold it is waited for at most.
const DRAIN: Duration = Duration::from_secs(2);

/// Runs a console to the end of its program; `None` when it never began.
pub(super) async fn run(
    config: &Config,
    plan: Plan,
    pipe: &mut Pipe,
    ending: &Ending,
) -> Option<Ended> {
    let (size, primed) = match plan.size {
        Some(size) => (size, false),
        None => tokio::select! {
            begun = begin(&mut pipe.inbox) => (begun?, true),
            () = ending.asked() => return None,
        },
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
    let outcome = relay(&mut started, &master, pipe, ending, primed).await;
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

/// Waits for the primer and a size.
async fn begin(inbox: &mut Inbox) -> Option<TerminalSize> {
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
    if known.is_some() {
        return known;
    }
    match tokio::time::timeout(SIZE_WAIT, inbox.next()).await {
        Ok(Some(packet)) if packet.kind() == Some(PacketType::AgentTerminalResizeTty) => {
            Some(size(&packet.payload).unwrap_or(DEFAULT_SIZE))
        }
        Ok(None) => None,
        Ok(Some(_)) | Err(_) => Some(DEFAULT_SIZE),
    }
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
    primed: bool,
) -> Outcome {
    let Pipe { outbox, inbox } = pipe;
    let mut out = Output::default();
    let status = {
        let output = output(master, outbox, &mut out, Until::TerminalCloses);
        let input = input(master, inbox, outbox, &started.control, primed);
        tokio::pin!(output, input);
        let mut output_open = true;
        let mut input_open = true;
        loop {
            tokio::select! {
                // The end of the terminal is not the end of the program, which may have closed it.
                result = &mut output, if output_open => {
                    output_open = false;
                    if result.is_err() {
                        ending.end("the link was lost");
                    }
                }
                () = &mut input, if input_open => {
                    input_open = false;
                    ending.end("closed by the client");
                }
                said = started.control.next() => break said,
                () = ending.asked() => {
                    break hang_up(&started.control).await;
                }
            }
        }
    };
    let outcome = match status {
        Ok(Said::Message(message, _)) => Outcome::from(message),
        Ok(Said::Gone) => Outcome::Unknown {
            reason: "the session process was killed".to_owned(),
        },
        Err(error) => Outcome::Unknown {
            reason: format!("the session process cannot be understood: {error}"),
        },
    };
    // A client that is gone reads no more; one that is there gets everything.
    if outcome_is_exit(&outcome)
        && output(master, outbox, &mut out, Until::Silent)
            .await
            .is_err()
    {
        ending.end("the link was lost");
    }
    match outcome {
        Outcome::Exited { status, .. } => Outcome::Exited {
            status,
            sent: out.sent,
        },
        other => other,
    }
}

fn outcome_is_exit(outcome: &Outcome) -> bool {
    matches!(outcome, Outcome::Exited { .. })
}

/// Has the session process end the program, and waits for its status.
pub(super) async fn hang_up(control: &Control) -> io::Result<Said> {
    let grace_ms = u64::try_from(crate::agent::SESSION_GRACE.as_millis()).unwrap_or(u64::MAX);
    control.send(&ToSession::End { grace_ms })?;
    control.next().await
}

/// When reading a terminal ends.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Until {
    /// When nobody holds it any more.
    TerminalCloses,
    /// When it is read empty too: its program is over.
    Silent,
}

/// Output on its way; survives a cancelled [`output`].
#[derive(Default)]
struct Output {
    /// Read and not yet taken by the link.
    buffer: BytesMut,
    sent: Sent,
}

/// Terminal to link. What one wake-up finds goes into one packet. Cancel safe.
async fn output(
    master: &AsyncFd<OwnedFd>,
    outbox: &Tagged,
    out: &mut Output,
    until: Until,
) -> Result<(), LinkGone> {
    let mut deadline = Instant::now() + DRAIN;
    loop {
        if !out.buffer.is_empty() {
            let before = Instant::now();
            let slot = outbox.slot().await?;
            // A slow client's time is not the program's.
            deadline += before.elapsed();
            out.sent.stdout += out.buffer.len() as u64;
            slot.output(PacketType::ClientWriteStdout, out.buffer.split().freeze());
        }
        let filled = match until {
            Until::TerminalCloses => fill(master, &mut out.buffer).await,
            Until::Silent => {
                let silent = (Instant::now() + SILENCE).min(deadline);
                match tokio::time::timeout_at(silent, fill(master, &mut out.buffer)).await {
                    Ok(filled) => filled,
                    Err(_) => return Ok(()),
                }
            }
        };
        let Ok(true) = filled else { return Ok(()) };
    }
}

/// Reads what is there, at least one byte; false at the end of the terminal (`EIO`). Cancel safe: what was read stays in
/// the buffer.
async fn fill(master: &AsyncFd<OwnedFd>, buffer: &mut BytesMut) -> io::Result<bool> {
    loop {
        let mut ready = master.readable().await?;
        let mut chunk = [0; 4096];
        while buffer.len() < MAX_PAYLOAD {
            let room = chunk.len().min(MAX_PAYLOAD - buffer.len());
            let part = chunk.get_mut(..room).unwrap_or_default();
            match nix::unistd::read(master.get_ref(), part) {
                Ok(0) | Err(nix::errno::Errno::EIO) => return Ok(!buffer.is_empty()),
                Ok(length) => buffer.extend_from_slice(part.get(..length).unwrap_or_default()),
                Err(nix::errno::Errno::EINTR) => {}
                Err(nix::errno::Errno::EAGAIN) => {
                    ready.clear_ready();
                    break;
                }
                Err(errno) => return Err(errno.into()),
            }
        }
        if !buffer.is_empty() {
            return Ok(true);
        }
    }
}

/// Link to terminal; returns when the client is gone.
async fn input(
    master: &AsyncFd<OwnedFd>,
    inbox: &mut Inbox,
    outbox: &Tagged,
    control: &Control,
    mut primed: bool,
) {
    let mut pending: VecDeque<Bytes> = VecDeque::new();
    let mut held = 0;
    loop {
        tokio::select! {
            packet = inbox.next(), if held < PENDING => {
                let Some(packet) = packet else { return };
                match packet.kind() {
                    Some(PacketType::AgentTerminalWriteStdin) => {
                        if std::mem::replace(&mut primed, true) && !packet.payload.is_empty() {
                            held += packet.payload.len();
                            pending.push_back(packet.payload);
                        }
                    }
                    Some(PacketType::AgentSessionClose) => return,
                    _ => other(&packet, master, control),
                }
            }
            // With input held back, a client that is gone shows only here.
            () = outbox.gone(), if held >= PENDING => return,
            written = write_some(master, pending.front()), if held > 0 => match written {
                Ok(length) => {
                    held -= length;
                    if let Some(front) = pending.front_mut() {
                        bytes::Buf::advance(front, length);
                        if front.is_empty() {
                            pending.pop_front();
                        }
                    }
                }
                // Nobody will read it any more.
                Err(_) => {
                    pending.clear();
                    held = 0;
                }
            },
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
        Some(PacketType::AgentSessionSignal) => signal(packet, control),
        _ => Ok(()),
    };
    if let Err(error) = result {
        tracing::debug!("{} has no effect: {error}", packet.r#type);
    }
}

/// Passes a signal on; a number that is none is ignored.
pub(super) fn signal(packet: &Packet, control: &Control) -> io::Result<()> {
    let number = std::str::from_utf8(&packet.payload)
        .ok()
        .and_then(|text| text.parse().ok());
    match number {
        Some(number @ 1..=64) => control.send(&ToSession::Signal { number }),
        _ => Ok(()),
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
