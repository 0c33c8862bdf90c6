//! A client's standard input, read by a thread of its own: a terminal, a pipe or a file, which no one mechanism of the
//! runtime can wait for.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::thread::JoinHandle;

use bytes::Bytes;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use tokio::sync::mpsc;

use crate::protocol::MAX_PAYLOAD;

/// Chunks that are read ahead; a full queue makes the thread wait, and with it whoever writes our standard input.
const READ_AHEAD: usize = 2;

/// Chunks of standard input. The reading ends when this is dropped; what was not taken by then stays unread, save for
/// the chunks read ahead.
pub(super) struct Input {
    chunks: Option<mpsc::Receiver<io::Result<Bytes>>>,
    /// Its closing wakes the thread.
    wake: Option<OwnedFd>,
    thread: Option<JoinHandle<()>>,
}

impl Input {
    /// Begins to read.
    pub(super) fn start(source: OwnedFd) -> io::Result<Self> {
        let (woken, wake) = nix::unistd::pipe2(nix::fcntl::OFlag::O_CLOEXEC)?;
        let (sender, chunks) = mpsc::channel(READ_AHEAD);
        let thread = std::thread::Builder::new()
            .name("input".to_owned())
            .spawn(move || read(File::from(source), &woken, &sender))?;
        Ok(Self {
            chunks: Some(chunks),
            wake: Some(wake),
            thread: Some(thread),
        })
    }

    /// The next chunk; `None` at the end. Cancel safe.
    pub(super) async fn next(&mut self) -> Option<io::Result<Bytes>> {
        self.chunks.as_mut()?.recv().await
    }
}

impl Drop for Input {
    fn drop(&mut self) {
        drop((self.wake.take(), self.chunks.take()));
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::debug!("the thread that reads standard input panicked");
        }
    }
}

fn read(mut source: File, woken: &OwnedFd, sender: &mpsc::Sender<io::Result<Bytes>>) {
    let mut buffer = vec![0; MAX_PAYLOAD];
    loop {
        let chunk = match wait(&source, woken) {
            Ok(true) => source.read(&mut buffer),
            Ok(false) => return,
            Err(error) => Err(error),
        };
        let chunk = match chunk {
            Ok(0) => return,
            Ok(length) => Ok(Bytes::copy_from_slice(
                buffer.get(..length).unwrap_or_default(),
            )),
            Err(error) if is_passing(&error) => continue,
            // A terminal that was hung up.
            Err(error) if error.raw_os_error() == Some(Errno::EIO as i32) => return,
            Err(error) => Err(error),
        };
        let failed = chunk.is_err();
        if sender.blocking_send(chunk).is_err() || failed {
            return;
        }
    }
}

/// Waits until there is something to read (`true`) or nobody wants it any more.
fn wait(source: &File, woken: &OwnedFd) -> io::Result<bool> {
    let mut watched = [
        PollFd::new(source.as_fd(), PollFlags::POLLIN),
        PollFd::new(woken.as_fd(), PollFlags::POLLIN),
    ];
    match poll(&mut watched, PollTimeout::NONE) {
        Err(Errno::EINTR) => Ok(true),
        Err(errno) => Err(errno.into()),
        Ok(_) => Ok(watched[1].any() != Some(true)),
    }
}

/// Another process may have made the descriptor non-blocking, and taken what there was to read.
fn is_passing(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::Interrupted | io::ErrorKind::WouldBlock
    )
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[tokio::test]
    async fn a_pipe_is_read_to_its_end_in_order() {
        let (read, write) = nix::unistd::pipe2(nix::fcntl::OFlag::O_CLOEXEC).unwrap();
        let mut input = Input::start(read).unwrap();
        let data: Vec<u8> = (0..100_000_u32).flat_map(u32::to_le_bytes).collect();
        let expected = data.clone();
        let writer = std::thread::spawn(move || File::from(write).write_all(&data).unwrap());
        let mut got = Vec::new();
        while let Some(chunk) = input.next().await {
            let chunk = chunk.unwrap();
            assert!(chunk.len() <= MAX_PAYLOAD);
            got.extend_from_slice(&chunk);
        }
        writer.join().unwrap();
        assert!(got == expected);
    }

    #[tokio::test]
    async fn a_silent_or_unwanted_source_is_let_go() {
        let (read, write) = nix::unistd::pipe2(nix::fcntl::OFlag::O_CLOEXEC).unwrap();
        drop(Input::start(read).unwrap());
        drop(write);
        let zero = File::open("/dev/zero").unwrap();
        drop(Input::start(zero.into()).unwrap());
    }

    #[tokio::test]
    async fn a_file_ends_and_a_folder_is_an_error() {
        let mut input = Input::start(File::open("/dev/null").unwrap().into()).unwrap();
        assert!(input.next().await.is_none());
        let mut input = Input::start(File::open("/").unwrap().into()).unwrap();
        assert!(input.next().await.unwrap().is_err());
        assert!(input.next().await.is_none());
    }
}
