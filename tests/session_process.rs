//! The session process, driven as an agent drives it: started by `SessionExec`, told by a socket.

#![allow(
    clippy::disallowed_methods,
    reason = "a test starts programs and owns them"
)]

use std::ffi::CString;
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::{Duration, Instant};

use hoop::control::{FromSession, TerminalSize, ToSession};
use hoop::sys::Pid;
use hoop::sys::exec::{Environment, SessionExec, Words};
use hoop::sys::fd::{open_path, recv_with_fd, send_with_fd, seqpacket_pair};
use hoop::sys::wait::Status;

use crate::process::{HOOP, eventually, lives, pid};

const CONSOLE: Option<TerminalSize> = Some(TerminalSize {
    rows: 43,
    columns: 132,
    x: 0,
    y: 0,
});
const TASK: Option<TerminalSize> = None;

/// A session process; the agent is the test.
struct Session {
    child: Child,
    control: Option<OwnedFd>,
    started: Instant,
}

impl Session {
    fn new(directory: &Path, words: &[&str], terminal: Option<TerminalSize>) -> Self {
        let (ours, theirs) = seqpacket_pair().unwrap();
        let words: Vec<&str> = ["hoop", "session", "--"]
            .iter()
            .chain(words)
            .copied()
            .collect();
        let path = CString::new(format!("PATH={}", std::env::var("PATH").unwrap())).unwrap();
        let mut command = Command::new("hoop");
        if terminal.is_some() {
            command
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::null());
        } else {
            command
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .stderr(Stdio::piped());
        }
        let exec = SessionExec {
            program: open_path(Path::new(HOOP)).unwrap(),
            control: theirs,
            directory: open_path(directory).unwrap(),
            words: Words::from_arguments(&words).unwrap(),
            environment: Environment::new([path.as_c_str(), c"ODD=\xff", c"EMPTY="]),
        };
        exec.install(&mut command).unwrap();
        let child = command.spawn().unwrap();
        // The command holds the session's end of the socket.
        drop(command);
        let session = Self {
            child,
            control: Some(ours),
            started: Instant::now(),
        };
        session.say(&ToSession::Start { terminal });
        session
    }

    fn task(script: &str) -> Self {
        Self::new(Path::new("/tmp"), &["bash", "-c", script], TASK)
    }

    fn console(script: &str) -> (Self, Terminal) {
        let session = Self::new(Path::new("/tmp"), &["bash", "-c", script], CONSOLE);
        let (message, master) = session.hear();
        assert!(
            matches!(message, FromSession::Started { .. }),
            "{message:?}"
        );
        (
            session,
            Terminal {
                master: File::from(master.unwrap()),
                seen: String::new(),
            },
        )
    }

    fn say(&self, message: &ToSession) {
        let datagram = serde_json::to_vec(message).unwrap();
        send_with_fd(self.control.as_ref().unwrap().as_fd(), &datagram, None).unwrap();
    }

    fn hear(&self) -> (FromSession, Option<OwnedFd>) {
        let mut datagram = [0; 4096];
        let (length, fd) =
            recv_with_fd(self.control.as_ref().unwrap().as_fd(), &mut datagram).unwrap();
        assert_ne!(length, 0, "the session process is gone");
        (serde_json::from_slice(&datagram[..length]).unwrap(), fd)
    }

    fn started(&self) -> Pid {
        match self.hear() {
            (FromSession::Started { pid }, None) => Pid::from_raw(pid),
            (other, _) => panic!("{other:?}"),
        }
    }

    #[track_caller]
    fn exited(&self) -> Status {
        match self.hear() {
            (FromSession::Exited { status }, None) => Status::from_raw(status),
            (other, _) => panic!("{other:?}"),
        }
    }

    #[track_caller]
    fn failed(&self) -> (String, i32, i32) {
        match self.hear() {
            (FromSession::Failed { step, errno, code }, None) => (step, errno, code),
            (other, _) => panic!("{other:?}"),
        }
    }

    fn stdin(&mut self) -> ChildStdin {
        self.child.stdin.take().unwrap()
    }

    fn stdout(&mut self) -> String {
        let mut bytes = Vec::new();
        let mut stdout = self.child.stdout.take().unwrap();
        stdout.read_to_end(&mut bytes).unwrap();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    fn line(&mut self) -> String {
        let mut line = Vec::new();
        let stdout = self.child.stdout.as_mut().unwrap();
        let mut byte = [0];
        while stdout.read(&mut byte).unwrap() == 1 && byte != *b"\n" {
            line.push(byte[0]);
        }
        String::from_utf8(line).unwrap()
    }

    fn gone(&mut self) -> Duration {
        eventually("the end of the session process", || {
            self.child.try_wait().unwrap()
        });
        self.started.elapsed()
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.control = None;
        self.gone();
    }
}

