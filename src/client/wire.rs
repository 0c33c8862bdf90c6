//! The stream of one session: opening it, packets in both directions, and finding out that the peer is dead.
//!
//! Rules: what is to be sent waits in an [`Outbox`] and goes out as the peer takes it; a `GatewayKeepAlive` goes out every
//! [`KEEP_ALIVE`] from the start. A peer with our capabilities answers it, so one that is silent for [`SILENCE`] is dead; of another
//! nothing can be said. The silence counts only while packets are waited for: a client whose own output is stuck does not read.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{Instant, Interval, MissedTickBehavior, timeout_at};
use tonic::Streaming;

use crate::link::{Link, LinkError};
use crate::protocol::spec::meta;
use crate::protocol::{KEEP_ALIVE, KEEP_ALIVE_TIMEOUT, Packet};

use super::session::Verb;

/// Packets handed to the transport ahead of what it has sent.
const SEND_AHEAD: usize = 1;

/// Packets that wait at most, beyond the transport's; input is read only while none waits.
const MAX_WAITING: usize = 16;

/// How long a peer that answers keep-alives may be silent.
const SILENCE: Duration = KEEP_ALIVE.saturating_add(KEEP_ALIVE_TIMEOUT);

/// How long a peer with our capabilities may take to accept a stream: it holds a client 15 s for its agent.
const OPEN_TIMEOUT: Duration = Duration::from_secs(45);

type Opening = Pin<Box<dyn Future<Output = Result<Streaming<Packet>, LinkError>> + Send>>;

/// Packets that wait to be sent.
#[derive(Debug, Default)]
pub(super) struct Outbox(VecDeque<Packet>);

/// The sending half.
pub(super) struct Sender(mpsc::Sender<Packet>);

/// The receiving half.
pub(super) struct Receiver {
    state: State,
    answers_keep_alives: bool,
    waiting_since: Instant,
    /// Tells whether the peer takes what we send.
    outbound: mpsc::Sender<Packet>,
}

enum State {
    Opening(Opening),
    Open(Box<Streaming<Packet>>),
}

impl Outbox {
    /// Adds a packet. Nobody types or signals faster than a living peer takes packets: what exceeds the limit is dropped.
    pub(super) fn push(&mut self, packet: Packet) {
        if self.0.len() < MAX_WAITING {
            self.0.push_back(packet);
        } else {
            tracing::debug!(
                "dropped a packet of type {}: the peer takes none",
                packet.r#type
            );
        }
    }

