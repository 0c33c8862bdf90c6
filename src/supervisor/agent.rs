//! The agent's process, as the supervisor sees it: started from our own file, told by a socket, never waited for.

use std::ffi::CString;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use zeroize::Zeroize;

use crate::control::{
    AgentStart, DIRECTORY_FD, MAX_DATAGRAM, PROGRAM_FD, SOCKET_FD, ToAgent, ToSupervisor, VERSION,
};
use crate::sys::exec::{Environment, Image, Words};
use crate::sys::fd::{recv_with_fd, send_with_fd, seqpacket_pair, set_nonblocking, standard};
use crate::sys::signal::SignalSet;
use crate::sys::spawn::{Spawn, SpawnError, Standing, Starting, Step};
use crate::sys::{Errno, Pid};

/// Signals that an agent ignores: platforms that signal every process must not end it before the application.
const IGNORED: [i32; 4] = [libc::SIGTERM, libc::SIGINT, libc::SIGHUP, libc::SIGQUIT];

/// Largest message of an agent, in bytes.
const MAX_MESSAGE: usize = 4096;

/// What an agent is started from, and the one that lives.
pub(crate) struct Agent<'a> {
    start: Box<AgentStart>,
    program: BorrowedFd<'a>,
    program_path: Option<CString>,
    directory: OwnedFd,
    words: Words,
    life: Option<Life>,
    /// Whether it was said that the agent cannot be started.
    complained: bool,
    /// Messages that did not fit.
    dropped: u64,
}

struct Life {
    starting: Starting,
    socket: Option<OwnedFd>,
}

/// What came from an agent.
pub(crate) enum Heard {
    /// A message.
    Message(ToSupervisor),
    /// It closed its end.
    End,
    /// Nothing, or nothing that is known.
    Nothing,
}

impl<'a> Agent<'a> {
    /// An agent that is to be started from this file, for an application in this directory.
    pub(crate) fn new(
        start: AgentStart,
        program: BorrowedFd<'a>,
        program_path: Option<CString>,
        directory: OwnedFd,
    ) -> Result<Self, Errno> {
        let words = Words::from_arguments(&["hoop", "agent"])?;
        let start = Box::new(start);
        Ok(Self {
            start,
            program,
            program_path,
            directory,
            words,
            life: None,
            complained: false,
            dropped: 0,
        })
    }

    /// The application's directory, which must stay open.
    pub(crate) fn directory(&self) -> BorrowedFd<'_> {
        self.directory.as_fd()
    }

    /// The socket to wait for.
    pub(crate) fn socket(&self) -> Option<BorrowedFd<'_>> {
        self.life.as_ref()?.socket.as_ref().map(AsFd::as_fd)
    }

    /// Starts an agent, without waiting for its exec, and tells it what to serve.
    pub(crate) fn start(
        &mut self,
        environment: &mut Environment,
        application: Pid,
        restarts: u32,
    ) -> Result<Pid, SpawnError> {
        let (ours, theirs) = seqpacket_pair().map_err(|errno| SpawnError {
            step: Step::Descriptors,
            errno,
        })?;
        let refused = |errno| SpawnError {
            step: Step::Descriptors,
            errno,
        };
        set_nonblocking(ours.as_fd()).map_err(refused)?;
        let [input, output, error] = standard();
        let starting = Spawn {
            image: Image::Ourselves {
                program: Some(self.program.as_raw_fd()),
                path: self.program_path.clone(),
            },
            words: &self.words,
            environment,
            standing: Standing::NewSession,
            descriptors: vec![
                (input, input.as_raw_fd()),
                (output, output.as_raw_fd()),
                (error, error.as_raw_fd()),
                (theirs.as_fd(), SOCKET_FD),
                (self.directory.as_fd(), DIRECTORY_FD),
                (self.program, PROGRAM_FD),
            ],
            directory: None,
            mask: SignalSet::EMPTY,
            ignored: SignalSet::of(&IGNORED),
            parent_death: None,
        }
        .start()?;
        let pid = starting.pid;
        self.life = Some(Life {
            starting,
            socket: Some(ours),
        });
        self.start.version = VERSION;
        self.start.application_pid = application.as_raw();
        self.start.restarts = restarts;
        let message = ToAgent::Start(std::mem::take(&mut self.start));
        self.send(&message);
        if let ToAgent::Start(start) = message {
            self.start = start;
        }
        Ok(pid)
    }

    /// Tells the agent something, or drops and counts it: nothing of the agent's is waited for.
    pub(crate) fn send(&mut self, message: &ToAgent) {
        let Some(socket) = self.socket() else { return };
        let sent = serde_json::to_vec(message).is_ok_and(|mut datagram| {
            let sent =
                datagram.len() <= MAX_DATAGRAM && send_with_fd(socket, &datagram, None).is_ok();
            datagram.zeroize();
            sent
        });
        if !sent {
            self.dropped = self.dropped.saturating_add(1);
        }
    }

    /// Takes the next message.
    pub(crate) fn receive(&mut self) -> Heard {
        let Some(socket) = self.socket() else {
            return Heard::Nothing;
        };
        let mut datagram = [0; MAX_MESSAGE];
        match recv_with_fd(socket, &mut datagram) {
            Ok((0, _)) => {
                self.close_socket();
                Heard::End
            }
            Ok((length, _)) => datagram
                .get(..length)
                .and_then(|datagram| serde_json::from_slice(datagram).ok())
                .map_or(Heard::Nothing, Heard::Message),
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => Heard::Nothing,
            Err(error) if error.raw_os_error() == Some(libc::EMSGSIZE) => Heard::Nothing,
            Err(_) => {
                self.close_socket();
                Heard::End
            }
        }
    }

    /// The agent has ended. Why it was not executed, if that is so and was not told before.
    pub(crate) fn ended(&mut self, pid: Pid) -> Option<SpawnError> {
        let life = self.life.take_if(|life| life.starting.pid == pid)?;
        self.complain_once(life.starting.failure()?)
    }

    /// Lets a failure through the first time.
    pub(crate) fn complain_once(&mut self, error: SpawnError) -> Option<SpawnError> {
        (!std::mem::replace(&mut self.complained, true)).then_some(error)
    }

    fn close_socket(&mut self) {
        if let Some(life) = &mut self.life {
            life.socket = None;
        }
    }
}
