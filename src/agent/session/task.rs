//! A task: a program on three pipes.
//!
//! Rules: standard output and standard error stay apart and each in order; a program's next output is read only when the
//! last was taken by the link; the close packet comes after all of it. Standard input is the payload of one packet, or (when
//! both sides agreed) of many until `AgentExecCloseStdin`.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::{FutureExt, StreamExt};
use tokio::io::AsyncWriteExt;
use tokio::process::ChildStdin;
use tokio::time::Instant;
use tokio_process_stream::{Item, ProcessChunkStream};

use super::closing::{Outcome, Sent};
use super::held::Held;
use super::pipe::{Inbox, LinkGone, Pipe, Tagged};
use super::process::{self, Control, Said};
use super::relay::{self, Drain};
use super::{Ended, Ending, Plan};
use crate::agent::Config;
use crate::control::FromSession;
use crate::protocol::{MAX_PAYLOAD, PacketType};

/// After the program's end: how long pipes that others still hold must be silent before they count as read.
const SILENCE: Duration = Duration::from_millis(500);

/// Runs a task to the end of its program; `None` when it never began.
pub(super) async fn run(
    config: &Config,
    plan: Plan,
    pipe: &mut Pipe,
    ending: &Ending,
) -> Option<Ended> {
    let ended = |outcome, running| {
        Some(Ended {
            outcome,
            task: true,
            running,
        })
    };
    let first = if plan.stream_stdin {
        Bytes::new()
    } else {
        tokio::select! {
            input = whole_input(&mut pipe.inbox) => input?,
            () = ending.asked() => return None,
        }
    };
    let mut started = match process::start(config, &plan.words, &plan.environment.variables, None) {
        Ok(started) => started,
        Err(error) => {
            let code = error.raw_os_error().unwrap_or(libc::EIO);
            return ended(Outcome::failed("start a session process", code, 125), None);
        }
    };
    let stdin = started.child.stdin.take();
    match started.control.next().await {
        Ok(Said::Message(FromSession::Started { .. }, _)) => {}
        Ok(Said::Message(message, _)) => return ended(message.into(), Some(started)),
        Ok(Said::Gone) | Err(_) => {
            let reason = "the session process ended before it started the program".to_owned();
            return ended(Outcome::NotStarted { reason, code: 125 }, Some(started));
        }
    }
    let input = Input {
        stdin,
        more: plan.stream_stdin,
        first,
    };
    let mut stream = ProcessChunkStream::from(started.child);
    let outcome = relay(&mut stream, &started.control, pipe, ending, input).await;
    end(&mut stream, &started.control, ending.grace()).await;
    ended(outcome, None)
}

/// What the program reads.
struct Input {
    stdin: Option<ChildStdin>,
    /// Whether packets follow.
    more: bool,
    first: Bytes,
}

/// Waits for the one packet that is a task's whole input.
async fn whole_input(inbox: &mut Inbox) -> Option<Bytes> {
    loop {
        let packet = inbox.next().await?;
        match packet.kind() {
            Some(PacketType::AgentExecWriteStdin) => return Some(packet.payload),
            Some(PacketType::AgentSessionClose) => return None,
            _ => {}
        }
    }
}

async fn end(stream: &mut ProcessChunkStream, control: &Control, grace: Duration) {
    if let Some(child) = stream.child_mut() {
        process::end(child, control, grace).await;
    }
}

async fn relay(
    stream: &mut ProcessChunkStream,
    control: &Control,
    pipe: &mut Pipe,
    ending: &Ending,
    input: Input,
) -> Outcome {
    let Pipe { outbox, inbox } = pipe;
    let mut out = Output::default();
    let (said, read_whole) = {
        let output = output(stream, outbox, &mut out, None);
        let input = feed(input, inbox, outbox, control);
        relay::until_exit(output, input, control, ending).await
    };
    let outcome = relay::outcome(said);
    let Outcome::Exited { status, .. } = outcome else {
        return outcome;
    };
    if !read_whole {
        let left = output(stream, outbox, &mut out, Some(Drain::new(SILENCE)));
        relay::drain(left, ending).await;
    }
    Outcome::Exited {
        status,
        sent: out.sent,
    }
}

/// Output on its way; survives a cancelled [`output`].
#[derive(Default)]
struct Output {
    /// Read and not yet taken by the link.
    batch: Option<(PacketType, BytesMut)>,
    /// Read after it.
    next: Option<Next>,
    sent: Sent,
}