/// The master of a console.
struct Terminal {
    master: File,
    seen: String,
}

impl Terminal {
    #[track_caller]
    fn until(&mut self, text: &str) {
        let mut bytes = [0; 4096];
        while !self.seen.contains(text) {
            match self.master.read(&mut bytes) {
                Ok(length) if length > 0 => self
                    .seen
                    .push_str(&String::from_utf8_lossy(&bytes[..length])),
                end => panic!("{text} did not come, but {end:?} after {}", self.seen),
            }
        }
    }

    fn read_all(mut self) -> String {
        let mut bytes = [0; 4096];
        // EIO is the end of a terminal.
        while let Ok(length @ 1..) = self.master.read(&mut bytes) {
            self.seen
                .push_str(&String::from_utf8_lossy(&bytes[..length]));
        }
        self.seen
    }

    fn keys(&mut self, keys: &str) {
        self.master.write_all(keys.as_bytes()).unwrap();
    }
}

#[test]
fn a_task_has_its_pipes_its_directory_and_its_environment() {
    let mut session =
        Session::task("pwd; echo to stderr >&2; cat; tr '\\0' '\\n' </proc/$$/environ; exit 7");
    session.started();
    session.stdin().write_all(b"input\n").unwrap();
    let stdout = session.stdout();
    let mut lines = stdout.lines();
    assert_eq!((lines.next(), lines.next()), (Some("/tmp"), Some("input")));
    assert!(lines.next().unwrap().starts_with("PATH="));
    assert!(stdout.ends_with("EMPTY=\n"), "{stdout}");
    let mut stderr = String::new();
    session
        .child
        .stderr
        .take()
        .unwrap()
        .read_to_string(&mut stderr)
        .unwrap();
    assert_eq!(stderr, "to stderr\n");
    assert_eq!(session.exited().code(), Some(7));
    session.gone();
}

#[test]
fn the_raw_status_tells_the_signal() {
    let session = Session::task("kill -TERM $$");
    session.started();
    assert_eq!(session.exited().signal(), Some(libc::SIGTERM));
}

#[test]
fn pipes_end_with_the_programs_use_of_them() {
    let mut session = Session::task("exec >&-; read x; exit 3");
    session.started();
    assert_eq!(session.stdout(), "");
    session.stdin().write_all(b"\n").unwrap();
    assert_eq!(session.exited().code(), Some(3));
}

#[test]
fn a_console_has_a_true_controlling_terminal_of_the_right_size() {
    let script = "stty size; stty -a | grep -o ' iutf8'; ps -o pid=,pgid=,sid=,tpgid= -p $$ | xargs; tty; pwd; exit 4";
    let (session, terminal) = Session::console(script);
    let seen = terminal.read_all();
    let lines: Vec<&str> = seen.lines().collect();
    assert_eq!(lines.first(), Some(&"43 132"));
    assert_eq!(lines.get(1), Some(&" iutf8"), "{seen}");
    let ids: Vec<&str> = lines.get(2).unwrap().split(' ').collect();
    assert_eq!(
        (ids.len(), ids.iter().all(|id| id == &ids[0])),
        (4, true),
        "{seen}"
    );
    assert!(lines.get(3).unwrap().starts_with("/dev/pts/"), "{seen}");
    assert_eq!(lines.get(4), Some(&"/tmp"));
    assert_eq!(session.exited().code(), Some(4));
}

