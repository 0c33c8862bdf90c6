//! What the gateway tells the agent about a session: Go's `AgentConnectionParams`, as gob in an open packet.
//!
//! Fields are matched by name: any order, unknown ones skipped, absent ones zero, as Go decodes them. They are encoded
//! with all type definitions of the reference gateway, in its order. The parameters of its session analyzer, which no
//! session of ours uses, are skipped and never sent.

use std::collections::BTreeMap;
use std::fmt::{Debug, Formatter};

use bytes::Bytes;

use super::gob::encode::{BYTES, Definition, FIRST_ID, INTERFACE, STRING, StructWriter, Writer};
use super::gob::{self, Value};

const PARAMS: i64 = FIRST_ID;
const ENV_VARS: i64 = FIRST_ID + 1;
const STRINGS: i64 = FIRST_ID + 2;
const ANALYZER: i64 = FIRST_ID + 3;

/// The fields as Go declares them; their place is their number.
const FIELDS: [(&str, i64); 20] = [
    ("ConnectionName", STRING),
    ("ConnectionType", STRING),
    ("ConnectionSubType", STRING),
    ("UserID", STRING),
    ("UserEmail", STRING),
    ("EnvVars", ENV_VARS),
    ("CmdList", STRINGS),
    ("ClientArgs", STRINGS),
    ("ClientVerb", STRING),
    ("ClientOrigin", STRING),
    ("DlpProvider", STRING),
    ("DlpMode", STRING),
    ("DLPInfoTypes", STRINGS),
    ("DlpGcpRawCredentialsJSON", STRING),
    ("DlpPresidioAnalyzerURL", STRING),
    ("DlpPresidioAnonymizerURL", STRING),
    ("DataMaskingEntityTypesData", BYTES),
    ("GuardRailRules", BYTES),
    ("AnalyzerMetricsRules", BYTES),
    ("AISessionAnalyzer", ANALYZER),
];

const ANALYZER_FIELDS: [(&str, i64); 9] = [
    ("RuleName", STRING),
    ("Provider", STRING),
    ("APIURL", STRING),
    ("APIKey", STRING),
    ("Model", STRING),
    ("CustomPrompt", STRING),
    ("LowRiskAction", STRING),
    ("MediumRiskAction", STRING),
    ("HighRiskAction", STRING),
];

/// The connection, the user and the client of a session. The values of `env_vars` and some of the settings are
/// credentials, so `Debug` shows names only.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct ConnectionParams {
    /// Name of the connection.
    pub connection_name: String,
    /// Resolved type, such as `command-line`.
    pub connection_type: String,
    /// Subtype as stored.
    pub connection_sub_type: String,
    /// Subject of the user.
    pub user_id: String,
    /// E-mail address of the user.
    pub user_email: String,
    /// Variables of the connection: `kind:NAME` to base64, see [`environment`](super::environment).
    pub env_vars: BTreeMap<String, String>,
    /// Command of the connection.
    pub cmd_list: Vec<String>,
    /// Arguments that the client added.
    pub client_args: Vec<String>,
    /// `connect`, `exec` or `plain-exec`.
    pub client_verb: String,
    /// `client`, `client-api`, ….
    pub client_origin: String,
    /// Provider of data masking, empty for none.
    pub dlp_provider: String,
    /// How strict data masking is.
    pub dlp_mode: String,
    /// Types of data to mask.
    pub dlp_info_types: Vec<String>,
    /// Credentials of a masking provider.
    pub dlp_gcp_raw_credentials_json: String,
    /// Address of a masking provider's analyzer.
    pub dlp_presidio_analyzer_url: String,
    /// Address of a masking provider's anonymizer.
    pub dlp_presidio_anonymizer_url: String,
    /// JSON, empty when absent.
    pub data_masking_entity_types_data: Vec<u8>,
    /// JSON, empty when absent.
    pub guard_rail_rules: Vec<u8>,
    /// JSON, empty when absent.
    pub analyzer_metrics_rules: Vec<u8>,
}

