//! What a gateway remembers: agents with the hashes of their keys, users, connections, sessions.
//!
//! One `SQLite` database in two places: a file `gateway.db` (mode 0600, write-ahead log) for `hoop start gateway`, and memory
//! for the gateway inside an agent. Every statement is a constant text with numbered parameters. Credentials come in and are
//! kept as hashes only. A row is read where it is needed; nothing is cached.

mod agents;
mod connections;
mod sessions;
mod users;

use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::Duration;

use sqlx::SqlitePool;
use sqlx::sqlite::{
    SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteRow, SqliteSynchronous,
};
use sqlx::{Error, Row};

pub(crate) use agents::Agent;
pub(crate) use connections::{Announcement, Connection};
pub(crate) use sessions::{NewSession, Session};

/// Connections to a database file: `SQLite` has one writer at a time, readers do not wait for it.
const MAX_CONNECTIONS: u32 = 4;

/// How long a statement waits for another writer.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// Finished sessions that a store in memory keeps; a file keeps all.
const FINISHED_IN_MEMORY: u32 = 1000;

/// The gateway's memory. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Store {
    pool: SqlitePool,
    keep_finished: Option<u32>,
}

/// Why the store did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The name is in use.
    #[error("resource already exists")]
    Taken,
    /// The database failed.
    #[error("the database failed: {0}")]
    Database(#[from] Error),
    /// The database was written by a newer release, or is damaged.
    #[error("the database cannot be brought up to date: {0}")]
    Migrate(#[from] sqlx::migrate::MigrateError),
    /// The database file cannot be created.
    #[error("the database file cannot be created: {0}")]
    Create(#[from] io::Error),
}

impl Store {
    /// Opens or creates the database file `path`, readable by its owner only.
    pub(crate) async fn open(path: &Path) -> Result<Self, StoreError> {
        // SQLite gives its two side files the mode of the database itself.
        OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .open(path)?;
        let options = SqliteConnectOptions::new()
            .filename(path)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Normal)
            .busy_timeout(BUSY_TIMEOUT);
        let pool = SqlitePoolOptions::new()
            .max_connections(MAX_CONNECTIONS)
            .connect_with(options)
            .await?;
        Self::prepare(pool, None).await
    }

    /// A database that lives as long as this process.
    pub(crate) async fn memory() -> Result<Self, StoreError> {
        // The database is its one connection, which therefore must never be closed.
        let pool = SqlitePoolOptions::new()
            .max_connections(1)
            .min_connections(1)
            .idle_timeout(None)
            .max_lifetime(None)
            .connect_with(SqliteConnectOptions::new().in_memory(true))
            .await?;
        Self::prepare(pool, Some(FINISHED_IN_MEMORY)).await
    }

    /// Waits for running statements and closes the files.
    pub(crate) async fn close(&self) {
        self.pool.close().await;
    }

    async fn prepare(pool: SqlitePool, keep_finished: Option<u32>) -> Result<Self, StoreError> {
        sqlx::migrate!("src/gateway/store/migrations")
            .run(&pool)
            .await?;
        Ok(Self {
            pool,
            keep_finished,
        })
    }
}

fn taken_or(error: Error) -> StoreError {
    match error.as_database_error() {
        Some(cause) if cause.is_unique_violation() => StoreError::Taken,
        _ => StoreError::Database(error),
    }
}

fn list_to_json(list: &[String]) -> String {
    serde_json::Value::from(list).to_string()
}

fn map_to_json(map: &BTreeMap<String, String>) -> String {
    serde_json::json!(map).to_string()
}

fn read_json<T: serde::de::DeserializeOwned>(row: &SqliteRow, column: &str) -> Result<T, Error> {
    let text: String = row.try_get(column)?;
    serde_json::from_str(&text).map_err(|error| Error::ColumnDecode {
        index: column.to_owned(),
        source: Box::new(error),
    })
}

fn read_uuid(row: &SqliteRow, column: &str) -> Result<uuid::Uuid, Error> {
    let text: String = row.try_get(column)?;
    uuid::Uuid::parse_str(&text).map_err(|error| Error::ColumnDecode {
        index: column.to_owned(),
        source: Box::new(error),
    })
}

#[cfg(test)]
mod tests {
    use ::uuid::Uuid;

    use super::*;

    /// The same rules hold in a file and in memory.
    async fn both() -> (tempfile::TempDir, [Store; 2]) {
        let dir = tempfile::tempdir().unwrap();
        let file = Store::open(&dir.path().join("gateway.db")).await.unwrap();
        (dir, [file, Store::memory().await.unwrap()])
    }

    async fn agent(store: &Store, name: &str) -> Uuid {
        store.create_agent(name, "standard", name).await.unwrap();
        store.agent(name).await.unwrap().unwrap().id
    }

    fn web(command: &str) -> Announcement {
        Announcement {
            name: "web".to_owned(),
            kind: "custom".to_owned(),
            command: vec![command.to_owned()],
            envs: BTreeMap::from([(command.to_owned(), String::new())]),
            ..Announcement::default()
        }
    }

    #[tokio::test]
    async fn an_agents_connection_is_changed_by_that_agent_only() {
        let (_dir, stores) = both().await;
        for store in stores {
            let (one, two) = (agent(&store, "one").await, agent(&store, "two").await);
            assert!(store.announce(one, &web("a")).await.unwrap());
            assert!(store.announce(one, &web("b")).await.unwrap());
            assert!(!store.announce(two, &web("c")).await.unwrap());
            let found = store.connection("web").await.unwrap().unwrap();
            assert_eq!(found.command, ["b"]);
            assert_eq!(found.envs.len(), 2, "variables are added, never removed");
            assert!(found.is_announced_by(one));
            let by_id = store.connection(&found.id.to_string()).await.unwrap();
            assert_eq!(by_id.map(|found| found.name).as_deref(), Some("web"));
            // With its key an agent loses its connections, and announces no more.
            store.delete_agent("one").await.unwrap();
            assert!(store.connection("web").await.unwrap().is_none());
            assert!(!store.announce(one, &web("a")).await.unwrap());
            assert!(store.announce(two, &web("c")).await.unwrap());
        }
    }

    #[tokio::test]
    async fn names_and_tokens_are_unique_and_the_newest_token_counts() {
        let (_dir, stores) = both().await;
        for store in stores {
            agent(&store, "one").await;
            let again = store.create_agent("one", "standard", "other").await;
            assert!(matches!(again, Err(StoreError::Taken)));
            store.put_user("ada", "hash1", false).await.unwrap();
            store.put_user("ada", "hash2", false).await.unwrap();
            assert!(store.user_by_hash("hash1").await.unwrap().is_none());
            assert!(!store.user_by_hash("hash2").await.unwrap().unwrap().admin);
        }
    }

    #[tokio::test]
    async fn memory_keeps_a_bounded_number_of_finished_sessions() {
        let store = Store {
            keep_finished: Some(2),
            ..Store::memory().await.unwrap()
        };
        for number in 0..4 {
            let new = NewSession {
                id: Uuid::from_u128(number),
                user: "ada",
                connection: "web",
                connection_type: "custom",
                agent: "one",
                verb: "exec",
            };
            store.open_session(&new).await.unwrap();
            if number > 0 {
                store.close_session(new.id, Some(0), None).await.unwrap();
            }
        }
        assert_eq!(store.count_sessions().await.unwrap(), 3, "one is open");
        // A second end changes nothing.
        let last = Uuid::from_u128(3);
        store.close_session(last, Some(9), None).await.unwrap();
        let row = store.session(&last.to_string()).await.unwrap().unwrap();
        assert_eq!(row.exit_code, Some(0));
    }
}
