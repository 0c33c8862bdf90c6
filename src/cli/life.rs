//! An agent's life, whatever started it: until its supervisor or a signal says so.

use std::future::Future;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

use super::{FAILED, say};
use crate::agent::{Agent, Supervised};
use crate::control::AgentStart;

/// Runs an agent until its supervisor, or a signal, says so.
pub(super) async fn run(
    agent: Agent,
    stop: CancellationToken,
    supervised: Option<&Supervised>,
) -> i32 {
    let sessions = agent.open_sessions();
    match supervised {
        None => until_signal(&stop, agent.run()).await,
        Some(supervised) => {
            let serving = agent.run();
            tokio::pin!(serving);
            tokio::select! {
                () = &mut serving => return 0,
                () = supervised.until_drain(sessions) => stop.cancel(),
            }
            serving.await;
            0
        }
    }
}

/// Says once, to a person, how to get in.
pub(super) fn greet(start: &AgentStart, name: &str) {
    if start.stderr && start.stderr_is_terminal && start.restarts == 0 {
        say(&format!(
            "a console is one command away: hoop connect {name}"
        ));
    }
}

/// With nothing to serve: waits for the end.
pub(super) async fn wait(supervised: Option<&Supervised>) {
    if let Some(supervised) = supervised {
        let (_none, sessions) = tokio::sync::watch::channel(0);
        supervised.until_drain(sessions).await;
    }
}

/// Runs to the end; TERM, INT, HUP or QUIT stops it, a second one ends the process at once.
pub(super) async fn until_signal(
    stop: &CancellationToken,
    serving: impl Future<Output = ()>,
) -> i32 {
    let kinds = [
        SignalKind::terminate(),
        SignalKind::interrupt(),
        SignalKind::hangup(),
        SignalKind::quit(),
    ];
    let signals: Result<Vec<Signal>, _> = kinds.into_iter().map(signal).collect();
    let mut signals = match signals {
        Ok(signals) => signals,
        Err(error) => {
            say(&format!("the agent cannot handle signals: {error}"));
            return FAILED;
        }
    };
    tokio::pin!(serving);
    for _ in 0..2 {
        tokio::select! {
            () = &mut serving => return 0,
            () = any(&mut signals) => stop.cancel(),
        }
    }
    FAILED
}

async fn any(signals: &mut [Signal]) {
    let waits = signals.iter_mut().map(|signal| Box::pin(signal.recv()));
    futures_util::future::select_all(waits).await;
}
