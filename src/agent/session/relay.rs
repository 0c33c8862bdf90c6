//! What a console and a task have in common while their program runs.

use std::future::Future;
use std::io;
use std::time::Duration;

use tokio::time::Instant;

use super::Ending;
use super::closing::Outcome;
use super::pipe::LinkGone;
use super::process::{Control, Said};
use crate::control::ToSession;
use crate::protocol::Packet;

/// Why a session ended whose packets nobody takes any more.
pub(super) const LINK_LOST: &str = "the link was lost";

/// After the program's end: how long output of others that still hold its terminal or pipes is read at most.
const DRAIN: Duration = Duration::from_secs(2);

/// After the program's end: how many bytes are read at most. What the program itself wrote is in its two pipes by then, which
/// hold 1 MiB each at most (`/proc/sys/fs/pipe-max-size`), or in its terminal, which holds less; more is others'.
const DRAIN_BYTES: usize = 2 * 1024 * 1024;

/// How what is left after the program's end is read: until nothing comes for a while, and not for ever while something does.
pub(super) struct Drain {
    silence: Duration,
    deadline: Instant,
    bytes: usize,
}

impl Drain {
    pub(super) fn new(silence: Duration) -> Self {
        let deadline = Instant::now() + DRAIN;
        Self {
            silence,
            deadline,
            bytes: DRAIN_BYTES,
        }
    }

    /// Notes that `bytes` were sent on, after `waited` for the link: a slow client's time is not the program's.
    pub(super) fn sent(&mut self, bytes: usize, waited: Duration) {
        self.bytes = self.bytes.saturating_sub(bytes);
        self.deadline += waited;
    }

    /// What `read` finds; `None` when the drain is over. `read` must be cancel safe.
    pub(super) async fn next<T>(&self, read: impl Future<Output = T>) -> Option<T> {
        let now = Instant::now();
        // A time-out alone would never be reached by a reader that always finds something.
        if self.bytes == 0 || now >= self.deadline {
            return None;
        }
        let until = (now + self.silence).min(self.deadline);
        tokio::time::timeout_at(until, read).await.ok()
    }
}

/// Sends what is left. A client that does not take it holds up a session that is to end for [`DRAIN`] only.
pub(super) async fn drain(output: impl Future<Output = Result<(), LinkGone>>, ending: &Ending) {
    tokio::select! {
        sent = output => if sent.is_err() {
            ending.end(LINK_LOST);
        },
        () = ending.overdue(DRAIN) => {}
    }
}

/// Carries bytes both ways until the program has ended: what its session process said, and whether the output ended before.
/// The end of the output is not the end of the program, which may have closed it; the end of the input is the client's end.
pub(super) async fn until_exit(
    output: impl Future<Output = Result<(), LinkGone>>,
    input: impl Future<Output = ()>,
    control: &Control,
    ending: &Ending,
) -> (io::Result<Said>, bool) {
    tokio::pin!(output, input);
    let mut output_open = true;
    let mut input_open = true;
    // Output is read on: a program that says something at its end must not get stuck on it.
    let mut hung_up = false;
    loop {
        tokio::select! {
            result = &mut output, if output_open => {
                output_open = false;
                if result.is_err() {
                    ending.end(LINK_LOST);
                }
            }
            () = &mut input, if input_open && !hung_up => {
                input_open = false;
                ending.end("closed by the client");
            }
            said = control.next() => return (said, !output_open),
            () = ending.asked(), if !hung_up => {
                hung_up = true;
                if let Err(error) = hang_up(control, ending.grace()) {
                    return (Err(error), !output_open);
                }
            }
        }
    }
}

/// Has the session process end the program.
fn hang_up(control: &Control, grace: Duration) -> io::Result<()> {
    let grace_ms = u64::try_from(grace.as_millis()).unwrap_or(u64::MAX);
    control.send(&ToSession::End { grace_ms })
}

/// The outcome of what a session process said at the program's end.
pub(super) fn outcome(said: io::Result<Said>) -> Outcome {
    match said {
        Ok(Said::Message(message, _)) => message.into(),
        Ok(Said::Gone) => Outcome::Unknown {
            reason: "the session process was killed".to_owned(),
        },
        Err(error) => Outcome::Unknown {
            reason: format!("the session process cannot be understood: {error}"),
        },
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
