//! The wrappers that are compared, the command without any among them.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// A way to run a command.
pub(crate) struct Wrapper {
    /// Its name in the tables.
    pub(crate) name: &'static str,
    words: Vec<OsString>,
    place: PathBuf,
}

/// Where the program under test is: `HOOP_BENCH_BINARY`, else what was built with this.
pub(crate) fn hoop() -> PathBuf {
    std::env::var_os("HOOP_BENCH_BINARY")
        .map_or_else(|| env!("CARGO_BIN_EXE_hoop").into(), PathBuf::from)
}

impl Wrapper {
    /// The wrapper, if its program is installed. `place` is for private sockets.
    fn find(name: &'static str, words: &[&str], place: &Path) -> Option<Self> {
        let (program, options) = words.split_first()?;
        let program = match *program {
            "hoop" => hoop(),
            program => in_path(program)?,
        };
        let options = options.iter().map(OsString::from);
        Some(Self {
            name,
            words: std::iter::once(program.into()).chain(options).collect(),
            place: place.to_owned(),
        })
    }

    /// No wrapper at all.
    pub(crate) fn none(place: &Path) -> Self {
        Self {
            name: "unwrapped",
            words: Vec::new(),
            place: place.to_owned(),
        }
    }

    /// Those of this list that are installed; the others by name alone.
    pub(crate) fn those(
        list: &[(&'static str, &[&str])],
        place: &Path,
    ) -> Vec<Result<Self, &'static str>> {
        let found = list
            .iter()
            .map(|(name, words)| Self::find(name, words, place).ok_or(*name));
        std::iter::once(Ok(Self::none(place)))
            .chain(found)
            .collect()
    }

    /// Whether this is the command alone.
    pub(crate) fn is_none(&self) -> bool {
        self.words.is_empty()
    }

    /// The program's file.
    pub(crate) fn program(&self) -> Option<&Path> {
        self.words.first().map(Path::new)
    }

    /// The words before the command.
    pub(crate) fn words(&self) -> impl Iterator<Item = &OsString> {
        self.words.iter()
    }

    /// The words before the command, for `$W command` in a shell.
    pub(crate) fn prefix(&self) -> OsString {
        self.words.join(&OsString::from(" "))
    }

    /// A command under this wrapper, with pipes at its standard input and output.
    pub(crate) fn command(&self, application: &[&str]) -> Command {
        let mut words = self
            .words
            .iter()
            .cloned()
            .chain(application.iter().map(OsString::from));
        let mut command = Command::new(words.next().unwrap_or_default());
        command.args(words);
        self.settle(&mut command);
        command
    }

    /// Another program that is to run the command by `$W`.
    pub(crate) fn through(&self, words: &[&str]) -> Command {
        let mut words = words.iter();
        let mut command = Command::new(words.next().copied().unwrap_or_default());
        command.args(words).env("W", self.prefix());
        self.settle(&mut command);
        command
    }

    /// Nothing of whoever runs this reaches it.
    fn settle(&self, command: &mut Command) {
        for name in [
            "HOOP_KEY",
            "HOOP_DSN",
            "HOOP_NAME",
            "HOOP_COMMAND",
            "LOG_LEVEL",
        ] {
            command.env_remove(name);
        }
        command
            .env("XDG_RUNTIME_DIR", &self.place)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null());
    }
}

/// A program's file, if it is installed.
fn in_path(program: &str) -> Option<PathBuf> {
    std::env::split_paths(&std::env::var_os("PATH")?)
        .map(|folder| folder.join(program))
        .find(|path| path.is_file())
}
