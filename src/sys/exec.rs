//! Executing a program: the words and variables as the kernel wants them, the search along PATH, our own file again.
//!
//! All memory is laid out beforehand: [`exec`] and what it calls run between fork and exec. The search is that of
//! `execvp(3)`, with its fallback to `/bin/sh` for a script without `#!`.

use std::ffi::{CStr, CString, OsStr, c_char};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use nix::errno::Errno;

use super::fd::{close_range, open_path};
use super::inherited::secret_variable;
use super::signal::{SignalSet, set_all_ignored, set_mask};

/// Where programs are looked for without PATH, as in glibc.
const DEFAULT_PATH: &[u8] = b"/bin:/usr/bin";

/// What runs a file that the kernel does not know how to execute.
const SHELL: &CStr = c"/bin/sh";

/// Room for a pid and a terminator after an environment variable's name.
const PID_ROOM: usize = 12;

/// Variables that name the pid of the process they are meant for.
const PID_VARIABLES: [&[u8]; 2] = [b"LISTEN_PID=", b"WATCHDOG_PID="];

/// Null-terminated strings and the null-terminated array of pointers to them.
pub struct Words {
    strings: Vec<Vec<u8>>,
    pointers: Vec<*const c_char>,
}

// SAFETY: the pointers are into `strings`, whose heap memory belongs to this value and does not move.
unsafe impl Send for Words {}
// SAFETY: as above; nothing changes through a shared reference.
unsafe impl Sync for Words {}

impl Words {
    /// Copies the strings.
    pub fn new<'a>(strings: impl IntoIterator<Item = &'a CStr>) -> Self {
        Self::from_terminated(
            strings
                .into_iter()
                .map(|string| string.to_bytes_with_nul().to_vec())
                .collect(),
        )
    }

    /// Words from arguments; one with a null inside is an error (`EINVAL`).
    pub fn from_arguments<S: AsRef<OsStr>>(words: &[S]) -> Result<Self, Errno> {
        let terminated =
            |word: &S| CString::new(word.as_ref().as_bytes()).map(CString::into_bytes_with_nul);
        let strings = words
            .iter()
            .map(terminated)
            .collect::<Result<_, _>>()
            .map_err(|_| Errno::EINVAL)?;
        Ok(Self::from_terminated(strings))
    }

    fn from_terminated(strings: Vec<Vec<u8>>) -> Self {
        let pointers = strings
            .iter()
            .map(|string| string.as_ptr().cast())
            .chain([std::ptr::null()])
            .collect();
        Self { strings, pointers }
    }

    fn as_ptr(&self) -> *const *const c_char {
        self.pointers.as_ptr()
    }
}

/// A program's environment.
pub struct Environment {
    words: Words,
    /// Entries whose value is our pid and has to become the program's.
    pids: Vec<usize>,
}

