//! Packets and their types.
//!
//! A type's name says who consumes the packet: `Agent…` goes to the agent, `Client…` to the client, `Gateway…` stays at
//! the gateway. [`PacketType`] lists the types that we produce or act on; all others are `None` from
//! [`PacketType::parse`] and are ignored.

use bytes::Bytes;

pub use super::rpc::Packet;
use super::spec;

macro_rules! packet_types {
    ($($(#[$doc:meta])* $name:ident = $text:literal,)*) => {
        /// A packet type that we know.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[allow(missing_docs, reason = "the wire's own names")]
        pub enum PacketType { $($(#[$doc])* $name,)* }

        impl PacketType {
            /// All known types.
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// The name on the wire.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }

            /// The type of that name, if it is one we know.
            pub fn parse(text: &str) -> Option<Self> {
                match text { $($text => Some(Self::$name),)* _ => None }
            }
        }
    };
}

packet_types! {
    AgentGatewayConnectOk = "AgentGatewayConnectOK",
    AgentSessionOpen = "AgentSessionOpen",
    AgentSessionClose = "AgentSessionClose",
    AgentExecWriteStdin = "AgentExecWriteStdin",
    AgentTerminalWriteStdin = "AgentTerminalWriteStdin",
    AgentTerminalResizeTty = "AgentTerminalResizeTTY",
    /// Ours (capability `tasks`): end of a task's standard input, no payload.
    AgentExecCloseStdin = "AgentExecCloseStdin",
    /// Ours (capability `tasks`): a signal for the session's program; the payload is its number in decimal.
    AgentSessionSignal = "AgentSessionSignal",
    AgentTcpConnectionWrite = "AgentTCPConnectionWrite",
    AgentCloseTcpConnection = "AgentCloseTCPConnection",
    ClientSessionOpenOk = "ClientSessionOpenOK",
    ClientSessionOpenWaitingApproval = "ClientSessionOpenWaitingApproval",
    ClientSessionOpenApproveOk = "ClientSessionOpenApproveOK",
    ClientSessionOpenAgentOffline = "ClientSessionOpenAgentOffline",
    ClientSessionOpenTimeout = "ClientSessionOpenTimeout",
    ClientSessionClose = "ClientSessionClose",
    ClientWriteStdout = "ClientWriteStdout",
    ClientWriteStderr = "ClientWriteStderr",
    ClientTcpConnectionWrite = "ClientTCPConnectionWrite",
    ClientTcpConnectionClose = "ClientTCPConnectionClose",
    GatewayKeepAlive = "GatewayKeepAlive",
}

impl PacketType {
    /// Whether a client may send this type towards the agent (keep-alives stay at the gateway).
    pub fn is_from_client(self) -> bool {
        matches!(
            self,
            Self::AgentSessionOpen
                | Self::AgentExecWriteStdin
                | Self::AgentExecCloseStdin
                | Self::AgentSessionSignal
                | Self::AgentTerminalWriteStdin
                | Self::AgentTerminalResizeTty
                | Self::AgentTcpConnectionWrite
                | Self::AgentCloseTcpConnection
        )
    }

    /// Whether an agent may send this type towards a client.
    pub fn is_from_agent(self) -> bool {
        matches!(
            self,
            Self::ClientSessionOpenOk
                | Self::ClientSessionClose
                | Self::ClientWriteStdout
                | Self::ClientWriteStderr
                | Self::ClientTcpConnectionWrite
                | Self::ClientTcpConnectionClose
        )
    }
}

impl Packet {
    /// A packet of type `kind` with neither spec nor payload.
    pub fn new(kind: PacketType) -> Self {
        Self {
            r#type: kind.as_str().to_owned(),
            ..Self::default()
        }
    }

    /// Adds a spec value, replacing one of the same key.
    #[must_use]
    pub fn with(mut self, key: &str, value: impl Into<Bytes>) -> Self {
        self.spec.insert(key.to_owned(), value.into());
        self
    }

    /// Sets the payload.
    #[must_use]
    pub fn payload(mut self, payload: impl Into<Bytes>) -> Self {
        self.payload = payload.into();
        self
    }

    /// The type, if it is one we know.
    pub fn kind(&self) -> Option<PacketType> {
        PacketType::parse(&self.r#type)
    }

    /// The spec value of `key` as text; `None` when absent or not UTF-8.
    pub fn text(&self, key: &str) -> Option<&str> {
        std::str::from_utf8(self.spec.get(key)?).ok()
    }

    /// The session that the packet belongs to.
    pub fn session_id(&self) -> Option<&str> {
        self.text(spec::SESSION_ID)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_type_is_found_by_its_name() {
        for kind in PacketType::ALL {
            assert_eq!(PacketType::parse(kind.as_str()), Some(*kind));
        }
        assert_eq!(PacketType::parse("GatewayFeatureFlagUpdate"), None);
    }
}
