//! The agent with a gateway of its own, on a private Unix socket: what `hoop run` is when nothing is configured.
//!
//! Here agent and gateway are joined: neither module knows the other.

use std::os::fd::OwnedFd;

use crate::agent::{Base, Supervised};
use crate::control::AgentStart;

/// What an agent of the local gateway needs.
#[cfg_attr(
    not(feature = "gateway"),
    expect(dead_code, reason = "nobody to give it to")
)]
pub(super) struct LocalPlace {
    pub(super) command: Vec<String>,
    pub(super) directory_name: Option<String>,
    pub(super) directory: OwnedFd,
    pub(super) program: OwnedFd,
    pub(super) environment: Base,
}

#[cfg(feature = "gateway")]
pub(super) async fn attend(
    start: &AgentStart,
    place: LocalPlace,
    supervised: Option<&Supervised>,
) -> i32 {
    use super::{FAILED, life, say};

    match Box::pin(serve(start, place, supervised)).await {
        Ok(code) => code,
        Err(reason) => {
            let line = format!("no console is served: {reason}");
            if supervised.is_none() {
                say(&line);
                return FAILED;
            }
            tracing::error!("{line}");
            life::wait(supervised).await;
            0
        }
    }
}

/// Without the gateway's code there is nothing to serve.
#[cfg(not(feature = "gateway"))]
pub(super) async fn attend(_: &AgentStart, _: LocalPlace, supervised: Option<&Supervised>) -> i32 {
    if supervised.is_none() {
        super::say("this build has no local gateway: give a key");
        return super::FAILED;
    }
    tracing::warn!("no console is served: this build has no local gateway, and no key was given");
    super::life::wait(supervised).await;
    0
}

/// How long the local gateway goes on when its agent has ended.
#[cfg(feature = "gateway")]
const LAST_WORDS: std::time::Duration = std::time::Duration::from_millis(500);

/// Serves until the end; the exit code.
#[cfg(feature = "gateway")]
async fn serve(
    start: &AgentStart,
    place: LocalPlace,
    supervised: Option<&Supervised>,
) -> Result<i32, String> {
    use tokio::net::UnixListener;
    use tokio_util::sync::CancellationToken;

    use super::life;
    use crate::agent::Agent;
    use crate::gateway::{LocalGateway, Timing};
    use crate::link::Connector;
    use crate::link::connector::Io;
    use crate::{link, local, protocol};

    let given = start.name.clone().or_else(|| place.directory_name.clone());
    let name = protocol::name::normalise(&given.unwrap_or_else(link::identity::hostname))
        .map_err(|error| format!("{error}; give another --name"))?;
    let local::BoundSocket { listener, file } =
        local::bind(&name).map_err(|error| match error {
            local::BindError::Taken { .. } => {
                format!("{error}; give this application another --name")
            }
            local::BindError::NoPlace { .. } => error.to_string(),
        })?;
    let listener = UnixListener::from_std(listener)
        .map_err(|error| format!("cannot use the private socket: {error}"))?;
    let gateway = LocalGateway::open(Timing::default(), &name, &place.command)
        .await
        .map_err(|error| error.to_string())?;
    let pipes = gateway.connector();
    let connector = Connector::new(move || {
        let pipes = pipes.clone();
        async move {
            pipes
                .connect()
                .await
                .map(|pipe| Box::new(pipe) as Box<dyn Io>)
        }
    });
    let config = place
        .config(name.clone(), &gateway.agent_key(), connector)
        .ok_or("the local gateway's key cannot be used")?;
    life::greet(start, &name);
    let stop = CancellationToken::new();
    let gateway_stop = CancellationToken::new();
    let serving = gateway.serve(listener, gateway_stop.clone());
    tokio::pin!(serving);
    let code = tokio::select! {
        ended = &mut serving => return Err(ended.err().map_or("the local gateway ended".to_owned(), |error| error.to_string())),
        code = life::run(Agent::new(config, stop.clone()), stop, supervised) => code,
    };
    drop(file);
    if code == 0 {
        // Sessions have said how they ended; what is left are clients that do not read it.
        gateway_stop.cancel();
        if let Ok(Err(error)) = tokio::time::timeout(LAST_WORDS, serving).await {
            return Err(error.to_string());
        }
    }
    Ok(code)
}

#[cfg(feature = "gateway")]
impl LocalPlace {
    /// The configuration of an agent of a gateway in this process.
    fn config(
        self,
        name: String,
        key: &crate::key::Secret,
        connector: crate::link::Connector,
    ) -> Option<crate::agent::Config> {
        let key = crate::key::Dsn::parse(key.expose()).ok().flatten()?;
        Some(crate::agent::Config {
            connection: Some(crate::agent::Connection {
                name,
                command: self.command,
            }),
            address: "localhost:80".to_owned(),
            key,
            connector,
            directory: self.directory,
            program: self.program,
            environment: self.environment,
        })
    }
}
