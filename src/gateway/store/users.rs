//! Users: a name, and the hash of the token that speaks for it.

use sqlx::{Error, Row};

use super::{Store, StoreError};

/// A user's row.
#[derive(Clone, Debug)]
pub(crate) struct User {
    pub(crate) name: String,
    pub(crate) admin: bool,
    /// Lower-case hex SHA-256 of the token.
    pub(crate) token_hash: String,
}

impl Store {
    /// Sets a user's token; the one before is good no more.
    pub(crate) async fn put_user(
        &self,
        name: &str,
        token_hash: &str,
        admin: bool,
    ) -> Result<(), StoreError> {
        sqlx::query(
            "insert into users (name, token_hash, admin) values ($1, $2, $3)
             on conflict (name) do update set token_hash = excluded.token_hash, admin = excluded.admin",
        )
        .bind(name)
        .bind(token_hash)
        .bind(admin)
        .execute(&self.pool)
        .await?;
        Ok(())
    }

    /// The user that a token's hash speaks for.
    pub(crate) async fn user_by_hash(&self, token_hash: &str) -> Result<Option<User>, StoreError> {
        let row = sqlx::query("select name, admin, token_hash from users where token_hash = $1")
            .bind(token_hash)
            .fetch_optional(&self.pool)
            .await?;
        let Some(row) = row else { return Ok(None) };
        let read = || -> Result<User, Error> {
            Ok(User {
                name: row.try_get("name")?,
                admin: row.try_get("admin")?,
                token_hash: row.try_get("token_hash")?,
            })
        };
        Ok(Some(read()?))
    }
}