    /// Adds a packet in place of those of its type that still wait.
    pub(super) fn push_last(&mut self, packet: Packet) {
        self.0.retain(|waiting| waiting.r#type != packet.r#type);
        self.push(packet);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Opens a session's stream. `first` is sent before the peer has answered.
pub(super) fn open(link: &Link, verb: Verb, name: &str, first: Packet) -> (Sender, Receiver) {
    let (packets, outbound) = mpsc::channel(SEND_AHEAD);
    // The channel is empty and has room for it.
    packets.try_send(first).unwrap_or_default();
    let (opener, name) = (link.clone(), name.to_owned());
    let opening = async move {
        let metadata = [
            (meta::VERB, verb.as_str()),
            (meta::CONNECTION_NAME, name.as_str()),
        ];
        opener.open(&metadata, outbound).await
    };
    let receiver = Receiver {
        state: State::Opening(Box::pin(opening)),
        answers_keep_alives: link.capabilities().any(),
        waiting_since: Instant::now(),
        outbound: packets.clone(),
    };
    (Sender(packets), receiver)
}

/// The clock of the keep-alives; ticks at once.
pub(super) fn keep_alive() -> Interval {
    let mut clock = tokio::time::interval(KEEP_ALIVE);
    clock.set_missed_tick_behavior(MissedTickBehavior::Delay);
    clock
}

impl Sender {
    /// Hands one packet of `outbox` over, as soon as there is one and room for it. Cancel safe.
    pub(super) async fn send(&self, outbox: &mut Outbox) {
        if outbox.is_empty() {
            return std::future::pending().await;
        }
        match self.0.reserve().await {
            Ok(permit) => {
                if let Some(packet) = outbox.0.pop_front() {
                    permit.send(packet);
                }
            }
            // The stream is over; the receiver knows why.
            Err(_) => std::future::pending().await,
        }
    }
}

impl Receiver {
    /// Starts the count of the peer's silence anew, after packets were not waited for.
    pub(super) fn resume(&mut self) {
        self.waiting_since = Instant::now();
    }

    /// The next packet; `None` at the stream's orderly end, or why there is none. Cancel safe.
    pub(super) async fn next(&mut self) -> Result<Option<Packet>, String> {
        loop {
            let limit = match &self.state {
                State::Opening(_) => OPEN_TIMEOUT,
                State::Open(_) => SILENCE,
            };
            let limit = self.waiting_since + limit;
            match timeout_at(limit, self.state.next()).await {
                Ok(Some(result)) => {
                    self.resume();
                    return result;
                }
                // Opened: count anew.
                Ok(None) => self.resume(),
                // A peer that takes nothing, because the program does not read its input, cannot answer either.
                Err(_) if !self.answers_keep_alives || self.outbound.capacity() == 0 => {
                    self.resume();
                }
                Err(_) => return Err("the gateway does not answer any more".to_owned()),
            }
        }
    }
}

impl State {
    /// The next packet or the stream's end; `None` when the stream was opened just now.
    async fn next(&mut self) -> Option<Result<Option<Packet>, String>> {
        match self {
            Self::Opening(opening) => match opening.await {
                Ok(stream) => {
                    *self = Self::Open(Box::new(stream));
                    None
                }
                Err(error) => Some(Err(error.to_string())),
            },
            Self::Open(stream) => {
                let packet = stream.message().await;
                Some(packet.map_err(|status| crate::link::told(&status).to_owned()))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The receiving half of a stream that the peer never accepts.
    fn unanswered(answers_keep_alives: bool) -> (Receiver, mpsc::Receiver<Packet>) {
        let (outbound, taken) = mpsc::channel(SEND_AHEAD);
        let receiver = Receiver {
            state: State::Opening(Box::pin(std::future::pending())),
            answers_keep_alives,
            waiting_since: Instant::now(),
            outbound,
        };
        (receiver, taken)
    }

    async fn fails_within(receiver: &mut Receiver, limit: Duration) -> bool {
        matches!(
            tokio::time::timeout(limit, receiver.next()).await,
            Ok(Err(_))
        )
    }

    #[tokio::test(start_paused = true)]
    async fn a_silent_peer_of_ours_is_dead_at_the_limit() {
        let (mut receiver, _taken) = unanswered(true);
        let before = OPEN_TIMEOUT.checked_sub(Duration::from_millis(1)).unwrap();
        assert!(!fails_within(&mut receiver, before).await);
        assert!(fails_within(&mut receiver, Duration::from_millis(2)).await);
    }

    #[tokio::test(start_paused = true)]
    async fn of_another_peer_or_one_that_takes_nothing_silence_tells_nothing() {
        let (mut receiver, _taken) = unanswered(false);
        assert!(!fails_within(&mut receiver, OPEN_TIMEOUT * 10).await);
        let (mut receiver, _taken) = unanswered(true);
        let stuck = Packet::new(crate::protocol::PacketType::GatewayKeepAlive);
        receiver.outbound.try_send(stuck).unwrap();
        assert!(!fails_within(&mut receiver, OPEN_TIMEOUT * 10).await);
    }

    #[tokio::test]
    async fn an_outbox_keeps_its_limit_and_the_last_of_a_type() {
        let (packets, mut taken) = mpsc::channel(1);
        let mut outbox = Outbox::default();
        let packet = |kind: &str| Packet {
            r#type: kind.to_owned(),
            ..Packet::default()
        };
        outbox.push(packet("a").payload("1"));
        outbox.push(packet("b"));
        outbox.push_last(packet("a").payload("2"));
        let sender = Sender(packets);
        sender.send(&mut outbox).await;
        assert_eq!(taken.recv().await, Some(packet("b")));
        sender.send(&mut outbox).await;
        assert_eq!(taken.recv().await, Some(packet("a").payload("2")));
        assert!(outbox.is_empty());
        (0..=MAX_WAITING).for_each(|_| outbox.push(packet("c")));
        assert_eq!(outbox.0.len(), MAX_WAITING);
    }
}
