//! A session as a client sees it: what to ask for, what each packet means, how it ended. Pure: no I/O, no time.
//!
//! Theory of operation: `AgentSessionOpen` goes out first; `ClientSessionOpenOK` accepts it and tells what was granted; output follows;
//! `ClientSessionClose` ends it with an exit code. An approval may come in between: then the open packet is sent again. A
//! session that ends in any other way ends with a result that nobody knows. The gateway sets the session's id on what we
//! send.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::output::Target;
use crate::protocol::{Capabilities, Packet, PacketType, gob, spec};

/// Exit code of a client: nothing was run.
pub(super) const NOT_RUN: i32 = 125;
/// Exit code of a client: the result is not known.
pub(super) const UNKNOWN: i32 = 255;
/// Exit code of a console that was closed without one.
const CONSOLE_WITHOUT_CODE: i32 = 1;
/// Exit code of a task that was closed without one.
const TASK_WITHOUT_CODE: i32 = 254;

/// What a client wants of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verb {
    /// A console.
    Connect,
    /// A task.
    Exec,
}

impl Verb {
    /// The word on the wire.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Connect => "connect",
            Self::Exec => "exec",
        }
    }
}

/// What is asked for in an open packet.
#[derive(Debug, Default)]
pub(super) struct Request {
    /// Arguments, or where tasks are granted the whole command.
    pub(super) arguments: Vec<String>,
    /// Variables: keys `envvar:NAME`, values base64.
    pub(super) variables: BTreeMap<String, String>,
    /// Ask that the arguments be the whole command.
    pub(super) task: bool,
    /// Ask to send standard input in many packets.
    pub(super) stream_stdin: bool,
    /// The terminal's size as the wire writes it.
    pub(super) window_size: Option<String>,
    /// The terminal's kind.
    pub(super) term: Option<String>,
    /// A task's whole standard input, where it is known at once.
    pub(super) input: Bytes,
}

impl Request {
    /// The packet, for a peer with these capabilities.
    pub(super) fn open_packet(&self, shared: Capabilities) -> Packet {
        let mut packet = self
            .common(PacketType::AgentSessionOpen)
            .payload(self.input.clone());
        if !shared.tasks {
            return packet;
        }
        let flags = [
            (self.task, spec::TASK),
            (self.stream_stdin, spec::STREAM_STDIN),
        ];
        for (_, key) in flags.iter().filter(|(asked, _)| *asked) {
            packet = packet.with(key, "1");
        }
        let texts = [
            (&self.window_size, spec::WINDOW_SIZE),
            (&self.term, spec::TERM),
        ];
        for (text, key) in texts {
            if let Some(text) = text {
                packet = packet.with(key, text.clone());
            }
        }
        packet
    }

    /// The packet that starts a task with its whole input; it repeats what was asked for.
    pub(super) fn input_packet(&self) -> Packet {
        self.common(PacketType::AgentExecWriteStdin)
            .payload(self.input.clone())
    }

    fn common(&self, kind: PacketType) -> Packet {
        let mut packet = Packet::new(kind);
        if !self.arguments.is_empty() {
            packet = packet.with(spec::TERMINAL_ARGS, gob::encode_strings(&self.arguments));
        }
        if !self.variables.is_empty() {
            let variables = gob::encode_string_map(&self.variables);
            packet = packet.with(spec::TERMINAL_ENVVARS, variables);
        }
        packet
    }
}

/// A session that was opened.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Accepted {
    /// The session's id, to be sent back with a task's input.
    pub(super) session_id: Option<Bytes>,
    /// What the connection's type is, such as `command-line`.
    pub(super) connection_type: String,
    /// What runs, for a person.
    pub(super) command: String,
    /// The arguments are the whole command.
    pub(super) task: bool,
    /// Standard input may come in many packets.
    pub(super) stream_stdin: bool,
}

/// What a packet means.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Nothing.
    Nothing,
    /// The session is open.
    Opened(Accepted),
    /// Bytes to write; count them with [`Session::wrote`] when they are written.
    Write(Target, Bytes),
    /// Somebody must approve; where they can.
    Approval(String),
    /// It was approved: send the open packet again.
    OpenAgain,
    /// The session is over.
    Ended(End),
}

/// How a session ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct End {
    /// The exit code of the client.
    pub(super) code: i32,
    /// What to tell, if anything.
    pub(super) message: Option<String>,
}

/// A session's state.
#[derive(Debug)]
pub(super) struct Session {
    verb: Verb,
    /// On what, for messages.
    what: String,
    is_open: bool,
    stdout_bytes: u64,
    stderr_bytes: u64,
}

impl Session {
    /// A session that was asked for, on `what`.
    pub(super) fn new(verb: Verb, what: &str) -> Self {
        Self {
            verb,
            what: what.to_owned(),
            is_open: false,
            stdout_bytes: 0,
            stderr_bytes: 0,
        }
    }