/// Why connection parameters could not be decoded.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParamsError {
    /// The bytes are not gob.
    #[error("cannot decode the connection parameters")]
    Gob(#[source] gob::Error),
    /// They are gob of something else.
    #[error("cannot decode the connection parameters: no field of theirs is known")]
    NoKnownField,
    /// A field holds something else than it should.
    #[error("cannot decode the connection parameter {0}")]
    Field(&'static str, #[source] gob::Error),
}

impl ConnectionParams {
    /// Decodes the spec value `agent.connection_params`.
    pub fn decode(bytes: &[u8]) -> Result<Self, ParamsError> {
        let Value::Struct(fields) = gob::decode(bytes).map_err(ParamsError::Gob)? else {
            return Err(ParamsError::NoKnownField);
        };
        let mut params = Self::default();
        let mut any_known = false;
        for (name, value) in &fields {
            if let Some((name, _)) = FIELDS.iter().find(|(known, _)| known == name) {
                any_known = true;
                params
                    .set(name, value)
                    .map_err(|error| ParamsError::Field(name, error))?;
            }
        }
        if any_known {
            Ok(params)
        } else {
            Err(ParamsError::NoKnownField)
        }
    }

    /// Encodes the parameters as the reference gateway does; variables that are absent are an empty map.
    pub fn encode(&self) -> Bytes {
        let mut out = Writer::new();
        out.define(
            PARAMS,
            "AgentConnectionParams",
            &Definition::Struct(&FIELDS),
        );
        out.define(
            ENV_VARS,
            "map[string]interface {}",
            &Definition::Map(STRING, INTERFACE),
        );
        out.define(STRINGS, "[]string", &Definition::Slice(STRING));
        out.define(
            ANALYZER,
            "AISessionAnalyzerParams",
            &Definition::Struct(&ANALYZER_FIELDS),
        );
        out.message(&self.value());
        out.into_bytes()
    }

    fn value(&self) -> Writer {
        let mut out = StructWriter::new(PARAMS);
        put_text(&mut out, 0, &self.connection_name);
        put_text(&mut out, 1, &self.connection_type);
        put_text(&mut out, 2, &self.connection_sub_type);
        put_text(&mut out, 3, &self.user_id);
        put_text(&mut out, 4, &self.user_email);
        let variables = out.field(5);
        variables.len(self.env_vars.len());
        for (key, value) in &self.env_vars {
            variables.bytes(key.as_bytes());
            variables.boxed_string(value);
        }
        put_strings(&mut out, 6, &self.cmd_list);
        put_strings(&mut out, 7, &self.client_args);
        put_text(&mut out, 8, &self.client_verb);
        put_text(&mut out, 9, &self.client_origin);
        put_text(&mut out, 10, &self.dlp_provider);
        put_text(&mut out, 11, &self.dlp_mode);
        put_strings(&mut out, 12, &self.dlp_info_types);
        put_text(&mut out, 13, &self.dlp_gcp_raw_credentials_json);
        put_text(&mut out, 14, &self.dlp_presidio_analyzer_url);
        put_text(&mut out, 15, &self.dlp_presidio_anonymizer_url);
        put_bytes(&mut out, 16, &self.data_masking_entity_types_data);
        put_bytes(&mut out, 17, &self.guard_rail_rules);
        put_bytes(&mut out, 18, &self.analyzer_metrics_rules);
        out.finish()
    }

    fn set(&mut self, name: &str, value: &Value<'_>) -> Result<(), gob::Error> {
        match name {
            "ConnectionName" => self.connection_name = value.to_text()?,
            "ConnectionType" => self.connection_type = value.to_text()?,
            "ConnectionSubType" => self.connection_sub_type = value.to_text()?,
            "UserID" => self.user_id = value.to_text()?,
            "UserEmail" => self.user_email = value.to_text()?,
            "EnvVars" => self.env_vars = value.to_string_map()?,
            "CmdList" => self.cmd_list = value.to_strings()?,
            "ClientArgs" => self.client_args = value.to_strings()?,
            "ClientVerb" => self.client_verb = value.to_text()?,
            "ClientOrigin" => self.client_origin = value.to_text()?,
            "DlpProvider" => self.dlp_provider = value.to_text()?,
            "DlpMode" => self.dlp_mode = value.to_text()?,
            "DLPInfoTypes" => self.dlp_info_types = value.to_strings()?,
            "DlpGcpRawCredentialsJSON" => self.dlp_gcp_raw_credentials_json = value.to_text()?,
            "DlpPresidioAnalyzerURL" => self.dlp_presidio_analyzer_url = value.to_text()?,
            "DlpPresidioAnonymizerURL" => self.dlp_presidio_anonymizer_url = value.to_text()?,
            "DataMaskingEntityTypesData" => {
                self.data_masking_entity_types_data = value.to_bytes()?;
            }
            "GuardRailRules" => self.guard_rail_rules = value.to_bytes()?,
            "AnalyzerMetricsRules" => self.analyzer_metrics_rules = value.to_bytes()?,
            _ => {}
        }
        Ok(())
    }
}

impl Debug for ConnectionParams {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ConnectionParams")
            .field("connection_name", &self.connection_name)
            .field("connection_type", &self.connection_type)
            .field("user_id", &self.user_id)
            .field("env_vars", &self.env_vars.keys())
            .field("client_verb", &self.client_verb)
            .field("client_origin", &self.client_origin)
            .finish_non_exhaustive()
    }
}

fn put_text(out: &mut StructWriter, number: u64, text: &str) {
    put_bytes(out, number, text.as_bytes());
}

fn put_bytes(out: &mut StructWriter, number: u64, bytes: &[u8]) {
    if !bytes.is_empty() {
        out.field(number).bytes(bytes);
    }
}

fn put_strings(out: &mut StructWriter, number: u64, items: &[String]) {
    if !items.is_empty() {
        out.field(number).strings(items);
    }
}

