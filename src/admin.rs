//! What `hoop admin` does: agents' keys, and what a gateway knows.
//!
//! Rules: a key is printed once, alone on standard output, so that `HOOP_KEY=$(hoop admin create agent NAME)` works; tables
//! are those of the reference program; a refusal is told with its status and body, exit code 1.

mod age;

use std::collections::HashMap;

use http::StatusCode;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use crate::client::http::Answer;
use crate::client::{ClientError, Context, table, target};
use crate::protocol::bodies::{Agent, Connection, CreateAgent, CreatedAgent, Session, SessionList};

/// Bytes that a name keeps in a path; all others are escaped.
const IN_PATH: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'_')
    .remove(b'.')
    .remove(b'~');

/// Longest command in a table, in characters.
const MAX_COMMAND: usize = 30;

/// What to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AdminCommand {
    /// Make an agent and print its key.
    CreateAgent {
        /// Its name.
        name: String,
        /// `standard` or `embedded`; the gateway's default when `None`.
        mode: Option<String>,
    },
    /// Delete an agent: its key is refused from then on.
    DeleteAgent {
        /// Its name, also written `agent/NAME`.
        name: String,
    },
    /// Print a list.
    Get {
        /// Of what.
        resource: Resource,
        /// The API's answer as it is, instead of a table.
        json: bool,
    },
}

/// What can be listed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resource {
    /// Agents.
    Agents,
    /// Connections.
    Connections,
    /// Sessions.
    Sessions,
}

/// Runs a command and returns its exit code.
pub async fn run(context: &Context, command: AdminCommand) -> Result<i32, ClientError> {
    let api = target::configured_api(context)?;
    match command {
        AdminCommand::CreateAgent { name, mode } => {
            let mode = mode.unwrap_or_default();
            let body = serde_json::to_vec(&CreateAgent {
                name: name.clone(),
                mode,
            })
            .map_err(|error| unreadable(&error))?;
            let answer = api.post("agents", body).await;
            if answer
                .as_ref()
                .is_ok_and(|answer| answer.status == StatusCode::CONFLICT)
            {
                return Err(ClientError::Request(format!(
                    "agent {name:?} exists already; its key was shown when it was made: delete it to make a new one"
                )));
            }
            let answer = ask(answer)?;
            let created: CreatedAgent = parse(&answer)?;
            context.print(&format!("{}\n", created.token))?;
        }
        AdminCommand::DeleteAgent { name } => {
            let name = name.strip_prefix("agent/").unwrap_or(&name);
            let path = format!("agents/{}", utf8_percent_encode(name, IN_PATH));
            // The gateway deletes what is absent without a word; here a mistyped name must not look like a revoked key.
            let known = api.get(&path).await;
            if known
                .as_ref()
                .is_ok_and(|answer| answer.status == StatusCode::NOT_FOUND)
            {
                return Err(ClientError::Request(format!(
                    "there is no agent {name:?}: nothing was deleted"
                )));
            }
            ask(known)?;
            ask(api.delete(&path).await)?;
            context.print(&format!("agent {name:?} deleted\n"))?;
        }
        AdminCommand::Get { resource, json } => {
            let path = match resource {
                Resource::Agents => "agents",
                Resource::Connections => "connections",
                Resource::Sessions => "sessions?count=capped",
            };
            let answer = ask(api.get(path).await)?;
            let text = match resource {
                _ if json => String::from_utf8_lossy(&answer.body).into_owned(),
                Resource::Agents => agents(&parse::<Vec<Agent>>(&answer)?),
                Resource::Connections => {
                    let known = ask(api.get("agents").await)?;
                    connections(
                        &parse::<Vec<Connection>>(&answer)?,
                        &parse::<Vec<Agent>>(&known)?,
                    )
                }
                Resource::Sessions => {
                    let now = age::now();
                    sessions(&parse::<SessionList>(&answer)?.data, now)
                }
            };
            context.print(&text)?;
        }
    }
    Ok(0)
}

/// The answer, if the API did what it was asked.
fn ask<E: std::fmt::Display>(answer: Result<Answer, E>) -> Result<Answer, ClientError> {
    let answer = answer.map_err(|error| ClientError::Request(error.to_string()))?;
    if answer.status.is_success() {
        return Ok(answer);
    }
    let body = String::from_utf8_lossy(&answer.body);
    let body: String = body.chars().filter(|c| !c.is_control()).collect();
    let status = answer.status.as_u16();
    Err(ClientError::Request(format!(
        "failed performing request, status={status}, body={body}"
    )))
}

fn parse<T: serde::de::DeserializeOwned>(answer: &Answer) -> Result<T, ClientError> {
    serde_json::from_slice(&answer.body).map_err(|error| unreadable(&error))
}

// The error of a parser names a place and a type; it quotes no strings longer than a name.
fn unreadable(error: &serde_json::Error) -> ClientError {
    ClientError::Request(format!("the gateway's answer is not as expected: {error}"))
}

fn agents(list: &[Agent]) -> String {
    let row = |agent: &Agent| {
        let status = match agent.status.as_str() {
            "CONNECTED" => "ONLINE",
            "DISCONNECTED" => "OFFLINE",
            _ => "-",
        };
        [
            agent.id.clone(),
            agent.name.clone(),
            agent.mode.clone(),
            agent.version.clone(),
            agent.hostname.clone(),
            agent.platform.clone(),
            status.to_owned(),
        ]
    };
    let rows: Vec<_> = list.iter().map(row).collect();
    table::tabbed(
        [
            "UID", "NAME", "MODE", "VERSION", "HOSTNAME", "PLATFORM", "STATUS",
        ],
        &rows,
    )
}

