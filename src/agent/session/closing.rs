//! How a session's end is told: the close packet.
//!
//! The wire's own codes stay for peers that know no more (254 for what could not be started); ours are beside them: a program
//! that never ran is `hoop.not_started`, and the byte counts let a client see that its output is complete.

use crate::control::FromSession;
use crate::protocol::spec;
use crate::protocol::{Packet, PacketType};

/// Exit code on the wire for a session that could not be started.
const NOT_STARTED: i32 = 254;

/// Bytes that a session has sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Sent {
    pub(super) stdout: u64,
    pub(super) stderr: u64,
}

/// How a session ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// The program's `waitpid` status.
    Exited { status: i32, sent: Sent },
    /// Nothing was run. `code` is what a person's shell should see: 125, 126 or 127.
    NotStarted { reason: String, code: i32 },
    /// The program was started, but how it ended is not known.
    Unknown { reason: String },
}

impl Outcome {
    /// The outcome of a failed start.
    pub(super) fn failed(step: &str, errno: i32, code: i32) -> Self {
        let cause = std::io::Error::from_raw_os_error(errno);
        let text = cause.to_string();
        // The number in the system's text helps nobody.
        let text = text.split(" (os error").next().unwrap_or_default();
        Self::NotStarted {
            reason: format!("cannot {step}: {text}"),
            code,
        }
    }

    /// The close packet. `task`: the wire's code of a program that was not found is 127 there, 254 on a console.
    pub(super) fn packet(&self, task: bool, cause: Option<&str>) -> Packet {
        let packet = Packet::new(PacketType::ClientSessionClose);
        match self {
            Self::Exited { status, sent } => {
                let (code, text) = describe(*status);
                let text = match (cause, text) {
                    (Some(cause), _) => cause.to_owned(),
                    (None, text) => text,
                };
                packet
                    .with(spec::EXIT_CODE, code.to_string())
                    .with(spec::STDOUT_BYTES, sent.stdout.to_string())
                    .with(spec::STDERR_BYTES, sent.stderr.to_string())
                    .payload(text)
            }
            Self::NotStarted { reason, code } => {
                let wire = if task && *code != 125 {
                    *code
                } else {
                    NOT_STARTED
                };
                packet
                    .with(spec::EXIT_CODE, wire.to_string())
                    .with(spec::NOT_STARTED, code.to_string())
                    .payload(format!("failed executing command, reason={reason}"))
            }
            Self::Unknown { reason } => packet.with(spec::EXIT_CODE, "255").payload(reason.clone()),
        }
    }
}

/// Exit code and text of a wait status: 128+n for a death by signal n.
fn describe(status: i32) -> (i32, String) {
    let status = crate::sys::wait::Status::from_raw(status);
    match (status.code(), status.signal()) {
        (Some(0), _) => (0, String::new()),
        (Some(code), _) => (
            code,
            format!("failed executing command, reason=exit status {code}"),
        ),
        (None, Some(signal)) => (
            128 + signal,
            format!("the program was ended by {}", signal_name(signal)),
        ),
        (None, None) => (255, "how the program ended is not known".to_owned()),
    }
}

fn signal_name(number: i32) -> String {
    match nix::sys::signal::Signal::try_from(number) {
        Ok(signal) => signal.as_str().to_owned(),
        Err(_) => format!("signal {number}"),
    }
}

impl From<FromSession> for Outcome {
    /// The outcome of a message that is an end.
    fn from(message: FromSession) -> Self {
        match message {
            FromSession::Exited { status } => Self::Exited {
                status,
                sent: Sent::default(),
            },
            FromSession::Failed { step, errno, code } => Self::failed(&step, errno, code),
            FromSession::Started { .. } => Self::Unknown {
                reason: "started twice".to_owned(),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(packet: &Packet) -> Option<&str> {
        packet.text(spec::EXIT_CODE)
    }

    #[test]
    fn a_code_and_a_signal_are_told_as_a_shell_tells_them() {
        let exited = |status| Outcome::Exited {
            status,
            sent: Sent {
                stdout: 3,
                stderr: 0,
            },
        };
        let packet = exited(7 << 8).packet(true, None);
        assert_eq!(code(&packet), Some("7"));
        assert_eq!(packet.text(spec::STDOUT_BYTES), Some("3"));
        assert_eq!(
            &packet.payload[..],
            b"failed executing command, reason=exit status 7"
        );
        let packet = exited(libc::SIGKILL).packet(true, None);
        assert_eq!(code(&packet), Some("137"));
        assert_eq!(&packet.payload[..], b"the program was ended by SIGKILL");
        assert!(exited(0).packet(true, None).payload.is_empty());
    }

    #[test]
    fn what_was_not_started_has_the_wires_code_and_ours_beside_it() {
        let missing = Outcome::failed("run 'x' in /app", libc::ENOENT, 127);
        assert_eq!(code(&missing.packet(true, None)), Some("127"));
        assert_eq!(code(&missing.packet(false, None)), Some("254"));
        assert_eq!(
            missing.packet(false, None).text(spec::NOT_STARTED),
            Some("127")
        );
        let packet = Outcome::failed("run 'x' in /app", libc::ENOMEM, 125).packet(true, None);
        assert_eq!(code(&packet), Some("254"));
        assert_eq!(
            &packet.payload[..],
            b"failed executing command, reason=cannot run 'x' in /app: Cannot allocate memory"
        );
    }
}
