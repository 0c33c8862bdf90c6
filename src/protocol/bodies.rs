//! JSON bodies of the gateway's HTTP API, written by the gateway and read by the client.
//!
//! The keys are upstream's. Reading is lenient, because the peer may be another release or the reference gateway: unknown
//! keys are ignored, absent ones and `null` are the default. Times are RFC 3339 text.

use std::collections::BTreeMap;
use std::fmt::{Debug, Formatter};

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

macro_rules! bodies {
    ($($(#[$meta:meta])* $name:ident {
        $($(#[$field_meta:meta])* $field:ident: $type:ty,)*
    })*) => {
        $(
            $(#[$meta])*
            #[derive(Clone, Default, PartialEq, Serialize, Deserialize)]
            pub struct $name {
                $(
                    $(#[$field_meta])*
                    #[serde(default, deserialize_with = "or_default")]
                    pub $field: $type,
                )*
            }
        )*
    };
}

/// `null` is what Go makes of an absent list, map or pointer.
fn or_default<'de, D: Deserializer<'de>, T: Default + Deserialize<'de>>(
    deserializer: D,
) -> Result<T, D::Error> {
    Option::deserialize(deserializer).map(Option::unwrap_or_default)
}

bodies! {
    /// What every refusal carries.
    #[derive(Debug)]
    ErrorBody {
        /// The reason, for a person.
        message: String,
    }

    /// Answer of `GET /healthz`.
    #[derive(Debug)]
    HealthZ {
        /// `OK` or `ERR`.
        liveness: String,
    }

    /// Answer of `GET /publicserverinfo`, which needs no token.
    #[derive(Debug)]
    PublicServerInfo {
        /// `local`, `oidc` or `saml`.
        auth_method: String,
        /// Whether the first user has yet to be made.
        setup_required: bool,
    }

    /// Answer of `GET /serverinfo`.
    #[derive(Debug)]
    ServerInfo {
        /// Release of the gateway.
        version: String,
        /// Revision it was built from.
        commit_sha: String,
        /// Its log level.
        log_level: String,
        /// `local`, `oidc` or `saml`.
        auth_method: String,
        /// Where it is reached over HTTP.
        api_url: String,
        /// Where it is reached over gRPC.
        grpc_url: String,
        /// `selfhosted` or `multitenant`.
        tenancy_type: String,
        /// Name of the identity provider.
        idp_provider_name: String,
        /// Switches of unfinished features.
        feature_flags: BTreeMap<String, bool>,
    }

    /// Answer of `GET /userinfo`: whose token it is.
    #[derive(Debug)]
    UserInfo {
        /// Subject.
        id: String,
        /// E-mail address.
        email: String,
        /// Full name.
        name: String,
        /// `active`, `inactive`, ….
        status: String,
        /// Whether the address was verified.
        verified: bool,
        /// Account in Slack.
        slack_id: String,
        /// Groups; `admin` may do everything.
        groups: Vec<String>,
        /// Organisation.
        org_id: String,
        /// Name of the organisation.
        org_name: String,
    }

    /// An agent.
    #[derive(Debug)]
    Agent {
        /// Identifier.
        id: String,
        /// Always empty: a key is shown once, by [`CreatedAgent`].
        token: String,
        /// Name.
        name: String,
        /// `standard` or `embedded`.
        mode: String,
        /// `CONNECTED` or `DISCONNECTED`.
        status: String,
        /// What the agent says of itself, by the keys of its metadata.
        metadata: BTreeMap<String, String>,
        /// Copy from the metadata.
        hostname: String,
        /// Copy from the metadata.
        machine_id: String,
        /// Copy from the metadata.
        kernel_version: String,
        /// Copy from the metadata.
        version: String,
        /// Copy from the metadata.
        goversion: String,
        /// Copy from the metadata.
        compiler: String,
        /// Copy from the metadata.
        platform: String,
    }

    /// Request of `POST /agents`.
    #[derive(Debug)]
    CreateAgent {
        /// Name.
        name: String,
        /// `standard`, also when empty, or `embedded`.
        mode: String,
    }

    /// Answer of `POST /agents`. `Debug` does not show the key.
    CreatedAgent {
        /// The DSN.
        token: String,
    }

    /// A connection. `Debug` does not show its secrets.
    Connection {
        /// Identifier.
        id: String,
        /// Name.
        name: String,
        /// Command that a session runs.
        command: Vec<String>,
        /// Resource it belongs to.
        resource_name: String,
        /// Type as stored.
        r#type: String,
        /// Subtype as stored.
        subtype: String,
        /// Variables of its sessions: `kind:NAME` to base64.
        secret: BTreeMap<String, Value>,
        /// Database to open.
        default_database: String,
        /// Agent that serves it.
        agent_id: String,
        /// `online` or `offline`.
        status: String,
        /// Groups whose approval a session needs.
        reviewers: Vec<String>,
        /// Whether data is masked.
        redact_enabled: bool,
        /// Types of data that are masked.
        redact_types: Vec<String>,
        /// `hoopagent` when an agent announced it.
        managed_by: Option<String>,
        /// Labels of old.
        tags: Vec<String>,
        /// Labels.
        connection_tags: BTreeMap<String, String>,
        /// `enabled` or `disabled`.
        access_mode_runbooks: String,
        /// `enabled` or `disabled`.
        access_mode_exec: String,
        /// `enabled` or `disabled`.
        access_mode_connect: String,
        /// `enabled` or `disabled`.
        access_schema: String,
        /// Rules on input and output.
        guardrail_rules: Vec<String>,
        /// Template of tickets.
        jira_issue_template_id: String,
        /// Groups that may pass a review.
        force_approve_groups: Vec<String>,
        /// Longest access in seconds.
        access_max_duration: Option<i64>,
        /// Approvals that a review needs.
        min_review_approvals: Option<i64>,
        /// Metadata that a session must bring.
        mandatory_metadata_fields: Vec<String>,
        /// Length of an approved access in seconds.
        jit_access_duration_sec: Option<i64>,
        /// Attributes.
        attributes: Vec<String>,
        /// Attributes that the gateway gave.
        managed_attributes: Vec<String>,
        /// What is switched on, by whatever means.
        effective_features: Value,
        /// When the secrets were last changed.
        secrets_updated_at: Option<String>,
    }

    /// A session.
    #[derive(Debug)]
    Session {
        /// Identifier.
        id: String,
        /// Organisation.
        org_id: String,
        /// E-mail address of the user.
        user: String,
        /// Subject of the user.
        user_id: String,
        /// Full name of the user.
        user_name: String,
        /// Type of the connection as stored.
        r#type: String,
        /// Subtype of the connection as stored.
        connection_subtype: String,
        /// Name of the connection.
        connection: String,
        /// `connect`, `exec`, ….
        verb: String,
        /// `open`, `ready` or `done`.
        status: String,
        /// How it ended, once it has, if that is known.
        exit_code: Option<i64>,
        /// Ours: why it ended, when there is more to say than the exit code.
        cause: Option<String>,
        /// Labels that the client gave.
        labels: BTreeMap<String, String>,
        /// Bytes recorded.
        event_size: i64,
        /// Name that the client gave.
        correlation_id: Option<String>,
        /// When it began.
        start_date: String,
        /// When it ended, once it has.
        end_date: Option<String>,
    }

    /// Answer of `GET /sessions`: one page.
    #[derive(Debug)]
    SessionList {
        /// The sessions.
        data: Vec<Session>,
        /// How many there are on all pages.
        total: i64,
        /// Whether counting stopped early.
        total_is_capped: bool,
        /// Whether another page follows.
        has_next_page: bool,
    }
}

impl Debug for CreatedAgent {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        f.write_str("CreatedAgent(…)")
    }
}

impl Debug for Connection {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connection")
            .field("id", &self.id)
            .field("name", &self.name)
            .field("type", &self.r#type)
            .field("subtype", &self.subtype)
            .field("agent_id", &self.agent_id)
            .field("status", &self.status)
            .field("secret", &self.secret.keys())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{from_value, json, to_value};

    use super::*;

    fn keys<T: Serialize>(body: &T) -> Vec<String> {
        match to_value(body).unwrap() {
            Value::Object(map) => map.keys().cloned().collect(),
            other => panic!("{other} is not an object"),
        }
    }

    #[test]
    fn the_keys_are_those_of_the_reference_gateway() {
        let mut agent: Vec<&str> =
            "id token name mode status metadata hostname machine_id kernel_version version \
            goversion compiler platform"
                .split_whitespace()
                .collect();
        let mut connection: Vec<&str> = "id name command resource_name type subtype secret default_database agent_id \
            status reviewers redact_enabled redact_types managed_by tags connection_tags access_mode_runbooks \
            access_mode_exec access_mode_connect access_schema guardrail_rules jira_issue_template_id \
            force_approve_groups access_max_duration min_review_approvals mandatory_metadata_fields \
            jit_access_duration_sec attributes managed_attributes effective_features secrets_updated_at"
            .split_whitespace()
            .collect();
        agent.sort_unstable();
        connection.sort_unstable();
        let sorted = |mut keys: Vec<String>| {
            keys.sort_unstable();
            keys
        };
        assert_eq!(sorted(keys(&Agent::default())), agent);
        assert_eq!(sorted(keys(&Connection::default())), connection);
    }

    #[test]
    fn unknown_absent_and_null_are_all_the_same() {
        let body = json!({"name": "bash", "command": null, "managed_by": null, "news": [1], "status": null});
        let connection: Connection = from_value(body).unwrap();
        assert_eq!(
            connection,
            Connection {
                name: "bash".to_owned(),
                ..Connection::default()
            }
        );
        assert_eq!(from_value::<Agent>(json!({})).unwrap(), Agent::default());
        assert!(from_value::<Agent>(json!({"name": 1})).is_err());
        assert!(from_value::<Agent>(json!(null)).is_err());
    }

    #[test]
    fn debug_shows_no_secret() {
        let connection = Connection {
            secret: BTreeMap::from([("envvar:PASS".to_owned(), json!("canary"))]),
            ..Connection::default()
        };
        let created = CreatedAgent {
            token: "canary".to_owned(),
        };
        let shown = format!("{connection:?} {created:?}");
        assert!(
            shown.contains("envvar:PASS") && !shown.contains("canary"),
            "{shown}"
        );
    }
}