#[test]
fn a_size_of_nothing_is_24_by_80() {
    let nothing = Some(TerminalSize {
        rows: 0,
        columns: 0,
        x: 0,
        y: 0,
    });
    let session = Session::new(Path::new("/"), &["stty", "size"], nothing);
    let (_, master) = session.hear();
    let terminal = Terminal {
        master: File::from(master.unwrap()),
        seen: String::new(),
    };
    assert_eq!(terminal.read_all(), "24 80\r\n");
}

#[test]
fn the_signal_state_is_clean_and_no_descriptor_leaks() {
    let script = "grep -E 'Sig(Blk|Ign)' /proc/self/status; for n in $(seq 0 20); do [ -e /proc/$$/fd/$n ] && echo -n \"$n \"; done; echo; cat /proc/$PPID/oom_score_adj";
    let check = |seen: String| {
        let seen = seen.replace('\r', "");
        assert_eq!(seen.matches("0000000000000000").count(), 2, "{seen}");
        let fds = seen.lines().nth(2).unwrap().trim_end();
        assert_eq!(fds, "0 1 2", "{seen}");
        assert_eq!(seen.lines().nth(3), Some("900"));
    };
    let mut session = Session::task(script);
    session.started();
    check(session.stdout());
    let (_session, terminal) = Session::console(script);
    check(terminal.read_all());
}

#[test]
fn a_program_that_cannot_be_run_is_told_before_anything_else() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("file");
    std::fs::write(&file, "text").unwrap();
    let at =
        |place: &Path, program: &str, terminal| Session::new(place, &[program], terminal).failed();
    let place = directory.path();
    for terminal in [TASK, CONSOLE] {
        let (step, errno, code) = at(place, "no-such-program", terminal);
        assert_eq!((errno, code), (libc::ENOENT, 127));
        assert_eq!(
            step,
            format!("run 'no-such-program' in {}", place.display())
        );
        let (_, errno, code) = at(place, "./file", terminal);
        assert_eq!((errno, code), (libc::EACCES, 126));
        let (step, errno, code) = at(place, "/", terminal);
        assert_eq!((errno, code), (libc::EACCES, 126));
        assert!(step.ends_with("(Is a directory)"), "{step}");
    }
    std::fs::set_permissions(&file, PermissionsExt::from_mode(0o755)).unwrap();
    std::fs::write(&file, "#!/no/interpreter\n").unwrap();
    let (step, errno, code) = at(place, "./file", TASK);
    assert_eq!((errno, code), (libc::ENOENT, 127));
    assert!(
        step.contains("interpreter '/no/interpreter' of script './file' not found"),
        "{step}"
    );
}

#[test]
fn a_directory_that_is_gone_is_told_by_name() {
    let directory = tempfile::tempdir().unwrap();
    let opened = directory.path().to_owned();
    let (ours, theirs) = seqpacket_pair().unwrap();
    let place = open_path(&opened).unwrap();
    directory.close().unwrap();
    let mut command = Command::new("hoop");
    let exec = SessionExec {
        program: open_path(Path::new(HOOP)).unwrap(),
        control: theirs,
        directory: place,
        words: Words::from_arguments(&["hoop", "session", "--", "true"]).unwrap(),
        environment: Environment::new([]),
    };
    exec.install(&mut command).unwrap();
    let child = command.stdin(Stdio::null()).spawn().unwrap();
    let session = Session {
        child,
        control: Some(ours),
        started: Instant::now(),
    };
    session.say(&ToSession::Start { terminal: TASK });
    let (step, errno, code) = session.failed();
    assert_eq!((errno, code), (libc::ENOENT, 125));
    assert!(step.contains(opened.to_str().unwrap()), "{step}");
}

