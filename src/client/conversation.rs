//! The loop between a session's packets, the standard descriptors and the signals.
//!
//! Theory of operation: one event at a time. A packet is taken only when the output before it is written, and input only
//! when everything before it is handed over, so that a slow side slows the other and nothing grows. What differs
//! between a console and a task is a [`Front`].

use std::io;
use std::ops::ControlFlow;

use bytes::Bytes;
use nix::sys::signal::Signal;
use tokio::time::Interval;

use super::ClientError;
use super::input::Input;
use super::output::{Output, Target};
use super::progress::Progress;
use super::session::{Accepted, End, Request, Session, Step, Verb};
use super::signals::{self, Signals};
use super::target::Peer;
use super::wire::{self, Outbox, Receiver, Sender};
use crate::protocol::{Packet, PacketType};

/// Exit code when nobody reads standard output any more: death by SIGPIPE.
const BROKEN_PIPE: i32 = 128 + Signal::SIGPIPE as i32;

/// What an event leads to: go on, or leave with an end or an error.
pub(super) type Flow = ControlFlow<Result<End, ClientError>>;

/// What goes on.
pub(super) const GO_ON: Flow = ControlFlow::Continue(());

/// One side of a conversation: a console or a task.
pub(super) trait Front {
    /// The session is open: prepare, send what starts the program, say where input comes from.
    fn accepted(
        &mut self,
        accepted: &Accepted,
        outbox: &mut Outbox,
    ) -> Result<Option<Input>, ClientError>;

    /// Input was read, or has ended.
    fn input(&mut self, chunk: Option<Bytes>, outbox: &mut Outbox) -> Flow;

    /// A signal came, after the session was opened.
    fn signal(&mut self, signal: Signal, outbox: &mut Outbox) -> Flow;

    /// Output is about to be written.
    fn output(&mut self, bytes: &[u8]);
}

enum Event {
    Packet(Result<Option<Packet>, String>),
    Written(io::Result<()>),
    Sent,
    Input(Option<io::Result<Bytes>>),
    Signal(Signal),
    KeepAlive,
}

/// What a conversation needs beside its front.
pub(super) struct Conversation<'a> {
    peer: &'a Peer,
    request: &'a Request,
    progress: Progress<'a>,
    session: Session,
    sender: Sender,
    receiver: Receiver,
    outbox: Outbox,
    keep_alive: Interval,
    input: Option<Input>,
    output: Output,
    signals: Signals,
    /// What is being written.
    writing: (Target, usize),
}

impl<'a> Conversation<'a> {
    /// Asks the peer for a session.
    pub(super) fn open(
        peer: &'a Peer,
        verb: Verb,
        request: &'a Request,
        output: Output,
        progress: Progress<'a>,
    ) -> Result<Self, ClientError> {
        let signals = Signals::listen()
            .map_err(|error| ClientError::NotRun(format!("cannot listen to signals: {error}")))?;
        let first = request.open_packet(peer.link.capabilities());
        let (sender, receiver) = wire::open(&peer.link, verb, &peer.name, first);
        Ok(Self {
            peer,
            request,
            progress,
            session: Session::new(verb, &peer.what),
            sender,
            receiver,
            outbox: Outbox::default(),
            keep_alive: wire::keep_alive(),
            input: None,
            output,
            signals,
            writing: (Target::Stdout, 0),
        })
    }

    /// Talks until the session ends or the person leaves.
    pub(super) async fn run<F: Front>(mut self, front: &mut F) -> Result<End, ClientError> {
        loop {
            let event = self.next().await;
            if let ControlFlow::Break(result) = self.handle(event, front) {
                // What is being written comes before the terminal is given back, or it would undo that.
                self.output.settle().await;
                return result;
            }
        }
    }

    /// The next event. Every arm is cancel safe.
    async fn next(&mut self) -> Event {
        let is_writing = self.output.is_busy();
        let takes_input = self.outbox.is_empty() && self.input.is_some();
        let input = async {
            match &mut self.input {
                Some(input) => input.next().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            signal = self.signals.next() => Event::Signal(signal),
            written = self.output.finished(), if is_writing => Event::Written(written),
            packet = self.receiver.next(), if !is_writing => Event::Packet(packet),
            () = self.sender.send(&mut self.outbox) => Event::Sent,
            chunk = input, if takes_input => Event::Input(chunk),
            _ = self.keep_alive.tick() => Event::KeepAlive,
        }
    }

    fn handle<F: Front>(&mut self, event: Event, front: &mut F) -> Flow {
        match event {
            Event::Packet(Ok(Some(packet))) => self.packet(packet, front),
            Event::Packet(Ok(None)) => self.broken("its stream ended"),
            Event::Packet(Err(reason)) => self.broken(&reason),
            Event::Written(written) => self.written(written),
            Event::Input(None) => {
                self.input = None;
                front.input(None, &mut self.outbox)
            }
            Event::Input(Some(Ok(chunk))) => front.input(Some(chunk), &mut self.outbox),
            Event::Input(Some(Err(error))) => fail(ClientError::Unknown(format!(
                "cannot read standard input: {error}; the session was left"
            ))),
            Event::Signal(signal) if self.session.is_open() => {
                front.signal(signal, &mut self.outbox)
            }
            Event::KeepAlive => {
                let packet = Packet::new(PacketType::GatewayKeepAlive);
                self.outbox.push_last(packet);
                GO_ON
            }
            Event::Sent | Event::Signal(Signal::SIGWINCH | Signal::SIGUSR1 | Signal::SIGUSR2) => {
                GO_ON
            }
            Event::Signal(signal) => leave(signals::exit_code(signal), None),
        }
    }

    fn packet<F: Front>(&mut self, packet: Packet, front: &mut F) -> Flow {
        match self.session.take(packet) {
            Step::Nothing => {}
            Step::Opened(accepted) => {
                self.progress.stop();
                match front.accepted(&accepted, &mut self.outbox) {
                    Ok(input) => self.input = input,
                    Err(error) => return fail(error),
                }
            }
            Step::Write(target, bytes) => {
                if target == Target::Stdout {
                    front.output(&bytes);
                }
                self.writing = (target, bytes.len());
                self.output.begin(target, bytes);
            }
            Step::Approval(url) => self.progress.say(&format!(
                "the session needs an approval, which can be given at {url}; waiting"
            )),
            Step::OpenAgain => {
                let packet = self.request.open_packet(self.peer.link.capabilities());
                self.outbox.push(packet);
            }
            Step::Ended(end) => return ControlFlow::Break(Ok(end)),
        }
        GO_ON
    }

    fn written(&mut self, written: io::Result<()>) -> Flow {
        match written {
            Ok(()) => {
                let (target, length) = self.writing;
                self.session.wrote(target, length);
                self.receiver.resume();
                GO_ON
            }
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => leave(BROKEN_PIPE, None),
            Err(error) => fail(ClientError::Unknown(format!(
                "cannot write output: {error}; the session was left"
            ))),
        }
    }

    fn broken(&self, reason: &str) -> Flow {
        ControlFlow::Break(Ok(self.session.broken(reason)))
    }
}

/// Leaves.
pub(super) fn leave(code: i32, message: Option<String>) -> Flow {
    ControlFlow::Break(Ok(End { code, message }))
}

/// Fails.
pub(super) fn fail(error: ClientError) -> Flow {
    ControlFlow::Break(Err(error))
}
