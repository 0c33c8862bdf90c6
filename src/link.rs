//! One gRPC connection to a gateway: connect, ask what the peer can, open packet streams.
//!
//! Rules: agents and clients never send HTTP/2 PING (the reference gateway punishes it); a dead peer is found by
//! `GatewayKeepAlive` packets and `TCP_USER_TIMEOUT`. How bytes travel is an argument, a [`Connector`]. Capabilities are
//! read from the response metadata of a unary call, because a grpc-go gateway sends `Connect`'s headers only with its first
//! packet. Packets queued before [`Link::open`] are sent without waiting for the answer.

pub mod backoff;
pub mod connector;
pub mod identity;
pub mod tls;

use std::future::Future;
use std::time::Duration;

use http::Uri;
use hyper_util::rt::TokioIo;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Response, Status, Streaming};

use crate::protocol::rpc::transport_client::TransportClient;
use crate::protocol::rpc::{HealthCheckRequest, PreConnectRequest, PreConnectResponse};
use crate::protocol::spec::meta;
use crate::protocol::{CONNECTION_WINDOW, Capabilities, MAX_MESSAGE, Packet, STREAM_WINDOW};

pub use connector::Connector;
pub use identity::Identity;

/// How long connecting, with TLS, may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a unary call may take: a half-dead peer must not stall an agent for ever.
const CALL_TIMEOUT: Duration = Duration::from_secs(10);

/// A connection to a gateway. Cheap to clone; all clones share one HTTP/2 connection.
#[derive(Clone)]
pub struct Link {
    client: TransportClient<Channel>,
    identity: Identity,
    peer: Capabilities,
}

/// Why a gateway was not reached or did not agree.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// The connection could not be made.
    #[error("cannot connect to {address}: {reason}")]
    Connect {
        /// Where to.
        address: String,
        /// What went wrong, innermost cause.
        reason: String,
    },
    /// The gateway refused a call.
    #[error("{}", told(.0))]
    Refused(Status),
}

impl LinkError {
    /// Whether the gateway does not accept the credentials.
    pub fn is_unauthenticated(&self) -> bool {
        matches!(self, Self::Refused(status) if status.code() == Code::Unauthenticated)
    }
}

impl Link {
    /// Connects. `address` is for messages and the authority of requests: `host:port`.
    pub async fn connect(
        address: &str,
        connector: Connector,
        identity: Identity,
    ) -> Result<Self, LinkError> {
        let failed = |reason: String| LinkError::Connect {
            address: address.to_owned(),
            reason,
        };
        let scheme = if connector.is_tls() { "https" } else { "http" };
        let origin: Uri = format!("{scheme}://{address}")
            .parse()
            .map_err(|error| failed(format!("{error}")))?;
        let endpoint = Endpoint::from(origin.clone())
            .origin(origin)
            .user_agent(identity.user_agent())
            .map_err(|error| failed(innermost(&error)))?
            .connect_timeout(CONNECT_TIMEOUT)
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW);
        let service = tower::service_fn(move |_: Uri| {
            let connecting = connector.connect();
            async move { connecting.await.map(TokioIo::new) }
        });
        let channel = endpoint
            .connect_with_connector(service)
            .await
            .map_err(|error| failed(innermost(&error)))?;
        let client = TransportClient::new(channel)
            .max_decoding_message_size(MAX_MESSAGE)
            .max_encoding_message_size(MAX_MESSAGE);
        Ok(Self {
            client,
            identity,
            peer: Capabilities::default(),
        })
    }

    /// What both sides can, once [`Link::health_check`] or [`Link::pre_connect`] has asked.
    pub fn capabilities(&self) -> Capabilities {
        self.peer.and(Capabilities::OURS)
    }

    /// Asks whether the gateway answers, and what it can. One without this call has no capabilities.
    pub async fn health_check(&mut self) -> Result<(), LinkError> {
        let request = self.request(HealthCheckRequest {}, &[])?;
        let mut client = self.client.clone();
        match deadline(client.health_check(request)).await {
            Ok(answer) => self.peer = capabilities_of(&answer),
            Err(LinkError::Refused(status)) if status.code() == Code::Unimplemented => {}
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// Announces a connection, or with an empty request just the agent; learns what the gateway can.
    pub async fn pre_connect(
        &mut self,
        request: PreConnectRequest,
    ) -> Result<PreConnectResponse, LinkError> {
        let request = self.request(request, &[])?;
        let mut client = self.client.clone();
        let answer = deadline(client.pre_connect(request)).await?;
        self.peer = capabilities_of(&answer);
        Ok(answer.into_inner())
    }

    /// Opens a packet stream. `metadata` is added to what the identity sends. Packets go out as `outbound` yields them;
    /// dropping its sender half-closes the stream.
    pub async fn open(
        &self,
        metadata: &[(&'static str, &str)],
        outbound: mpsc::Receiver<Packet>,
    ) -> Result<Streaming<Packet>, LinkError> {
        let request = self.request(ReceiverStream::new(outbound), metadata)?;
        let mut client = self.client.clone();
        Ok(client
            .connect(request)
            .await
            .map_err(LinkError::Refused)?
            .into_inner())
    }

    fn request<T>(
        &self,
        message: T,
        metadata: &[(&'static str, &str)],
    ) -> Result<Request<T>, LinkError> {
        let mut request = Request::new(message);
        let map = request.metadata_mut();
        self.identity.write(map).map_err(LinkError::Refused)?;
        for (key, value) in metadata {
            map.insert(*key, identity::value(value).map_err(LinkError::Refused)?);
        }
        Ok(request)
    }
}

/// What a refusal says to a person. Some texts are the library's own, about a peer that is no gateway or has gone away.
pub fn told(status: &Status) -> &str {
    match status.message() {
        text if text.starts_with("grpc-status header missing") => {
            "it does not answer as a gateway does"
        }
        text if text.starts_with("h2 protocol error") => "the connection to the gateway was lost",
        text => text,
    }
}

fn capabilities_of<T>(answer: &Response<T>) -> Capabilities {
    answer
        .metadata()
        .get(meta::CAPABILITIES)
        .and_then(|value| value.to_str().ok())
        .map(Capabilities::parse)
        .unwrap_or_default()
}

async fn deadline<T>(
    call: impl Future<Output = Result<Response<T>, Status>>,
) -> Result<Response<T>, LinkError> {
    match tokio::time::timeout(CALL_TIMEOUT, call).await {
        Ok(answer) => answer.map_err(LinkError::Refused),
        Err(_) => Err(LinkError::Refused(Status::deadline_exceeded(
            "the gateway did not answer within 10 s",
        ))),
    }
}

/// The innermost cause of an error: what the operating system or TLS said.
fn innermost(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(next) = cause.source() {
        cause = next;
    }
    cause.to_string()
}
