//! What a program switched on in a person's terminal, so that it can be switched off when the console ends.
//!
//! [`Modes`] reads the output stream with the parser of a terminal, reduced to what matters: private modes, keypad,
//! cursor shape, colours, keyboard protocols. Strings (titles, pictures, clipboard) are skipped, whatever they hold. Only what
//! is really on is switched off. Sources: ECMA-48 for the syntax, xterm's control sequences, the kitty keyboard protocol.

/// Private modes that we put back, with their state in a fresh terminal.
const PRIVATE: &[(u16, bool)] = &[
    (1, false),    // application cursor keys
    (5, false),    // reverse video
    (7, true),     // automatic wrap
    (9, false),    // mouse, X10
    (25, true),    // cursor shown
    (66, false),   // application keypad
    (1000, false), // mouse: clicks
    (1001, false), // mouse: highlight
    (1002, false), // mouse: drags
    (1003, false), // mouse: all motion
    (1004, false), // focus reports
    (1005, false), // mouse in UTF-8
    (1006, false), // mouse in SGR
    (1015, false), // mouse in urxvt's form
    (1016, false), // mouse in pixels
    (2004, false), // bracketed paste
    (2026, false), // synchronized update
    (2031, false), // reports of the colour scheme
    (2048, false), // reports of the size
    (47, false),   // alternate screen, of three kinds; last, so that it is left last
    (1047, false),
    (1049, false),
];

/// Most bytes of one control sequence that are kept; longer ones are skipped.
const MAX_SEQUENCE: usize = 64;

/// Most keyboard protocols that are taken back; terminals keep fewer.
const MAX_PUSHED: u16 = 32;

/// The modes that are not as in a fresh terminal.
#[derive(Debug, Default)]
pub(super) struct Modes {
    parser: Parser,
    changed: Vec<u16>,
    keypad: bool,
    pushed_keyboards: u16,
    other_keys: bool,
    colours: bool,
    shape: bool,
}

#[derive(Debug, Default)]
struct Parser {
    state: State,
    sequence: Vec<u8>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    Ground,
    Escape,
    /// After `ESC [`, collecting.
    Control,
    /// After `ESC` and an intermediate byte, such as a character set's choice.
    Intermediate,
    /// Inside an operating system command or another string.
    Text,
    /// After `ESC` inside a string: its end, if a backslash follows.
    TextEscape,
}

impl Modes {
    /// Reads output on its way to the terminal.
    pub(super) fn read(&mut self, output: &[u8]) {
        let mut rest = output;
        while let Some((&byte, next)) = rest.split_first() {
            // Most output is plain text: go on to the next ESC at once.
            if self.parser.state == State::Ground && byte != 0x1b {
                let start = rest.iter().position(|byte| *byte == 0x1b);
                rest = start
                    .and_then(|start| rest.get(start..))
                    .unwrap_or_default();
                continue;
            }
            self.step(byte);
            rest = next;
        }
    }

    fn step(&mut self, byte: u8) {
        let state = self.parser.state;
        self.parser.state = match (state, byte) {
            (State::Text, 0x07) | (State::TextEscape, b'\\') | (_, 0x18 | 0x1a) => State::Ground,
            (State::Text, 0x1b) => State::TextEscape,
            (_, 0x1b) if state != State::Text => State::Escape,
            (State::Escape | State::TextEscape, b'[') => {
                self.parser.sequence.clear();
                State::Control
            }
            (State::Escape | State::TextEscape, b']' | b'P' | b'X' | b'^' | b'_')
            | (State::Text, _) => State::Text,
            (State::Escape | State::TextEscape | State::Intermediate, 0x20..=0x2f) => {
                State::Intermediate
            }
            (State::Escape | State::TextEscape, _) => {
                self.escape(byte);
                State::Ground
            }
            (State::Control, 0x20..=0x3f) => {
                if self.parser.sequence.len() <= MAX_SEQUENCE {
                    self.parser.sequence.push(byte);
                }
                State::Control
            }
            (State::Control, 0x00..=0x1f | 0x7f) => State::Control,
            (State::Control, _) => {
                self.control(byte);
                State::Ground
            }
            (State::Ground | State::Intermediate, _) => State::Ground,
        };
    }

    /// A sequence of `ESC` and one byte.
    fn escape(&mut self, last: u8) {
        match last {
            b'=' => self.keypad = true,
            b'>' => self.keypad = false,
            b'c' => *self = Self::default(),
            _ => {}
        }
    }

    /// A sequence of `ESC [`, parameters and `last`.
    fn control(&mut self, last: u8) {
        let sequence = std::mem::take(&mut self.parser.sequence);
        if sequence.len() > MAX_SEQUENCE {
            return;
        }
        match (sequence.as_slice(), last) {
            ([b'?', numbers @ ..], b'h') => self.set_private(numbers, true),
            ([b'?', numbers @ ..], b'l') => self.set_private(numbers, false),
            ([b'>', b'4', rest @ ..], b'm') => {
                self.other_keys = numbers(rest).skip(1).any(|number| number != 0);
            }
            ([b'>', ..], b'u') => {
                self.pushed_keyboards = (self.pushed_keyboards + 1).min(MAX_PUSHED);
            }
            ([b'<', count @ ..], b'u') => {
                let count = numbers(count).next().unwrap_or(1).max(1);
                self.pushed_keyboards = self.pushed_keyboards.saturating_sub(count);
            }
            ([b'!'], b'p') => {
                self.changed.retain(|mode| !matches!(mode, 1 | 7 | 25 | 66));
                (self.keypad, self.colours) = (false, false);
            }
            ([shape @ .., b' '], b'q') => {
                self.shape = numbers(shape).next().is_some_and(|shape| shape != 0);
            }
            ([] | [b'0'..=b'9' | b':' | b';', ..], b'm') => {
                self.colours = sequence
                    .last()
                    .is_some_and(|_| numbers(&sequence).any(|n| n != 0));
            }
            _ => {}
        }
    }

