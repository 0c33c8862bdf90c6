//! Sessions: who used which connection, when, and how it ended.

use sqlx::sqlite::SqliteRow;
use sqlx::{Error, Row};
use uuid::Uuid;

use super::{Store, StoreError};

/// Exit code of a session whose gateway died: its result is unknown.
const LOST: i32 = 255;

/// A session's row.
#[derive(Clone, Debug)]
pub(crate) struct Session {
    pub(crate) id: String,
    pub(crate) user: String,
    pub(crate) connection: String,
    pub(crate) connection_type: String,
    pub(crate) verb: String,
    /// `open` or `done`.
    pub(crate) state: String,
    /// `None` while open, and when nobody knows how the program ended.
    pub(crate) exit_code: Option<i32>,
    /// Why it ended, when there is more to say than the exit code.
    pub(crate) cause: Option<String>,
    pub(crate) started: String,
    pub(crate) ended: Option<String>,
}

/// What is known of a session when it begins.
#[derive(Clone, Debug)]
pub(crate) struct NewSession<'a> {
    pub(crate) id: Uuid,
    pub(crate) user: &'a str,
    pub(crate) connection: &'a str,
    pub(crate) connection_type: &'a str,
    pub(crate) agent: &'a str,
    pub(crate) verb: &'a str,
}

impl Session {
    fn read(row: &SqliteRow) -> Result<Self, Error> {
        Ok(Self {
            id: row.try_get("id")?,
            user: row.try_get("user")?,
            connection: row.try_get("connection")?,
            connection_type: row.try_get("connection_type")?,
            verb: row.try_get("verb")?,
            state: row.try_get("state")?,
            exit_code: row.try_get("exit_code")?,
            cause: row.try_get("cause")?,
            started: row.try_get("started")?,
            ended: row.try_get("ended")?,
        })
    }
}

impl Store {
    /// Writes down that a session began.
    pub(crate) async fn open_session(&self, new: &NewSession<'_>) -> Result<(), StoreError> {
        sqlx::query(
            "insert into sessions (id, user, connection, connection_type, agent, verb)
             values ($1, $2, $3, $4, $5, $6)",
        )
        .bind(new.id.to_string())
        .bind(new.user)
        .bind(new.connection)
        .bind(new.connection_type)
        .bind(new.agent)
        .bind(new.verb)
        .execute(&self.pool)
        .await?;
        Ok(())
    }

    /// Writes down how a session ended; the first end counts.
    pub(crate) async fn close_session(
        &self,
        id: Uuid,
        exit_code: Option<i32>,
        cause: Option<&str>,
    ) -> Result<(), StoreError> {
        sqlx::query(
            "update sessions set state = 'done', exit_code = $2, cause = $3,
               ended = strftime('%Y-%m-%dT%H:%M:%fZ', 'now')
             where id = $1 and state = 'open'",
        )
        .bind(id.to_string())
        .bind(exit_code)
        .bind(cause)
        .execute(&self.pool)
        .await?;
        if let Some(keep) = self.keep_finished {
            sqlx::query(
                "delete from sessions where state = 'done' and id not in
                   (select id from sessions where state = 'done' order by started desc, rowid desc limit $1)",
            )
            .bind(keep)
            .execute(&self.pool)
            .await?;
        }
        Ok(())
    }

    /// Ends the sessions that a gateway which died left open; how many there were.
    pub(crate) async fn close_lost_sessions(&self) -> Result<u64, StoreError> {
        let done = sqlx::query(
            "update sessions set state = 'done', exit_code = $1, cause = 'gateway restarted',
               ended = strftime('%Y-%m-%dT%H:%M:%fZ', 'now')
             where state = 'open'",
        )
        .bind(LOST)
        .execute(&self.pool)
        .await?;
        Ok(done.rows_affected())
    }

    /// The newest sessions, newest first.
    pub(crate) async fn sessions(
        &self,
        limit: u32,
        offset: u32,
    ) -> Result<Vec<Session>, StoreError> {
        let rows =
            sqlx::query("select * from sessions order by started desc, id limit $1 offset $2")
                .bind(limit)
                .bind(offset)
                .fetch_all(&self.pool)
                .await?;
        Ok(rows.iter().map(Session::read).collect::<Result<_, _>>()?)
    }

    /// How many sessions there are.
    pub(crate) async fn count_sessions(&self) -> Result<u64, StoreError> {
        let count: i64 = sqlx::query_scalar("select count(*) from sessions")
            .fetch_one(&self.pool)
            .await?;
        Ok(count.unsigned_abs())
    }

    /// One session.
    pub(crate) async fn session(&self, id: &str) -> Result<Option<Session>, StoreError> {
        let row = sqlx::query("select * from sessions where id = $1")
            .bind(id)
            .fetch_optional(&self.pool)
            .await?;
        Ok(row.as_ref().map(Session::read).transpose()?)
    }
}
