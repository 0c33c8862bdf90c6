//! Connections: those that agents announced, and those that an administrator makes.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};
use uuid::Uuid;

use super::super::store::{Connection, StoreError};
use super::{Admin, AnyUser, ApiError, Body, Shared};
use crate::protocol::{environment, name};

const NOT_FOUND: ApiError = ApiError::NotFound("not found");

const ENABLED: &str = "enabled";

#[derive(Deserialize)]
pub(super) struct NewConnection {
    name: String,
    #[serde(rename = "type")]
    kind: String,
    agent_id: String,
    #[serde(default)]
    subtype: Option<String>,
    #[serde(default)]
    command: Option<Vec<String>>,
    #[serde(default)]
    secret: Option<BTreeMap<String, String>>,
}

pub(super) async fn list(
    _user: AnyUser,
    State(core): State<Shared>,
) -> Result<Json<Value>, ApiError> {
    let connections = core.store.connections().await?;
    Ok(Json(
        connections.iter().map(|one| view(&core, one)).collect(),
    ))
}

pub(super) async fn get(
    _user: AnyUser,
    State(core): State<Shared>,
    Path(connection): Path<String>,
) -> Result<Json<Value>, ApiError> {
    let connection = core.store.connection(&connection).await?.ok_or(NOT_FOUND)?;
    Ok(Json(view(&core, &connection)))
}

pub(super) async fn create(
    _admin: Admin,
    State(core): State<Shared>,
    Body(new): Body<NewConnection>,
) -> Result<(StatusCode, Json<Value>), ApiError> {
    if !name::is_resource_name(&new.name) {
        return Err(ApiError::Invalid(
            "name: it must contain between 3 and 254 alphanumeric characters, it may include (-), (_) or (.) characters".to_owned(),
        ));
    }
    let agent = match new.agent_id.parse::<Uuid>() {
        Ok(id) => core.store.agent(&id.to_string()).await?,
        Err(_) => None,
    };
    let agent = agent.ok_or_else(|| ApiError::Invalid("agent_id: no such agent".to_owned()))?;
    let envs = new.secret.unwrap_or_default();
    environment::decode_variables(&envs)
        .map_err(|error| ApiError::Invalid(format!("secret: {error}")))?;
    let connection = Connection {
        id: Uuid::new_v4(),
        name: new.name,
        agent_id: agent.id,
        managed_by: None,
        kind: new.kind,
        subtype: new.subtype.unwrap_or_default(),
        command: new.command.unwrap_or_default(),
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

/// A connection without the values of its variables.
fn view(core: &Shared, connection: &Connection) -> Value {
    let online = core
        .registry
        .is_online(connection.agent_id, &connection.name);
    let secret: BTreeMap<&str, &str> = connection
        .envs
        .keys()
        .map(|key| (key.as_str(), ""))
        .collect();
    json!({
        "id": connection.id.to_string(),
        "name": connection.name,
        "resource_name": connection.name,
        "command": connection.command,
        "type": connection.kind,
        "subtype": connection.subtype,
        "secret": secret,
        "default_database": "",
        "agent_id": connection.agent_id.to_string(),
        "status": if online { "online" } else { "offline" },
        "reviewers": connection.reviewers,
        "redact_enabled": false,
        "redact_types": connection.redact_types,
        "managed_by": connection.managed_by,
        "tags": [],
        "connection_tags": {},
        "access_mode_runbooks": ENABLED,
        "access_mode_exec": ENABLED,
        "access_mode_connect": ENABLED,
        "access_schema": ENABLED,
        "guardrail_rules": [],
        "jira_issue_template_id": "",
    })
}
