//! The output of a program, waited for with a limit.

use std::io::Read;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

/// Bytes read at a time.
const CHUNK: usize = 4096;

/// What a descriptor delivers, and what of it was not asked for yet.
pub(crate) struct Reader<R> {
    from: R,
    unseen: Vec<u8>,
    ended: bool,
}

impl<R: Read + AsFd> Reader<R> {
    pub(crate) fn new(from: R) -> Self {
        Self {
            from,
            unseen: Vec::new(),
            ended: false,
        }
    }

    pub(crate) fn get_mut(&mut self) -> &mut R {
        &mut self.from
    }

    /// Waits for a text; what came before it.
    pub(crate) fn before(&mut self, text: &str, within: Duration) -> Option<String> {
        let limit = Instant::now() + within;
        loop {
            let found = self
                .unseen
                .windows(text.len())
                .position(|window| window == text.as_bytes());
            if let Some(at) = found {
                let rest = self.unseen.split_off(at + text.len());
                let mut before = std::mem::replace(&mut self.unseen, rest);
                before.truncate(at);
                return Some(String::from_utf8_lossy(&before).into_owned());
            }
            if !self.more(limit) {
                return None;
            }
        }
    }

    /// Waits for a text; whether it came.
    pub(crate) fn sees(&mut self, text: &str, within: Duration) -> bool {
        self.before(text, within).is_some()
    }

    /// Waits for the next line.
    pub(crate) fn line(&mut self, within: Duration) -> Option<String> {
        self.before("\n", within)
            .map(|line| line.trim_end().to_owned())
    }

    /// Waits for the end; whether it came.
    pub(crate) fn ends(&mut self, within: Duration) -> bool {
        let limit = Instant::now() + within;
        while self.more(limit) {}
        self.ended
    }

    /// Everything until the end.
    pub(crate) fn rest(&mut self, within: Duration) -> String {
        self.ends(within);
        String::from_utf8_lossy(&self.unseen).into_owned()
    }

    /// Reads what is there, or comes in time; false at the end.
    fn more(&mut self, limit: Instant) -> bool {
        let left = limit.saturating_duration_since(Instant::now());
        let timeout = PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX);
        let mut waiting = [PollFd::new(self.from.as_fd(), PollFlags::POLLIN)];
        if self.ended || !poll(&mut waiting, timeout).is_ok_and(|ready| ready > 0) {
            return false;
        }
        let mut chunk = [0; CHUNK];
        // A terminal whose last user is gone is an error, and an end too.
        let length = self.from.read(&mut chunk).unwrap_or(0);
        self.unseen
            .extend_from_slice(chunk.get(..length).unwrap_or_default());
        self.ended = length == 0;
        !self.ended
    }
}
