//! Who calls: an agent by its key, a user by a token, or somebody on this machine by the uid of the socket's other end.
//!
//! The word `Bearer`, exactly one space, the token: anything else is nobody. The shape of the token decides what it is; no
//! shape falls back to another. Tokens are looked up by their hash; what was found is compared again in constant time.
//! What a caller is told never says which part was wrong, except that a key was right and its name was not.

use tonic::Status;
use tonic::metadata::{MetadataMap, MetadataValue};

use super::store::{Agent, Store, StoreError};
use crate::key::{Dsn, KeyHash, Secret};
use crate::protocol::spec::meta;

/// What users' tokens begin with.
const USER_TOKEN: &str = "hpk_";

/// Longest accepted `authorization` value, in bytes.
const MAX_BEARER: usize = 4096;

/// A user whose token, or whose uid, is good.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Identity {
    /// The name that sessions are recorded under.
    pub(crate) name: String,
    pub(crate) admin: bool,
}

/// What a listener knows about the other end of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Peer {
    /// Nothing: credentials decide.
    Anyone,
    /// A process of this uid, on a private socket that lets in only whom it trusts.
    Trusted(u32),
}

/// Why a caller was not let in.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AuthError {
    /// No credentials, or wrong ones.
    #[error("invalid authentication")]
    Invalid,
    /// The key is right, the agent's name in it is not.
    #[error("invalid authentication, mismatch dsn attributes")]
    Mismatch,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<AuthError> for Status {
    fn from(error: AuthError) -> Self {
        match error {
            AuthError::Invalid | AuthError::Mismatch => Self::unauthenticated(error.to_string()),
            AuthError::Store(error) => internal("cannot check credentials", &error),
        }
    }
}

/// What a caller hears of an error of ours, whose details are for the log.
pub(crate) fn internal(what: &str, error: &dyn std::fmt::Display) -> Status {
    tracing::error!("{what}: {error}");
    Status::internal(format!("internal error, {what}"))
}

/// The token of an `authorization` value.
pub(crate) fn bearer(value: Option<&[u8]>) -> Result<Secret, AuthError> {
    let value = value
        .filter(|value| value.len() <= MAX_BEARER)
        .and_then(|value| std::str::from_utf8(value).ok())
        .ok_or(AuthError::Invalid)?;
    match value.split(' ').collect::<Vec<_>>().as_slice() {
        ["Bearer", token] if !token.is_empty() => Ok(Secret::new((*token).to_owned())),
        _ => Err(AuthError::Invalid),
    }
}

/// The token in a call's metadata.
pub(crate) fn metadata_bearer(metadata: &MetadataMap) -> Result<Secret, AuthError> {
    bearer(
        metadata
            .get(meta::AUTHORIZATION)
            .map(MetadataValue::as_encoded_bytes),
    )
}

/// The agent that a key speaks for.
pub(crate) async fn agent(store: &Store, token: &Secret) -> Result<Agent, AuthError> {
    if !token.expose().contains("://") {
        return Err(AuthError::Invalid);
    }
    let dsn = Dsn::parse(token.expose())
        .ok()
        .flatten()
        .ok_or(AuthError::Invalid)?;
    let agent = store
        .agent_by_hash(&dsn.hash().to_hex())
        .await?
        .filter(|agent| is_hash(&agent.key_hash, &dsn.hash()))
        .ok_or(AuthError::Invalid)?;
    if agent.name == dsn.name() {
        Ok(agent)
    } else {
        Err(AuthError::Mismatch)
    }
}

/// The user that a token speaks for.
pub(crate) async fn user(store: &Store, token: &Secret) -> Result<Identity, AuthError> {
    if !token.expose().starts_with(USER_TOKEN) {
        return Err(AuthError::Invalid);
    }
    let hash = KeyHash::of(token.expose());
    let user = store
        .user_by_hash(&hash.to_hex())
        .await?
        .filter(|user| is_hash(&user.token_hash, &hash))
        .ok_or(AuthError::Invalid)?;
    Ok(Identity {
        name: user.name,
        admin: user.admin,
    })
}

impl Peer {
    /// The user on the other end of a private socket.
    pub(crate) fn identity(self) -> Option<Identity> {
        match self {
            Self::Anyone => None,
            Self::Trusted(uid) => Some(Identity {
                name: format!("uid:{uid}"),
                admin: true,
            }),
        }
    }
}

fn is_hash(stored: &str, given: &KeyHash) -> bool {
    KeyHash::from_hex(stored).is_some_and(|stored| stored == *given)
}
