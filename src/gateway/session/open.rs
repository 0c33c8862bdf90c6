//! The client's `AgentSessionOpen`, rebuilt for the agent.
//!
//! What the gateway knows comes first and cannot be overridden: session, type, parameters. Of the client's keys the others
//! pass, except those of the gateway's and the agent's own names, and our extensions, which pass where they are granted:
//! `hoop.task` needs a connection that the agent itself announced, because it replaces the connection's command. The payload
//! (a task's whole input) does not pass; it follows in packets of its own.

use std::collections::HashMap;

use bytes::Bytes;
use tonic::Status;
use uuid::Uuid;

use crate::protocol::params::ConnectionParams;
use crate::protocol::{Capabilities, Packet, PacketType, connection_type, gob, spec};

use super::super::store::Connection;

/// How data masking counts where nobody configured it.
const DLP_MODE: &str = "best-effort";

/// Key prefixes that no client may set.
const RESERVED: [&str; 2] = ["gateway.", "agent."];

/// Who opens what.
pub(crate) struct Opening {
    pub(crate) user: String,
    pub(crate) verb: Verb,
    pub(crate) origin: Origin,
    pub(crate) connection: Connection,
}

/// What a client wants of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verb {
    /// A terminal or a forward.
    Connect,
    /// A task.
    Exec,
}

/// Who calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    /// An agent.
    Agent,
    /// A person's client.
    Client,
    /// A client on behalf of the HTTP interface.
    ClientApi,
}

impl Verb {
    /// The word in a call's metadata.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Connect => "connect",
            Self::Exec => "exec",
        }
    }

    /// The verb of that word.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        [Self::Connect, Self::Exec]
            .into_iter()
            .find(|verb| verb.as_str() == text)
    }
}

impl Origin {
    /// The word in a call's metadata.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Agent => "agent",
            Self::Client => "client",
            Self::ClientApi => "client-api",
        }
    }

    /// The origin of that word.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        [Self::Agent, Self::Client, Self::ClientApi]
            .into_iter()
            .find(|origin| origin.as_str() == text)
    }
}

impl Opening {
    /// The resolved type of the connection.
    pub(crate) fn connection_type(&self) -> String {
        connection_type::resolve(&self.connection.kind, &self.connection.subtype)
    }

    /// The packet for an agent with these capabilities.
    pub(crate) fn rebuild(
        &self,
        client: Packet,
        session: Uuid,
        agent: Capabilities,
    ) -> Result<Packet, Status> {
        let args = match client.spec.get(spec::TERMINAL_ARGS) {
            None => Vec::new(),
            Some(args) => gob::decode_strings(args)
                .map_err(|error| Status::invalid_argument(format!("client arguments: {error}")))?,
        };
        let mut keys = client.spec;
        keys.retain(|key, _| self.passes(key, agent));
        keys.extend(self.own_keys(session, args));
        Ok(Packet {
            r#type: PacketType::AgentSessionOpen.as_str().to_owned(),
            spec: keys,
            ..Packet::default()
        })
    }

    fn own_keys(&self, session: Uuid, args: Vec<String>) -> HashMap<String, Bytes> {
        let connection = &self.connection;
        let params = ConnectionParams {
            connection_name: connection.name.clone(),
            connection_type: self.connection_type(),
            connection_sub_type: connection.subtype.clone(),
            user_id: self.user.clone(),
            user_email: self.user.clone(),
            env_vars: connection.envs.clone(),
            cmd_list: connection.command.clone(),
            client_args: args,
            client_verb: self.verb.as_str().to_owned(),
            client_origin: self.origin.as_str().to_owned(),
            dlp_mode: DLP_MODE.to_owned(),
            ..ConnectionParams::default()
        };
        HashMap::from([
            (spec::SESSION_ID.to_owned(), session.to_string().into()),
            (
                spec::CONNECTION_TYPE.to_owned(),
                self.connection_type().into(),
            ),
            (spec::CONNECTION_PARAMS.to_owned(), params.encode()),
        ])
    }