    /// Whether the agent has accepted the session.
    pub(super) fn is_open(&self) -> bool {
        self.is_open
    }

    /// Takes a packet.
    pub(super) fn take(&mut self, packet: Packet) -> Step {
        match packet.kind() {
            Some(PacketType::ClientSessionOpenOk) if !self.is_open => {
                self.is_open = true;
                let text = |key| packet.text(key).unwrap_or_default().to_owned();
                Step::Opened(Accepted {
                    session_id: packet.spec.get(spec::SESSION_ID).cloned(),
                    connection_type: text(spec::CONNECTION_TYPE),
                    command: text(spec::CLIENT_COMMAND),
                    task: packet.spec.contains_key(spec::TASK),
                    stream_stdin: packet.spec.contains_key(spec::STREAM_STDIN),
                })
            }
            Some(PacketType::ClientWriteStdout) => Step::Write(Target::Stdout, packet.payload),
            Some(PacketType::ClientWriteStderr) => Step::Write(Target::Stderr, packet.payload),
            Some(PacketType::ClientSessionOpenWaitingApproval) if !self.is_open => {
                Step::Approval(printable(&packet.payload))
            }
            Some(PacketType::ClientSessionOpenApproveOk) if !self.is_open => Step::OpenAgain,
            Some(PacketType::ClientSessionOpenAgentOffline) => {
                Step::Ended(self.broken("the agent is offline"))
            }
            Some(PacketType::ClientSessionOpenTimeout) => {
                Step::Ended(self.broken("the agent did not open the session in time"))
            }
            Some(PacketType::ClientSessionClose) => Step::Ended(self.closed(&packet)),
            _ => Step::Nothing,
        }
    }

    /// Counts bytes that were written.
    pub(super) fn wrote(&mut self, target: Target, length: usize) {
        let count = match target {
            Target::Stdout => &mut self.stdout_bytes,
            Target::Stderr => &mut self.stderr_bytes,
        };
        *count += length as u64;
    }

    /// The end of a session that nobody closed: of its stream, or of the link.
    pub(super) fn broken(&self, reason: &str) -> End {
        let (what, reason) = (&self.what, printable(reason.as_bytes()));
        let (code, message) = if self.is_open {
            let message =
                format!("hoop: lost the session on {what}, its result is not known: {reason}");
            (UNKNOWN, message)
        } else {
            (NOT_RUN, format!("hoop: no session on {what}: {reason}"))
        };
        End {
            code,
            message: Some(message),
        }
    }

    fn closed(&self, packet: &Packet) -> End {
        let said = printable(&packet.payload);
        let message =
            (!said.is_empty() && !says_only_the_code(&said)).then(|| format!("hoop: {said}"));
        if let Some(code) = packet.text(spec::NOT_STARTED) {
            let code = code.parse().unwrap_or(NOT_RUN);
            return End { code, message };
        }
        let totals = [
            (spec::STDOUT_BYTES, "standard output", self.stdout_bytes),
            (spec::STDERR_BYTES, "standard error", self.stderr_bytes),
        ];
        for (key, name, written) in totals {
            let total: Option<u64> = packet.text(key).and_then(|total| total.parse().ok());
            if let Some(total) = total.filter(|total| *total != written) {
                return End {
                    code: UNKNOWN,
                    message: Some(format!(
                        "hoop: output incomplete: {written} of {total} bytes of {name} arrived"
                    )),
                };
            }
        }
        let code = packet
            .text(spec::EXIT_CODE)
            .and_then(|code| code.parse::<i32>().ok());
        let code = match (code, self.verb) {
            // The kernel keeps eight bits of an exit code; -1 is 255.
            (Some(code), _) => code & 0xff,
            (None, Verb::Connect) => CONSOLE_WITHOUT_CODE,
            (None, Verb::Exec) => TASK_WITHOUT_CODE,
        };
        End { code, message }
    }
}

/// Whether a closing text says no more than that the program ended with a code.
fn says_only_the_code(text: &str) -> bool {
    let text = text
        .strip_prefix("failed executing command, reason=")
        .unwrap_or(text);
    text.strip_prefix("exit status ")
        .is_some_and(|code| !code.is_empty() && code.bytes().all(|byte| byte.is_ascii_digit()))
}

