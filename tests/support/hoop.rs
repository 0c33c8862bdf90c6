//! `hoop` as people use it: a home of its own, applications, clients and a gateway, each a real process.

#![allow(
    clippy::disallowed_methods,
    reason = "a test starts programs and owns them"
)]

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io;
use std::ops::{Deref, DerefMut};
use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};

use hoop::sys::Pid;
use tempfile::TempDir;

use super::console::Console;
use crate::process::{HOOP, Running, attempt, eventually};

/// Folders of programs: those of the tests, without the shims of version managers, which need the real home.
fn path() -> String {
    let path = std::env::var("PATH").unwrap_or_default();
    let kept = path.split(':').filter(|folder| !folder.contains("shims"));
    kept.collect::<Vec<_>>().join(":")
}

/// An account: home, runtime directory and environment, with nothing of whoever runs the tests. Whatever was started here is
/// ended when this is dropped.
pub(crate) struct Place {
    root: TempDir,
    user: Option<u32>,
    gateway: Option<Gateway>,
    key: Option<String>,
    programs: AtomicUsize,
}

impl Place {
    /// An account without a gateway.
    pub(crate) fn local() -> Self {
        let root = tempfile::Builder::new().prefix("hoop-").tempdir().unwrap();
        for folder in ["home", "run", "app"] {
            fs::create_dir(root.path().join(folder)).unwrap();
        }
        Self {
            root,
            user: None,
            gateway: None,
            key: None,
            programs: AtomicUsize::new(0),
        }
    }

    /// An account with `hoop start gateway`; applications get a key of it, the key's name is `demo`.
    pub(crate) fn with_gateway() -> Self {
        Self::local().and_gateway()
    }

    pub(crate) fn and_gateway(mut self) -> Self {
        let any = ["127.0.0.1:0".to_owned(), "127.0.0.1:0".to_owned()];
        let gateway = Gateway::start(&self, &any).expect("a gateway");
        self.gateway = Some(gateway);
        self.key = Some(self.new_key("demo"));
        self
    }

    /// An account of another user, by number. To be called as root.
    pub(crate) fn of_user(user: u32) -> Self {
        let mut place = Self::local();
        // Ours may lie where others cannot look.
        fs::copy(HOOP, place.root().join("hoop")).unwrap();
        for name in [".", "hoop", "home", "run", "app"] {
            chown(place.root().join(name), Some(user), Some(user)).unwrap();
        }
        place.user = Some(user);
        place
    }

    /// Where the account's files lie.
    pub(crate) fn root(&self) -> &Path {
        self.root.path()
    }

    /// The directory that applications start in.
    pub(crate) fn directory(&self) -> PathBuf {
        self.root().join("app")
    }

    pub(crate) fn gateway(&mut self) -> &mut Gateway {
        self.gateway.as_mut().expect("a place with a gateway")
    }

    /// The key that applications get.
    pub(crate) fn key(&self) -> Option<&str> {
        self.key.as_deref()
    }

    /// Makes a key at the gateway.
    pub(crate) fn new_key(&self, name: &str) -> String {
        let made = self.hoop(&["admin", "create", "agent", name, "--mode", "embedded"]);
        assert!(made.status.success(), "{}", text(&made.stderr));
        text(&made.stdout).trim().to_owned()
    }

    /// Any program, as this account.
    pub(crate) fn program(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new(program);
        command
            .env_clear()
            .env("PATH", path())
            .env("HOME", self.root().join("home"))
            .env("XDG_RUNTIME_DIR", self.root().join("run"))
            .env("SHELL", "/bin/sh")
            .env("PS1", "$ ")
            .env("LANG", "C.UTF-8")
            .env("LOG_LEVEL", "info")
            .current_dir(self.root())
            .stdin(Stdio::null());
        if let Some(user) = self.user {
            command.uid(user).gid(user);
        }
        if self.gateway.is_some() {
            command.env("HOOP_CONFIG", self.data().join("admin.toml"));
        }
        command
    }

    /// `hoop WORDS`, away from the application's directory.
    pub(crate) fn command<S: AsRef<OsStr>>(&self, words: &[S]) -> Command {
        let mut command = match self.user {
            None => self.program(HOOP),
            Some(_) => self.program(self.root().join("hoop")),
        };
        command.args(words);
        command
    }

    /// Runs `hoop WORDS` to its end.
    pub(crate) fn hoop<S: AsRef<OsStr>>(&self, words: &[S]) -> Output {
        self.command(words).output().unwrap()
    }

    /// `hoop run OPTIONS -- APPLICATION` in the application's directory.
    pub(crate) fn application(&self, options: &[&str], application: &[&str]) -> Command {
        let mut command = self.command(&["run"]);
        command.args(options).arg("--").args(application);
        command.current_dir(self.directory());
        command.env_remove("HOOP_CONFIG");
        if let Some(key) = &self.key {
            command.env("HOOP_KEY", key);
        }
        command
    }

    /// Starts `hoop run OPTIONS -- APPLICATION`.
    pub(crate) fn run(&self, options: &[&str], application: &[&str]) -> Program {
        self.start(&mut self.application(options, application))
    }

    /// Starts an application and waits until it can be reached by `name`.
    pub(crate) fn serve(&self, name: &str, options: &[&str], application: &[&str]) -> Program {
        let options = [&["--name", name], options].concat();
        let program = self.run(&options, application);
        self.reached(name, &program);
        program
    }

    /// Starts a program; what it prints is kept in files.
    pub(crate) fn start(&self, command: &mut Command) -> Program {
        let number = self.programs.fetch_add(1, Ordering::Relaxed);
        Program::start(command, &self.root().join(format!("program{number}"))).unwrap()
    }

