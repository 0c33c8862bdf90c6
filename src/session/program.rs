//! The program of a session: its start on a terminal or on pipes, and signals to it and to what descends from it.

use std::collections::HashSet;
use std::ffi::OsString;
use std::fs;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use crate::control::{FromSession, TerminalSize};
use crate::supervisor::failure;
use crate::sys::exec::{Environment, Image, Search, Words};
use crate::sys::fd::{replace_by_null, standard};
use crate::sys::signal::{SignalSet, send, send_group};
use crate::sys::spawn::{Spawn, SpawnError, Standing, Step};
use crate::sys::tree::Process;
use crate::sys::tty::WindowSize;
use crate::sys::{Errno, Inherited, Pid, pty, tree};

/// A program that runs, or ran.
pub(crate) struct Program {
    pid: Pid,
    /// Of a console. Held as long as the session lives, so that the agent is not the only one who has it.
    master: Option<OwnedFd>,
}

impl Program {
    /// Starts the program in the directory, with a clean signal state: on a new terminal of the given size, or on our own
    /// standard descriptors, which it then has for itself.
    pub(crate) fn start(
        words: &[OsString],
        inherited: &Inherited,
        directory: &OwnedFd,
        terminal: Option<TerminalSize>,
    ) -> Result<Self, FromSession> {
        let place = path_of(directory);
        if nix::sys::stat::fstat(directory).is_ok_and(|status| status.st_nlink == 0) {
            return Err(failed(
                format!("enter the directory {place}, which was removed"),
                Errno::ENOENT,
            ));
        }
        let size = terminal.map(|size| WindowSize {
            rows: size.rows,
            columns: size.columns,
            x: size.x,
            y: size.y,
        });
        let pair = size
            .map(pty::open)
            .transpose()
            .map_err(|errno| failed("open a terminal".to_owned(), errno))?;
        let terminal = pair.as_ref().map(|pair| pair.terminal.as_fd());
        let descriptors =
            terminal.map(|fd| standard().map(|place| (fd, place.as_raw_fd())).to_vec());
        let name = words.first().cloned().unwrap_or_default();
        let words = Words::from_arguments(words)
            .map_err(|errno| failed(format!("run '{}'", name.display()), errno))?;
        let mut environment = Environment::new(inherited.environ());
        let mut spawn = Spawn {
            image: Image::Search(Search::new(&words, &environment)),
            words: &words,
            environment: &mut environment,
            standing: terminal.map_or(Standing::NewGroup, Standing::Terminal),
            descriptors: descriptors.unwrap_or_default(),
            directory: Some(directory.as_fd()),
            mask: SignalSet::EMPTY,
            ignored: SignalSet::EMPTY,
            // Without this process nobody would end the program. Sound here: this process has one thread.
            parent_death: Some(libc::SIGKILL),
        };
        let pid = spawn.run().map_err(|error| {
            let step = describe(
                error,
                &spawn.image,
                &name.display().to_string(),
                (directory, &place),
            );
            FromSession::Failed {
                step,
                errno: error.errno as i32,
                code: failure::code(error),
            }
        })?;
        if pair.is_none() {
            // A pipe must end when the program ends it.
            for place in standard() {
                let _refused = replace_by_null(place.as_raw_fd());
            }
        }
        Ok(Self {
            pid,
            master: pair.map(|pair| pair.master),
        })
    }

    /// Its pid.
    pub(crate) fn pid(&self) -> Pid {
        self.pid
    }

    /// The master of its terminal.
    pub(crate) fn master(&self) -> Option<BorrowedFd<'_>> {
        self.master.as_ref().map(AsFd::as_fd)
    }

    /// Sends a signal to who is in the foreground of the terminal, or else to the program's group.
    pub(crate) fn signal(&self, number: i32) {
        let descendants = descendants();
        let target = self.foreground().unwrap_or(self.pid);
        if is_ours(target, descendants.as_deref()) {
            let _ended = send_group(target, number);
        }
    }

    /// Tells the foreground and the program's group that the terminal is gone. One that is stopped is continued to hear it.
    pub(crate) fn hang_up(&self) {
        let descendants = descendants();
        let groups: HashSet<Pid> = self.foreground().into_iter().chain([self.pid]).collect();
        for group in groups
            .into_iter()
            .filter(|&group| is_ours(group, descendants.as_deref()))
        {
            let _ended = send_group(group, libc::SIGHUP);
            let _ended = send_group(group, libc::SIGCONT);
        }
    }

    /// Kills every descendant there is at the moment.
    pub(crate) fn kill(&self) {
        if let Some(descendants) = descendants() {
            for process in descendants {
                let _ended = send(process.pid, libc::SIGKILL);
            }
            return;
        }
        for group in self.foreground().into_iter().chain([self.pid]) {
            let _ended = send_group(group, libc::SIGKILL);
        }
    }

    fn foreground(&self) -> Option<Pid> {
        pty::foreground(self.master.as_ref()?)
    }
}

/// All that descends from this process; `None` without /proc.
fn descendants() -> Option<Vec<Process>> {
    Some(tree::descendants(&tree::all()?, Pid::this(), None))
}

/// Whether a group has a descendant of ours in it: the number of an empty one may be somebody else's by now.
fn is_ours(group: Pid, descendants: Option<&[Process]>) -> bool {
    descendants.is_none_or(|descendants| descendants.iter().any(|process| process.group == group))
}

fn failed(step: String, errno: Errno) -> FromSession {
    FromSession::Failed {
        step,
        errno: errno as i32,
        code: failure::NOTHING_RUN,
    }
}

/// What was being done, with the program and the directory, and what the error number alone does not say.
fn describe(
    error: SpawnError,
    image: &Image,
    name: &str,
    (directory, place): (&OwnedFd, &str),
) -> String {
    // What is looked at for the reason may lie relative to it. Nothing else of ours depends on where we are.
    let _refused = nix::unistd::fchdir(directory);
    if error.step == Step::Directory {
        return format!("enter the directory {place}");
    }
    let reason = failure::reason(error, image);
    if reason == error.errno.desc() {
        format!("run '{name}' in {place}")
    } else {
        format!("run '{name}' in {place} ({reason})")
    }
}

/// The path of a directory, for a person.
fn path_of(directory: &OwnedFd) -> String {
    fs::read_link(format!("/proc/self/fd/{}", directory.as_raw_fd())).map_or_else(
        |_| "the application's directory".to_owned(),
        |path| path.display().to_string(),
    )
}
