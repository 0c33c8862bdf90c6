//! The gRPC service: who may open which stream, and what they are told otherwise.
//!
//! Refusals carry the statuses and texts of the reference gateway, so that its clients and agents act as they do there.
//! A call that needs time (a client held until its agent arrives) keeps only its own stream waiting.

use std::collections::BTreeMap;
use std::sync::Arc;

use prost::Message;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::metadata::{MetadataMap, MetadataValue};
use tonic::{Request, Response, Status, Streaming};
use tracing::Instrument;
use uuid::Uuid;

use super::Core;
use super::agent_stream::{self, AgentStream, Introduction, OUTBOUND, SessionStream};
use super::auth::{self, Identity, Peer, internal};
use super::registry::NoAgent;
use super::session::Session;
use super::session::client::FromClient;
use super::session::open::{Opening, Origin, Verb};
use super::store::{Agent, Announcement};
use crate::protocol::rpc::transport_server::Transport;
use crate::protocol::rpc::{
    HealthCheckRequest, HealthCheckResponse, PreConnectRequest, PreConnectResponse,
};
use crate::protocol::spec::meta;
use crate::protocol::{Capabilities, Packet, PacketType};

/// Longest name of a connection, in bytes.
const MAX_NAME: usize = 252;

/// Largest announcement of a connection, in bytes.
const MAX_ANNOUNCEMENT: usize = 64 * 1024;

/// Connections that one agent may announce.
const MAX_CONNECTIONS: u64 = 1000;

/// Characters that are kept of what an agent says about itself, per value.
const MAX_METADATA: usize = 256;

/// Packets that wait to be written to a client or to a session's agent: one, so that the writer feels its reader.
const ONE: usize = 1;

/// Types that an announced connection may have.
const TYPES: [&str; 9] = [
    "command-line",
    "postgres",
    "mysql",
    "mssql",
    "tcp",
    "application",
    "custom",
    "database",
    "httpproxy",
];

/// What an agent may say about itself.
const METADATA: [&str; 7] = [
    meta::HOSTNAME,
    meta::PLATFORM,
    meta::MACHINE_ID,
    meta::KERNEL_VERSION,
    meta::VERSION,
    "go-version",
    "compiler",
];

/// The service.
#[derive(Clone)]
pub(crate) struct Rpc {
    core: Arc<Core>,
}

type Packets = ReceiverStream<Result<Packet, Status>>;

impl Rpc {
    /// The service of one gateway.
    pub(crate) fn new(core: Arc<Core>) -> Self {
        Self { core }
    }

    async fn connect_agent(
        &self,
        metadata: &MetadataMap,
        inbound: Streaming<Packet>,
    ) -> Result<Response<Packets>, Status> {
        let agent = auth::agent(&self.core.store, &auth::metadata_bearer(metadata)?).await?;
        match text(metadata, meta::SESSION_ID) {
            Some(session) => self.attach(&agent, session, inbound),
            None => self.accept(agent, metadata, inbound).await,
        }
    }

    /// An agent's own stream for one session.
    fn attach(
        &self,
        agent: &Agent,
        session: &str,
        inbound: Streaming<Packet>,
    ) -> Result<Response<Packets>, Status> {
        let place = session
            .parse::<Uuid>()
            .ok()
            .and_then(|id| self.core.registry.attach(agent.id, id))
            .ok_or_else(|| Status::not_found("session not found"))?;
        let (outbound, packets) = mpsc::channel(ONE);
        place
            .send(SessionStream {
                inbound: Box::new(inbound),
                outbound,
            })
            .map_err(|_| Status::not_found("session not found"))?;
        Ok(Response::new(ReceiverStream::new(packets)))
    }

    /// An agent's stream for everything else.
    async fn accept(
        &self,
        agent: Agent,
        metadata: &MetadataMap,
        inbound: Streaming<Packet>,
    ) -> Result<Response<Packets>, Status> {
        let connection = text(metadata, meta::CONNECTION_NAME);
        if let Some(name) = connection {
            self.check_ownership(&agent, name).await?;
        }
        let (outbound, packets) = mpsc::channel(OUTBOUND);
        let said = Introduction {
            agent_id: agent.id,
            agent_name: agent.name.clone(),
            connection: connection.map(str::to_owned),
            version: text(metadata, meta::VERSION).map(str::to_owned),
            capabilities: capabilities(metadata),
        };
        let stream = AgentStream::new(said, outbound.clone());
        // Before anybody can find the stream: this is the agent's first packet.
        let accepted = Packet::new(PacketType::AgentGatewayConnectOk);
        drop(outbound.try_send(Ok(accepted)));
        let registration = self
            .core
            .registry
            .register(&stream)
            .ok_or_else(|| Status::failed_precondition("agent already connected"))?;
        // A key that was deleted since it was looked up did not find this stream to end it.
        auth::agent(&self.core.store, &auth::metadata_bearer(metadata)?).await?;
        self.core
            .store
            .describe_agent(agent.id, &description(metadata))
            .await
            .map_err(|error| internal("cannot keep the agent's description", &error))?;
        tracing::info!(agent = %agent.name, conn = connection, "connected");
        let silence = self.core.timing.silence;
        self.core
            .agents
            .spawn(agent_stream::serve(stream, registration, inbound, silence));
        Ok(Response::new(ReceiverStream::new(packets)))
    }

