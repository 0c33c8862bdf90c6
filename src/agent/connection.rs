//! The life of the connection: connect, announce, serve, back off, again.
//!
//! Rules: one channel at a time, reused for every call; each failure is logged once until something else happens; a refused
//! key is retried slowly and said once. The control stream is dead when a peer that shares our capabilities leaves a
//! keep-alive unanswered for [`KEEP_ALIVE_TIMEOUT`].

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, MissedTickBehavior, interval_at, timeout};
use tokio_util::sync::CancellationToken;
use tonic::Streaming;

use super::sessions::{Framing, Sessions};
use super::{Config, SESSION_GRACE, revocation};
use crate::link::backoff::Backoff;
use crate::link::{Identity, Link, LinkError};
use crate::protocol::rpc::PreConnectRequest;
use crate::protocol::spec::meta;
use crate::protocol::{KEEP_ALIVE, KEEP_ALIVE_TIMEOUT, Packet, PacketType};

/// Delays after a lost or failed connection.
const RETRY: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(5));
/// Delays after a refusal that only a person can lift: a bad key, a name that belongs to another agent.
const REFUSED: (Duration, Duration) = (Duration::from_secs(2), Duration::from_secs(30));
/// How long programs have when the key is refused: with the time it takes to notice, all is over within 2 s.
const REFUSED_GRACE: Duration = Duration::from_secs(1);
/// How long a gateway may take to accept the control stream, which has no deadline of its own.
const ACCEPT_TIMEOUT: Duration = Duration::from_secs(15);
/// Packets of all sessions and keep-alives that wait to be written on the control stream; senders wait when it is full.
const CONTROL_QUEUE: usize = 16;
/// `PreConnectRequest.type` of an application's connection.
const CONNECTION_TYPE: &str = "custom";

