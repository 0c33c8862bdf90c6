//! In a terminal: a real one, under a shell with job control, or led by the wrapper itself.

use std::fs::File;
use std::io::Write;
use std::process::Stdio;

use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::pty::{OpenptyResult, openpty};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::{Cell, Row};
use crate::support::process::{Running, descendants, lives};
use crate::support::reader::Reader;
use crate::support::wrapper::Wrapper;
use crate::support::{PATIENCE, Result, eventually, probe};

pub(super) const ROWS: &[Row] = &[
    ("Ctrl-C is told once", |wrapper| {
        told_once(wrapper, CTRL_C, Signal::SIGINT)
    }),
    ("Ctrl-\\ is told once", |wrapper| {
        told_once(wrapper, CTRL_BACKSLASH, Signal::SIGQUIT)
    }),
    ("Ctrl-Z gives the prompt, `fg` goes on", stops_and_goes_on),
    ("with `&` the shell keeps the terminal", in_the_background),
    (
        "before `\\| less` the pager has the keyboard",
        before_a_pager,
    ),
    ("a script can read the terminal afterwards", in_a_script),
    ("Ctrl-C ends the script too", ends_a_script),
    ("`/dev/tty` can be opened", opens_its_terminal),
    (
        "leading the session: a shell has job control",
        leads_a_shell,
    ),
    (
        "leading the session: Ctrl-Z stops nobody for ever",
        cannot_stop,
    ),
    ("closing the window ends the application", hang_up),
];

/// Times a key is pressed: two signals of a kind may merge into one.
const PRESSES: usize = 5;

const CTRL_C: &str = "\x03";
const CTRL_BACKSLASH: &str = "\x1c";
const CTRL_Z: &str = "\x1a";

/// What the shells here print when they wait for a command.
const PROMPT: &str = "prompt> ";

/// A terminal, with what was started in it.
struct Terminal {
    screen: Option<Reader<File>>,
    _session: Running,
}

/// A probe and its parent.
struct Application {
    pid: Pid,
    parent: Pid,
}

impl Terminal {
    /// A terminal whose session is led by this, `$W` being the wrapper.
    fn led_by(wrapper: &Wrapper, leader: &[&str]) -> Result<Self> {
        let OpenptyResult { master, slave } = openpty(None, None)?;
        fcntl(&master, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC))?;
        let mut words = vec!["setsid", "--ctty"];
        words.extend(leader);
        let mut command = wrapper.through(&words);
        command
            .env("PS1", PROMPT)
            .env("TERM", "dumb")
            .env("P", probe::path()?)
            .stdin(Stdio::from(slave.try_clone()?))
            .stdout(Stdio::from(slave.try_clone()?))
            .stderr(Stdio::from(slave));
        let session = Running::start(&mut command)?;
        Ok(Self {
            screen: Some(Reader::new(File::from(master))),
            _session: session,
        })
    }

    /// A terminal with a job-control shell, which waits for a command.
    fn shell(wrapper: &Wrapper) -> Result<Self> {
        let shell = ["bash", "--norc", "--noprofile", "--noediting", "-i"];
        let mut terminal = Self::led_by(wrapper, &shell)?;
        terminal.must_see(PROMPT)?;
        // What is typed is not to be taken for an answer.
        terminal.type_line("stty -echo")?;
        terminal.must_see(PROMPT)?;
        Ok(terminal)
    }

    fn screen(&mut self) -> Result<&mut Reader<File>> {
        Ok(self.screen.as_mut().ok_or("the window is closed")?)
    }

    fn type_keys(&mut self, keys: &str) -> Result<()> {
        Ok(self.screen()?.get_mut().write_all(keys.as_bytes())?)
    }

    fn type_line(&mut self, line: &str) -> Result<()> {
        self.type_keys(&format!("{line}\n"))
    }

    fn sees(&mut self, text: &str) -> Result<bool> {
        Ok(self.screen()?.sees(text, PATIENCE))
    }

    /// Waits for something that does not depend on the wrapper.
    fn must_see(&mut self, text: &str) -> Result<()> {
        let came = self.sees(text)?;
        Ok(came.then_some(()).ok_or_else(|| format!("no '{text}'"))?)
    }

    /// Waits until a probe is there.
    fn application(&mut self) -> Result<Application> {
        self.must_see("ready ")?;
        let line = self.screen()?.line(PATIENCE).ok_or("no line")?;
        let (pid, parent) = line.split_once(' ').ok_or("odd line")?;
        Ok(Application {
            pid: Pid::from_raw(pid.parse()?),
            parent: Pid::from_raw(parent.parse()?),
        })
    }
}

fn told_once(wrapper: &Wrapper, key: &str, signal: Signal) -> Result<Cell> {
    let mut terminal = Terminal::shell(wrapper)?;
    terminal.type_line("$W $P probe signals")?;
    let application = terminal.application()?;
    let target = if wrapper.is_none() {
        application.pid
    } else {
        application.parent
    };
    let told = format!("signal {} ", signal as i32);
    let mut count = 0;
    for _ in 0..PRESSES {
        terminal.type_keys(key)?;
        if !terminal.sees(&told)? {
            return Ok(Cell::No);
        }
        count += 1;
        // Sent after the key, so told after everything that came of the key.
        kill(target, Signal::SIGUSR2)?;
        let last = format!("signal {} ", Signal::SIGUSR2 as i32);
        let between = terminal.screen()?.before(&last, PATIENCE);
        count += between.ok_or("no USR2")?.matches(&told).count();
    }
    Ok(match count {
        PRESSES => Cell::Yes,
        _ => Cell::Word("twice".to_owned()),
    })
}