impl Environment {
    /// The entries as they are, less our secrets.
    pub fn new<'a>(entries: impl IntoIterator<Item = &'a CStr>) -> Self {
        let kept = entries
            .into_iter()
            .filter(|entry| secret_variable(entry.to_bytes()).is_none());
        Self {
            words: Words::new(kept),
            pids: Vec::new(),
        }
    }

    /// The same, where `LISTEN_PID` and `WATCHDOG_PID` that name `ours` will name the program that is started.
    pub fn with_pid_of_program<'a>(entries: impl IntoIterator<Item = &'a CStr>, ours: u32) -> Self {
        Self::new(entries).naming_program(ours)
    }

    /// All entries, our secrets too: for another process of ours.
    pub fn of_our_own<'a>(entries: impl IntoIterator<Item = &'a CStr>) -> Self {
        Self {
            words: Words::new(entries),
            pids: Vec::new(),
        }
    }

    fn naming_program(self, ours: u32) -> Self {
        let mut environment = self;
        let ours = ours.to_string();
        for (index, entry) in environment.words.strings.iter_mut().enumerate() {
            let value = |name| {
                entry
                    .strip_prefix(name)
                    .and_then(|value: &[u8]| value.strip_suffix(b"\0"))
            };
            let name = PID_VARIABLES
                .into_iter()
                .find(|&name| value(name) == Some(ours.as_bytes()));
            if let Some(name) = name {
                entry.resize(name.len() + PID_ROOM, 0);
                environment.pids.push(index);
            }
        }
        environment.words = Words::from_terminated(std::mem::take(&mut environment.words.strings));
        environment
    }

    /// The program has been started: from now on its pid stands where it was written.
    pub fn settle(&mut self) {
        self.pids.clear();
    }

    /// Writes the program's pid where it belongs. Async-signal-safe.
    pub(crate) fn set_pid(&mut self, pid: u32) {
        for &index in &self.pids {
            let Some(entry) = self.words.strings.get_mut(index) else {
                continue;
            };
            let start = entry
                .iter()
                .position(|&byte| byte == b'=')
                .map_or(0, |equals| equals + 1);
            let digits = pid.checked_ilog10().unwrap_or(0) as usize + 1;
            let mut rest = pid;
            for byte in entry.iter_mut().skip(start).take(digits).rev() {
                *byte = b'0' + u8::try_from(rest % 10).unwrap_or(0);
                rest /= 10;
            }
            if let Some(end) = entry.get_mut(start + digits) {
                *end = 0;
            }
        }
    }

    fn path(&self) -> &[u8] {
        let value = |entry: &'_ Vec<u8>| entry.starts_with(b"PATH=");
        let entry = self
            .words
            .strings
            .iter()
            .find(|entry| value(entry))
            .map(Vec::as_slice);
        entry
            .and_then(|entry| entry.strip_prefix(b"PATH=")?.strip_suffix(b"\0"))
            .unwrap_or(DEFAULT_PATH)
    }
}

/// What to execute.
pub enum Image {
    /// A program by name: where it may lie, in the order of the search.
    Search(Search),
    /// Our own file.
    Ourselves {
        /// The file, opened as a place.
        program: Option<RawFd>,
        /// The path to it, where a descriptor cannot be executed.
        path: Option<CString>,
    },
}

/// The places where a program may lie.
pub struct Search {
    candidates: Vec<CString>,
    /// `/bin/sh`, the script, the arguments. The script is put in when it is known.
    shell_words: Vec<*const c_char>,
}

impl Search {
    /// Looks for the first word along the environment's PATH, unless it holds a slash.
    pub fn new(words: &Words, environment: &Environment) -> Self {
        let name = words
            .strings
            .first()
            .and_then(|name| name.strip_suffix(b"\0"))
            .unwrap_or_default();
        let candidates = if name.contains(&b'/') || name.is_empty() {
            vec![name.to_vec()]
        } else {
            environment
                .path()
                .split(|&byte| byte == b':')
                .map(|directory| join(directory, name))
                .collect()
        };
        let shell_words = [SHELL.as_ptr(), std::ptr::null()]
            .into_iter()
            .chain(words.pointers.iter().skip(1).copied())
            .collect();
        Self {
            candidates: candidates.into_iter().flat_map(CString::new).collect(),
            shell_words,
        }
    }

    /// The first candidate that exists, whatever it is.
    pub fn existing(&self) -> Option<PathBuf> {
        let paths = self
            .candidates
            .iter()
            .map(|path| Path::new(OsStr::from_bytes(path.to_bytes())));
        paths
            .into_iter()
            .find(|path| path.exists())
            .map(Path::to_owned)
    }
}

fn join(directory: &[u8], name: &[u8]) -> Vec<u8> {
    // An empty entry means the working directory.
    if directory.is_empty() {
        name.to_vec()
    } else {
        [directory, b"/", name].concat()
    }
}

