//! Sessions: who used what, and how it ended.

use axum::Json;
use axum::extract::{Path, Query, State};
use serde::Deserialize;
use serde_json::{Value, json};

use super::super::store::Session;
use super::{AnyUser, ApiError, Shared};

/// Sessions in one answer unless fewer are asked for.
const PAGE: u32 = 100;

#[derive(Deserialize)]
pub(super) struct Page {
    limit: Option<u32>,
    offset: Option<u32>,
}

pub(super) async fn list(
    _user: AnyUser,
    State(core): State<Shared>,
    Query(page): Query<Page>,
) -> Result<Json<Value>, ApiError> {
    let limit = page.limit.unwrap_or(PAGE).min(PAGE);
    let offset = page.offset.unwrap_or_default();
    let sessions = core.store.sessions(limit, offset).await?;
    let total = core.store.count_sessions().await?;
    let data: Vec<Value> = sessions.iter().map(view).collect();
    let seen = u64::from(offset) + data.len() as u64;
    Ok(Json(json!({
        "data": data,
        "total": total,
        "total_is_capped": false,
        "has_next_page": seen < total,
    })))
}

pub(super) async fn get(
    _user: AnyUser,
    State(core): State<Shared>,
    Path(session): Path<String>,
) -> Result<Json<Value>, ApiError> {
    let session = core.store.session(&session).await?;
    let session = session.ok_or(ApiError::NotFound("session not found"))?;
    Ok(Json(view(&session)))
}

fn view(session: &Session) -> Value {
    json!({
        "id": session.id,
        "user": session.user,
        "user_id": session.user,
        "user_name": session.user,
        "type": session.connection_type,
        "connection": session.connection,
        "resource_name": session.connection,
        "agent": session.agent,
        "verb": session.verb,
        "status": session.state,
        "exit_code": session.exit_code,
        "cause": session.cause,
        "start_date": session.started,
        "end_date": session.ended,
        "event_size": 0,
        "review": null,
    })
}
