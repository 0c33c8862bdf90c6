//! Our extensions of the wire, negotiated by the metadata key `hoop-capabilities`.
//!
//! Both sides send what they can; an extension is used only where both named it. A peer that does not answer has none.

/// A set of extensions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Capabilities {
    /// One `Connect` stream per session between agent and gateway.
    pub session_streams: bool,
    /// A task's own command, streamed standard input, signals.
    pub tasks: bool,
}

impl Capabilities {
    /// What this program can.
    pub const OURS: Self = Self {
        session_streams: true,
        tasks: true,
    };

    /// Reads a comma-separated list; names that are not known are ignored.
    pub fn parse(text: &str) -> Self {
        let mut set = Self::default();
        for name in text.split(',').map(str::trim) {
            match name {
                "session-streams" => set.session_streams = true,
                "tasks" => set.tasks = true,
                _ => {}
            }
        }
        set
    }

    /// The comma-separated list, empty for none.
    pub fn to_text(self) -> String {
        let mut names = Vec::new();
        if self.session_streams {
            names.push("session-streams");
        }
        if self.tasks {
            names.push("tasks");
        }
        names.join(",")
    }

    /// Whether the peer speaks any of our extensions, that is, is one of ours.
    pub fn any(self) -> bool {
        self != Self::default()
    }

    /// What both sides can.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self {
            session_streams: self.session_streams && other.session_streams,
            tasks: self.tasks && other.tasks,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_survives_both_ways_and_unknown_names_are_ignored() {
        assert_eq!(
            Capabilities::parse(&Capabilities::OURS.to_text()),
            Capabilities::OURS
        );
        assert_eq!(
            Capabilities::parse(" tasks , resume,,x"),
            Capabilities {
                tasks: true,
                ..Capabilities::default()
            }
        );
        assert!(!Capabilities::parse("").any());
    }
}