/// Executes; returns only the reason why not. Async-signal-safe.
pub(crate) fn exec(image: &mut Image, words: &Words, environment: &Environment) -> Errno {
    let variables = environment.words.as_ptr();
    match image {
        Image::Search(search) => search_and_exec(search, words, variables),
        Image::Ourselves { program, path } => {
            let failed =
                program.map_or(Errno::ENOENT, |fd| execveat(fd, words.as_ptr(), variables));
            // `/proc/self/exe` is our own file in a forked child as well.
            execve(c"/proc/self/exe", words.as_ptr(), variables);
            if let Some(path) = path {
                execve(path, words.as_ptr(), variables);
            }
            failed
        }
    }
}

fn search_and_exec(search: &mut Search, words: &Words, variables: *const *const c_char) -> Errno {
    let mut result = Errno::ENOENT;
    for candidate in &search.candidates {
        match execve(candidate, words.as_ptr(), variables) {
            Errno::ENOEXEC => {
                if let Some(script) = search.shell_words.get_mut(1) {
                    *script = candidate.as_ptr();
                }
                execve(SHELL, search.shell_words.as_ptr(), variables);
                return Errno::ENOEXEC;
            }
            Errno::EACCES => result = Errno::EACCES,
            Errno::ENOENT | Errno::ENOTDIR | Errno::ESTALE | Errno::ENODEV | Errno::ETIMEDOUT
                if search.candidates.len() > 1 => {}
            errno if search.candidates.len() > 1 => return errno,
            errno => result = errno,
        }
    }
    result
}

fn execve(path: &CStr, words: *const *const c_char, variables: *const *const c_char) -> Errno {
    // SAFETY: a terminated path and two null-terminated arrays of terminated strings, all alive.
    unsafe { libc::execve(path.as_ptr(), words, variables) };
    Errno::last()
}

fn execveat(program: RawFd, words: *const *const c_char, variables: *const *const c_char) -> Errno {
    let empty = c"".as_ptr();
    // SAFETY: as for `execve`; the path is empty and the flag says that the descriptor is the file.
    unsafe {
        libc::syscall(
            libc::SYS_execveat,
            program,
            empty,
            words,
            variables,
            libc::AT_EMPTY_PATH,
        )
    };
    Errno::last()
}

/// How an agent starts a session process: our own file once more, in a session of its own, with a clean signal state and
/// exactly the descriptors it needs.
pub struct SessionExec {
    /// Our own file, opened as a place.
    pub program: OwnedFd,
    /// The session process' end of the control socket; becomes descriptor [`SessionExec::SOCKET`].
    pub control: OwnedFd,
    /// The application's directory, opened as a place; becomes descriptor [`SessionExec::DIRECTORY`].
    pub directory: OwnedFd,
    /// The words: `hoop session -- PROGRAM …`.
    pub words: Words,
    /// The environment of the program.
    pub environment: Environment,
}

impl SessionExec {
    /// Descriptor of the control socket in the session process.
    pub const SOCKET: RawFd = 3;
    /// Descriptor of the directory in the session process.
    pub const DIRECTORY: RawFd = 4;

    /// Makes a command start the session process. The command's standard descriptors are as set on it; its program, words,
    /// environment and directory are not used.
    pub fn install(self, command: &mut Command) -> Result<(), Errno> {
        keep_low_descriptors_busy()?;
        let Self {
            program,
            control,
            directory,
            words,
            environment,
        } = self;
        let run = move || {
            // All three out of the way first: each may lie where another is going to be put.
            let program = park(&program)?;
            place([
                (park(&control)?, Self::SOCKET),
                (park(&directory)?, Self::DIRECTORY),
            ])?;
            become_session();
            let mut image = Image::Ourselves {
                program: Some(program),
                path: None,
            };
            Err(io::Error::from(exec(&mut image, &words, &environment)))
        };
        // SAFETY: the closure only makes system calls on memory laid out before the fork; io::Error from a number does not
        // allocate.
        unsafe { command.pre_exec(run) };
        Ok(())
    }
}

