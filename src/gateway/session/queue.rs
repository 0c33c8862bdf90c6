//! What an agent with one stream for everything sent for one session and its client has not taken yet.
//!
//! Bounded in bytes and never waited for: the receive loop of the agent's stream serves many sessions. When the limit is
//! passed the queue is emptied and closed for good, which ends that session and no other.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use prost::Message;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::protocol::Packet;

/// What a packet costs beside its bytes: a small packet's maps and strings are larger than its content.
const PACKET_OVERHEAD: usize = 256;

/// The agent's end.
#[derive(Debug)]
pub(crate) struct Sender(Arc<Shared>);

/// The session's end.
#[derive(Debug)]
pub(crate) struct Receiver(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    limit: usize,
    state: Mutex<State>,
    ready: Notify,
    overflowed: CancellationToken,
}

#[derive(Debug, Default)]
struct State {
    packets: VecDeque<(Packet, usize)>,
    bytes: usize,
    closed: bool,
}

/// A queue for at most `limit` bytes; one packet of any size fits into an empty queue.
pub(crate) fn queue(limit: usize) -> (Sender, Receiver) {
    let shared = Arc::new(Shared {
        limit,
        state: Mutex::default(),
        ready: Notify::new(),
        overflowed: CancellationToken::new(),
    });
    (Sender(Arc::clone(&shared)), Receiver(shared))
}

impl Sender {
    /// Adds a packet, or closes the queue if there is no room. A closed queue takes nothing.
    pub(crate) fn push(&self, packet: Packet) {
        let cost = packet.encoded_len() + PACKET_OVERHEAD;
        let mut state = self.0.lock();
        if state.closed {
            return;
        }
        if state.bytes > 0 && state.bytes + cost > self.0.limit {
            *state = State {
                closed: true,
                ..State::default()
            };
            drop(state);
            self.0.overflowed.cancel();
        } else {
            state.bytes += cost;
            state.packets.push_back((packet, cost));
            drop(state);
        }
        self.0.ready.notify_one();
    }
}

impl Drop for Sender {
    fn drop(&mut self) {
        self.0.lock().closed = true;
        self.0.ready.notify_one();
    }
}

impl Receiver {
    /// The next packet; `None` after the last one of a closed queue. Cancel safe.
    pub(crate) async fn next(&mut self) -> Option<Packet> {
        loop {
            {
                let mut state = self.0.lock();
                if let Some((packet, cost)) = state.packets.pop_front() {
                    state.bytes -= cost;
                    return Some(packet);
                }
                if state.closed {
                    return None;
                }
            }
            self.0.ready.notified().await;
        }
    }

    /// Cancelled when the limit was passed.
    pub(crate) fn overflowed(&self) -> CancellationToken {
        self.0.overflowed.clone()
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        *state = State {
            closed: true,
            ..State::default()
        };
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::PacketType;

    fn packet(size: usize) -> Packet {
        Packet::new(PacketType::ClientWriteStdout).payload(vec![b'x'; size])
    }

    fn cost(size: usize) -> usize {
        packet(size).encoded_len() + PACKET_OVERHEAD
    }

    #[tokio::test]
    async fn packets_up_to_the_limit_come_out_in_order() {
        let (sender, mut receiver) = queue(cost(10) + cost(20));
        sender.push(packet(10));
        sender.push(packet(20));
        assert_eq!(receiver.next().await.map(|p| p.payload.len()), Some(10));
        assert_eq!(receiver.next().await.map(|p| p.payload.len()), Some(20));
        drop(sender);
        assert_eq!(receiver.next().await, None);
        assert!(!receiver.overflowed().is_cancelled());
    }

    #[tokio::test]
    async fn one_byte_past_the_limit_closes_the_queue_and_frees_it() {
        let (sender, mut receiver) = queue(cost(10) + cost(20) - 1);
        sender.push(packet(10));
        sender.push(packet(20));
        sender.push(packet(1));
        assert!(receiver.overflowed().is_cancelled());
        assert_eq!(receiver.next().await, None);
    }

    #[tokio::test]
    async fn a_packet_larger_than_the_limit_passes_alone() {
        let (sender, mut receiver) = queue(10);
        sender.push(packet(1000));
        assert_eq!(receiver.next().await.map(|p| p.payload.len()), Some(1000));
        sender.push(packet(1000));
        assert!(!receiver.overflowed().is_cancelled());
    }

    #[tokio::test]
    async fn what_was_queued_before_the_sender_left_is_still_delivered() {
        let (sender, mut receiver) = queue(1000);
        sender.push(packet(1));
        drop(sender);
        assert!(receiver.next().await.is_some());
        assert!(receiver.next().await.is_none());
    }
}
