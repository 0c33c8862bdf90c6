//! The agents that are connected right now, the clients that wait for one, and who is online.
//!
//! Theory of operation: a live agent stream has an id, the agent's own, or one made of agent and connection name when the
//! agent named its connection. A connection is served by the stream of its name if that is live, else by its agent's bare
//! stream. A client that finds neither waits; every registration wakes all waiters, and each looks again, so a refused
//! second stream releases nobody. Locks are held for map operations only.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{oneshot, watch};
use uuid::Uuid;

use super::agent_stream::{AgentStream, Ending, SessionStream};

/// Clients that may wait for agents at a time.
const MAX_WAITING: usize = 1024;

/// How long a connection counts as online after an agent that only polls announced it. Such agents poll every 5 s.
const POLL_FRESH: Duration = Duration::from_secs(10);

/// Announced connections whose last poll is remembered.
const MAX_POLLS: usize = 4096;

/// Who is connected, and who waits.
#[derive(Debug)]
pub(crate) struct Registry {
    state: Mutex<State>,
    /// Counts registrations.
    arrivals: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct State {
    streams: HashMap<Uuid, Arc<AgentStream>>,
    waiting: HashMap<Target, usize>,
    polls: HashMap<Target, Instant>,
}

/// A connection as the registry files it: its agent and its name.
type Target = (Uuid, String);

/// Why a client got no agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NoAgent {
    /// None came in time.
    Offline,
    /// Too many clients wait already.
    TooMany,
}

/// A stream's place in the registry; leaving it ends the stream for its sessions.
#[derive(Debug)]
pub(crate) struct Registration {
    registry: Arc<Registry>,
    stream: Arc<AgentStream>,
}

/// The id of an agent's stream, with the name of its connection if it gave one.
pub(crate) fn stream_id(agent: Uuid, connection: Option<&str>) -> Uuid {
    match connection {
        None => agent,
        Some(name) => Uuid::new_v5(&Uuid::NAMESPACE_URL, format!("{agent}/{name}").as_bytes()),
    }
}

impl Registry {
    /// An empty registry.
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self {
            state: Mutex::default(),
            arrivals: watch::Sender::new(0),
        })
    }

    /// Makes a stream findable; `None` when its id is live already.
    pub(crate) fn register(self: &Arc<Self>, stream: &Arc<AgentStream>) -> Option<Registration> {
        {
            let mut state = self.lock();
            if state.streams.contains_key(&stream.id()) {
                return None;
            }
            state.streams.insert(stream.id(), Arc::clone(stream));
        }
        self.arrivals.send_modify(|count| *count += 1);
        Some(Registration {
            registry: Arc::clone(self),
            stream: Arc::clone(stream),
        })
    }

    /// The stream that serves a connection now.
    pub(crate) fn find(&self, agent: Uuid, connection: &str) -> Option<Arc<AgentStream>> {
        self.lock().find(agent, connection)
    }

    /// The stream that serves a connection now or within `hold`.
    pub(crate) async fn wait(
        &self,
        agent: Uuid,
        connection: &str,
        hold: Duration,
    ) -> Result<Arc<AgentStream>, NoAgent> {
        // Subscribed before the first look, so that no arrival is missed.
        let mut arrivals = self.arrivals.subscribe();
        if let Some(stream) = self.find(agent, connection) {
            return Ok(stream);
        }
        let _waiting = Waiting::begin(self, (agent, connection.to_owned()))?;
        let arrival = async {
            loop {
                if let Some(stream) = self.find(agent, connection) {
                    return Some(stream);
                }
                if arrivals.changed().await.is_err() {
                    return None;
                }
            }
        };
        match tokio::time::timeout(hold, arrival).await {
            Ok(Some(stream)) => Ok(stream),
            Ok(None) | Err(_) => Err(NoAgent::Offline),
        }
    }

    /// Whether an agent that announces `connection` (or, with none, just itself) should connect: a client waits for it,
    /// and nothing serves it.
    pub(crate) fn is_wanted(&self, agent: Uuid, connection: Option<&str>) -> bool {
        let state = self.lock();
        let unserved = |name: &str| state.find(agent, name).is_none();
        state.waiting.keys().any(|(owner, name)| {
            *owner == agent && connection.is_none_or(|wanted| wanted == name) && unserved(name)
        })
    }

    /// Remembers that an agent announced a connection, or with none all that it has, just now.
    pub(crate) fn note_poll(&self, agent: Uuid, connection: Option<&str>) {
        let mut state = self.lock();
        if state.polls.len() >= MAX_POLLS {
            state.polls.retain(|_, last| last.elapsed() < POLL_FRESH);
        }
        if state.polls.len() < MAX_POLLS {
            let target = (agent, connection.unwrap_or_default().to_owned());
            state.polls.insert(target, Instant::now());
        }
    }

    /// Whether a client of this connection would find its agent.
    pub(crate) fn is_online(&self, agent: Uuid, connection: &str) -> bool {
        let state = self.lock();
        let polled = |name: &str| {
            let last = state.polls.get(&(agent, name.to_owned()));
            last.is_some_and(|last| last.elapsed() < POLL_FRESH)
        };
        state.find(agent, connection).is_some() || polled(connection) || polled("")
    }

    /// Whether an agent has any live stream or polls.
    pub(crate) fn is_agent_online(&self, agent: Uuid) -> bool {
        let state = self.lock();
        let connected = state.streams.values().any(|s| s.agent_id() == agent);
        connected
            || state
                .polls
                .iter()
                .any(|((owner, _), last)| *owner == agent && last.elapsed() < POLL_FRESH)
    }

    /// The place to hand an agent's own stream for one session to, if that session waits for it.
    pub(crate) fn attach(
        &self,
        agent: Uuid,
        session: Uuid,
    ) -> Option<oneshot::Sender<SessionStream>> {
        let streams = self.streams(|stream| stream.agent_id() == agent);
        streams.iter().find_map(|stream| stream.attach(session))
    }

    /// Ends all streams of one agent, and with them its sessions.
    pub(crate) fn end_agent(&self, agent: Uuid, why: Ending) {
        self.lock().polls.retain(|(owner, _), _| *owner != agent);
        for stream in self.streams(|stream| stream.agent_id() == agent) {
            stream.end(why);
        }
    }

    /// Ends all streams.
    pub(crate) fn end_all(&self, why: Ending) {
        for stream in self.streams(|_| true) {
            stream.end(why);
        }
    }

    fn streams(&self, wanted: impl Fn(&AgentStream) -> bool) -> Vec<Arc<AgentStream>> {
        let state = self.lock();
        state
            .streams
            .values()
            .filter(|stream| wanted(stream))
            .cloned()
            .collect()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn find(&self, agent: Uuid, connection: &str) -> Option<Arc<AgentStream>> {
        self.streams
            .get(&stream_id(agent, Some(connection)))
            .or_else(|| self.streams.get(&stream_id(agent, None)))
            .cloned()
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        self.registry.lock().streams.remove(&self.stream.id());
        self.stream.end(Ending::Lost);
    }
}

