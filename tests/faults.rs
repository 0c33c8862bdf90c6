//! Faults in the middle of sessions: whatever dies or hangs, the application answers and ends as it wants to.

mod agent;
mod canary;
mod client;
mod gateway;
mod revocation;
mod surroundings;

use crate::applications::PYTHON;
use crate::process::{attempt, available, skipped};
use crate::support::console::Console;
use crate::support::hoop::{Place, Program, text};
use crate::support::web::Visitor;

/// A web application that answers several at a time and ends with 7 when asked to.
const APPLICATION: &str = "\
import http.server, signal, sys
class Page(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b'here\\n')
    def log_message(self, *_): pass
signal.signal(signal.SIGTERM, lambda *_: sys.exit(7))
server = http.server.ThreadingHTTPServer(('127.0.0.1', 0), Page)
server.daemon_threads = True
print('port', server.server_port, flush=True)
server.serve_forever()
";

/// An application with visitors, a console open and a task running.
struct Scene {
    application: Program,
    visitor: Visitor,
    console: Console,
    task: Program,
}

impl Scene {
    /// `None` where Python is missing.
    fn open(place: &Place, test: &str) -> Option<Self> {
        let application = serve(place, test)?;
        let port = application.printed("port ").parse().unwrap();
        let visitor = Visitor::of(port);
        let mut console = place.console("web");
        console.expect("$ ");
        console.line("echo con''sole");
        console.expect("\nconsole\r\n");
        let task = ["exec", "web", "--", "sh", "-c", "echo task; sleep 1000; :"];
        let task = place.start(&mut place.command(&task));
        task.printed("task");
        assert!(!place.sessions().is_empty());
        Some(Self {
            application,
            visitor,
            console,
            task,
        })
    }

    /// A console and a task work; then the application ends as it wants to, and nobody ever waited for a page in vain.
    fn close(mut self, place: &Place) {
        place.reached("web", &self.application);
        let mut console = place.console("web");
        console.expect("$ ");
        console.line("exit 4");
        assert_eq!(console.wait(), 4);
        self.visitor.leave();
        self.application.signal(libc::SIGTERM);
        assert_eq!(self.application.wait().code(), Some(7));
    }
}

/// The application, reachable as `web`.
fn serve(place: &Place, test: &str) -> Option<Program> {
    if !available(PYTHON) {
        skipped(test, "no python3");
        return None;
    }
    let options = ["--name", "web", "--command", "sh"];
    let mut command = place.application(&options, &[PYTHON, "-c", APPLICATION]);
    let program = place.start(command.env("LOG_LEVEL", "debug"));
    program.printed("port ");
    place.reached("web", &program);
    Some(program)
}

/// Waits until no program of a session is left.
#[track_caller]
fn no_session_is_left(place: &Place) {
    let gone = attempt(|| place.sessions().is_empty().then_some(()));
    assert!(gone.is_some(), "still there: {:?}", place.sessions());
}

/// Where a task is and what is around it, but for what differs from one session to the next.
fn surroundings(place: &Place) -> String {
    let told = place.exec("web", &["sh", "-c", "pwd; env"]);
    assert!(told.status.success(), "{told:?}");
    let told = text(&told.stdout);
    let mut lines: Vec<&str> = told
        .lines()
        .filter(|line| !line.starts_with("HOOP_SESSION_ID="))
        .collect();
    lines.sort_unstable();
    lines.join("\n")
}