/// Why serving ended.
#[derive(Debug, thiserror::Error)]
enum End {
    #[error(transparent)]
    Link(#[from] LinkError),
    #[error("{0}")]
    NameRefused(String),
    #[error("the gateway ended the connection: {0}")]
    Closed(String),
    #[error("the gateway did not accept the connection within {} s", ACCEPT_TIMEOUT.as_secs())]
    NotAccepted,
    #[error("the gateway is silent: no answer to a keep-alive for {} s", KEEP_ALIVE_TIMEOUT.as_secs())]
    Silent,
    #[error("the agent's key was revoked")]
    Revoked,
    #[error("stopped")]
    Stopped,
}

/// Keeps the connection until `stop`, then ends what is open.
pub(super) async fn keep(config: Arc<Config>, stop: CancellationToken, count: watch::Sender<u32>) {
    let sessions = Sessions::new(config.clone(), count);
    let mut retry = Backoff::new(RETRY.0, RETRY.1);
    let mut refused = Backoff::new(REFUSED.0, REFUSED.1);
    let mut said = String::new();
    while !stop.is_cancelled() {
        let mut connected = false;
        let end = serve(&config, &sessions, &stop, &mut connected).await;
        if connected {
            retry.reset();
            refused.reset();
            said.clear();
        }
        if matches!(end, End::Stopped) {
            break;
        }
        let text = describe(&end);
        if text == said {
            tracing::debug!("no console is served, as before: {text}");
        } else {
            tracing::warn!(
                "no console is served for now: {text}; the application is not affected; trying again"
            );
            said = text;
        }
        let delay = if is_refusal(&end) {
            refused.delay()
        } else {
            retry.delay()
        };
        tokio::select! {
            () = stop.cancelled() => break,
            () = tokio::time::sleep(delay) => {}
        }
    }
    sessions.finish().await;
}

/// What happened, for a person.
fn describe(end: &End) -> String {
    match end {
        End::Link(error) if error.is_unauthenticated() => {
            format!(
                "the gateway does not accept the agent's key ({error}); `hoop admin create agent NAME` makes a new one"
            )
        }
        _ => end.to_string(),
    }
}

fn is_refusal(end: &End) -> bool {
    match end {
        End::NameRefused(_) | End::Revoked => true,
        End::Link(error) => error.is_unauthenticated(),
        End::Closed(_) | End::NotAccepted | End::Silent | End::Stopped => false,
    }
}

/// One connection, from its start to its end.
async fn serve(
    config: &Arc<Config>,
    sessions: &Sessions,
    stop: &CancellationToken,
    connected: &mut bool,
) -> End {
    let opening = async {
        let identity = Identity::agent(config.key.bearer());
        let mut link = Link::connect(&config.address, config.connector.clone(), identity).await?;
        announce(config, &mut link).await?;
        let (outbound, queue) = mpsc::channel(CONTROL_QUEUE);
        let metadata = connection_name(config, &link);
        // The reference gateway answers with its first packet only: ours must not wait for the answer.
        keep_alive(&outbound);
        let inbound = timeout(ACCEPT_TIMEOUT, link.open(&metadata, queue))
            .await
            .map_err(|_| End::NotAccepted)??;
        Ok::<_, End>((link, outbound, inbound))
    };
    let (link, outbound, inbound) = tokio::select! {
        () = stop.cancelled() => return End::Stopped,
        opened = opening => match opened {
            Ok(opened) => opened,
            Err(end) => return end,
        },
    };
    let framing = if link.capabilities().session_streams {
        Framing::Streams(link.clone())
    } else {
        Framing::Plain(outbound.clone())
    };
    let revoked = revocation::watch(link.clone(), announcement(config), sessions.count());
    let end = tokio::select! {
        // Packets that are here already are looked at before the stop.
        biased;
        end = receive(&link, outbound, inbound, sessions, framing, connected) => end,
        () = revoked => End::Revoked,
        () = stop.cancelled() => End::Stopped,
    };
    if matches!(end, End::Stopped) {
        // The link must live while sessions say how they ended.
        sessions.finish().await;
    } else {
        let grace = if is_refusal(&end) {
            REFUSED_GRACE
        } else {
            SESSION_GRACE
        };
        sessions.lost(&end.to_string(), grace);
    }
    end
}

/// Tells the gateway what we serve and learns what it can.
async fn announce(config: &Config, link: &mut Link) -> Result<(), End> {
    if config.connection.is_none() {
        return Ok(link.health_check().await?);
    }
    let answer = link.pre_connect(announcement(config)).await?;
    if answer.status == "BACKOFF" && !answer.message.is_empty() {
        return Err(End::NameRefused(answer.message));
    }
    Ok(())
}

/// The `PreConnect` request: empty when there is nothing of our own to announce.
fn announcement(config: &Config) -> PreConnectRequest {
    match &config.connection {
        None => PreConnectRequest::default(),
        Some(connection) => PreConnectRequest {
            name: connection.name.clone(),
            r#type: CONNECTION_TYPE.to_owned(),
            command: connection.command.clone(),
            ..PreConnectRequest::default()
        },
    }
}

/// The reference gateway files a named stream under a name that only an organisation key (no `mode`) can be reached by;
/// ours files it rightly whatever the key.
fn connection_name<'a>(config: &'a Config, link: &Link) -> Vec<(&'static str, &'a str)> {
    let named = config.key.mode().is_none() || link.capabilities().any();
    config
        .connection
        .iter()
        .filter(|_| named)
        .map(|connection| (meta::CONNECTION_NAME, connection.name.as_str()))
        .collect()
}

/// Routes packets until the stream ends.
async fn receive(
    link: &Link,
    outbound: mpsc::Sender<Packet>,
    mut inbound: Streaming<Packet>,
    sessions: &Sessions,
    framing: Framing,
    connected: &mut bool,
) -> End {
    let mut ticks = interval_at(Instant::now() + KEEP_ALIVE, KEEP_ALIVE);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let must_answer = link.capabilities().any();
    let mut unanswered_since: Option<Instant> = None;
    loop {
        let silent_at = unanswered_since.map(|since| since + KEEP_ALIVE_TIMEOUT);
        tokio::select! {
            _ = ticks.tick() => {
                if keep_alive(&outbound) && must_answer {
                    unanswered_since.get_or_insert_with(Instant::now);
                }
            }
            () = until(silent_at) => return End::Silent,
            message = inbound.message() => match message {
                Err(status) => return End::Link(LinkError::Refused(status)),
                Ok(None) => return End::Closed("end of stream".to_owned()),
                Ok(Some(packet)) => {
                    unanswered_since = None;
                    if packet.kind() == Some(PacketType::AgentGatewayConnectOk) {
                        *connected = true;
                        tracing::info!("connected to the gateway");
                    } else {
                        sessions.route(packet, &framing);
                    }
                }
            },
        }
    }
}

/// Sends a keep-alive. A full queue means that packets are waiting to be written: that is traffic enough.
fn keep_alive(outbound: &mpsc::Sender<Packet>) -> bool {
    outbound
        .try_send(Packet::new(PacketType::GatewayKeepAlive))
        .is_ok()
}

async fn until(instant: Option<Instant>) {
    match instant {
        Some(instant) => tokio::time::sleep_until(instant).await,
        None => std::future::pending().await,
    }
}
