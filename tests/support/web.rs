//! A browser of very few words.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

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
    thread: JoinHandle<Result<usize, String>>,
}

impl Visitor {
    pub(crate) fn of(port: u16) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let thread = std::thread::spawn(move || {
            let mut answers = 0;
            while !stopped.load(Ordering::Relaxed) {
                page(port)?;
                answers += 1;
                std::thread::sleep(PAUSE);
            }
            Ok(answers)
        });
        Self { stop, thread }
    }

    /// Stops; every request must have been answered.
    #[track_caller]
    pub(crate) fn leave(self) {
        self.stop.store(true, Ordering::Relaxed);
        let answers = self.thread.join().unwrap().expect("an answer each time");
        assert!(answers > 0);
    }
}
