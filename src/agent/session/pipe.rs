//! A session's way to the gateway and back, the same whatever the framing.
//!
//! Rules: in plain framing a session's inbox is bounded in bytes and packets; the router never waits for it. Outgoing
//! packets wait for the link (capacity 1 of a session's own stream, the control queue in plain framing), which is what holds
//! a program back whose client is slow.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use tokio::sync::mpsc;
use tonic::Streaming;

use crate::protocol::spec;
use crate::protocol::{MAX_MESSAGE, Packet, PacketType};

/// Bytes that may wait in an inbox: one message of the largest size (a task's whole input) and some keystrokes.
const INBOX_BYTES: usize = MAX_MESSAGE + 64 * 1024;
/// Packets that may wait in an inbox.
const INBOX_PACKETS: usize = 1024;

/// Both directions of a session.
pub(in crate::agent) struct Pipe {
    /// Towards the client.
    pub(in crate::agent) outbox: Tagged,
    /// From the client.
    pub(in crate::agent) inbox: Inbox,
}

impl Pipe {
    pub(in crate::agent) fn new(id: &str, outbox: Outbox, inbox: Inbox) -> Self {
        Self {
            outbox: Tagged {
                id: Bytes::copy_from_slice(id.as_bytes()),
                outbox,
            },
            inbox,
        }
    }
}

/// Where a session's packets go.
#[derive(Clone)]
pub(in crate::agent) struct Outbox(mpsc::Sender<Packet>);

impl Outbox {
    pub(in crate::agent) fn new(sender: mpsc::Sender<Packet>) -> Self {
        Self(sender)
    }
}

/// An outbox that puts the session's id on every packet.
#[derive(Clone)]
pub(in crate::agent) struct Tagged {
    id: Bytes,
    outbox: Outbox,
}

/// The link is gone; nothing can be sent any more.
#[derive(Debug)]
pub(in crate::agent) struct LinkGone;

impl Tagged {
    /// Waits until the link takes the packet.
    pub(in crate::agent) async fn send(&self, packet: Packet) -> Result<(), LinkGone> {
        self.outbox
            .0
            .send(packet.with(spec::SESSION_ID, self.id.clone()))
            .await
            .map_err(|_| LinkGone)
    }

    /// Waits until the link takes one more packet. Cancel safe, so that output which waits is not lost with the waiting.
    pub(in crate::agent) async fn slot(&self) -> Result<Slot<'_>, LinkGone> {
        let permit = self.outbox.0.reserve().await.map_err(|_| LinkGone)?;
        Ok(Slot {
            permit,
            id: &self.id,
        })
    }

    /// Returns when the link is gone.
    pub(in crate::agent) async fn gone(&self) {
        self.outbox.0.closed().await;
    }
}

/// Room for one packet.
pub(in crate::agent) struct Slot<'a> {
    permit: mpsc::Permit<'a, Packet>,
    id: &'a Bytes,
}

impl Slot<'_> {
    /// Sends output of the session's program.
    pub(in crate::agent) fn output(self, kind: PacketType, bytes: Bytes) {
        self.permit.send(
            Packet::new(kind)
                .payload(bytes)
                .with(spec::SESSION_ID, self.id.clone()),
        );
    }
}

/// Where a session's packets come from.
pub(in crate::agent) enum Inbox {
    /// Plain framing: what the router put here.
    Queue {
        packets: mpsc::Receiver<Packet>,
        bytes: Arc<AtomicUsize>,
    },
    /// The session's own stream.
    Stream(Box<Streaming<Packet>>),
}

impl Inbox {
    /// The next packet; `None` when the session's end of the link is over. Cancel safe.
    pub(in crate::agent) async fn next(&mut self) -> Option<Packet> {
        match self {
            Self::Queue { packets, bytes } => {
                let packet = packets.recv().await?;
                bytes.fetch_sub(packet.payload.len(), Ordering::Relaxed);
                Some(packet)
            }
            Self::Stream(stream) => stream.message().await.ok().flatten(),
        }
    }
}

/// The router's end of an inbox.
pub(in crate::agent) struct Feeder {
    packets: mpsc::Sender<Packet>,
    bytes: Arc<AtomicUsize>,
}

/// The inbox cannot take more.
#[derive(Debug)]
pub(in crate::agent) struct Full;

impl Feeder {
    /// Puts a packet in, or says that there is no room; never waits.
    pub(in crate::agent) fn push(&self, packet: Packet) -> Result<(), Full> {
        let size = packet.payload.len();
        if self
            .bytes
            .fetch_add(size, Ordering::Relaxed)
            .saturating_add(size)
            > INBOX_BYTES
        {
            self.bytes.fetch_sub(size, Ordering::Relaxed);
            return Err(Full);
        }
        self.packets.try_send(packet).map_err(|_| {
            self.bytes.fetch_sub(size, Ordering::Relaxed);
            Full
        })
    }
}

/// An inbox for plain framing.
pub(in crate::agent) fn queue() -> (Feeder, Inbox) {
    let (sender, packets) = mpsc::channel(INBOX_PACKETS);
    let bytes = Arc::new(AtomicUsize::new(0));
    (
        Feeder {
            packets: sender,
            bytes: bytes.clone(),
        },
        Inbox::Queue { packets, bytes },
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn input(bytes: usize) -> Packet {
        Packet::new(PacketType::AgentExecWriteStdin).payload(vec![0; bytes])
    }

    #[tokio::test]
    async fn an_inbox_takes_its_limit_and_not_a_byte_more() {
        let (feeder, mut inbox) = queue();
        assert!(feeder.push(input(INBOX_BYTES)).is_ok());
        assert!(feeder.push(input(1)).is_err());
        assert!(feeder.push(input(0)).is_ok());
        assert_eq!(
            inbox.next().await.map(|packet| packet.payload.len()),
            Some(INBOX_BYTES)
        );
        assert!(feeder.push(input(1)).is_ok());
    }

    #[tokio::test]
    async fn an_inbox_takes_a_bounded_number_of_packets() {
        let (feeder, _inbox) = queue();
        for _ in 0..INBOX_PACKETS {
            assert!(feeder.push(input(0)).is_ok());
        }
        assert!(feeder.push(input(0)).is_err());
    }
}
