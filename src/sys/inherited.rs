//! The world as this process was given it, captured before anything of ours can change it.
//!
//! The supervisor passes it on to the application unchanged; other commands call [`Inherited::set_up_like_std`]. The entry
//! symbol calls [`Inherited::capture`] first of all, which also blocks every signal: what comes from then on waits.
//!
//! The argument and environment blocks are the kernel's own memory, which others may read as `/proc/PID/cmdline` and
//! `environ`: hence [`Inherited::blank_secrets`], to be called when the configuration has been read.

use std::ffi::{CStr, CString, OsStr, OsString, c_char, c_int};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use nix::errno::Errno;

use super::fd::{fill_standard, open_path, replace_by_null};
use super::process;
use super::signal::{SignalSet, ignored, set_ignored, set_mask};

/// Variables that are ours alone and secret: no child of ours sees them.
pub const SECRET_VARIABLES: [&str; 4] = ["HOOP_KEY", "HOOP_DSN", "HOOP_TOKEN", "HOOP_DB_URI"];

/// Options whose value is secret.
const SECRET_OPTIONS: [&[u8]; 2] = [b"--key", b"-k"];

/// What a blanked byte reads as.
const BLANK: u8 = b'x';

/// What this process was started with.
pub struct Inherited {
    mask: SignalSet,
    ignored: SignalSet,
    closed: [bool; 3],
    arguments: Block,
    environment: Block,
    program: Option<OwnedFd>,
    program_path: Option<CString>,
}

impl Inherited {
    /// Blocks all signals and notes the inherited state.
    ///
    /// # Safety
    ///
    /// To be called once, first thing in the entry symbol, with its own arguments.
    pub unsafe fn capture(count: c_int, arguments: *mut *mut c_char) -> Self {
        let mask = set_mask(SignalSet::ALL);
        let closed = fill_standard();
        let count = usize::try_from(count).unwrap_or(0);
        let after = arguments.wrapping_add(count + 1);
        // SAFETY: the kernel puts the arguments, a null, the environment and a null into one array.
        let environment = unsafe { Block::at(after) };
        // SAFETY: as above.
        let arguments = unsafe { Block::at(arguments) };
        let program_path = execfn();
        let program = open_path(Path::new("/proc/self/exe")).or_else(|error| match &program_path {
            Some(path) => open_path(Path::new(OsStr::from_bytes(path.to_bytes()))),
            None => Err(error),
        });
        Self {
            mask,
            ignored: ignored(),
            closed,
            arguments,
            environment,
            program: program.ok(),
            program_path,
        }
    }

    /// The signals that were blocked.
    pub fn mask(&self) -> SignalSet {
        self.mask
    }

    /// The signals that were ignored.
    pub fn ignored(&self) -> SignalSet {
        self.ignored
    }

    /// Which of the standard descriptors were closed. They are filled now.
    pub fn closed(&self) -> [bool; 3] {
        self.closed
    }

    /// The arguments, the program's name first.
    pub fn args(&self) -> Vec<OsString> {
        self.arguments
            .strings()
            .map(|word| OsStr::from_bytes(word.to_bytes()).to_owned())
            .collect()
    }

    /// The environment, entry by entry: order, duplicates and odd bytes kept.
    pub fn environ(&self) -> impl Iterator<Item = &CStr> {
        self.environment.strings()
    }

    /// Our own file, as a place to execute from (`O_PATH`). The same file even if another has taken its name.
    pub fn program(&self) -> Option<BorrowedFd<'_>> {
        self.program.as_ref().map(AsFd::as_fd)
    }

    /// The path that this process was executed by, for kernels that cannot execute a descriptor.
    pub fn program_path(&self) -> Option<&CStr> {
        self.program_path.as_deref()
    }

    /// Overwrites, where the kernel shows them, the values of our secret variables and options.
    pub fn blank_secrets(&mut self) {
        for entry in self.environment.strings_mut() {
            if let Some(start) = secret_variable(entry) {
                entry.iter_mut().skip(start).for_each(|byte| *byte = BLANK);
            }
        }
        let mut value_is_next = false;
        for word in self.arguments.strings_mut().skip(1) {
            if *word == *b"--" {
                break;
            }
            let value = if value_is_next {
                Some(Value::From(0))
            } else {
                secret_option(word)
            };
            value_is_next = matches!(value, Some(Value::NextWord));
            if let Some(Value::From(start)) = value {
                word.iter_mut().skip(start).for_each(|byte| *byte = BLANK);
            }
        }
    }

    /// Keeps other processes of our user from reading what this one knows.
    pub fn make_non_dumpable(&self) {
        // Refused only by a sandbox, which then keeps others away by itself.
        let _refused = process::set_non_dumpable();
    }

    /// What std's own start would have done, for every command but the supervisor and a session process: SIGPIPE ignored,
    /// `/dev/null` on standard descriptors that were closed, the inherited mask. A SIGCHLD that was inherited ignored is
    /// given its default action, or no exit status would be seen.
    pub fn set_up_like_std(&self) {
        for (number, closed) in (0..).zip(self.closed) {
            if closed {
                // What fills the place already is the best there is then.
                let _refused: Result<(), Errno> = replace_by_null(number);
            }
        }
        set_ignored(libc::SIGPIPE, true);
        set_ignored(libc::SIGCHLD, false);
        set_mask(self.mask);
    }
}

/// Whether an environment entry is one of [`SECRET_VARIABLES`]; then where its value starts.
pub(crate) fn secret_variable(entry: &[u8]) -> Option<usize> {
    SECRET_VARIABLES
        .iter()
        .find(|name| {
            entry
                .strip_prefix(name.as_bytes())
                .is_some_and(|rest| rest.first() == Some(&b'='))
        })
        .map(|name| name.len() + 1)
}

