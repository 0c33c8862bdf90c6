//! A browser of very few words.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use hoop::sys::Pid;

/// Longer than an application takes to answer on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);
/// Pause between two requests.
const PAUSE: Duration = Duration::from_millis(5);

/// The page at `/` of a port on this machine.
pub(crate) fn page(port: u16) -> Result<String, String> {
    let ask = || -> std::io::Result<String> {
        let mut stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.write_all(b"GET / HTTP/1.0\r\nHost: 127.0.0.1\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    };
    let answer = ask().map_err(|error| error.to_string())?;
    match answer.split_once("\r\n\r\n") {
        Some((head, body)) if head.contains(" 200 OK") => Ok(body.to_owned()),
        _ => Err(answer),
    }
}

/// Asks for a page again and again, in a thread of its own.
pub(crate) struct Visitor {
    stop: Arc<AtomicBool>,
    answers: Arc<AtomicUsize>,
    thread: JoinHandle<Result<(), String>>,
}

impl Visitor {
    pub(crate) fn of(port: u16) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let answers = Arc::new(AtomicUsize::new(0));
        let (stopped, counter) = (stop.clone(), answers.clone());
        let thread = std::thread::spawn(move || {
            while !stopped.load(Ordering::Relaxed) {
                page(port)?;
                counter.fetch_add(1, Ordering::Relaxed);
                std::thread::sleep(PAUSE);
            }
            Ok(())
        });
        Self {
            stop,
            answers,
            thread,
        }
    }

    /// Requests answered up to now.
    pub(crate) fn answers(&self) -> usize {
        self.answers.load(Ordering::Relaxed)
    }

    /// Stops; every request must have been answered.
    #[track_caller]
    pub(crate) fn leave(self) {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().unwrap().expect("an answer each time");
    }
}

/// A port of this machine on which a process listens.
pub(crate) fn listens(process: Pid) -> Option<u16> {
    let sockets: Vec<String> = std::fs::read_dir(format!("/proc/{process}/fd"))
        .ok()?
        .filter_map(|entry| std::fs::read_link(entry.ok()?.path()).ok())
        .filter_map(|link| {
            let inode = link.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?;
            Some(inode.to_owned())
        })
        .collect();
    let table = std::fs::read_to_string("/proc/net/tcp").ok()?;
    table.lines().find_map(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        // Local address, state (0A: listening), inode.
        let (local, state, inode) = (fields.get(1)?, fields.get(3)?, fields.get(9)?);
        let found = *state == "0A" && sockets.iter().any(|socket| socket == inode);
        let (_, port) = local.split_once(':')?;
        found.then(|| u16::from_str_radix(port, 16).ok()).flatten()
    })
}
