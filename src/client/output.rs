//! A client's standard output and standard error, written by a thread of its own, because a reader may not read.
//!
//! One write is under way at a time: the next packet of the session is taken when the last one is written, so a slow reader
//! slows the program and nothing piles up here. A thread that is stuck in a write when the client leaves is left to the end of the
//! process.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

use bytes::Bytes;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use tokio::sync::oneshot;

use super::{ClientError, Context};

/// How long a reader may keep a client that leaves.
const SETTLE: Duration = Duration::from_millis(100);

/// Where bytes go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Target {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

struct Job {
    target: Target,
    bytes: Bytes,
    done: oneshot::Sender<io::Result<()>>,
}

/// Standard output and standard error.
pub(super) struct Output {
    /// Holds the one write that is under way.
    jobs: Option<SyncSender<Job>>,
    thread: Option<JoinHandle<()>>,
    under_way: Option<oneshot::Receiver<io::Result<()>>>,
}

impl Output {
    /// That of a command.
    pub(super) fn of(context: &Context) -> Result<Self, ClientError> {
        let started = context
            .stdout()
            .try_clone_to_owned()
            .and_then(|stdout| Self::start(stdout, context.stderr().try_clone_to_owned()?));
        started.map_err(|error| {
            ClientError::NotRun(format!("cannot use standard output and error: {error}"))
        })
    }

    /// Starts the thread.
    pub(super) fn start(stdout: OwnedFd, stderr: OwnedFd) -> io::Result<Self> {
        let (jobs, queue) = sync_channel(1);
        let thread = std::thread::Builder::new()
            .name("output".to_owned())
            .spawn(move || write(File::from(stdout), File::from(stderr), &queue))?;
        Ok(Self {
            jobs: Some(jobs),
            thread: Some(thread),
            under_way: None,
        })
    }

    /// Whether a write is under way.
    pub(super) fn is_busy(&self) -> bool {
        self.under_way.is_some()
    }

    /// Begins a write. The one before must have finished.
    pub(super) fn begin(&mut self, target: Target, bytes: Bytes) {
        let (done, under_way) = oneshot::channel();
        let job = Job {
            target,
            bytes,
            done,
        };
        if let Some(jobs) = &self.jobs
            && jobs.send(job).is_err()
        {
            tracing::debug!("the thread that writes standard output is gone");
        }
        self.under_way = Some(under_way);
    }

    /// Waits for the write that is under way, if its reader reads.
    pub(super) async fn settle(&mut self) {
        if self.is_busy() && tokio::time::timeout(SETTLE, self.finished()).await.is_err() {
            tracing::debug!("the last output is not read");
        }
    }

    /// The result of the write that is under way; waits for ever if none is. Cancel safe.
    pub(super) async fn finished(&mut self) -> io::Result<()> {
        let Some(under_way) = &mut self.under_way else {
            return std::future::pending().await;
        };
        let result = under_way.await;
        self.under_way = None;
        result.unwrap_or_else(|_| Err(io::Error::other("the thread that writes it panicked")))
    }
}

impl Drop for Output {
    fn drop(&mut self) {
        drop(self.jobs.take());
        if let Some(thread) = self.thread.take()
            && !self.is_busy()
            && thread.join().is_err()
        {
            tracing::debug!("the thread that writes standard output panicked");
        }
    }
}

fn write(mut stdout: File, mut stderr: File, queue: &Receiver<Job>) {
    for job in queue {
        let file = match job.target {
            Target::Stdout => &mut stdout,
            Target::Stderr => &mut stderr,
        };
        let result = write_all(file, &job.bytes);
        // Nobody waits any more: the client is leaving.
        if job.done.send(result).is_err() {
            return;
        }
    }
}

/// Writes everything, also to a descriptor that another process has made non-blocking.
pub(super) fn write_all(file: &mut File, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        match file.write(bytes) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(length) => bytes = bytes.get(length..).unwrap_or_default(),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                let mut watched = [PollFd::new(file.as_fd(), PollFlags::POLLOUT)];
                poll(&mut watched, PollTimeout::NONE)?;
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    fn pipe() -> (File, OwnedFd) {
        let (read, write) = nix::unistd::pipe2(nix::fcntl::OFlag::O_CLOEXEC).unwrap();
        (File::from(read), write)
    }

    #[tokio::test]
    async fn writes_arrive_apart_and_in_order() {
        let ((mut out, stdout), (mut err, stderr)) = (pipe(), pipe());
        let mut output = Output::start(stdout, stderr).unwrap();
        for (target, text) in [
            (Target::Stdout, "1"),
            (Target::Stderr, "e"),
            (Target::Stdout, "2"),
        ] {
            output.begin(target, Bytes::from_static(text.as_bytes()));
            output.finished().await.unwrap();
        }
        drop(output);
        let mut text = String::new();
        out.read_to_string(&mut text).unwrap();
        err.read_to_string(&mut text).unwrap();
        assert_eq!(text, "12e");
    }

    #[tokio::test]
    async fn a_reader_that_is_gone_is_a_broken_pipe() {
        let ((out, stdout), (_err, stderr)) = (pipe(), pipe());
        drop(out);
        let mut output = Output::start(stdout, stderr).unwrap();
        output.begin(Target::Stdout, Bytes::from_static(b"x"));
        let error = output.finished().await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
    }

    #[tokio::test]
    async fn a_reader_that_does_not_read_does_not_hold_the_client() {
        let ((_out, stdout), (_err, stderr)) = (pipe(), pipe());
        let mut output = Output::start(stdout, stderr).unwrap();
        output.begin(Target::Stdout, Bytes::from(vec![0; 1024 * 1024]));
        assert!(output.is_busy());
        drop(output);
    }
}