#[test]
fn no_process_left_is_told_apart() {
    // The limit counts for a user who has no rights, so somebody else must be that user.
    if !nix::unistd::getuid().is_root() {
        return crate::process::skipped("no_process_left_is_told_apart", "not root");
    }
    let (ours, theirs) = seqpacket_pair().unwrap();
    let mut command = Command::new("setpriv");
    // Its exec of ourselves keeps the limit and the user.
    command.args([
        "--reuid=64321",
        "--clear-groups",
        "prlimit",
        "--nproc=1:1",
        HOOP,
        "session",
        "--",
        "true",
    ]);
    let place = open_path(Path::new("/")).unwrap();
    let inherited = [(theirs, 3), (place, 4)];
    inherit(&mut command, inherited);
    let Ok(child) = command.stdin(Stdio::null()).spawn() else {
        return crate::process::skipped("no_process_left_is_told_apart", "no setpriv");
    };
    drop(command);
    let session = Session {
        child,
        control: Some(ours),
        started: Instant::now(),
    };
    session.say(&ToSession::Start { terminal: TASK });
    let (step, errno, code) = session.failed();
    assert_eq!((errno, code), (libc::EAGAIN, 125));
    assert!(step.contains("cannot make a process"), "{step}");
}

/// Hands descriptors over without [`SessionExec`].
#[expect(
    unsafe_code,
    reason = "the test stands in for another program that starts ours"
)]
fn inherit(command: &mut Command, descriptors: [(OwnedFd, i32); 2]) {
    use std::os::fd::AsRawFd;
    use std::os::unix::process::CommandExt;
    let place = move || {
        for (fd, number) in &descriptors {
            // SAFETY: async-signal-safe; the numbers are the child's to give. The sources are above both.
            if unsafe { libc::dup2(fd.as_raw_fd(), *number) } < 0 {
                return Err(std::io::Error::last_os_error());
            }
        }
        Ok(())
    };
    // SAFETY: the closure only makes system calls.
    unsafe { command.pre_exec(place) };
}

#[test]
fn keys_and_signals_reach_the_foreground() {
    let (session, mut terminal) = Session::console(
        "trap 'echo got int' INT; trap 'echo got usr1' USR1; echo ready; trap 'exit 2' QUIT; while :; do sleep 0.01; done",
    );
    terminal.until("ready");
    terminal.keys("\x03");
    terminal.until("got int");
    session.say(&ToSession::Signal {
        number: libc::SIGUSR1,
    });
    terminal.until("got usr1");
    session.say(&ToSession::Signal { number: 0 });
    session.say(&ToSession::Signal { number: 65 });
    terminal.keys("\x1c");
    assert_eq!(session.exited().code(), Some(2));

    // A job of a shell has a group of its own, and is in the foreground.
    let (session, mut terminal) = Session::console(
        "set -m; bash -c 'trap \"echo job got it; exit\" USR1; echo ready; while :; do sleep 0.01; done'; exit 3",
    );
    terminal.until("ready");
    session.say(&ToSession::Signal {
        number: libc::SIGUSR1,
    });
    terminal.until("job got it");
    assert_eq!(session.exited().code(), Some(3));
}

#[test]
fn a_signal_reaches_the_whole_group_of_a_task() {
    let mut session =
        Session::task("sleep 1000 & echo ready; wait $!; echo $?; trap '' TERM; read x");
    session.started();
    assert_eq!(session.line(), "ready");
    session.say(&ToSession::Signal {
        number: libc::SIGTERM,
    });
    assert_eq!(session.exited().signal(), Some(libc::SIGTERM));
    session.gone();
}