/// A peer's text made harmless for a terminal: no control and no bidirectional characters, lines kept.
pub(super) fn printable(bytes: &[u8]) -> String {
    let is_harmful = |c: char| {
        (c.is_control() && !matches!(c, '\n' | '\t'))
            || matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    let text = String::from_utf8_lossy(bytes).replace("\r\n", "\n");
    let clean = text
        .chars()
        .map(|c| if is_harmful(c) { '\u{fffd}' } else { c });
    clean.collect::<String>().trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(pairs: &[(&str, &'static str)], payload: &'static str) -> Packet {
        let packet = Packet::new(PacketType::ClientSessionClose).payload(payload);
        pairs
            .iter()
            .fold(packet, |packet, (key, value)| packet.with(key, *value))
    }

    fn end(
        verb: Verb,
        pairs: &[(&str, &'static str)],
        payload: &'static str,
    ) -> (i32, Option<String>) {
        match Session::new(verb, "n").take(close(pairs, payload)) {
            Step::Ended(end) => (end.code, end.message),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn an_exit_code_is_taken_as_it_is_and_replaced_when_there_is_none() {
        let code = spec::EXIT_CODE;
        for (text, connect, exec) in [
            ("0", 0, 0),
            ("7", 7, 7),
            ("255", 255, 255),
            ("-1", 255, 255),
            ("", 1, 254),
            ("x", 1, 254),
        ] {
            assert_eq!(end(Verb::Connect, &[(code, text)], "").0, connect, "{text}");
            assert_eq!(end(Verb::Exec, &[(code, text)], "").0, exec, "{text}");
        }
        assert_eq!(end(Verb::Exec, &[], "").0, 254);
        assert_eq!(
            end(Verb::Exec, &[(code, "254"), (spec::NOT_STARTED, "127")], "").0,
            127
        );
    }

    #[test]
    fn a_closing_text_is_told_unless_it_only_repeats_the_code() {
        let said = |text| end(Verb::Exec, &[(spec::EXIT_CODE, "3")], text).1;
        assert_eq!(said(""), None);
        assert_eq!(said("exit status 3"), None);
        assert_eq!(said("failed executing command, reason=exit status 3"), None);
        assert_eq!(
            said("exit status 3, core dumped").as_deref(),
            Some("hoop: exit status 3, core dumped")
        );
        assert_eq!(
            said("denied\nReason: \u{1b}[2Jno\u{202e}\r\n").as_deref(),
            Some("hoop: denied\nReason: \u{fffd}[2Jno\u{fffd}")
        );
    }

    #[test]
    fn output_must_be_complete() {
        let mut session = Session::new(Verb::Exec, "n");
        session.wrote(Target::Stdout, 10);
        let pairs = [
            (spec::EXIT_CODE, "0"),
            (spec::STDOUT_BYTES, "10"),
            (spec::STDERR_BYTES, "0"),
        ];
        assert_eq!(session.closed(&close(&pairs, "")).code, 0);
        session.wrote(Target::Stderr, 1);
        let end = session.closed(&close(&pairs, ""));
        assert_eq!(end.code, 255);
        assert_eq!(
            end.message.as_deref(),
            Some("hoop: output incomplete: 1 of 0 bytes of standard error arrived")
        );
    }

    #[test]
    fn a_session_that_breaks_off_was_not_run_or_its_result_is_unknown() {
        let mut session = Session::new(Verb::Exec, "n");
        let end = session.broken("offline");
        assert_eq!(end.code, 125);
        assert_eq!(
            end.message.as_deref(),
            Some("hoop: no session on n: offline")
        );
        let offline = Packet::new(PacketType::ClientSessionOpenAgentOffline);
        assert!(matches!(
            session.take(offline),
            Step::Ended(End { code: 125, .. })
        ));
        let ok = Packet::new(PacketType::ClientSessionOpenOk)
            .with(spec::TASK, "1")
            .with(spec::CLIENT_COMMAND, "ls");
        let accepted = Accepted {
            command: "ls".to_owned(),
            task: true,
            ..Accepted::default()
        };
        assert_eq!(session.take(ok.clone()), Step::Opened(accepted));
        assert_eq!(session.take(ok), Step::Nothing);
        assert_eq!(session.broken("x").code, 255);
    }

    #[test]
    fn our_keys_go_only_to_our_peers() {
        let request = Request {
            arguments: vec!["ls".to_owned()],
            task: true,
            stream_stdin: true,
            window_size: Some("24,80,0,0".to_owned()),
            term: Some("xterm".to_owned()),
            ..Request::default()
        };
        let keys = |packet: Packet| {
            let mut keys: Vec<_> = packet.spec.into_keys().collect();
            keys.sort();
            keys
        };
        let plain = request.open_packet(Capabilities::default());
        assert_eq!(keys(plain), [spec::TERMINAL_ARGS]);
        let ours = [
            spec::STREAM_STDIN,
            spec::TASK,
            spec::TERM,
            spec::WINDOW_SIZE,
            spec::TERMINAL_ARGS,
        ];
        assert_eq!(keys(request.open_packet(Capabilities::OURS)), ours);
        assert_eq!(keys(request.input_packet()), [spec::TERMINAL_ARGS]);
    }
}
