//! Agents and their keys. A key is shown once, when it is made.

use axum::Json;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use serde::Deserialize;

use super::super::agent_stream::Ending;
use super::super::store;
use super::{Admin, AnyUser, ApiError, Body, Shared};
use crate::key::{Dsn, KeyHash, generate_agent_secret};
use crate::protocol::bodies::{Agent, CreateAgent, CreatedAgent};
use crate::protocol::name;
use crate::protocol::spec::meta;

/// What is said of a name that cannot be one.
pub(super) const BAD_NAME: &str = "name: it must contain between 3 and 254 alphanumeric characters, it may include (-), (_) or (.) characters";

/// Kinds of keys.
const MODES: [&str; 2] = ["standard", "embedded"];

#[derive(Deserialize)]
pub(super) struct Filter {
    status: Option<String>,
}

pub(super) async fn list(
    _user: AnyUser,
    State(core): State<Shared>,
    Query(filter): Query<Filter>,
) -> Result<Json<Vec<Agent>>, ApiError> {
    let agents = core.store.agents().await?;
    let views = agents
        .iter()
        .map(|agent| view(&core, agent))
        .filter(|view| {
            let wanted = filter.status.as_deref().filter(|status| !status.is_empty());
            wanted.is_none_or(|status| view.status == status)
        });
    Ok(Json(views.collect()))
}

pub(super) async fn get(
    _user: AnyUser,
    State(core): State<Shared>,
    Path(agent): Path<String>,
) -> Result<Json<Agent>, ApiError> {
    let agent = core.store.agent(&agent).await?;
    let agent = agent.ok_or(ApiError::NotFound("agent not found"))?;
    Ok(Json(view(&core, &agent)))
}

pub(super) async fn create(
    _admin: Admin,
    State(core): State<Shared>,
    Body(new): Body<CreateAgent>,
) -> Result<(StatusCode, Json<CreatedAgent>), ApiError> {
    if !name::is_resource_name(&new.name) {
        return Err(ApiError::Invalid(BAD_NAME.to_owned()));
    }
    let mode = if new.mode.is_empty() {
        MODES[0]
    } else {
        &new.mode
    };
    if !MODES.contains(&mode) {
        return Err(ApiError::Invalid(format!("unknown agent mode {mode:?}")));
    }
    let secret = generate_agent_secret();
    let hash = KeyHash::of(secret.expose()).to_hex();
    core.store.create_agent(&new.name, mode, &hash).await?;
    let (scheme, address) = core.grpc_url.split_once("://").unwrap_or_default();
    let key = Dsn::build(scheme, &new.name, &secret, address, Some(mode));
    tracing::info!(agent = %new.name, mode, "key created");
    let token = key.expose().to_owned();
    Ok((StatusCode::CREATED, Json(CreatedAgent { token })))
}

/// Deletes a key; its streams and sessions end. An agent that is not there is as good as deleted.
pub(super) async fn delete(
    _admin: Admin,
    State(core): State<Shared>,
    Path(agent): Path<String>,
) -> Result<StatusCode, ApiError> {
    if let Some(agent) = core.store.delete_agent(&agent).await? {
        core.registry.end_agent(agent.id, Ending::Revoked);
        tracing::info!(agent = %agent.name, "key deleted");
    }
    Ok(StatusCode::NO_CONTENT)
}

fn view(core: &Shared, agent: &store::Agent) -> Agent {
    let said = |key: &str| agent.metadata.get(key).cloned().unwrap_or_default();
    let status = if core.registry.is_agent_online(agent.id) {
        "CONNECTED"
    } else {
        "DISCONNECTED"
    };
    Agent {
        id: agent.id.to_string(),
        token: String::new(),
        name: agent.name.clone(),
        mode: agent.mode.clone(),
        status: status.to_owned(),
        metadata: agent.metadata.clone(),
        hostname: said(meta::HOSTNAME),
        machine_id: said(meta::MACHINE_ID),
        kernel_version: said(meta::KERNEL_VERSION),
        version: said(meta::VERSION),
        goversion: said("go-version"),
        compiler: said("compiler"),
        platform: said(meta::PLATFORM),
    }
}