fn connections(list: &[Connection], agents: &[Agent]) -> String {
    let names: HashMap<&str, &str> = agents
        .iter()
        .map(|agent| (agent.id.as_str(), agent.name.as_str()))
        .collect();
    let row = |connection: &Connection| {
        [
            connection.name.clone(),
            command(&connection.command),
            connection.r#type.clone(),
            names
                .get(connection.agent_id.as_str())
                .copied()
                .unwrap_or_default()
                .to_owned(),
            connection.status.to_uppercase(),
            String::new(),
            String::new(),
        ]
    };
    let rows: Vec<_> = list.iter().map(row).collect();
    table::tabbed(
        [
            "NAME", "COMMAND", "TYPE", "AGENT", "STATUS", "SECRETS", "PLUGINS",
        ],
        &rows,
    )
}

/// A command's words, each in quotes, cut where the column ends.
fn command(words: &[String]) -> String {
    let quoted: Vec<_> = words.iter().map(|word| format!("\"{word}\"")).collect();
    let text = format!("[ {} ]", quoted.join(" "));
    if text.chars().count() <= MAX_COMMAND {
        return text;
    }
    text.chars()
        .take(MAX_COMMAND)
        .chain("...".chars())
        .collect()
}

fn sessions(list: &[Session], now: u64) -> String {
    let row = |session: &Session| {
        let code = session.exit_code.map(|code| format!(" ({code})"));
        [
            session.id.clone(),
            session.user.clone(),
            session.connection.clone(),
            session.r#type.clone(),
            session.verb.clone(),
            session.event_size.to_string(),
            String::new(),
            String::new(),
            format!("{}{}", session.status, code.unwrap_or_default()),
            age::since(&session.start_date, now).unwrap_or_default(),
        ]
    };
    let rows: Vec<_> = list.iter().map(row).collect();
    table::tabbed(
        [
            "UID",
            "USER",
            "CONNECTION",
            "TYPE",
            "VERB",
            "SIZE",
            "APPROVERS",
            "REDACTED",
            "STATUS",
            "AGE",
        ],
        &rows,
    )
}

#[cfg(test)]
mod tests {
    use http::StatusCode;

    use super::*;

    fn asked(status: u16, body: &'static str) -> Result<Answer, ClientError> {
        ask(Ok::<_, String>(Answer {
            status: StatusCode::from_u16(status).unwrap(),
            body: body.into(),
        }))
    }

    #[test]
    fn a_refusal_is_told_with_status_and_body() {
        let error = asked(409, r#"{"message":"resource already exists"}"#).unwrap_err();
        assert_eq!(
            error.to_string(),
            r#"failed performing request, status=409, body={"message":"resource already exists"}"#
        );
        assert_eq!(error.exit_code(), 1);
        assert!(asked(204, "").is_ok());
    }

    #[test]
    fn agents_are_listed_as_the_reference_does() {
        let body = r#"[{"id":"3e00b022-9a6a-5689-bc10-de80395b9c2d","name":"emb","mode":"embedded","status":"DISCONNECTED"},
            {"id":"afb06b1b-84a9-5f09-94e4-6503795b82e4","name":"std","mode":"standard","status":"CONNECTED",
             "version":"unknown","hostname":"vm","platform":"linux/amd64"}]"#;
        let list: Vec<Agent> = serde_json::from_str(body).unwrap();
        let wanted = "\
UID                                    NAME   MODE       VERSION   HOSTNAME   PLATFORM      STATUS    \n\
3e00b022-9a6a-5689-bc10-de80395b9c2d   emb    embedded   -         -          -             OFFLINE   \n\
afb06b1b-84a9-5f09-94e4-6503795b82e4   std    standard   unknown   vm         linux/amd64   ONLINE    \n";
        assert_eq!(agents(&list), wanted);
    }

    #[test]
    fn connections_show_their_command_and_agent() {
        let body = r#"[{"name":"c","command":["bash","-l"],"type":"custom","agent_id":"1","status":"online"},
            {"name":"d","command":null,"type":"custom","agent_id":"2","status":"offline"}]"#;
        let list: Vec<Connection> = serde_json::from_str(body).unwrap();
        let known: Vec<Agent> = serde_json::from_str(r#"[{"id":"1","name":"std"}]"#).unwrap();
        let wanted = "\
NAME   COMMAND           TYPE     AGENT   STATUS    SECRETS   PLUGINS   \n\
c      [ \"bash\" \"-l\" ]   custom   std     ONLINE    -         -         \n\
d      [  ]              custom   -       OFFLINE   -         -         \n";
        assert_eq!(connections(&list, &known), wanted);
        let long = command(&["x".repeat(25), "y".to_owned()]);
        assert_eq!(long, format!("[ \"{}\" ...", "x".repeat(25)));
        assert_eq!(command(&["x".repeat(24)]).chars().count(), MAX_COMMAND);
    }

    #[test]
    fn sessions_show_their_code_and_age() {
        let body = r#"[{"id":"s","user":"u","connection":"c","type":"custom","verb":"exec","status":"done","exit_code":0,
            "start_date":"1970-01-01T00:00:00Z"}]"#;
        let list: Vec<Session> = serde_json::from_str(body).unwrap();
        let text = sessions(&list, 90);
        let row: Vec<_> = text.lines().nth(1).unwrap().split_whitespace().collect();
        assert_eq!(
            row,
            [
                "s", "u", "c", "custom", "exec", "0", "-", "-", "done", "(0)", "1m"
            ]
        );
    }
}
