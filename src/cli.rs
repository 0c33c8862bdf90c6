//! STUB, to be replaced by the real command line: just enough of `run`, `session` and `agent` for the tests of supervisor
//! and session process.

use std::ffi::OsString;
use std::io::Read;
use std::time::Duration;

use crate::control::{AgentStart, SOCKET_FD};
use crate::supervisor::{self, Config};
use crate::sys::Inherited;

/// Runs the command that the arguments name; its exit code.
pub fn main(mut inherited: Inherited) -> i32 {
    let mut words = inherited.args().into_iter().skip(1);
    match words
        .next()
        .and_then(|word| word.into_string().ok())
        .as_deref()
    {
        Some("run") => run(&mut inherited, words),
        Some("session") => crate::session::run(&words.skip(1).collect::<Vec<_>>(), &inherited),
        Some("agent") => agent(&inherited),
        _ => 2,
    }
}

fn run(inherited: &mut Inherited, mut words: impl Iterator<Item = OsString>) -> i32 {
    let mut agent = AgentStart::default();
    let mut with_agent = true;
    while let Some(word) = words.next() {
        let mut value = || words.next().and_then(|value| value.into_string().ok());
        match word.to_str() {
            Some("--name") => agent.name = value(),
            Some("--key") => agent.key = value(),
            Some("--command") => {
                agent.command = value().and_then(|text| shell_words::split(&text).ok());
            }
            Some("--no-agent") => with_agent = false,
            _ => break,
        }
    }
    inherited.blank_secrets();
    inherited.make_non_dumpable();
    let mut config = Config::new(words.collect());
    config.agent = with_agent.then_some(agent);
    if let Some(limit) = std::env::var("HOOP_RUN_AGENT_BACKOFF_MAX")
        .ok()
        .and_then(|text| milliseconds(&text))
    {
        config.options.agent_backoff_max = limit;
    }
    supervisor::run(config, inherited).leave()
}

fn milliseconds(text: &str) -> Option<Duration> {
    text.strip_suffix("ms")?
        .parse()
        .ok()
        .map(Duration::from_millis)
}

/// An agent that does nothing but end when the supervisor does.
fn agent(inherited: &Inherited) -> i32 {
    inherited.set_up_like_std();
    let Some(socket) = crate::sys::fd::take_fd(SOCKET_FD) else {
        return 2;
    };
    let mut socket = std::fs::File::from(socket);
    let mut datagram = vec![0; crate::control::MAX_DATAGRAM];
    while socket.read(&mut datagram).is_ok_and(|length| length > 0) {}
    0
}
