//! A session's process: owns a console's terminal or a task's pipes, the program there, and everything the program leaves
//! behind.
//!
//! # Theory of operation
//!
//! An agent starts it, one per session, as leader of a session of its own, with a control socket, the application's
//! directory, and the environment of the program as its own. It has one thread and no runtime, so opening a terminal and
//! starting a program race with nothing; it adopts orphans, so all that the program starts can be found below it. It waits
//! like the supervisor does: [`state`] decides, this module performs.
//!
//! It tells how the start went only after the program's exec, hands a console's terminal to the agent, and tells the raw
//! wait status at once when the program ends. What is left then lives until the agent says so, or is gone. Signals sent to
//! this process itself mean nothing: a platform that signals every process tells the program directly.

mod program;
mod state;

use std::ffi::OsString;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Instant;

use crate::control::{DIRECTORY_FD, FromSession, MAX_DATAGRAM, SOCKET_FD, TerminalSize, ToSession};
use crate::sys::fd::{recv_with_fd, send_with_fd, set_nonblocking, take_fd};
use crate::sys::wait::{Change, Reaped, any};
use crate::sys::waiting::Waiting;
use crate::sys::{Inherited, process, signal};
use program::Program;
use state::{Action, Event, Machine};

/// Higher than the agent's: a console that takes all memory must end before anything else.
const OOM_SCORE_ADJ: i32 = 900;

/// Exit code when we were not started by an agent.
const NO_AGENT: i32 = 125;

/// Messages that are read before children are looked at again.
const MESSAGES_PER_TURN: usize = 16;

/// Runs the program that the words name, until it and its descendants are gone; our exit code.
pub fn run(words: &[OsString], inherited: &Inherited) -> i32 {
    let (Some(socket), Some(directory)) = (take_fd(SOCKET_FD), take_fd(DIRECTORY_FD)) else {
        return NO_AGENT;
    };
    let mut socket = Socket {
        socket,
        buffer: vec![0; MAX_DATAGRAM],
    };
    set_up();
    let Ok(terminal) = socket.receive_start() else {
        return 0;
    };
    let started = Program::start(words, inherited, &directory, terminal);
    // Held on to, it would keep the directory's file system busy.
    drop(directory);
    match started {
        Ok(program) => {
            socket.send(
                &FromSession::Started {
                    pid: program.pid().as_raw(),
                },
                program.master(),
            );
            serve(&program, socket);
        }
        Err(failed) => socket.send(&failed, None),
    }
    0
}

/// Nothing here is needed by the program, so a refusal changes nothing for it.
fn set_up() {
    process::set_name(c"hoop session");
    process::new_session();
    let _refused = process::set_oom_score_adj(OOM_SCORE_ADJ);
    let _refused = process::set_subreaper();
    let _refused = std::env::set_current_dir("/");
    // Ignored, it would make exit statuses vanish.
    signal::set_ignored(libc::SIGCHLD, false);
}

fn serve(program: &Program, mut socket: Socket) {
    // Should that be refused, the messages that fit are read and no turn waits longer than for the next one.
    let _refused = set_nonblocking(socket.socket.as_fd());
    let mut waiting = Waiting::new();
    let mut machine = Machine::new(program.pid());
    let mut connected = true;
    loop {
        let mut actions = Vec::new();
        if waiting.wait(connected.then(|| socket.socket.as_fd()), machine.deadline()) {
            for _ in 0..MESSAGES_PER_TURN {
                match socket.receive() {
                    Heard::Message(message) => {
                        machine.handle(Event::Message(message), Instant::now(), &mut actions);
                    }
                    Heard::Unknown => {}
                    Heard::Nothing => break,
                    Heard::End => {
                        connected = false;
                        machine.handle(Event::AgentGone, Instant::now(), &mut actions);
                        break;
                    }
                }
            }
        }
        while waiting.next_signal().is_some() {}
        reap(&mut machine, &mut actions);
        machine.handle(Event::Time, Instant::now(), &mut actions);
        for action in actions {
            match action {
                Action::TellExit(status) => socket.send(
                    &FromSession::Exited {
                        status: status.raw(),
                    },
                    None,
                ),
                Action::Signal(number) => program.signal(number),
                Action::HangUp => program.hang_up(),
                Action::Kill => program.kill(),
                Action::Leave => return,
            }
        }
    }
}

fn reap(machine: &mut Machine, actions: &mut Vec<Action>) {
    loop {
        match any() {
            Reaped::Child(pid, Change::Ended(status)) => {
                machine.handle(Event::Ended(pid, status), Instant::now(), actions);
            }
            Reaped::Child(..) => {}
            Reaped::Nothing => return,
            Reaped::NoChild => return machine.handle(Event::NoChild, Instant::now(), actions),
        }
    }
}

/// Our end of the control socket.
struct Socket {
    socket: OwnedFd,
    buffer: Vec<u8>,
}

/// The agent went away.
struct AgentGone;

/// What came from the agent.
enum Heard {
    Message(ToSession),
    /// A message that we do not know.
    Unknown,
    /// No message for now.
    Nothing,
    /// The agent is gone.
    End,
}

impl Socket {
    /// Waits for the first message: a console's size. An error if the agent went away before.
    fn receive_start(&mut self) -> Result<Option<TerminalSize>, AgentGone> {
        loop {
            match self.receive() {
                Heard::Message(ToSession::Start { terminal }) => return Ok(terminal),
                Heard::End | Heard::Message(ToSession::End { .. }) => return Err(AgentGone),
                Heard::Nothing | Heard::Unknown | Heard::Message(ToSession::Signal { .. }) => {}
            }
        }
    }

    fn receive(&mut self) -> Heard {
        match recv_with_fd(self.socket.as_fd(), &mut self.buffer) {
            Ok((0, _)) => Heard::End,
            Ok((length, _)) => self
                .buffer
                .get(..length)
                .and_then(|datagram| serde_json::from_slice(datagram).ok())
                .map_or(Heard::Unknown, Heard::Message),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Heard::Nothing,
            Err(error) if error.raw_os_error() == Some(libc::EMSGSIZE) => Heard::Unknown,
            Err(_) => Heard::End,
        }
    }

    /// Three messages at most are sent in a life: they fit into the socket whatever the agent does.
    fn send(&self, message: &FromSession, fd: Option<std::os::fd::BorrowedFd<'_>>) {
        if let Ok(datagram) = serde_json::to_vec(message) {
            // An agent that is gone is noticed by the next receive.
            let _gone = send_with_fd(self.socket.as_fd(), &datagram, fd);
        }
    }
}
