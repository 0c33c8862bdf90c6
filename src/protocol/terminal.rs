//! The size of a terminal as it travels: `rows,cols,x,y`, the last two in pixels and mostly 0.

use std::fmt::{Display, Formatter};

/// Numbers in a size.
const PARTS: usize = 4;

/// A terminal's size. Display writes the wire's form.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WindowSize {
    /// Height in characters.
    pub rows: u16,
    /// Width in characters.
    pub cols: u16,
    /// Width in pixels.
    pub x: u16,
    /// Height in pixels.
    pub y: u16,
}

impl WindowSize {
    /// Reads a payload or spec value; `None` for anything but four numbers below 65536.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let mut numbers = [0; PARTS];
        let mut parts = std::str::from_utf8(bytes).ok()?.split(',');
        for number in &mut numbers {
            let part = parts.next()?;
            if !part.bytes().all(|byte| byte.is_ascii_digit()) {
                return None;
            }
            *number = part.parse().ok()?;
        }
        let [rows, cols, x, y] = numbers;
        parts.next().is_none().then_some(Self { rows, cols, x, y })
    }
}

impl Display for WindowSize {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        let Self { rows, cols, x, y } = self;
        write!(f, "{rows},{cols},{x},{y}")
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::proptest;

    use super::*;

    #[test]
    fn what_is_no_size_is_none() {
        for text in [
            "",
            ",",
            "24",
            "24,80",
            "24,80,0",
            "24,80,0,",
            "24,80,0,0,0",
            "24,80,0,0\n",
            " 24,80,0,0",
            "-1,80,0,0",
            "+1,80,0,0",
            "24,65536,0,0",
            "24,80,0,99999999999999999999",
            "a,b,c,d",
            "２,2,2,2",
        ] {
            assert_eq!(WindowSize::parse(text.as_bytes()), None, "{text:?}");
        }
        assert_eq!(WindowSize::parse(b"\xff,1,1,1"), None);
    }

    proptest! {
        #[test]
        fn a_size_survives(rows: u16, cols: u16, x: u16, y: u16) {
            let size = WindowSize { rows, cols, x, y };
            assert_eq!(size.to_string(), format!("{rows},{cols},{x},{y}"));
            assert_eq!(WindowSize::parse(size.to_string().as_bytes()), Some(size));
        }

        #[test]
        fn no_bytes_panic(bytes: Vec<u8>) {
            WindowSize::parse(&bytes);
        }
    }
}