    fn set_private(&mut self, list: &[u8], on: bool) {
        for number in numbers(list) {
            let Some((mode, fresh)) = PRIVATE.iter().find(|(mode, _)| *mode == number) else {
                continue;
            };
            self.changed.retain(|changed| changed != mode);
            if on != *fresh {
                self.changed.push(*mode);
            }
        }
    }

    /// The bytes that put back what is changed; then nothing is.
    pub(super) fn reset(&mut self) -> Vec<u8> {
        let mut out = String::new();
        // A sequence that was cut in the middle must not swallow ours: CAN ends it.
        if self.parser.state != State::Ground {
            out.push('\u{18}');
        }
        if self.pushed_keyboards > 0 {
            out += &["\u{1b}[<", &self.pushed_keyboards.to_string(), "u"].concat();
        }
        if self.other_keys {
            out += "\u{1b}[>4m";
        }
        for (mode, fresh) in PRIVATE {
            if self.changed.contains(mode) {
                let end = if *fresh { "h" } else { "l" };
                out += &["\u{1b}[?", &mode.to_string(), end].concat();
            }
        }
        if self.keypad {
            out += "\u{1b}>";
        }
        if self.shape {
            out += "\u{1b}[0 q";
        }
        if self.colours {
            out += "\u{1b}[0m";
        }
        *self = Self::default();
        out.into_bytes()
    }
}

/// The numbers of a list separated by `;` or `:`; an absent one is 0, one that is too large is skipped.
fn numbers(list: &[u8]) -> impl Iterator<Item = u16> {
    list.split(|byte| matches!(byte, b';' | b':'))
        .filter_map(|number| match number {
            [] => Some(0),
            digits => std::str::from_utf8(digits).ok()?.parse().ok(),
        })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn reset_after(output: &str) -> String {
        let mut modes = Modes::default();
        modes.read(output.as_bytes());
        String::from_utf8(modes.reset()).unwrap()
    }

    #[test]
    fn only_what_is_on_is_switched_off() {
        let table = [
            ("plain text\r\n", ""),
            ("\x1b[?1049h\x1b[?1049l", ""),
            ("\x1b[?1049h", "\x1b[?1049l"),
            ("\x1b[?25l", "\x1b[?25h"),
            ("\x1b[?25l\x1b[?25h", ""),
            ("\x1b[?1000;1006;2004h", "\x1b[?1000l\x1b[?1006l\x1b[?2004l"),
            ("\x1b[?1049h\x1b[?1h\x1b=", "\x1b[?1l\x1b[?1049l\x1b>"),
            ("\x1b=\x1b>", ""),
            ("\x1b[1;31mred", "\x1b[0m"),
            ("\x1b[31mred\x1b[m", ""),
            ("\x1b[31mred\x1b[0m", ""),
            ("\x1b[>1u\x1b[>5u\x1b[<u", "\x1b[<1u"),
            ("\x1b[>4;2m", "\x1b[>4m"),
            ("\x1b[>4;2m\x1b[>4m", ""),
            ("\x1b[5 q", "\x1b[0 q"),
            ("\x1b[?1h\x1b[?1004h\x1b[!p", "\x1b[?1004l"),
            ("\x1b[?1h\x1b[?1004h\x1bc", ""),
            ("\x1b]0;[?25l title\x07[?25l", ""),
            ("\x1bP\x1b[?25l\x1b\\", "\x1b[?25h"),
            ("\x1b]0;half a title", "\x18"),
            ("\x1b(0\x1b[?25l", "\x1b[?25h"),
            ("\x1b[?25\x18l", ""),
            ("\x1b[?99999999999h\x1b[?h", ""),
        ];
        for (output, wanted) in table {
            assert_eq!(reset_after(output), wanted, "{output:?}");
        }
    }

    #[test]
    fn a_sequence_is_found_wherever_it_is_cut() {
        let output = b"x\x1b[?1049;1006h y";
        for cut in 0..output.len() {
            let mut modes = Modes::default();
            modes.read(&output[..cut]);
            modes.read(&output[cut..]);
            assert_eq!(modes.reset(), b"\x1b[?1006l\x1b[?1049l", "{cut}");
        }
    }

    #[test]
    fn a_sequence_is_kept_up_to_its_limit_only() {
        let fits = format!("\x1b[?{}25l", ";".repeat(MAX_SEQUENCE - 3));
        assert_eq!(reset_after(&fits), "\x1b[?25h");
        let longer = format!("\x1b[?{}25l", ";".repeat(MAX_SEQUENCE - 2));
        assert_eq!(reset_after(&longer), "");
    }

    proptest! {
        #[test]
        fn any_bytes_are_read(chunks: Vec<Vec<u8>>) {
            let mut modes = Modes::default();
            for chunk in &chunks {
                modes.read(chunk);
            }
            prop_assert!(modes.changed.len() <= PRIVATE.len());
            prop_assert!(modes.parser.sequence.len() <= MAX_SEQUENCE + 1);
            modes.reset();
            prop_assert!(modes.reset().is_empty());
        }
    }
}