/// Leaves one process of each kind that escapes a plain kill; prints their pids.
const STUBBORN: &str = "trap '' HUP; \
    nohup sleep 1000 >/dev/null 2>&1 & echo $!; \
    bash -c 'trap \"\" HUP TERM; echo $BASHPID; while :; do read -t 1000 <> <(:); done' >&1 & \
    (setsid bash -c 'trap \"\" HUP TERM; echo $$; exec sleep 1000' &) ; \
    bash -c 'echo $$; kill -STOP $$' & ";

fn stubborn(session: &mut Session) -> Vec<Pid> {
    let pids: Vec<Pid> = (0..4).map(|_| pid(&session.line())).collect();
    assert!(pids.iter().all(|&pid| lives(pid)));
    pids
}

#[test]
fn an_end_ends_every_descendant() {
    let mut session = Session::task(&format!("{STUBBORN} wait"));
    session.started();
    let pids = stubborn(&mut session);
    let before = Instant::now();
    session.say(&ToSession::End { grace_ms: 300 });
    session.gone();
    let took = before.elapsed();
    assert!(
        took >= Duration::from_millis(300) && took < Duration::from_secs(2),
        "{took:?}"
    );
    assert_eq!(pids.iter().filter(|&&pid| lives(pid)).count(), 0);
}

#[test]
fn what_a_program_leaves_behind_ends_when_the_agent_says_so() {
    let mut session = Session::task(&format!("{STUBBORN} exit 9"));
    session.started();
    let pids = stubborn(&mut session);
    assert_eq!(session.exited().code(), Some(9));
    session.say(&ToSession::End { grace_ms: 0 });
    session.gone();
    assert_eq!(pids.iter().filter(|&&pid| lives(pid)).count(), 0);
}

#[test]
fn a_lost_agent_ends_everything() {
    let (mut session, mut terminal) = Session::console(
        "trap '' HUP TERM; (setsid sleep 1000 &); echo ready; while :; do sleep 0.1; done",
    );
    terminal.until("ready");
    let before = Instant::now();
    session.control = None;
    session.gone();
    let took = before.elapsed();
    assert!(
        took >= Duration::from_secs(2) && took < Duration::from_millis(2800),
        "{took:?}"
    );
}

#[test]
fn a_polite_program_ends_at_the_hang_up() {
    let (mut session, mut terminal) = Session::console("echo ready; read x");
    terminal.until("ready");
    let before = Instant::now();
    session.say(&ToSession::End { grace_ms: 10_000 });
    assert_eq!(session.exited().signal(), Some(libc::SIGHUP));
    session.gone();
    assert!(before.elapsed() < Duration::from_secs(2));
}

#[test]
fn the_end_of_the_agent_before_the_start_starts_nothing() {
    let (ours, theirs) = seqpacket_pair().unwrap();
    let mut command = Command::new("hoop");
    let exec = SessionExec {
        program: open_path(Path::new(HOOP)).unwrap(),
        control: theirs,
        directory: open_path(Path::new("/")).unwrap(),
        words: Words::from_arguments(&["hoop", "session", "--", "sleep", "1000"]).unwrap(),
        environment: Environment::new([]),
    };
    exec.install(&mut command).unwrap();
    let child = command.stdin(Stdio::null()).spawn().unwrap();
    drop(command);
    let mut session = Session {
        child,
        control: None,
        started: Instant::now(),
    };
    drop(ours);
    session.gone();
}

#[test]
fn a_signal_to_every_process_does_not_end_the_owner_before_the_program() {
    let (session, mut terminal) =
        Session::console("trap '' TERM INT HUP; echo ready; read x; exit 5");
    terminal.until("ready");
    let owner = Pid::from_raw(session.child.id().try_into().unwrap());
    for number in [libc::SIGTERM, libc::SIGINT, libc::SIGHUP, libc::SIGQUIT] {
        hoop::sys::process::signal(owner, number).unwrap();
    }
    terminal.keys("\n");
    assert_eq!(session.exited().code(), Some(5));
}
