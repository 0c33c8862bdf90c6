//! What a console and a task have in common while their program runs.

use std::future::Future;
use std::io;
use std::time::Duration;

use super::Ending;
use super::closing::Outcome;
use super::pipe::LinkGone;
use super::process::{Control, Said};
use crate::control::ToSession;
use crate::protocol::Packet;

/// Why a session ended whose packets nobody takes any more.
pub(super) const LINK_LOST: &str = "the link was lost";

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