    async fn check_ownership(&self, agent: &Agent, name: &str) -> Result<(), Status> {
        let connection = self
            .core
            .store
            .connection(name)
            .await
            .map_err(|error| internal("failed to obtain connection", &error))?
            .ok_or_else(|| Status::not_found(format!("connection {name} was not announced")))?;
        if connection.is_announced_by(agent.id) && connection.name == name {
            Ok(())
        } else {
            Err(Status::invalid_argument(format!(
                "connection {name} is not managed by agent {}",
                agent.name
            )))
        }
    }

    async fn connect_client(
        &self,
        origin: Origin,
        user: Identity,
        metadata: &MetadataMap,
        inbound: Streaming<Packet>,
    ) -> Result<Response<Packets>, Status> {
        let verb = verb(metadata)?;
        let connection = match client_connection_name(metadata) {
            None => None,
            Some(name) => self
                .core
                .store
                .connection(name)
                .await
                .map_err(|error| internal("failed to obtain connection", &error))?,
        };
        let connection = connection.ok_or_else(|| Status::not_found("connection not found"))?;
        let opening = Opening {
            user: user.name,
            verb,
            origin,
            connection,
        };
        let kind = opening.connection_type();
        if verb == Verb::Exec && matches!(kind.as_str(), "tcp" | "ssh") {
            return Err(Status::invalid_argument(format!(
                "exec is not allowed for {kind} type connections. Use 'hoop connect <name>' instead"
            )));
        }
        let agent = self.find_agent(&opening).await?;
        let id = Uuid::new_v4();
        let (place, arrivals) = agent.open(id).ok_or_else(|| {
            Status::resource_exhausted("the agent serves as many sessions as it may")
        })?;
        let (to_client, packets) = mpsc::channel(ONE);
        let silence = self.core.timing.silence;
        let client = FromClient::new(inbound, to_client.clone(), capabilities(metadata), silence);
        let span = tracing::info_span!("session", sid = %id, conn = %opening.connection.name);
        let session = Session {
            core: Arc::clone(&self.core),
            id,
            opening,
            agent,
            client,
            to_client,
        };
        self.core
            .sessions
            .spawn(session.run(place, arrivals).instrument(span));
        Ok(Response::new(ReceiverStream::new(packets)))
    }

    /// The stream of the connection's agent, now or within the time that a client is held.
    async fn find_agent(&self, opening: &Opening) -> Result<Arc<AgentStream>, Status> {
        let offline = || Status::failed_precondition("agent is offline");
        let connection = &opening.connection;
        self.core
            .store
            .agent(&connection.agent_id.to_string())
            .await
            .map_err(|error| internal("failed to obtain the agent", &error))?
            .ok_or_else(offline)?;
        let hold = self.core.timing.hold;
        let wait = self
            .core
            .registry
            .wait(connection.agent_id, &connection.name, hold);
        let found = tokio::select! {
            found = wait => found,
            () = self.core.stop.cancelled() => return Err(shutdown()),
        };
        found.map_err(|why| match why {
            NoAgent::Offline => offline(),
            NoAgent::TooMany => {
                Status::resource_exhausted("too many clients wait for their agents")
            }
        })
    }