/// What comes after a batch.
enum Next {
    /// Output of the other pipe.
    Output(Item<Bytes>),
    /// Nothing: both pipes are closed.
    Closed,
}

/// Pipes to link, until both are closed or, with `drain`, until that is over. Chunks that are there already
/// go into one packet. Cancel safe.
async fn output(
    stream: &mut ProcessChunkStream,
    outbox: &Tagged,
    out: &mut Output,
    mut drain: Option<Drain>,
) -> Result<(), LinkGone> {
    loop {
        if let Some((kind, batch)) = &mut out.batch {
            fill(stream, *kind, batch, &mut out.next);
            let before = Instant::now();
            let slot = outbox.slot().await?;
            if let Some(drain) = &mut drain {
                drain.sent(batch.len(), before.elapsed());
            }
            let count = batch.len() as u64;
            match kind {
                PacketType::ClientWriteStdout => out.sent.stdout += count,
                _ => out.sent.stderr += count,
            }
            slot.output(*kind, batch.split().freeze());
            out.batch = None;
        }
        let item = match (out.next.take(), &drain) {
            (Some(Next::Output(item)), _) => Some(item),
            (Some(Next::Closed), _) => None,
            (None, None) => stream.next().await,
            (None, Some(drain)) => drain.next(stream.next()).await.flatten(),
        };
        out.batch = match item {
            Some(Item::Stdout(chunk)) => Some((
                PacketType::ClientWriteStdout,
                BytesMut::from(chunk.as_ref()),
            )),
            Some(Item::Stderr(chunk)) => Some((
                PacketType::ClientWriteStderr,
                BytesMut::from(chunk.as_ref()),
            )),
            Some(Item::Done(_)) | None => return Ok(()),
        };
    }
}

/// Adds what is there already of the same pipe.
fn fill(
    stream: &mut ProcessChunkStream,
    kind: PacketType,
    batch: &mut BytesMut,
    next: &mut Option<Next>,
) {
    while next.is_none() && batch.len() < MAX_PAYLOAD {
        match stream.next().now_or_never() {
            Some(Some(Item::Stdout(chunk))) if kind == PacketType::ClientWriteStdout => {
                batch.extend_from_slice(&chunk);
            }
            Some(Some(Item::Stderr(chunk))) if kind == PacketType::ClientWriteStderr => {
                batch.extend_from_slice(&chunk);
            }
            Some(Some(other)) => *next = Some(Next::Output(other)),
            Some(None) => *next = Some(Next::Closed),
            None => return,
        }
    }
}

/// Link to the program's standard input; returns when the client is gone.
async fn feed(input: Input, inbox: &mut Inbox, outbox: &Tagged, control: &Control) {
    let Input {
        mut stdin,
        mut more,
        first,
    } = input;
    let mut held = Held::default();
    held.push(first);
    loop {
        if held.is_empty() && !more {
            // End of file for the program.
            stdin = None;
        }
        tokio::select! {
            packet = inbox.next(), if !held.is_full() => {
                let Some(packet) = packet else { return };
                match packet.kind() {
                    Some(PacketType::AgentExecWriteStdin) if more && stdin.is_some() => held.push(packet.payload),
                    Some(PacketType::AgentExecCloseStdin) => more = false,
                    Some(PacketType::AgentSessionSignal) => {
                        if let Err(error) = relay::signal(&packet, control) {
                            tracing::debug!("a signal has no effect: {error}");
                        }
                    }
                    Some(PacketType::AgentSessionClose) => return,
                    _ => {}
                }
            }
            // With input held back, a client that is gone shows only here.
            () = outbox.gone(), if held.is_full() => return,
            written = write_some(stdin.as_mut(), held.front()), if !held.is_empty() => {
                if let Ok(length) = written {
                    held.written(length);
                } else {
                    // The program closed its input: what is left is for nobody.
                    stdin = None;
                    held.clear();
                }
            }
        }
    }
}

async fn write_some(
    stdin: Option<&mut ChildStdin>,
    bytes: Option<&Bytes>,
) -> std::io::Result<usize> {
    match (stdin, bytes) {
        (Some(stdin), Some(bytes)) => stdin.write(bytes).await,
        _ => std::future::pending().await,
    }
}
