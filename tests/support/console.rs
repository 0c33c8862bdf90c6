//! A client in a terminal of its own.

use std::io::{Read, Write};
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use hoop::sys::Pid;
use portable_pty::{Child, CommandBuilder, MasterPty, PtySize, native_pty_system};

use super::hoop::text;
use crate::process::attempt;

/// Size of the terminal.
const SIZE: PtySize = PtySize {
    rows: 24,
    cols: 80,
    pixel_width: 0,
    pixel_height: 0,
};

/// A program in a terminal, and the person before it.
pub(crate) struct Console {
    child: Box<dyn Child + Send + Sync>,
    keyboard: Box<dyn Write + Send>,
    screen: Arc<Mutex<Vec<u8>>>,
    /// What was on the screen up to here has been looked at.
    seen: usize,
    #[expect(dead_code, reason = "the terminal hangs up when it is dropped")]
    terminal: Box<dyn MasterPty + Send>,
    reader: JoinHandle<()>,
}

impl Console {
    pub(crate) fn start(command: &Command) -> Self {
        let pair = native_pty_system().openpty(SIZE).unwrap();
        let child = pair.slave.spawn_command(builder(command)).unwrap();
        let mut from = pair.master.try_clone_reader().unwrap();
        let screen = Arc::new(Mutex::new(Vec::new()));
        let written = screen.clone();
        let reader = std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            // A terminal that nobody has open any more fails to be read.
            while let Ok(length @ 1..) = from.read(&mut buffer) {
                let mut screen = written.lock().unwrap();
                screen.extend_from_slice(buffer.get(..length).unwrap());
            }
        });
        Self {
            child,
            keyboard: pair.master.take_writer().unwrap(),
            screen,
            seen: 0,
            terminal: pair.master,
            reader,
        }
    }

    /// Waits for words on the screen, after those waited for before; what is between them.
    #[track_caller]
    pub(crate) fn expect(&mut self, words: &str) -> String {
        let found = attempt(|| {
            let fresh = self.fresh();
            let at = fresh.find(words)?;
            Some((fresh.get(..at)?.to_owned(), at + words.len()))
        });
        let Some((before, length)) = found else {
            panic!("{words:?} is not on the screen, but {:?}", self.fresh());
        };
        self.seen += length;
        before
    }

    /// What has come to the screen since the last words waited for.
    pub(crate) fn fresh(&self) -> String {
        text(self.screen.lock().unwrap().get(self.seen..).unwrap())
    }

    /// Types a line.
    pub(crate) fn line(&mut self, line: &str) {
        self.press(&format!("{line}\r"));
    }

    /// Presses keys.
    pub(crate) fn press(&mut self, keys: &str) {
        self.keyboard.write_all(keys.as_bytes()).unwrap();
        self.keyboard.flush().unwrap();
    }

    pub(crate) fn pid(&self) -> Pid {
        let number = self.child.process_id().unwrap();
        Pid::from_raw(number.try_into().unwrap())
    }

    /// Waits for the program's end; its exit code.
    #[track_caller]
    pub(crate) fn wait(&mut self) -> u32 {
        let ended = attempt(|| self.child.try_wait().unwrap());
        let Some(status) = ended else {
            panic!(
                "the console does not end; on the screen: {:?}",
                self.fresh()
            );
        };
        assert!(status.signal().is_none(), "{status}");
        // Its last words.
        attempt(|| self.reader.is_finished().then_some(()));
        status.exit_code()
    }
}

impl Drop for Console {
    fn drop(&mut self) {
        let _ended = self.child.kill();
        let _reaped = self.child.wait();
    }
}

/// The same command as the terminal library wants it.
fn builder(command: &Command) -> CommandBuilder {
    let mut words = vec![command.get_program().to_owned()];
    words.extend(command.get_args().map(ToOwned::to_owned));
    let mut builder = CommandBuilder::from_argv(words);
    builder.env_clear();
    for (name, value) in command.get_envs() {
        if let Some(value) = value {
            builder.env(name, value);
        }
    }
    builder.env("TERM", "xterm");
    if let Some(directory) = command.get_current_dir() {
        builder.cwd(directory);
    }
    builder
}
