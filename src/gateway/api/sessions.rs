//! Sessions: who used what, and how it ended.

use axum::Json;
use axum::extract::{Path, Query, State};
use serde::Deserialize;

use super::super::store;
use super::{AnyUser, ApiError, Shared};
use crate::protocol::bodies::{Session, SessionList};

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
) -> Result<Json<SessionList>, ApiError> {
    let limit = page.limit.unwrap_or(PAGE).min(PAGE);
    let offset = page.offset.unwrap_or_default();
    let sessions = core.store.sessions(limit, offset).await?;
    let total = core.store.count_sessions().await?;
    let data: Vec<Session> = sessions.iter().map(view).collect();
    let seen = u64::from(offset) + data.len() as u64;
    Ok(Json(SessionList {
        data,
        total: i64::try_from(total).unwrap_or(i64::MAX),
        total_is_capped: false,
        has_next_page: seen < total,
    }))
}

pub(super) async fn get(
    _user: AnyUser,
    State(core): State<Shared>,
    Path(session): Path<String>,
) -> Result<Json<Session>, ApiError> {
    let session = core.store.session(&session).await?;
    let session = session.ok_or(ApiError::NotFound("session not found"))?;
    Ok(Json(view(&session)))
}

fn view(session: &store::Session) -> Session {
    Session {
        id: session.id.clone(),
        user: session.user.clone(),
        user_id: session.user.clone(),
        user_name: session.user.clone(),
        r#type: session.connection_type.clone(),
        connection: session.connection.clone(),
        verb: session.verb.clone(),
        status: session.state.clone(),
        exit_code: session.exit_code.map(i64::from),
        cause: session.cause.clone(),
        start_date: session.started.clone(),
        end_date: session.ended.clone(),
        ..Session::default()
    }
}
