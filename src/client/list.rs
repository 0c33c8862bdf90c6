//! `hoop list`: the applications on this machine and the connections of the gateway, if one is configured.

use std::collections::HashMap;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::http::{Answer, Api};
use super::{ClientError, Context, table, target};
use crate::config;
use crate::protocol::bodies::{Agent, Connection, ErrorBody};
use crate::sys::tty::is_terminal;

/// What stands for the agent of an application on this machine.
const LOCAL: &str = "local";

/// How long an application on this machine may take to answer; one that is stopped never does.
const LOCAL_DEADLINE: Duration = Duration::from_secs(2);

/// How `hoop list` prints.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ListFormat {
    /// A table.
    #[default]
    Table,
    /// JSON, as the API gives it, with the agent's name as `agent`.
    Json,
}

/// A connection as it is listed.
struct Entry {
    agent: String,
    connection: Connection,
    /// All that the API said.
    raw: Value,
}

/// Lists, and returns the exit code.
pub async fn list(context: &Context, format: ListFormat) -> Result<i32, ClientError> {
    let mut entries = on_this_machine(context).await;
    let remote = at_gateway(context).await;
    let failed = remote.as_ref().err().map(ToString::to_string);
    entries.extend(remote.unwrap_or_default());
    entries.sort_by(|a, b| {
        let key = |entry: &Entry| (entry.connection.name.clone(), entry.agent.clone());
        key(a).cmp(&key(b))
    });
    context.print(&match format {
        ListFormat::Table => as_table(entries, is_terminal(context.stdout())),
        ListFormat::Json => as_json(entries)?,
    })?;
    match failed {
        None => Ok(0),
        Some(reason) => Err(ClientError::Request(format!(
            "Failed to fetch connections: {reason}"
        ))),
    }
}

/// The names of the applications on this machine.
pub(super) async fn local_names(context: &Context) -> Vec<String> {
    let entries = on_this_machine(context).await;
    let mut names: Vec<_> = entries
        .into_iter()
        .map(|entry| entry.connection.name)
        .collect();
    names.sort();
    names
}

async fn on_this_machine(context: &Context) -> Vec<Entry> {
    let mut asking = JoinSet::new();
    for path in context.places().list() {
        asking.spawn(on_socket(path));
    }
    asking.join_all().await.into_iter().flatten().collect()
}

/// What an application serves. One with a key serves nothing here; one that is stopped does not answer.
async fn on_socket(path: PathBuf) -> Vec<Entry> {
    let api = Api::on_socket(path.clone());
    let answer = tokio::time::timeout(LOCAL_DEADLINE, api.get("connections")).await;
    let parsed = answer
        .map_err(|_| "no answer within 2 s".to_owned())
        .and_then(|answer| answer.map_err(|error| error.to_string()))
        .and_then(|answer| entries(&answer, |_| LOCAL.to_owned()));
    parsed.unwrap_or_else(|reason| {
        tracing::debug!("{}: {reason}", path.display());
        Vec::new()
    })
}

async fn at_gateway(context: &Context) -> Result<Vec<Entry>, ClientError> {
    let request = |reason: String| ClientError::Request(reason);
    let gateway = config::load(&context.variables()).map_err(|error| request(error.to_string()))?;
    let Some(gateway) = gateway else {
        return Ok(Vec::new());
    };
    let api = target::api(&gateway)?;
    let ask = async |path| {
        api.get(path)
            .await
            .map_err(|error| request(error.to_string()))
    };
    let connections = ask("connections").await?;
    let agents: HashMap<String, String> =
        serde_json::from_slice::<Vec<Agent>>(&ask("agents").await?.body)
            .unwrap_or_default()
            .into_iter()
            .map(|agent| (agent.id, agent.name))
            .collect();
    let name = |connection: &Connection| {
        let name = agents.get(&connection.agent_id);
        name.cloned().unwrap_or_else(|| "-".to_owned())
    };
    entries(&connections, name).map_err(request)
}

fn entries(answer: &Answer, agent: impl Fn(&Connection) -> String) -> Result<Vec<Entry>, String> {
    if !answer.status.is_success() {
        return Err(reason(answer));
    }
    let wrong = |error: serde_json::Error| format!("the answer is not as expected: {error}");
    let list: Vec<Value> = serde_json::from_slice(&answer.body).map_err(wrong)?;
    let entry = |raw: Value| {
        let connection = serde_json::from_value(raw.clone()).map_err(wrong)?;
        Ok(Entry {
            agent: agent(&connection),
            connection,
            raw,
        })
    };
    list.into_iter().map(entry).collect()
}

/// Why the API refused, for a person.
fn reason(answer: &Answer) -> String {
    let said = serde_json::from_slice::<ErrorBody>(&answer.body)
        .map(|body| body.message)
        .unwrap_or_default();
    if said.is_empty() {
        format!("status {}", answer.status.as_u16())
    } else {
        said
    }
}

fn as_table(entries: Vec<Entry>, colours: bool) -> String {
    let rows: Vec<_> = entries
        .into_iter()
        .map(|entry| {
            let connection = entry.connection;
            [
                connection.name,
                connection.r#type,
                entry.agent,
                connection.status,
            ]
        })
        .collect();
    table::ruled(["NAME", "TYPE", "AGENT", "STATUS"], &rows, colours)
}

fn as_json(entries: Vec<Entry>) -> Result<String, ClientError> {
    let list: Vec<_> = entries
        .into_iter()
        .map(|mut entry| {
            if let Some(object) = entry.raw.as_object_mut() {
                object.insert("agent".to_owned(), json!(entry.agent));
            }
            entry.raw
        })
        .collect();
    serde_json::to_string_pretty(&list)
        .map_err(|error| ClientError::Request(format!("cannot print: {error}")))
}