    /// Creates or updates an agent's connection; a text is the reason of a refusal.
    async fn announce(&self, agent: &Agent, request: PreConnectRequest) -> Result<(), String> {
        if request.name.len() > MAX_NAME || request.name.chars().any(char::is_control) {
            return Err(format!(
                "a connection's name has at most {MAX_NAME} bytes and no control characters"
            ));
        }
        if request.encoded_len() > MAX_ANNOUNCEMENT {
            return Err(format!(
                "the announcement of connection {} is larger than {MAX_ANNOUNCEMENT} bytes",
                request.name
            ));
        }
        if !TYPES.contains(&request.r#type.as_str()) {
            return Err(format!("unknown connection type {:?}", request.r#type));
        }
        let failed = |error| {
            internal("failed to store the connection", &error)
                .message()
                .to_owned()
        };
        let store = &self.core.store;
        let known = store.connection(&request.name).await.map_err(failed)?;
        if known.is_none()
            && store.count_connections(agent.id).await.map_err(failed)? >= MAX_CONNECTIONS
        {
            return Err(format!(
                "agent {} has {MAX_CONNECTIONS} connections already",
                agent.name
            ));
        }
        let said = Announcement {
            name: request.name,
            kind: request.r#type,
            subtype: request.subtype,
            command: request.command,
            envs: request.envs.into_iter().collect(),
            reviewers: request.reviewers,
            redact_types: request.redact_types,
        };
        if store.announce(agent.id, &said).await.map_err(failed)? {
            Ok(())
        } else {
            Err(format!(
                "connection {} is not being managed by this process, choose another name",
                said.name
            ))
        }
    }
}

#[tonic::async_trait]
impl Transport for Rpc {
    type ConnectStream = Packets;

    async fn health_check(
        &self,
        _request: Request<HealthCheckRequest>,
    ) -> Result<Response<HealthCheckResponse>, Status> {
        Ok(with_capabilities(HealthCheckResponse {
            status: "OK".to_owned(),
        }))
    }

    async fn pre_connect(
        &self,
        request: Request<PreConnectRequest>,
    ) -> Result<Response<PreConnectResponse>, Status> {
        let token = auth::metadata_bearer(request.metadata())?;
        let agent = auth::agent(&self.core.store, &token).await?;
        let request = request.into_inner();
        let name = request.name.clone();
        let connection = (!name.is_empty()).then_some(name.as_str());
        if connection.is_some()
            && let Err(message) = self.announce(&agent, request).await
        {
            tracing::warn!(agent = %agent.name, conn = %name, "announcement refused: {message}");
            return Ok(answer("BACKOFF", message));
        }
        self.core.registry.note_poll(agent.id, connection);
        let status = if self.core.registry.is_wanted(agent.id, connection) {
            "CONNECT"
        } else {
            "BACKOFF"
        };
        Ok(answer(status, String::new()))
    }

    async fn connect(
        &self,
        request: Request<Streaming<Packet>>,
    ) -> Result<Response<Packets>, Status> {
        if self.core.stop.is_cancelled() {
            return Err(shutdown());
        }
        let peer = request.extensions().get::<Peer>().copied();
        let (metadata, _, inbound) = request.into_parts();
        let origin = text(&metadata, meta::ORIGIN)
            .ok_or_else(|| Status::invalid_argument("missing client origin"))?;
        let origin = Origin::parse(origin)
            .ok_or_else(|| Status::invalid_argument(format!("unknown origin {origin:?}")))?;
        if origin == Origin::Agent {
            return self.connect_agent(&metadata, inbound).await;
        }
        let user = match peer.and_then(Peer::identity) {
            Some(user) => user,
            None => auth::user(&self.core.store, &auth::metadata_bearer(&metadata)?).await?,
        };
        self.connect_client(origin, user, &metadata, inbound).await
    }
}

fn answer(status: &str, message: String) -> Response<PreConnectResponse> {
    with_capabilities(PreConnectResponse {
        status: status.to_owned(),
        message,
    })
}

fn with_capabilities<T>(message: T) -> Response<T> {
    let mut response = Response::new(message);
    if let Ok(value) = MetadataValue::try_from(Capabilities::OURS.to_text()) {
        response.metadata_mut().insert(meta::CAPABILITIES, value);
    }
    response
}

fn shutdown() -> Status {
    Status::unavailable("gateway shutdown")
}

fn verb(metadata: &MetadataMap) -> Result<Verb, Status> {
    let verb = text(metadata, meta::VERB)
        .ok_or_else(|| Status::invalid_argument("missing client verb"))?;
    Verb::parse(verb).ok_or_else(|| Status::invalid_argument(format!("unknown verb {verb:?}")))
}

/// Clients may spell this one key with an underscore.
fn client_connection_name(metadata: &MetadataMap) -> Option<&str> {
    text(metadata, meta::CONNECTION_NAME).or_else(|| text(metadata, "connection_name"))
}

/// A metadata value; an empty one counts as absent.
fn text<'a>(metadata: &'a MetadataMap, key: &str) -> Option<&'a str> {
    metadata
        .get(key)
        .and_then(|value| value.to_str().ok())
        .filter(|value| !value.is_empty())
}

fn capabilities(metadata: &MetadataMap) -> Capabilities {
    text(metadata, meta::CAPABILITIES)
        .map(Capabilities::parse)
        .unwrap_or_default()
}

fn description(metadata: &MetadataMap) -> BTreeMap<String, String> {
    METADATA
        .iter()
        .filter_map(|key| Some((*key, text(metadata, key)?)))
        .map(|(key, value)| (key.to_owned(), value.chars().take(MAX_METADATA).collect()))
        .collect()
}
