//! The agent's side of the supervisor's socket: what to serve, when to drain, how many sessions are open.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::watch;

use crate::control::{AgentStart, MAX_DATAGRAM, ToAgent, ToSupervisor, VERSION};
use crate::sys::{fd, reactor};

/// The supervisor's socket.
pub struct Supervised(AsyncFd<OwnedFd>);

/// The supervisor is gone, or says something that this program does not know.
#[derive(Debug, thiserror::Error)]
pub enum SupervisorGone {
    /// End of file.
    #[error("the supervisor is gone")]
    Gone,
    /// Another program version.
    #[error("the supervisor speaks version {0} of the control messages, this agent {VERSION}")]
    Version(u32),
    /// A broken message or socket.
    #[error("the supervisor cannot be understood: {0}")]
    Io(#[from] io::Error),
}

impl Supervised {
    /// Takes over the inherited socket. To be called inside a runtime.
    pub fn new(socket: OwnedFd) -> io::Result<Self> {
        fd::set_nonblocking(socket.as_fd())?;
        Ok(Self(reactor::async_fd(socket)?))
    }

    /// The first message.
    pub async fn start(&self) -> Result<AgentStart, SupervisorGone> {
        match self.next().await? {
            ToAgent::Start(start) if start.version == VERSION => Ok(*start),
            ToAgent::Start(start) => Err(SupervisorGone::Version(start.version)),
            ToAgent::Drain { .. } => Err(SupervisorGone::Gone),
        }
    }

    /// Returns when the agent is to drain, or the supervisor is gone; tells it how many sessions are open meanwhile.
    pub async fn until_drain(&self, mut sessions: watch::Receiver<u32>) {
        loop {
            let count = *sessions.borrow_and_update();
            self.tell(ToSupervisor::State {
                sessions: count,
                queued: 0,
            });
            tokio::select! {
                next = self.next() => match next {
                    Ok(ToAgent::Start(_)) => {}
                    Ok(ToAgent::Drain { .. }) | Err(_) => return,
                },
                changed = sessions.changed() => if changed.is_err() {
                    return;
                },
            }
        }
    }

    fn tell(&self, message: ToSupervisor) {
        let sent = serde_json::to_vec(&message)
            .map_err(io::Error::from)
            .and_then(|datagram| fd::send_with_fd(self.0.get_ref().as_fd(), &datagram, None));
        if let Err(error) = sent {
            tracing::debug!("the supervisor takes no message: {error}");
        }
    }

    /// Cancel safe.
    async fn next(&self) -> Result<ToAgent, SupervisorGone> {
        let mut buffer = vec![0; MAX_DATAGRAM];
        let (length, _) = self
            .0
            .async_io(Interest::READABLE, |socket| {
                fd::recv_with_fd(socket.as_fd(), &mut buffer)
            })
            .await?;
        if length == 0 {
            return Err(SupervisorGone::Gone);
        }
        Ok(
            serde_json::from_slice(buffer.get(..length).unwrap_or_default())
                .map_err(io::Error::from)?,
        )
    }
}
