//! The HTTP interface that people's commands use: keys, connections, sessions.
//!
//! Everything below `/api`. Errors are JSON with a `message`. A user's token, or a trusted peer's uid on a private socket,
//! lets in; agents' keys do not. Reading needs any user, changing an administrator. A request's body is small and bounded.

mod agents;
mod connections;
mod info;
mod sessions;

use std::sync::Arc;

use axum::extract::rejection::JsonRejection;
use axum::extract::{DefaultBodyLimit, FromRequest, FromRequestParts, Request};
use axum::http::request::Parts;
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::map_response;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};

use super::Core;
use super::auth::{self, AuthError, Identity, Peer};
use super::store::StoreError;
use crate::protocol::bodies::ErrorBody;

/// Largest body of a request, in bytes.
const MAX_BODY: usize = 64 * 1024;

/// The name and release in every response.
const SERVER: HeaderValue =
    HeaderValue::from_static(concat!("hoopgateway/", env!("CARGO_PKG_VERSION")));

type Shared = Arc<Core>;

/// All routes.
pub(super) fn router(core: &Shared) -> Router {
    let api = Router::new()
        .route("/healthz", get(info::health))
        .route("/publicserverinfo", get(info::public))
        .route("/serverinfo", get(info::server))
        .route("/userinfo", get(info::user))
        .route("/agents", get(agents::list).post(agents::create))
        .route("/agents/{agent}", get(agents::get).delete(agents::delete))
        .route(
            "/connections",
            get(connections::list).post(connections::create),
        )
        .route(
            "/connections/{connection}",
            get(connections::get).delete(connections::delete),
        )
        .route("/sessions", get(sessions::list))
        .route("/sessions/{session}", get(sessions::get));
    Router::new()
        .nest("/api", api)
        .fallback(|| async { ApiError::NotFound("not found") })
        .method_not_allowed_fallback(|| async { ApiError::Method })
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .layer(map_response(|mut response: Response| async {
            response.headers_mut().insert(header::SERVER, SERVER);
            response
        }))
        .with_state(Arc::clone(core))
}

/// Why a request was not served.
#[derive(Debug)]
enum ApiError {
    /// No credentials, or wrong ones.
    Unauthorized,
    /// Not for this user.
    Forbidden,
    /// No such thing.
    NotFound(&'static str),
    /// Not this way.
    Method,
    /// A body that cannot be read, or misses something.
    Request(String),
    /// A body larger than allowed.
    TooLarge,
    /// A value that is not acceptable.
    Invalid(String),
    /// There is one already.
    Conflict(&'static str),
    /// Ours to solve; the log has the details.
    Internal,
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let (status, message) = match self {
            Self::Unauthorized => (StatusCode::UNAUTHORIZED, "access denied".to_owned()),
            Self::Forbidden => (StatusCode::FORBIDDEN, "access denied".to_owned()),
            Self::NotFound(what) => (StatusCode::NOT_FOUND, what.to_owned()),
            Self::Method => (
                StatusCode::METHOD_NOT_ALLOWED,
                "method not allowed".to_owned(),
            ),
            Self::Request(text) => (StatusCode::BAD_REQUEST, text),
            Self::TooLarge => (
                StatusCode::PAYLOAD_TOO_LARGE,
                format!("the request's body is larger than {MAX_BODY} bytes"),
            ),
            Self::Invalid(text) => (StatusCode::UNPROCESSABLE_ENTITY, text),
            Self::Conflict(text) => (StatusCode::CONFLICT, text.to_owned()),
            Self::Internal => (
                StatusCode::INTERNAL_SERVER_ERROR,
                "internal error".to_owned(),
            ),
        };
        (status, Json(ErrorBody { message })).into_response()
    }
}

impl From<StoreError> for ApiError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Taken => Self::Conflict("resource already exists"),
            error => {
                tracing::error!("{error}");
                Self::Internal
            }
        }
    }
}

impl From<AuthError> for ApiError {
    fn from(error: AuthError) -> Self {
        match error {
            AuthError::Invalid | AuthError::Mismatch => Self::Unauthorized,
            AuthError::Store(error) => error.into(),
        }
    }
}

/// Whoever sent a request.
struct AnyUser(Identity);

/// An administrator who sent a request.
struct Admin;

impl FromRequestParts<Shared> for AnyUser {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, core: &Shared) -> Result<Self, ApiError> {
        let peer = parts.extensions.get::<Peer>().copied();
        if let Some(user) = peer.and_then(Peer::identity) {
            return Ok(Self(user));
        }
        let value = parts.headers.get(header::AUTHORIZATION);
        let token = auth::bearer(value.map(HeaderValue::as_bytes))?;
        Ok(Self(auth::user(&core.store, &token).await?))
    }
}

impl FromRequestParts<Shared> for Admin {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, core: &Shared) -> Result<Self, ApiError> {
        let AnyUser(user) = AnyUser::from_request_parts(parts, core).await?;
        if user.admin {
            Ok(Self)
        } else {
            Err(ApiError::Forbidden)
        }
    }
}

/// A JSON body, whose faults are told in the interface's own form.
struct Body<T>(T);

impl<T: serde::de::DeserializeOwned> FromRequest<Shared> for Body<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, core: &Shared) -> Result<Self, ApiError> {
        match Json::<T>::from_request(request, core).await {
            Ok(Json(body)) => Ok(Self(body)),
            Err(JsonRejection::BytesRejection(error))
                if error.status() == StatusCode::PAYLOAD_TOO_LARGE =>
            {
                Err(ApiError::TooLarge)
            }
            Err(error) => Err(ApiError::Request(error.body_text())),
        }
    }
}
