//! Where a name leads: to an application on this machine, by its private socket, or to a gateway.
//!
//! Order: a gateway that the environment names; a live private socket of the name; a gateway of a file or of this machine. An
//! application with a key has a private socket too, but serves no sessions on it: its gateway does. One whose agent hangs or
//! is being started again is not looked for elsewhere: another application of that name is not the one that was meant.

use std::path::PathBuf;

use tonic::Code;

use super::http::Api;
use super::{ClientError, Context};
use crate::config::{self, Address, Gateway};
use crate::link::tls::TlsSettings;
use crate::link::{Connector, Identity, Link, LinkError};
use crate::protocol::bodies::ServerInfo;
use crate::protocol::name::normalise;

/// A connected peer that knows a name.
pub(super) struct Peer {
    /// The connection to it.
    pub(super) link: Link,
    /// The name as the wire has it.
    pub(super) name: String,
    /// What is reached there, for messages.
    pub(super) what: String,
}

/// Connects to where `name` is served.
pub(super) async fn open(
    context: &Context,
    name: Option<&str>,
    only_here: bool,
) -> Result<Peer, ClientError> {
    let Some(name) = name else {
        let names = super::list::local_names(context).await;
        return Err(ClientError::Usage(match names.as_slice() {
            [] => "missing NAME: which application? (none runs on this machine)".to_owned(),
            names => format!(
                "missing NAME: which application? here: {}",
                names.join(", ")
            ),
        }));
    };
    let name = normalise(name).map_err(|error| ClientError::Usage(error.to_string()))?;
    let explicit = config::from_environment(&context.variables()).map_err(not_run)?;
    if let Some(gateway) = explicit.filter(|_| !only_here) {
        return at_gateway(gateway, name).await;
    }
    let socket = context.places().find(&name);
    let is_here = socket.is_some();
    if let Some(path) = socket
        && let Some(peer) = on_socket(path, &name).await?
    {
        return Ok(peer);
    }
    if !only_here && let Some(gateway) = config::load(&context.variables()).map_err(not_run)? {
        return at_gateway(gateway, name).await;
    }
    if is_here {
        return Err(ClientError::NotRun(format!(
            "the application '{name}' on this machine serves its sessions through a gateway: set HOOP_GRPCURL, HOOP_APIURL \
             and HOOP_TOKEN"
        )));
    }
    Err(ClientError::NotRun(format!(
        "no application '{name}' runs on this machine under this account, and {}: start it with 'hoop run --name {name} \
         -- …', or set HOOP_GRPCURL, HOOP_APIURL and HOOP_TOKEN ('hoop list' shows what there is)",
        if only_here {
            "a gateway was not asked for (--local)"
        } else {
            "no gateway is configured"
        }
    )))
}

/// `None`: whoever listens there serves no sessions.
async fn on_socket(path: PathBuf, name: &str) -> Result<Option<Peer>, ClientError> {
    let what = format!("the application '{name}' on this machine");
    let connector = Connector::unix(path);
    let connected = async {
        let mut link = Link::connect("localhost", connector, Identity::client(None)).await?;
        link.health_check().await.map(|()| link)
    };
    match connected.await {
        Ok(link) => Ok(Some(Peer {
            link,
            name: name.to_owned(),
            what,
        })),
        Err(LinkError::Refused(status)) if status.code() == Code::Unimplemented => Ok(None),
        Err(error) => Err(ClientError::NotRun(format!(
            "{what} does not answer: {error}"
        ))),
    }
}

async fn at_gateway(gateway: Gateway, name: String) -> Result<Peer, ClientError> {
    let address = match &gateway.grpc {
        Some(address) => address.clone(),
        None => ask_for_address(&gateway).await?,
    };
    let place = format!("the gateway {} ({})", address.authority, gateway.source);
    let failed = |reason: String| ClientError::NotRun(format!("{place}: {reason}"));
    let tls = if address.is_tls {
        let client = tls_settings(&gateway).client(&address.authority, &[b"h2"]);
        Some(client.map_err(|error| failed(error.to_string()))?)
    } else {
        if !address.is_loopback() {
            tracing::warn!("{place} is reached in plain text: use grpcs:// where it offers TLS");
        }
        None
    };
    let connector = Connector::tcp(&address.authority, tls);
    let identity = Identity::client(gateway.token.clone());
    let mut link = Link::connect(&address.authority, connector, identity)
        .await
        .map_err(|error| failed(error.to_string()))?;
    link.health_check()
        .await
        .map_err(|error| failed(error.to_string()))?;
    let what = format!("'{name}' at {place}");
    Ok(Peer { link, name, what })
}

/// The API of the configured gateway.
pub(crate) fn configured_api(context: &Context) -> Result<Api, ClientError> {
    let gateway = config::load(&context.variables());
    match gateway.map_err(|error| ClientError::Request(error.to_string()))? {
        Some(gateway) => api(&gateway),
        None => Err(ClientError::Request(
            "no gateway is configured: set HOOP_GRPCURL, HOOP_APIURL and HOOP_TOKEN, or start one here with \
             'hoop start gateway'"
                .to_owned(),
        )),
    }
}

/// The API of a gateway.
pub(super) fn api(gateway: &Gateway) -> Result<Api, ClientError> {
    Api::at(
        &gateway.api_url,
        &tls_settings(gateway),
        gateway.token.clone(),
    )
    .map_err(|error| ClientError::Request(format!("{} ({})", error, gateway.source)))
}

async fn ask_for_address(gateway: &Gateway) -> Result<Address, ClientError> {
    let failed = |reason: String| {
        ClientError::NotRun(format!("cannot learn the gateway's gRPC address: {reason}"))
    };
    let answer = api(gateway)?.get("serverinfo").await;
    let body = answer.map_err(|error| failed(error.to_string()))?.body;
    let info: ServerInfo =
        serde_json::from_slice(&body).map_err(|error| failed(error.to_string()))?;
    Address::parse(&info.grpc_url).ok_or_else(|| failed("its API does not tell it".to_owned()))
}

fn tls_settings(gateway: &Gateway) -> TlsSettings {
    TlsSettings {
        ca: gateway.tls.ca.clone(),
        server_name: gateway.tls.server_name.clone(),
        skip_verify: gateway.tls.skip_verify,
    }
}

fn not_run(error: impl std::fmt::Display) -> ClientError {
    ClientError::NotRun(error.to_string())
}
