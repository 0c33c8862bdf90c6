//! The administrator's file: what client and admin commands of the same account need to reach this gateway.
//!
//! TOML with the keys of the client's own file: `token`, `api_url`, `grpc_url`; mode 0600, replaced as a whole. The token is
//! made at the first start and kept while the file is there; without the file a new one replaces it.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::GatewayError;
use super::auth;
use super::store::{Store, StoreError};
use crate::key::{KeyHash, Secret, generate_user_token};

/// The administrator's name in sessions.
const ADMINISTRATOR: &str = "admin";

/// Why the file was not written.
#[derive(Debug, thiserror::Error)]
pub(super) enum AdminError {
    /// The file.
    #[error(transparent)]
    File(#[from] io::Error),
    /// The database.
    #[error(transparent)]
    Store(#[from] StoreError),
}

#[derive(Serialize, Deserialize)]
struct Content {
    token: String,
    #[serde(default)]
    api_url: String,
    #[serde(default)]
    grpc_url: String,
}

/// Makes sure that the file has a good token and these URLs; `true` when the token is new.
pub(super) async fn prepare(
    store: &Store,
    file: &Path,
    api_url: &str,
    grpc_url: &str,
) -> Result<bool, AdminError> {
    let known = match read_token(file)? {
        Some(token) if auth::user(store, &token).await.is_ok_and(|user| user.admin) => Some(token),
        _ => None,
    };
    let created = known.is_none();
    let token = known.unwrap_or_else(generate_user_token);
    let content = Content {
        token: token.expose().to_owned(),
        api_url: api_url.to_owned(),
        grpc_url: grpc_url.to_owned(),
    };
    let text = toml::to_string(&content).map_err(io::Error::other)?;
    replace(file, &text)?;
    if created {
        // After the file: a token that nobody was told is worse than one that is not good yet.
        let hash = KeyHash::of(token.expose()).to_hex();
        store.put_user(ADMINISTRATOR, &hash, true).await?;
    }
    Ok(created)
}

/// The token in the file; none when there is no file, or none that can be read as ours.
fn read_token(file: &Path) -> io::Result<Option<Secret>> {
    match fs::read_to_string(file) {
        Ok(text) => Ok(toml::from_str::<Content>(&text)
            .ok()
            .map(|content| Secret::new(content.token))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn replace(file: &Path, text: &str) -> io::Result<()> {
    let new = file.with_extension("toml.new");
    // A leftover may have any mode, and `create_new` follows no link.
    match fs::remove_file(&new) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut out = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&new)?;
    out.write_all(text.as_bytes())?;
    out.sync_all()?;
    fs::rename(&new, file)
}

impl AdminError {
    /// The error with the file that it is about.
    pub(super) fn at(self, file: &Path, database: &Path) -> GatewayError {
        match self {
            Self::File(source) => GatewayError::Data {
                what: "write",
                path: file.to_owned(),
                source,
            },
            Self::Store(source) => GatewayError::Store {
                path: database.to_owned(),
                source,
            },
        }
    }
}
