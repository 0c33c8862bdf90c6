//! What the gateway says of itself and of who asks.

use axum::Json;
use axum::extract::State;

use super::{AnyUser, Shared};
use crate::protocol::bodies::{HealthZ, PublicServerInfo, ServerInfo, UserInfo};

/// How users prove who they are: by tokens that this gateway issues.
const AUTH_METHOD: &str = "local";

pub(super) async fn health() -> Json<HealthZ> {
    Json(HealthZ {
        liveness: "OK".to_owned(),
    })
}

pub(super) async fn public() -> Json<PublicServerInfo> {
    Json(PublicServerInfo {
        auth_method: AUTH_METHOD.to_owned(),
        setup_required: false,
    })
}

pub(super) async fn server(_user: AnyUser, State(core): State<Shared>) -> Json<ServerInfo> {
    Json(ServerInfo {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        auth_method: AUTH_METHOD.to_owned(),
        api_url: core.api_url.clone(),
        grpc_url: core.grpc_url.clone(),
        tenancy_type: "selfhosted".to_owned(),
        ..ServerInfo::default()
    })
}

pub(super) async fn user(AnyUser(user): AnyUser) -> Json<UserInfo> {
    let groups = user.admin.then(|| "admin".to_owned());
    Json(UserInfo {
        id: user.name.clone(),
        email: user.name.clone(),
        name: user.name,
        status: "active".to_owned(),
        verified: true,
        groups: groups.into_iter().collect(),
        ..UserInfo::default()
    })
}