/// One waiting client, counted while it lives.
struct Waiting<'a> {
    registry: &'a Registry,
    target: Target,
}

impl<'a> Waiting<'a> {
    fn begin(registry: &'a Registry, target: Target) -> Result<Self, NoAgent> {
        let mut state = registry.lock();
        if state.waiting.values().sum::<usize>() >= MAX_WAITING {
            return Err(NoAgent::TooMany);
        }
        *state.waiting.entry(target.clone()).or_default() += 1;
        drop(state);
        Ok(Self { registry, target })
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let mut state = self.registry.lock();
        if let Some(count) = state.waiting.get_mut(&self.target) {
            *count -= 1;
            if *count == 0 {
                state.waiting.remove(&self.target);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::agent_stream::tests::stream;
    use super::*;

    const HOLD: Duration = Duration::from_secs(15);

    fn agent() -> Uuid {
        Uuid::from_u128(7)
    }

    #[test]
    fn a_named_stream_serves_its_connection_and_a_bare_one_all_others() {
        let registry = Registry::new();
        let named = stream(agent(), Some("web"));
        let bare = stream(agent(), None);
        let _one = registry.register(&named).expect("free");
        assert!(registry.find(agent(), "db").is_none());
        let _two = registry.register(&bare).expect("free");
        let found = |name| registry.find(agent(), name).map(|s| s.id());
        assert_eq!(found("web"), Some(named.id()));
        assert_eq!(found("db"), Some(bare.id()));
        assert!(registry.find(Uuid::from_u128(8), "web").is_none());
    }

    #[test]
    fn a_second_stream_of_one_id_is_refused_until_the_first_left() {
        let registry = Registry::new();
        let first = registry.register(&stream(agent(), Some("web")));
        assert!(registry.register(&stream(agent(), Some("web"))).is_none());
        assert!(registry.register(&stream(agent(), Some("db"))).is_some());
        drop(first);
        assert!(registry.register(&stream(agent(), Some("web"))).is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_is_held_and_then_told_that_the_agent_is_offline() {
        let registry = Registry::new();
        let begin = tokio::time::Instant::now();
        let answer = registry.wait(agent(), "web", HOLD).await;
        assert_eq!(answer.err(), Some(NoAgent::Offline));
        assert_eq!(begin.elapsed(), HOLD);
        assert!(!registry.is_wanted(agent(), Some("web")));
    }

    #[tokio::test(start_paused = true)]
    async fn an_arriving_agent_releases_the_client_that_waits_for_it() {
        let registry = Registry::new();
        let wait = registry.wait(agent(), "web", HOLD);
        let arrive = async {
            while !registry.is_wanted(agent(), Some("web")) {
                tokio::task::yield_now().await;
            }
            assert!(registry.is_wanted(agent(), None));
            assert!(!registry.is_wanted(agent(), Some("db")));
            registry.register(&stream(agent(), None)).expect("free")
        };
        let (found, registration) = tokio::join!(wait, arrive);
        assert_eq!(found.expect("found").id(), agent());
        assert!(!registry.is_wanted(agent(), Some("web")));
        drop(registration);
        assert!(registry.find(agent(), "web").is_none());
    }

    #[test]
    fn a_polled_connection_is_online_for_its_own_agent_only() {
        let registry = Registry::new();
        registry.note_poll(agent(), Some("web"));
        assert!(registry.is_online(agent(), "web"));
        assert!(registry.is_agent_online(agent()));
        assert!(!registry.is_online(Uuid::from_u128(8), "web"));
        registry.end_agent(agent(), Ending::Revoked);
        assert!(!registry.is_online(agent(), "web"));
    }
}
