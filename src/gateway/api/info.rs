//! What the gateway says of itself and of who asks.

use axum::Json;
use axum::extract::State;
use serde_json::{Value, json};

use super::{AnyUser, Shared};

/// How users prove who they are: by tokens that this gateway issues.
const AUTH_METHOD: &str = "local";

pub(super) async fn health() -> Json<Value> {
    Json(json!({ "liveness": "OK" }))
}

pub(super) async fn public() -> Json<Value> {
    Json(json!({ "auth_method": AUTH_METHOD, "setup_required": false }))
}

pub(super) async fn server(_user: AnyUser, State(core): State<Shared>) -> Json<Value> {
    Json(json!({
        "version": env!("CARGO_PKG_VERSION"),
        "commit_sha": "",
        "auth_method": AUTH_METHOD,
        "api_url": core.api_url,
        "grpc_url": core.grpc_url,
        "tenancy_type": "selfhosted",
        "feature_flags": {},
    }))
}

pub(super) async fn user(AnyUser(user): AnyUser) -> Json<Value> {
    let (role, groups) = if user.admin {
        ("admin", vec!["admin"])
    } else {
        ("standard", Vec::new())
    };
    Json(json!({
        "id": user.name,
        "name": user.name,
        "email": user.name,
        "status": "active",
        "verified": true,
        "role": role,
        "groups": groups,
        "is_admin": user.admin,
    }))
}