/// Where the value of a secret option stands.
enum Value {
    /// In the same word, from this byte on.
    From(usize),
    /// In the word after it.
    NextWord,
}

/// Whether an argument is a secret option; then where its value is.
fn secret_option(word: &[u8]) -> Option<Value> {
    let option = SECRET_OPTIONS
        .into_iter()
        .find(|option| word.starts_with(option))?;
    let long = option.starts_with(b"--");
    match word.get(option.len()) {
        None => Some(Value::NextWord),
        Some(b'=') => Some(Value::From(option.len() + 1)),
        Some(_) if long => None,
        Some(_) => Some(Value::From(option.len())),
    }
}

/// A null-terminated array of strings in memory that the kernel set up and that lives as long as the process.
struct Block(*mut *mut c_char);

impl Block {
    /// # Safety
    ///
    /// `first` starts such an array, and nobody else changes the strings.
    unsafe fn at(first: *mut *mut c_char) -> Self {
        Self(first)
    }

    fn pointers(&self) -> impl Iterator<Item = *mut c_char> + use<> {
        let first = self.0;
        (0..).map_while(move |index| {
            // SAFETY: the array ends with a null, and `map_while` ends there.
            let place = unsafe { first.add(index) };
            // SAFETY: as above.
            let string = unsafe { *place };
            (!string.is_null()).then_some(string)
        })
    }

    fn strings(&self) -> impl Iterator<Item = &CStr> {
        // SAFETY: each is a terminated string that lives as long as the process and is changed through `&mut self` only.
        self.pointers()
            .map(|string| unsafe { CStr::from_ptr(string) })
    }

    fn strings_mut(&mut self) -> impl Iterator<Item = &mut [u8]> {
        self.pointers().map(|string| {
            // SAFETY: as in `strings`.
            let length = unsafe { CStr::from_ptr(string) }.to_bytes().len();
            // SAFETY: the bytes before the terminator; the strings do not overlap, and `self` is borrowed alone.
            unsafe { std::slice::from_raw_parts_mut(string.cast::<u8>(), length) }
        })
    }
}

/// The path given to the exec that started us.
fn execfn() -> Option<CString> {
    // SAFETY: only asks.
    let address = unsafe { libc::getauxval(libc::AT_EXECFN) };
    let address = usize::try_from(address)
        .ok()
        .filter(|&address| address != 0)?;
    // SAFETY: the kernel's answer is a terminated string that lives as long as the process.
    let path = unsafe { CStr::from_ptr(std::ptr::with_exposed_provenance(address)) };
    Some(path.to_owned())
}

#[cfg(test)]
mod tests {
    use super::{Block, Inherited, SignalSet, secret_variable};
    use std::ffi::CString;
    use std::os::unix::ffi::OsStrExt;

    fn blanked(arguments: &[&str], environment: &[&str]) -> (Vec<String>, Vec<String>) {
        let block = |words: &[&str]| {
            let pointers = words
                .iter()
                .map(|word| CString::new(*word).unwrap().into_raw());
            let pointers: Vec<_> = pointers.chain([std::ptr::null_mut()]).collect();
            // SAFETY: built as required, and leaked.
            unsafe { Block::at(pointers.leak().as_mut_ptr()) }
        };
        let mut inherited = Inherited {
            mask: SignalSet::EMPTY,
            ignored: SignalSet::EMPTY,
            closed: [false; 3],
            arguments: block(arguments),
            environment: block(environment),
            program: None,
            program_path: None,
        };
        inherited.blank_secrets();
        let arguments = inherited
            .args()
            .into_iter()
            .map(|word| String::from_utf8_lossy(word.as_bytes()).into_owned());
        let environment = inherited
            .environ()
            .map(|entry| entry.to_string_lossy().into_owned());
        (arguments.collect(), environment.collect())
    }

    #[test]
    fn secrets_are_blanked_and_nothing_else() {
        let (arguments, environment) = blanked(
            &[
                "hoop", "run", "--key", "abc", "--key=de", "-k", "f", "-kgh", "--keys", "--name",
                "n", "--", "--key", "i",
            ],
            &[
                "HOOP_KEY=abc",
                "HOOP_KEYS=abc",
                "HOOP_KEY=",
                "TOKEN=abc",
                "HOOP_TOKEN=a=b",
                "HOOP_KEY",
            ],
        );
        assert_eq!(
            arguments,
            [
                "hoop", "run", "--key", "xxx", "--key=xx", "-k", "x", "-kxx", "--keys", "--name",
                "n", "--", "--key", "i"
            ]
        );
        assert_eq!(
            environment,
            [
                "HOOP_KEY=xxx",
                "HOOP_KEYS=abc",
                "HOOP_KEY=",
                "TOKEN=abc",
                "HOOP_TOKEN=xxx",
                "HOOP_KEY"
            ]
        );
        assert_eq!(
            blanked(&["hoop", "run", "--key=", "--key", "--"], &[]).0,
            ["hoop", "run", "--key=", "--key", "--"]
        );
        assert_eq!(
            blanked(&["hoop", "run", "--key="], &[]).0,
            ["hoop", "run", "--key="]
        );
    }

    #[test]
    fn a_secret_variable_is_matched_whole() {
        assert_eq!(secret_variable(b"HOOP_DB_URI=x"), Some(12));
        assert_eq!(secret_variable(b"HOOP_DB_URI2=x"), None);
        assert_eq!(secret_variable(b"XHOOP_KEY=x"), None);
    }
}