fn stops_and_goes_on(wrapper: &Wrapper) -> Result<Cell> {
    let mut terminal = Terminal::shell(wrapper)?;
    terminal.type_line("$W $P probe lines")?;
    terminal.application()?;
    for word in ["one", "two"] {
        terminal.type_keys(CTRL_Z)?;
        if !(terminal.sees("Stopped")? && terminal.sees(PROMPT)?) {
            return Ok(Cell::Word("no prompt".to_owned()));
        }
        terminal.type_line("fg")?;
        terminal.type_line(word)?;
        if !terminal.sees(&format!("got {word}"))? {
            return Ok(Cell::No);
        }
    }
    Ok(Cell::Yes)
}

fn in_the_background(wrapper: &Wrapper) -> Result<Cell> {
    let mut terminal = Terminal::shell(wrapper)?;
    terminal.type_line("$W sh -c 'echo started; exec sleep 1000' &")?;
    terminal.must_see("started")?;
    // The first line is read by whoever waited for it before; the second shows who may go on reading.
    for number in [42, 43] {
        terminal.type_line(&format!("echo still $(({number} + 0))"))?;
        if !terminal.sees(&format!("still {number}"))? {
            return Ok(Cell::No);
        }
    }
    Ok(Cell::Yes)
}

fn before_a_pager(wrapper: &Wrapper) -> Result<Cell> {
    let mut terminal = Terminal::shell(wrapper)?;
    terminal.type_line(
        "$W seq 1000000 | sh -c 'read one; echo page $one; read key </dev/tty; echo key $key'",
    )?;
    terminal.must_see("page 1")?;
    terminal.type_line("q")?;
    Ok(terminal.sees("key q")?.into())
}

fn in_a_script(wrapper: &Wrapper) -> Result<Cell> {
    let mut terminal = Terminal::shell(wrapper)?;
    terminal.type_line("bash -c '$W true; echo asks; read answer; echo heard $answer'")?;
    terminal.must_see("asks")?;
    terminal.type_line("word")?;
    Ok(terminal.sees("heard word")?.into())
}

fn ends_a_script(wrapper: &Wrapper) -> Result<Cell> {
    let mut terminal = Terminal::shell(wrapper)?;
    terminal.type_line("bash -c '$W sh -c \"echo started; exec sleep 1000\"; echo went on'")?;
    terminal.must_see("started")?;
    terminal.type_keys(CTRL_C)?;
    let before = terminal.screen()?.before(PROMPT, PATIENCE);
    Ok(before
        .is_some_and(|before| !before.contains("went on"))
        .into())
}

fn opens_its_terminal(wrapper: &Wrapper) -> Result<Cell> {
    let mut terminal = Terminal::shell(wrapper)?;
    terminal.type_line("$W sh -c 'echo opened >/dev/tty'; echo status $?")?;
    Ok((terminal.sees("opened")? && terminal.sees("status 0")?).into())
}

/// The words of a command under the wrapper.
fn under<'a>(wrapper: &'a Wrapper, command: &[&'a str]) -> Vec<&'a str> {
    let words = wrapper.words().filter_map(|word| word.to_str());
    words.chain(command.iter().copied()).collect()
}

fn leads_a_shell(wrapper: &Wrapper) -> Result<Cell> {
    let shell = ["bash", "--norc", "--noprofile", "--noediting", "-i"];
    let mut terminal = Terminal::led_by(wrapper, &under(wrapper, &shell))?;
    let greeting = terminal.screen()?.before(PROMPT, PATIENCE);
    if greeting.ok_or("no prompt")?.contains("no job control") {
        return Ok(Cell::No);
    }
    terminal.type_line("stty -echo")?;
    terminal.must_see(PROMPT)?;
    terminal.type_line("$P probe lines")?;
    terminal.application()?;
    terminal.type_keys(CTRL_Z)?;
    if !(terminal.sees("Stopped")? && terminal.sees(PROMPT)?) {
        return Ok(Cell::No);
    }
    terminal.type_line("fg")?;
    terminal.type_line("word")?;
    if !terminal.sees("got word")? {
        return Ok(Cell::No);
    }
    terminal.type_keys(CTRL_C)?;
    Ok(terminal.sees(PROMPT)?.into())
}

fn cannot_stop(wrapper: &Wrapper) -> Result<Cell> {
    let probe = probe::path()?;
    let leader = under(wrapper, &[&probe, "probe", "lines"]);
    let mut terminal = Terminal::led_by(wrapper, &leader)?;
    terminal.application()?;
    terminal.type_keys(CTRL_Z)?;
    terminal.type_line("word")?;
    Ok(terminal.sees("got word")?.into())
}

fn hang_up(wrapper: &Wrapper) -> Result<Cell> {
    let mut terminal = Terminal::shell(wrapper)?;
    terminal.type_line("$W $P probe lines")?;
    let application = terminal.application()?;
    terminal.screen = None;
    let ended = eventually(PATIENCE, || !lives(application.pid));
    let rest = descendants(Pid::this());
    let quiet = ended && eventually(PATIENCE, || rest.iter().all(|process| !lives(process.pid)));
    Ok(quiet.into())
}
