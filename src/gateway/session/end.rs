//! How a session ended, for its row and for its client.

use std::borrow::Cow;

use tonic::Status;
use uuid::Uuid;

use crate::protocol::{Packet, PacketType, spec};

/// Exit code on the wire, and in the row, of a session whose own code cannot be told.
const UNKNOWN: i32 = 254;

/// Characters of a closing text that fit into a status; the packet before carries all of it.
const MAX_STATUS_TEXT: usize = 1024;

/// Why a session ended.
#[derive(Debug)]
pub(crate) enum End {
    /// The agent closed it with this packet.
    Closed(Packet),
    /// The agent's stream is over.
    AgentLost,
    /// The key of its agent was deleted.
    Revoked,
    /// The client left, or is taken for dead.
    ClientGone(&'static str),
    /// The client was too far behind an agent whose stream others need.
    TooSlow,
    /// The gateway stops.
    Shutdown,
    /// The client or the agent did not keep to the protocol.
    Refused(Status),
}

impl End {
    /// Something did not happen in time.
    pub(crate) fn late(what: &str) -> Self {
        Self::Refused(Status::deadline_exceeded(what))
    }

    /// Exit code, if it is known, and what else there is to say.
    pub(crate) fn record(&self) -> (Option<i32>, Option<Cow<'_, str>>) {
        match self {
            Self::Closed(packet) => {
                let code = packet
                    .text(spec::EXIT_CODE)
                    .and_then(|text| text.parse().ok())
                    .unwrap_or(UNKNOWN);
                let text = String::from_utf8_lossy(&packet.payload);
                (Some(code), (!text.is_empty()).then_some(text))
            }
            Self::ClientGone(why) => (None, Some((*why).into())),
            other => (None, Some(other.text().into_owned().into())),
        }
    }

    /// The last packet for the client, if there is one, and the status of its stream; no status is `OK`, which clients of
    /// ours get after a close packet.
    pub(crate) fn last_words(&self, id: Uuid, ours: bool) -> (Option<Packet>, Option<Status>) {
        let text = self.text();
        let status = match self {
            Self::Closed(_) | Self::TooSlow if ours => None,
            Self::Closed(_) | Self::TooSlow if !text.is_empty() => Some(Status::unknown(
                text.chars().take(MAX_STATUS_TEXT).collect::<String>(),
            )),
            Self::Closed(_) | Self::TooSlow | Self::ClientGone(_) => {
                Some(Status::cancelled("context canceled"))
            }
            Self::AgentLost | Self::Revoked => Some(Status::unknown(text)),
            Self::Shutdown => Some(Status::unavailable(text)),
            Self::Refused(status) => Some(status.clone()),
        };
        (self.packet(id), status)
    }

    fn packet(&self, id: Uuid) -> Option<Packet> {
        match self {
            Self::Closed(packet) => Some(packet.clone().with(spec::SESSION_ID, id.to_string())),
            Self::TooSlow => Some(
                Packet::new(PacketType::ClientSessionClose)
                    .with(spec::SESSION_ID, id.to_string())
                    .with(spec::EXIT_CODE, UNKNOWN.to_string())
                    .payload(self.text().into_owned()),
            ),
            _ => None,
        }
    }

    fn text(&self) -> Cow<'_, str> {
        match self {
            Self::Closed(packet) => String::from_utf8_lossy(&packet.payload),
            Self::AgentLost => "agent has disconnected".into(),
            Self::Revoked => "agent key revoked".into(),
            Self::ClientGone(why) => (*why).into(),
            Self::TooSlow => "session closed: the client reads too slowly".into(),
            Self::Shutdown => "gateway shutdown".into(),
            Self::Refused(status) => status.message().into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use tonic::Code;

    use super::*;

    fn closed(code: &str, text: &str) -> End {
        End::Closed(
            Packet::new(PacketType::ClientSessionClose)
                .with(spec::EXIT_CODE, code.to_owned())
                .payload(text.to_owned()),
        )
    }

    #[test]
    fn the_row_has_the_agents_exit_code_or_says_that_it_is_unknown() {
        let record = |end: End| {
            let (code, cause) = end.record();
            (code, cause.map(Cow::into_owned))
        };
        assert_eq!(record(closed("0", "")), (Some(0), None));
        assert_eq!(record(closed("-1", "")), (Some(-1), None));
        assert_eq!(
            record(closed("x", "text")),
            (Some(254), Some("text".to_owned()))
        );
        assert_eq!(
            record(End::ClientGone("client disconnected")),
            (None, Some("client disconnected".to_owned()))
        );
    }

    #[test]
    fn each_end_has_its_status() {
        let status = |end: &End, ours| end.last_words(Uuid::nil(), ours).1;
        let code = |end: &End| status(end, false).map(|s| (s.code(), s.message().to_owned()));
        let is = |code: Code, text: &str| Some((code, text.to_owned()));
        assert_eq!(
            code(&closed("3", "exit status 3")),
            is(Code::Unknown, "exit status 3")
        );
        assert_eq!(
            code(&closed("0", "")),
            is(Code::Cancelled, "context canceled")
        );
        assert_eq!(
            code(&End::AgentLost),
            is(Code::Unknown, "agent has disconnected")
        );
        assert_eq!(code(&End::Revoked), is(Code::Unknown, "agent key revoked"));
        assert_eq!(
            code(&End::Shutdown),
            is(Code::Unavailable, "gateway shutdown")
        );
        assert!(status(&closed("3", "exit status 3"), true).is_none());
        assert!(status(&End::AgentLost, true).is_some());
    }

    #[test]
    fn a_long_text_is_cut_in_the_status_and_whole_in_the_packet() {
        let text = "é".repeat(MAX_STATUS_TEXT + 1);
        let (packet, status) = closed("1", &text).last_words(Uuid::nil(), false);
        assert_eq!(
            status.map(|s| s.message().chars().count()),
            Some(MAX_STATUS_TEXT)
        );
        assert_eq!(packet.map(|p| p.payload.len()), Some(text.len()));
    }
}
