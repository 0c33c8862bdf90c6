//! The session process as the agent sees it: started, asked, waited for.
//!
//! The program's words are the process' arguments and the program's environment is its own, byte for byte; the rest goes
//! over the control socket (see [`crate::control`]). It is started from our own file by descriptor, because an empty image
//! has no `/proc` to find it by.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::process::{Command, Stdio};
use std::time::Duration;

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::process::Child;

use crate::control::{FromSession, MAX_DATAGRAM, TerminalSize, ToSession};
use crate::sys::exec::{Environment, SessionExec, Words};
use crate::sys::{fd, reactor};

use super::super::Config;

/// How long the process may take to end its tree, beyond the grace, before it is killed itself.
const LAST_RESORT: Duration = Duration::from_secs(5);

/// The agent's end of a control socket.
pub(super) struct Control(AsyncFd<OwnedFd>);

/// What a session process said.
pub(super) enum Said {
    /// A message, for a console's start with the terminal's master.
    Message(FromSession, Option<OwnedFd>),
    /// It is gone.
    Gone,
}

impl Control {
    /// Sends a message. The socket's buffer holds many; one that does not fit is an error, not a wait.
    pub(super) fn send(&self, message: &ToSession) -> io::Result<()> {
        let datagram = serde_json::to_vec(message)?;
        fd::send_with_fd(self.0.get_ref().as_fd(), &datagram, None)
    }

    /// The next message. Cancel safe.
    pub(super) async fn next(&self) -> io::Result<Said> {
        let mut buffer = vec![0; MAX_DATAGRAM];
        let received = self
            .0
            .async_io(Interest::READABLE, |socket| {
                fd::recv_with_fd(socket.as_fd(), &mut buffer)
            })
            .await;
        match received {
            Ok((0, _)) => Ok(Said::Gone),
            Ok((length, descriptor)) => {
                let message = serde_json::from_slice(buffer.get(..length).unwrap_or_default())?;
                Ok(Said::Message(message, descriptor))
            }
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => Ok(Said::Gone),
            Err(error) => Err(error),
        }
    }
}

/// A started session process.
pub(super) struct Started {
    /// For waiting; of a task also the pipes.
    pub(super) child: Child,
    pub(super) control: Control,
}

/// Starts a session process for `words` in `environment`; on a terminal of that size, or with three pipes.
pub(super) fn start(
    config: &Config,
    words: &[CString],
    environment: &[CString],
    terminal: Option<TerminalSize>,
) -> io::Result<Started> {
    let (ours, theirs) = fd::seqpacket_pair()?;
    fd::set_nonblocking(ours.as_fd())?;
    let mut command = Command::new("hoop");
    for set in [Command::stdin, Command::stdout, Command::stderr] {
        set(
            &mut command,
            if terminal.is_some() {
                Stdio::from(fd::open_null()?)
            } else {
                Stdio::piped()
            },
        );
    }
    let own_words = [c"hoop", c"session", c"--"];
    SessionExec {
        program: config.program.try_clone()?,
        control: theirs,
        directory: config.directory.try_clone()?,
        words: Words::new(
            own_words
                .into_iter()
                .chain(words.iter().map(CString::as_c_str)),
        ),
        environment: Environment::new(environment.iter().map(CString::as_c_str)),
    }
    .install(&mut command)?;
    let mut command = tokio::process::Command::from(command);
    #[expect(
        clippy::disallowed_methods,
        reason = "the agent's one place that starts a process, which it waits for"
    )]
    let child = command.spawn()?;
    let control = Control(reactor::async_fd(ours)?);
    control.send(&ToSession::Start { terminal })?;
    Ok(Started { child, control })
}

/// Has the process end its program's tree, and waits until it is gone.
pub(super) async fn end(child: &mut Child, control: &Control, grace: Duration) {
    let grace_ms = u64::try_from(grace.as_millis()).unwrap_or(u64::MAX);
    if let Err(error) = control.send(&ToSession::End { grace_ms }) {
        tracing::debug!("the session process takes no message: {error}");
    }
    if tokio::time::timeout(grace + LAST_RESORT, child.wait())
        .await
        .is_err()
    {
        tracing::error!("a session process did not end its tree and is killed");
        if let Err(error) = child.kill().await {
            tracing::error!("cannot kill a session process: {error}");
        }
    }
}
