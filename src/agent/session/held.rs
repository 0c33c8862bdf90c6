//! Input that a program has not read yet. Bounded: while it is full, the client is held back.

use std::collections::VecDeque;

use bytes::{Buf, Bytes};

/// Bytes that are held before the client is held back. One packet more may be added to less.
const LIMIT: usize = 64 * 1024;

/// Input on its way to a program, in order.
#[derive(Default)]
pub(super) struct Held {
    parts: VecDeque<Bytes>,
    bytes: usize,
}

impl Held {
    pub(super) fn push(&mut self, part: Bytes) {
        if !part.is_empty() {
            self.bytes += part.len();
            self.parts.push_back(part);
        }
    }

    /// What is to be written next.
    pub(super) fn front(&self) -> Option<&Bytes> {
        self.parts.front()
    }

    /// `written` bytes of the front are with the program now.
    pub(super) fn written(&mut self, written: usize) {
        self.bytes = self.bytes.saturating_sub(written);
        if let Some(front) = self.parts.front_mut() {
            front.advance(written.min(front.len()));
            if front.is_empty() {
                self.parts.pop_front();
            }
        }
    }

    /// Nobody will read it.
    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    pub(super) fn is_empty(&self) -> bool {
        self.parts.is_empty()
    }

    pub(super) fn is_full(&self) -> bool {
        self.bytes >= LIMIT
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn input_keeps_its_order_and_is_full_at_the_limit() {
        let mut held = Held::default();
        held.push(Bytes::new());
        assert!(held.is_empty());
        held.push(Bytes::from_static(b"abc"));
        held.push(Bytes::from(vec![b'x'; LIMIT - 4]));
        assert!(!held.is_full());
        held.push(Bytes::from_static(b"y"));
        assert!(held.is_full());
        held.written(2);
        assert_eq!(held.front().map(Bytes::as_ref), Some(&b"c"[..]));
        assert!(!held.is_full());
        held.written(1);
        assert_eq!(held.front().map(Bytes::len), Some(LIMIT - 4));
        held.clear();
        assert!(held.is_empty() && !held.is_full());
    }
}
