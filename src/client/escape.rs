//! The way out that needs nobody: `~.` at the start of a line leaves a console, `~~` sends one tilde.
//!
//! The tilde is held back until the next key says what it means; everything else passes unchanged.

/// The key that begins an escape, at the start of a line only.
const TILDE: u8 = b'~';

/// Looks for the escape in what a person types.
#[derive(Debug)]
pub(super) struct Escape {
    place: Place,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    LineStart,
    AfterTilde,
    InLine,
}

impl Escape {
    /// A console begins at the start of a line.
    pub(super) fn new() -> Self {
        Self {
            place: Place::LineStart,
        }
    }

    /// What of `typed` to send, and whether the person wants to leave; then nothing after counts.
    pub(super) fn filter(&mut self, typed: &[u8]) -> (Vec<u8>, bool) {
        let mut out = Vec::with_capacity(typed.len() + 1);
        for &byte in typed {
            match (self.place, byte) {
                (Place::AfterTilde, b'.') => return (out, true),
                (Place::LineStart, TILDE) => {
                    self.place = Place::AfterTilde;
                    continue;
                }
                (Place::AfterTilde, TILDE) | (Place::LineStart | Place::InLine, _) => {}
                (Place::AfterTilde, _) => out.push(TILDE),
            }
            out.push(byte);
            self.place = match byte {
                b'\r' | b'\n' => Place::LineStart,
                _ => Place::InLine,
            };
        }
        (out, false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(chunks: &[&str]) -> (String, bool) {
        let mut escape = Escape::new();
        let mut sent = String::new();
        for chunk in chunks {
            let (out, leave) = escape.filter(chunk.as_bytes());
            sent += &String::from_utf8(out).unwrap();
            if leave {
                return (sent, true);
            }
        }
        (sent, false)
    }

    #[test]
    fn a_tilde_counts_only_at_the_start_of_a_line() {
        let table: &[(&[&str], &str, bool)] = &[
            (&["~."], "", true),
            (&["~", "."], "", true),
            (&["ls\r~.rest"], "ls\r", true),
            (&["ls\n", "~", "."], "ls\n", true),
            (&["a~."], "a~.", false),
            (&["~~."], "~.", false),
            (&["~/bin\r"], "~/bin\r", false),
            (&["~", "\r", "~."], "~\r", true),
            (&["~x~."], "~x~.", false),
            (&["\u{1b}[A~."], "\u{1b}[A~.", false),
        ];
        for (chunks, sent, leave) in table {
            assert_eq!(run(chunks), ((*sent).to_owned(), *leave), "{chunks:?}");
        }
    }
}