    /// Waits until `name` answers.
    #[track_caller]
    pub(crate) fn reached(&self, name: &str, program: &Program) {
        let mut last = String::new();
        let answer = attempt(|| {
            let output = self.exec(name, &["true"]);
            last = text(&output.stderr);
            // An image without the program is reached too.
            matches!(output.status.code(), Some(0 | 127)).then_some(())
        });
        let log = program.log();
        assert!(
            answer.is_some(),
            "{name} is not reached: {last}; its log: {log}"
        );
    }

    /// `hoop exec NAME -- WORDS`.
    pub(crate) fn exec(&self, name: &str, words: &[&str]) -> Output {
        self.hoop(&[&["exec", name, "--"], words].concat())
    }

    /// `hoop connect NAME` in a terminal.
    pub(crate) fn console(&self, name: &str) -> Console {
        assert!(
            self.user.is_none(),
            "consoles are opened as whoever runs the tests"
        );
        Console::start(&self.command(&["connect", name]))
    }

    /// Processes of this account that can be looked into: their environment names our folder.
    pub(crate) fn processes(&self) -> Vec<Pid> {
        let mark = self.root().to_str().unwrap();
        let all = hoop::sys::tree::all().unwrap_or_default();
        let ours = all.into_iter().filter(|process| {
            let environment = fs::read(format!("/proc/{}/environ", process.pid));
            environment.is_ok_and(|bytes| text(&bytes).contains(mark))
        });
        ours.map(|process| process.pid).collect()
    }

    /// Programs of sessions, among these processes.
    pub(crate) fn sessions(&self) -> Vec<Pid> {
        let ours = self.processes().into_iter().filter(|process| {
            let environment = fs::read(format!("/proc/{process}/environ"));
            environment.is_ok_and(|bytes| text(&bytes).contains("\0HOOP_SESSION_ID="))
        });
        ours.collect()
    }

    fn data(&self) -> PathBuf {
        self.root().join("gateway")
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.gateway = None;
        for process in self.processes() {
            // It may have ended by itself.
            let _ended = hoop::sys::process::signal(process, libc::SIGKILL);
        }
    }
}

/// A program of a [`Place`], with what it printed.
pub(crate) struct Program {
    running: Running,
    files: PathBuf,
}

impl Program {
    fn start(command: &mut Command, files: &Path) -> io::Result<Self> {
        let running = Running::start_as_is(
            command
                .stdout(File::create(files.with_extension("out"))?)
                .stderr(File::create(files.with_extension("err"))?),
        )?;
        Ok(Self {
            running,
            files: files.to_owned(),
        })
    }

    /// Waits for the end; the exit code and what was printed.
    pub(crate) fn finish(mut self) -> (Option<i32>, String) {
        (self.running.wait().code(), self.out())
    }

    /// Standard output up to now.
    pub(crate) fn out(&self) -> String {
        text(&fs::read(self.files.with_extension("out")).unwrap())
    }

    /// Standard error up to now.
    pub(crate) fn log(&self) -> String {
        text(&fs::read(self.files.with_extension("err")).unwrap())
    }

    /// Waits for words on standard output, and returns what follows them on their line.
    #[track_caller]
    pub(crate) fn printed(&self, words: &str) -> String {
        eventually(words, || after(&self.out(), words))
    }

    /// Waits for words on standard error, and returns what follows them on their line.
    #[track_caller]
    pub(crate) fn logged(&self, words: &str) -> String {
        eventually(words, || after(&self.log(), words))
    }
}

impl Deref for Program {
    type Target = Running;

    fn deref(&self) -> &Running {
        &self.running
    }
}

impl DerefMut for Program {
    fn deref_mut(&mut self) -> &mut Running {
        &mut self.running
    }
}

/// The rest of the first whole line with `words` in it.
fn after(printed: &str, words: &str) -> Option<String> {
    let (_, rest) = printed.split_once(words)?;
    Some(rest.split_once('\n')?.0.to_owned())
}

/// `hoop start gateway` as a process.
pub(crate) struct Gateway {
    program: Program,
    addresses: [String; 2],
}

impl Gateway {
    fn start(place: &Place, addresses: &[String; 2]) -> Result<Self, String> {
        let [grpc, http] = addresses;
        let mut command = place.command(&["start", "gateway", "--grpc", grpc, "--http", http]);
        command.arg("--data-dir").arg(place.data());
        let mut program = place.start(&mut command);
        let words = "gateway listens for agents and clients on ";
        let line = eventually("a gateway", || {
            after(&program.log(), words).map(Ok).or_else(|| {
                let ended = program.ended();
                ended.then(|| Err(program.log()))
            })
        })?;
        let (grpc, http) = line.split_once(", for HTTP on ").expect("two addresses");
        Ok(Self {
            program,
            addresses: [grpc.to_owned(), http.to_owned()],
        })
    }

    /// Kills it, as the kernel does when memory is short.
    pub(crate) fn kill(&mut self) {
        self.program.signal(libc::SIGKILL);
        self.program.wait();
    }

    /// What it said up to now.
    pub(crate) fn log(&self) -> String {
        self.program.log()
    }
}

impl Place {
    /// Starts the gateway again, with its data and on its addresses.
    pub(crate) fn restart_gateway(&mut self) {
        let addresses = self.gateway().addresses.clone();
        // A connection of the one before may still hold an address.
        let again = eventually("the gateway's addresses", || {
            Gateway::start(self, &addresses).ok()
        });
        self.gateway = Some(again);
    }
}

/// Bytes as text.
pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