#[cfg(test)]
mod tests {
    use proptest::array::uniform3;
    use proptest::collection::{btree_map, vec};
    use proptest::prelude::{any, proptest};

    use super::super::gob::vectors::{EVERY_KIND, PARAMS, SMALL_PARAMS, STRINGS, unhex};
    use super::*;

    fn strings(items: &[&str]) -> Vec<String> {
        items.iter().map(|item| (*item).to_owned()).collect()
    }

    fn console() -> ConnectionParams {
        ConnectionParams {
            connection_name: "bash".to_owned(),
            connection_type: "command-line".to_owned(),
            user_id: "u1".to_owned(),
            user_email: "a@b.c".to_owned(),
            env_vars: BTreeMap::from([("envvar:A".to_owned(), "Yg==".to_owned())]),
            cmd_list: strings(&["bash", "-l"]),
            client_verb: "connect".to_owned(),
            client_origin: "client".to_owned(),
            dlp_mode: "best-effort".to_owned(),
            analyzer_metrics_rules: b"[]".to_vec(),
            ..ConnectionParams::default()
        }
    }

    #[test]
    fn they_are_those_of_a_go_gateway_both_ways() {
        let bytes = unhex(PARAMS);
        assert_eq!(ConnectionParams::decode(&bytes).unwrap(), console());
        assert_eq!(console().encode(), bytes);
    }

    #[test]
    fn fields_may_come_in_another_order_and_be_missing() {
        let params = ConnectionParams::decode(&unhex(SMALL_PARAMS)).unwrap();
        assert_eq!(
            params,
            ConnectionParams {
                connection_name: "bash".to_owned(),
                cmd_list: strings(&["bash", "-l"]),
                env_vars: BTreeMap::from([("k".to_owned(), "Yg==".to_owned())]),
                ..ConnectionParams::default()
            }
        );
    }

    #[test]
    fn unknown_fields_are_skipped_unless_there_are_no_others() {
        let mut wide = SMALL_PARAMS.replace("436d644c697374", "436d644c697375");
        let params = ConnectionParams::decode(&unhex(&wide)).unwrap();
        assert_eq!(params.cmd_list, strings(&[]));
        wide = wide.replace("456e7656617273", "456e7656617274").replace(
            "436f6e6e656374696f6e4e616d65",
            "436f6e6e656374696f6e4e616d66",
        );
        for hex in [wide.as_str(), EVERY_KIND, STRINGS] {
            assert_eq!(
                ConnectionParams::decode(&unhex(hex)),
                Err(ParamsError::NoKnownField)
            );
        }
    }

    #[test]
    fn no_variables_are_an_empty_map() {
        let empty = ConnectionParams::default();
        let bytes = empty.encode();
        assert!(bytes.ends_with(&unhex("05 ff82 06 00 00")));
        assert_eq!(ConnectionParams::decode(&bytes).unwrap(), empty);
    }

    #[test]
    fn a_field_of_another_type_is_named() {
        // The second name becomes that of a text, the value stays a map.
        let bytes = unhex(
            &SMALL_PARAMS
                .replace("07 456e7656617273", "06 557365724944")
                .replacen("3c ", "3b ", 1),
        );
        assert_eq!(
            ConnectionParams::decode(&bytes),
            Err(ParamsError::Field(
                "UserID",
                gob::Error::Unexpected("a string")
            ))
        );
    }

    #[test]
    fn debug_shows_no_value() {
        let params = ConnectionParams {
            dlp_gcp_raw_credentials_json: "canary-json".to_owned(),
            env_vars: BTreeMap::from([("envvar:A".to_owned(), "canary-value".to_owned())]),
            ..console()
        };
        let shown = format!("{params:?}");
        assert!(
            shown.contains("envvar:A") && !shown.contains("canary"),
            "{shown}"
        );
    }

    proptest! {
        #[test]
        fn they_survive(
            text in any::<[String; 8]>(),
            lists in uniform3(vec(any::<String>(), 0..9)),
            bytes in any::<[Vec<u8>; 3]>(),
            env_vars in btree_map(any::<String>(), any::<String>(), 0..9),
        ) {
            let [connection_name, connection_type, connection_sub_type, user_id, user_email, dlp_mode,
                dlp_presidio_anonymizer_url, client_origin] = text;
            let [cmd_list, client_args, dlp_info_types] = lists;
            let [data_masking_entity_types_data, guard_rail_rules, analyzer_metrics_rules] = bytes;
            let params = ConnectionParams {
                connection_name, connection_type, connection_sub_type, user_id, user_email, env_vars,
                cmd_list, client_args, client_origin, dlp_mode, dlp_info_types,
                dlp_presidio_anonymizer_url, data_masking_entity_types_data, guard_rail_rules,
                analyzer_metrics_rules,
                ..ConnectionParams::default()
            };
            assert!(ConnectionParams::decode(&params.encode()).unwrap() == params);
        }

        #[test]
        fn no_bytes_panic(bytes: Vec<u8>) {
            ConnectionParams::decode(&bytes).ok();
        }
    }
}
