//! Connections: those that agents announced, and those that an administrator makes.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use serde_json::Value;
use uuid::Uuid;

use super::super::store::{self, StoreError};
use super::agents::BAD_NAME;
use super::{Admin, AnyUser, ApiError, Body, Shared};
use crate::protocol::bodies::Connection;
use crate::protocol::{environment, name};

const NOT_FOUND: ApiError = ApiError::NotFound("not found");

pub(super) async fn list(
    _user: AnyUser,
    State(core): State<Shared>,
) -> Result<Json<Vec<Connection>>, ApiError> {
    let connections = core.store.connections().await?;
    Ok(Json(
        connections.iter().map(|one| view(&core, one)).collect(),
    ))
}

pub(super) async fn get(
    _user: AnyUser,
    State(core): State<Shared>,
    Path(connection): Path<String>,
) -> Result<Json<Connection>, ApiError> {
    let connection = core.store.connection(&connection).await?.ok_or(NOT_FOUND)?;
    Ok(Json(view(&core, &connection)))
}

pub(super) async fn create(
    _admin: Admin,
    State(core): State<Shared>,
    Body(new): Body<Connection>,
) -> Result<(StatusCode, Json<Connection>), ApiError> {
    if !name::is_resource_name(&new.name) {
        return Err(ApiError::Invalid(BAD_NAME.to_owned()));
    }
    let agent = match new.agent_id.parse::<Uuid>() {
        Ok(id) => core.store.agent(&id.to_string()).await?,
        Err(_) => None,
    };
    let agent = agent.ok_or_else(|| ApiError::Invalid("agent_id: no such agent".to_owned()))?;
    if new.r#type.is_empty() {
        return Err(ApiError::Request("type: it is required".to_owned()));
    }
    let envs = text_values(new.secret)?;
    environment::decode_variables(&envs)
        .map_err(|error| ApiError::Invalid(format!("secret: {error}")))?;
    let connection = store::Connection {
        id: Uuid::new_v4(),
        name: new.name,
        agent_id: agent.id,
        managed_by: None,
        kind: new.r#type,
        subtype: new.subtype,
        command: new.command,
        envs,
        reviewers: Vec::new(),
        redact_types: Vec::new(),
    };
    match core.store.create_connection(&connection).await {
        Err(StoreError::Taken) => Err(ApiError::Conflict("Connection already exists.")),
        Err(error) => Err(error.into()),
        Ok(()) => Ok((StatusCode::CREATED, Json(view(&core, &connection)))),
    }
}

pub(super) async fn delete(
    _admin: Admin,
    State(core): State<Shared>,
    Path(connection): Path<String>,
) -> Result<StatusCode, ApiError> {
    if core.store.delete_connection(&connection).await? {
        Ok(StatusCode::NO_CONTENT)
    } else {
        Err(NOT_FOUND)
    }
}

fn text_values(secret: BTreeMap<String, Value>) -> Result<BTreeMap<String, String>, ApiError> {
    let text = |(key, value)| match value {
        Value::String(value) => Ok((key, value)),
        _ => Err(ApiError::Invalid(format!("secret: {key} is not a text"))),
    };
    secret.into_iter().map(text).collect()
}

/// A connection without the values of its variables.
fn view(core: &Shared, connection: &store::Connection) -> Connection {
    let online = core
        .registry
        .is_online(connection.agent_id, &connection.name);
    let enabled = || "enabled".to_owned();
    Connection {
        id: connection.id.to_string(),
        name: connection.name.clone(),
        resource_name: connection.name.clone(),
        command: connection.command.clone(),
        r#type: connection.kind.clone(),
        subtype: connection.subtype.clone(),
        secret: connection
            .envs
            .keys()
            .map(|key| (key.clone(), Value::from("")))
            .collect(),
        agent_id: connection.agent_id.to_string(),
        status: if online { "online" } else { "offline" }.to_owned(),
        reviewers: connection.reviewers.clone(),
        redact_types: connection.redact_types.clone(),
        managed_by: connection.managed_by.clone(),
        access_mode_runbooks: enabled(),
        access_mode_exec: enabled(),
        access_mode_connect: enabled(),
        access_schema: enabled(),
        ..Connection::default()
    }
}
