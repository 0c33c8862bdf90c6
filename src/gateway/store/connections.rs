//! Connections: what a client may ask for by name, and the agent that serves it.
//!
//! A name is unique. A connection belongs either to the agent that announced it (`managed_by` = `hoopagent`) or to the
//! administrators; an announcement never changes one that belongs to somebody else.

use std::collections::BTreeMap;

use sqlx::sqlite::SqliteRow;
use sqlx::{Error, Row};
use uuid::Uuid;

use super::{Store, StoreError, list_to_json, map_to_json, read_json, read_uuid, taken_or};

/// `managed_by` of a connection that an agent announced.
const MANAGED_BY_AGENT: &str = "hoopagent";

/// A connection's row. Without `Debug`: the variables may be credentials.
#[derive(Clone)]
pub(crate) struct Connection {
    pub(crate) id: Uuid,
    pub(crate) name: String,
    pub(crate) agent_id: Uuid,
    pub(crate) managed_by: Option<String>,
    pub(crate) kind: String,
    pub(crate) subtype: String,
    pub(crate) command: Vec<String>,
    /// Keys `envvar:NAME`, values base64.
    pub(crate) envs: BTreeMap<String, String>,
    pub(crate) reviewers: Vec<String>,
    pub(crate) redact_types: Vec<String>,
}

/// What an agent says about a connection of its own.
#[derive(Clone, Default)]
pub(crate) struct Announcement {
    pub(crate) name: String,
    pub(crate) kind: String,
    pub(crate) subtype: String,
    pub(crate) command: Vec<String>,
    /// Added to the stored ones, which are never removed by an announcement.
    pub(crate) envs: BTreeMap<String, String>,
    pub(crate) reviewers: Vec<String>,
    pub(crate) redact_types: Vec<String>,
}

impl Connection {
    /// Whether the agent itself announced this connection.
    pub(crate) fn is_announced(&self) -> bool {
        self.managed_by.as_deref() == Some(MANAGED_BY_AGENT)
    }

    /// Whether the agent `agent` announced this connection.
    pub(crate) fn is_announced_by(&self, agent: Uuid) -> bool {
        self.is_announced() && self.agent_id == agent
    }

    fn read(row: &SqliteRow) -> Result<Self, Error> {
        Ok(Self {
            id: read_uuid(row, "id")?,
            name: row.try_get("name")?,
            agent_id: read_uuid(row, "agent_id")?,
            managed_by: row.try_get("managed_by")?,
            kind: row.try_get("type")?,
            subtype: row.try_get("subtype")?,
            command: read_json(row, "command")?,
            envs: read_json(row, "envs")?,
            reviewers: read_json(row, "reviewers")?,
            redact_types: read_json(row, "redact_types")?,
        })
    }
}

impl Store {
    /// All connections by name.
    pub(crate) async fn connections(&self) -> Result<Vec<Connection>, StoreError> {
        let rows = sqlx::query("select * from connections order by name")
            .fetch_all(&self.pool)
            .await?;
        Ok(rows
            .iter()
            .map(Connection::read)
            .collect::<Result<_, _>>()?)
    }

    /// One connection by name or id; a name wins.
    pub(crate) async fn connection(
        &self,
        name_or_id: &str,
    ) -> Result<Option<Connection>, StoreError> {
        let row = sqlx::query(
            "select * from connections where name = $1 or id = $1 order by name = $1 desc limit 1",
        )
        .bind(name_or_id)
        .fetch_optional(&self.pool)
        .await?;
        Ok(row.as_ref().map(Connection::read).transpose()?)
    }

    /// Creates an administrator's connection.
    pub(crate) async fn create_connection(&self, new: &Connection) -> Result<(), StoreError> {
        sqlx::query(
            "insert into connections
               (id, name, agent_id, managed_by, type, subtype, command, envs, reviewers, redact_types)
             values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)",
        )
        .bind(new.id.to_string())
        .bind(&new.name)
        .bind(new.agent_id.to_string())
        .bind(&new.managed_by)
        .bind(&new.kind)
        .bind(&new.subtype)
        .bind(list_to_json(&new.command))
        .bind(map_to_json(&new.envs))
        .bind(list_to_json(&new.reviewers))
        .bind(list_to_json(&new.redact_types))
        .execute(&self.pool)
        .await
        .map_err(taken_or)?;
        Ok(())
    }

    /// Deletes a connection; `false` when there is none.
    pub(crate) async fn delete_connection(&self, name_or_id: &str) -> Result<bool, StoreError> {
        let done = sqlx::query("delete from connections where name = $1 or id = $1")
            .bind(name_or_id)
            .execute(&self.pool)
            .await?;
        Ok(done.rows_affected() > 0)
    }

    /// Creates or updates the connection that `agent` announces; `false` when the name belongs to somebody else, or when
    /// the agent is no more.
    pub(crate) async fn announce(
        &self,
        agent: Uuid,
        said: &Announcement,
    ) -> Result<bool, StoreError> {
        let known = self.connection_named(&said.name).await?;
        let mut envs = said.envs.clone();
        if let Some(known) = known {
            if !known.is_announced_by(agent) {
                return Ok(false);
            }
            for (key, value) in &known.envs {
                envs.entry(key.clone()).or_insert_with(|| value.clone());
            }
            // Agents announce every few seconds: nothing new costs no write.
            let unchanged = known.kind == said.kind
                && known.subtype == said.subtype
                && known.command == said.command
                && known.reviewers == said.reviewers
                && known.redact_types == said.redact_types
                && known.envs == envs;
            if unchanged {
                return Ok(true);
            }
        }
        // The conditions hold inside the statement, whatever happened since the look above.
        let done = sqlx::query(
            "insert into connections
               (id, name, agent_id, managed_by, type, subtype, command, envs, reviewers, redact_types)
             select $1, $2, $3, $4, $5, $6, $7, $8, $9, $10
             where exists (select 1 from agents where id = $3)
             on conflict (name) do update set
               type = excluded.type, subtype = excluded.subtype, command = excluded.command,
               envs = excluded.envs, reviewers = excluded.reviewers, redact_types = excluded.redact_types
             where agent_id = excluded.agent_id and managed_by = excluded.managed_by",
        )
        .bind(Uuid::new_v4().to_string())
        .bind(&said.name)
        .bind(agent.to_string())
        .bind(MANAGED_BY_AGENT)
        .bind(&said.kind)
        .bind(&said.subtype)
        .bind(list_to_json(&said.command))
        .bind(map_to_json(&envs))
        .bind(list_to_json(&said.reviewers))
        .bind(list_to_json(&said.redact_types))
        .execute(&self.pool)
        .await?;
        Ok(done.rows_affected() > 0)
    }

    /// How many connections an agent has.
    pub(crate) async fn count_connections(&self, agent: Uuid) -> Result<u64, StoreError> {
        let count: i64 = sqlx::query_scalar("select count(*) from connections where agent_id = $1")
            .bind(agent.to_string())
            .fetch_one(&self.pool)
            .await?;
        Ok(count.unsigned_abs())
    }

    async fn connection_named(&self, name: &str) -> Result<Option<Connection>, StoreError> {
        let row = sqlx::query("select * from connections where name = $1")
            .bind(name)
            .fetch_optional(&self.pool)
            .await?;
        Ok(row.as_ref().map(Connection::read).transpose()?)
    }
}
