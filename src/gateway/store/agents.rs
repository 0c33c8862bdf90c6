//! Agents: a name, and the hash of the key that speaks for it.

use std::collections::BTreeMap;

use sqlx::sqlite::SqliteRow;
use sqlx::{Error, Row};
use uuid::Uuid;

use super::{Store, StoreError, map_to_json, read_json, read_uuid, taken_or};

/// The organisation that all agents of a gateway belong to; part of their ids.
const ORGANISATION: &str = "default";

/// An agent's row.
#[derive(Clone, Debug)]
pub(crate) struct Agent {
    pub(crate) id: Uuid,
    pub(crate) name: String,
    pub(crate) mode: String,
    /// Lower-case hex SHA-256 of the key's secret.
    pub(crate) key_hash: String,
    /// What the agent said about itself when it connected last.
    pub(crate) metadata: BTreeMap<String, String>,
}

impl Agent {
    fn read(row: &SqliteRow) -> Result<Self, Error> {
        Ok(Self {
            id: read_uuid(row, "id")?,
            name: row.try_get("name")?,
            mode: row.try_get("mode")?,
            key_hash: row.try_get("key_hash")?,
            metadata: read_json(row, "metadata")?,
        })
    }
}

impl Store {
    /// Creates an agent; its id follows from its name.
    pub(crate) async fn create_agent(
        &self,
        name: &str,
        mode: &str,
        key_hash: &str,
    ) -> Result<(), StoreError> {
        let id = Uuid::new_v5(
            &Uuid::NAMESPACE_URL,
            format!("agent/{ORGANISATION}/{name}").as_bytes(),
        );
        sqlx::query("insert into agents (id, name, mode, key_hash) values ($1, $2, $3, $4)")
            .bind(id.to_string())
            .bind(name)
            .bind(mode)
            .bind(key_hash)
            .execute(&self.pool)
            .await
            .map_err(taken_or)?;
        Ok(())
    }

    /// All agents by name.
    pub(crate) async fn agents(&self) -> Result<Vec<Agent>, StoreError> {
        let rows = sqlx::query("select * from agents order by name")
            .fetch_all(&self.pool)
            .await?;
        Ok(rows.iter().map(Agent::read).collect::<Result<_, _>>()?)
    }

    /// One agent by name or id.
    pub(crate) async fn agent(&self, name_or_id: &str) -> Result<Option<Agent>, StoreError> {
        let row = sqlx::query("select * from agents where name = $1 or id = $1")
            .bind(name_or_id)
            .fetch_optional(&self.pool)
            .await?;
        Ok(row.as_ref().map(Agent::read).transpose()?)
    }

    /// The agent that a key's hash speaks for.
    pub(crate) async fn agent_by_hash(&self, key_hash: &str) -> Result<Option<Agent>, StoreError> {
        let row = sqlx::query("select * from agents where key_hash = $1")
            .bind(key_hash)
            .fetch_optional(&self.pool)
            .await?;
        Ok(row.as_ref().map(Agent::read).transpose()?)
    }

    /// Keeps what an agent says about itself.
    pub(crate) async fn describe_agent(
        &self,
        id: Uuid,
        metadata: &BTreeMap<String, String>,
    ) -> Result<(), StoreError> {
        sqlx::query("update agents set metadata = $2 where id = $1")
            .bind(id.to_string())
            .bind(map_to_json(metadata))
            .execute(&self.pool)
            .await?;
        Ok(())
    }

    /// Deletes an agent and the connections that it announced, which nobody could serve any more.
    pub(crate) async fn delete_agent(&self, name_or_id: &str) -> Result<Option<Agent>, StoreError> {
        let mut transaction = self.pool.begin().await?;
        let row = sqlx::query("delete from agents where name = $1 or id = $1 returning *")
            .bind(name_or_id)
            .fetch_optional(&mut *transaction)
            .await?;
        let Some(agent) = row.as_ref().map(Agent::read).transpose()? else {
            return Ok(None);
        };
        sqlx::query("delete from connections where agent_id = $1 and managed_by is not null")
            .bind(agent.id.to_string())
            .execute(&mut *transaction)
            .await?;
        transaction.commit().await?;
        Ok(Some(agent))
    }
}