/// std reports a failed exec through a descriptor of its own: it must not lie where [`SessionExec`] puts things. Fills what
/// is free below for good.
fn keep_low_descriptors_busy() -> Result<(), Errno> {
    loop {
        let filler = open_path(Path::new("/"))?;
        if filler.as_raw_fd() > SessionExec::DIRECTORY {
            return Ok(());
        }
        std::mem::forget(filler);
    }
}

/// A copy of a descriptor above all places, close-on-exec. Between fork and exec.
fn park(fd: &OwnedFd) -> Result<RawFd, Errno> {
    let above = SessionExec::DIRECTORY + 1;
    // SAFETY: the descriptor is open.
    Errno::result(unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_DUPFD_CLOEXEC, above) })
}

/// Puts descriptors in their places. Between fork and exec.
fn place(descriptors: [(RawFd, RawFd); 2]) -> Result<(), Errno> {
    for (parked, target) in descriptors {
        // SAFETY: in a forked child the numbers below are ours to give.
        Errno::result(unsafe { libc::dup2(parked, target) })?;
    }
    Ok(())
}

/// Session, other descriptors, signals. Between fork and exec.
fn become_session() {
    // SAFETY: no memory is involved. A forked child leads no group, so it cannot be refused.
    unsafe { libc::setsid() };
    // Whoever refuses this leaves descriptors that were opened close-on-exec anyway.
    let first = SessionExec::DIRECTORY + 1;
    let _refused = close_range(first, RawFd::MAX, libc::CLOSE_RANGE_CLOEXEC);
    set_all_ignored(SignalSet::EMPTY);
    set_mask(SignalSet::EMPTY);
}

#[cfg(test)]
mod tests {
    use super::{Environment, Search, Words};

    fn candidates(name: &str, path: &std::ffi::CStr) -> Vec<String> {
        let words = Words::from_arguments(&[name]).unwrap();
        let search = Search::new(&words, &Environment::new([path]));
        search
            .candidates
            .iter()
            .map(|path| path.to_string_lossy().into_owned())
            .collect()
    }

    fn entries(environment: &Environment) -> Vec<String> {
        let text = |entry: &Vec<u8>| {
            std::ffi::CStr::from_bytes_until_nul(entry)
                .unwrap()
                .to_string_lossy()
                .into_owned()
        };
        environment.words.strings.iter().map(text).collect()
    }

    #[test]
    fn the_search_follows_path() {
        assert_eq!(candidates("x", c"PATH=/a:/b"), ["/a/x", "/b/x"]);
        assert_eq!(candidates("x", c"PATH=:/b:"), ["x", "/b/x", "x"]);
        assert_eq!(candidates("./x", c"PATH=/a"), ["./x"]);
        assert_eq!(candidates("x", c"NOPATH=/a"), ["/bin/x", "/usr/bin/x"]);
        assert_eq!(candidates("", c"PATH=/a"), [""]);
    }

    #[test]
    fn only_variables_that_name_our_pid_change() {
        let given = [
            c"LISTEN_PID=7",
            c"A=LISTEN_PID=7",
            c"WATCHDOG_PID=77",
            c"HOOP_KEY=k",
            c"A=1",
            c"A=1",
            c"LISTEN_PID=",
        ];
        let mut environment = Environment::with_pid_of_program(given, 7);
        environment.set_pid(4_194_303);
        let expected = [
            "LISTEN_PID=4194303",
            "A=LISTEN_PID=7",
            "WATCHDOG_PID=77",
            "A=1",
            "A=1",
            "LISTEN_PID=",
        ];
        assert_eq!(entries(&environment), expected);
        environment.set_pid(5);
        assert_eq!(entries(&environment).first().unwrap(), "LISTEN_PID=5");
        environment.set_pid(u32::MAX);
        assert_eq!(
            entries(&environment).first().unwrap(),
            "LISTEN_PID=4294967295"
        );
    }

    #[test]
    fn a_word_with_a_null_is_refused() {
        assert!(Words::from_arguments(&["a\0b"]).is_err());
    }
}
