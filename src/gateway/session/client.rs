//! What a client's stream may bring: keep-alives, which stay here, and the packet types that are for the agent.

use std::time::Duration;

use tonic::{Code, Status, Streaming};

use super::super::agent_stream::Outbound;
use super::end::End;
use crate::protocol::{Capabilities, Packet, PacketType};

/// The packets of one client.
pub(crate) struct FromClient {
    inbound: Streaming<Packet>,
    outbound: Outbound,
    capabilities: Capabilities,
    silence: Duration,
    /// What the agent of this session can.
    agent: Capabilities,
    streams_stdin: bool,
    half_closed: bool,
}

impl FromClient {
    /// Packets from `inbound`; keep-alives are answered on `outbound`. `silence` is how long a client of ours, which sends
    /// keep-alives, may send nothing while it is listened to.
    pub(crate) fn new(
        inbound: Streaming<Packet>,
        outbound: Outbound,
        capabilities: Capabilities,
        silence: Duration,
    ) -> Self {
        Self {
            inbound,
            outbound,
            capabilities,
            silence,
            agent: Capabilities::default(),
            streams_stdin: false,
            half_closed: false,
        }
    }

    /// Whether the client is one of ours, which sends and expects keep-alives.
    pub(crate) fn is_ours(&self) -> bool {
        self.capabilities.any()
    }

    /// Says what the session was granted: whether standard input comes in many packets, and what the agent can.
    pub(crate) fn permit(&mut self, streams_stdin: bool, agent: Capabilities) {
        self.streams_stdin = streams_stdin;
        self.agent = agent;
    }

    /// The packet that opens the session; it must be the first.
    pub(crate) async fn open_packet(&mut self) -> Result<Packet, End> {
        match self.packet().await? {
            Some((PacketType::AgentSessionOpen, packet)) => Ok(packet),
            Some((kind, _)) => Err(End::Refused(Status::invalid_argument(format!(
                "a session begins with AgentSessionOpen, not {}",
                kind.as_str()
            )))),
            None => Err(End::ClientGone(
                "client closed its stream before it opened the session",
            )),
        }
    }

    /// The next packet for the agent. A half-closed stream is the end of standard input where that is streamed, and
    /// otherwise only says that nothing more comes.
    pub(crate) async fn next(&mut self) -> Result<Packet, End> {
        loop {
            match self.packet().await? {
                Some((kind, packet)) if self.passes(kind) => return Ok(packet),
                Some(_) => {}
                None if self.streams_stdin => {
                    self.streams_stdin = false;
                    return Ok(Packet::new(PacketType::AgentExecCloseStdin));
                }
                None => return std::future::pending().await,
            }
        }
    }

    fn passes(&self, kind: PacketType) -> bool {
        match kind {
            PacketType::AgentSessionOpen => false,
            PacketType::AgentExecCloseStdin | PacketType::AgentSessionSignal => self.agent.tasks,
            _ => true,
        }
    }

    async fn packet(&mut self) -> Result<Option<(PacketType, Packet)>, End> {
        while !self.half_closed {
            let message = if self.is_ours() {
                match tokio::time::timeout(self.silence, self.inbound.message()).await {
                    Ok(message) => message,
                    Err(_) => return Err(End::ClientGone("client fell silent")),
                }
            } else {
                self.inbound.message().await
            };
            match message {
                Ok(Some(packet)) => match packet.kind() {
                    Some(PacketType::GatewayKeepAlive) if self.is_ours() => {
                        // Full means that the client has other packets to read.
                        drop(
                            self.outbound
                                .try_send(Ok(Packet::new(PacketType::GatewayKeepAlive))),
                        );
                    }
                    Some(kind) if kind.is_from_client() => return Ok(Some((kind, packet))),
                    _ => {}
                },
                Ok(None) => self.half_closed = true,
                // The decoder's word for a message above the limit; the wire's is the other.
                Err(status) if status.code() == Code::OutOfRange => {
                    return Err(End::Refused(Status::resource_exhausted(status.message())));
                }
                Err(_) => return Err(End::ClientGone("client disconnected")),
            }
        }
        Ok(None)
    }
}