    fn passes(&self, key: &str, agent: Capabilities) -> bool {
        match key {
            spec::TASK => agent.tasks && self.verb == Verb::Exec && self.connection.is_announced(),
            spec::STREAM_STDIN => agent.tasks && self.verb == Verb::Exec,
            _ => !RESERVED.iter().any(|prefix| key.starts_with(prefix)),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn opening(announced: bool, verb: Verb) -> Opening {
        Opening {
            user: "admin".to_owned(),
            verb,
            origin: Origin::Client,
            connection: Connection {
                id: Uuid::nil(),
                name: "web".to_owned(),
                agent_id: Uuid::nil(),
                managed_by: announced.then(|| "hoopagent".to_owned()),
                kind: "custom".to_owned(),
                subtype: String::new(),
                command: vec!["sh".to_owned()],
                envs: BTreeMap::from([("envvar:A".to_owned(), "MQ==".to_owned())]),
                reviewers: Vec::new(),
                redact_types: Vec::new(),
            },
        }
    }

    fn request() -> Packet {
        Packet::new(PacketType::AgentSessionOpen)
            .with(spec::TERMINAL_ARGS, gob::encode_strings(&["-c", "true"]))
            .with(spec::TASK, "1")
            .with(spec::STREAM_STDIN, "1")
            .with(spec::SESSION_ID, "forged")
            .with(spec::CONNECTION_PARAMS, "forged")
            .with("agent.anything", "forged")
            .with("jit.timeout", "30m")
            .payload("the input")
    }

    fn rebuilt(announced: bool, verb: Verb, agent: Capabilities) -> Packet {
        opening(announced, verb)
            .rebuild(request(), Uuid::from_u128(5), agent)
            .expect("rebuilt")
    }

    #[test]
    fn the_gateways_keys_win_and_the_clients_others_pass() {
        let packet = rebuilt(true, Verb::Exec, Capabilities::OURS);
        assert!(packet.payload.is_empty());
        assert_eq!(
            packet.session_id(),
            Some(Uuid::from_u128(5).to_string().as_str())
        );
        assert_eq!(packet.text(spec::CONNECTION_TYPE), Some("command-line"));
        assert_eq!(packet.text("jit.timeout"), Some("30m"));
        assert_eq!(packet.text("agent.anything"), None);
        assert!(packet.spec.contains_key(spec::TERMINAL_ARGS));
        let params = ConnectionParams::decode(&packet.spec[spec::CONNECTION_PARAMS]).expect("gob");
        assert_eq!(params.connection_name, "web");
        assert_eq!(params.cmd_list, ["sh"]);
        assert_eq!(params.client_args, ["-c", "true"]);
        assert_eq!(params.client_verb, "exec");
        assert_eq!(params.client_origin, "client");
        assert_eq!(params.user_id, "admin");
        assert_eq!(params.env_vars["envvar:A"], "MQ==");
    }

    #[test]
    fn a_task_is_granted_on_an_announced_connection_of_an_agent_that_can() {
        let granted = |announced, verb, agent| {
            let packet = rebuilt(announced, verb, agent);
            (
                packet.spec.contains_key(spec::TASK),
                packet.spec.contains_key(spec::STREAM_STDIN),
            )
        };
        let (ours, plain) = (Capabilities::OURS, Capabilities::default());
        assert_eq!(granted(true, Verb::Exec, ours), (true, true));
        assert_eq!(granted(false, Verb::Exec, ours), (false, true));
        assert_eq!(granted(true, Verb::Exec, plain), (false, false));
        assert_eq!(granted(true, Verb::Connect, ours), (false, false));
    }

    #[test]
    fn arguments_that_are_no_gob_are_refused() {
        let request = Packet::new(PacketType::AgentSessionOpen).with(spec::TERMINAL_ARGS, "x");
        let refused = opening(true, Verb::Exec)
            .rebuild(request, Uuid::nil(), Capabilities::OURS)
            .err();
        assert_eq!(
            refused.map(|s| s.code()),
            Some(tonic::Code::InvalidArgument)
        );
    }
}
