//! Variables of a connection or a client as they travel: keys `kind:NAME`, values in base64.
//!
//! | kind | effect |
//! |---|---|
//! | `envvar` | the variable `NAME` has the value |
//! | `filesystem` | the value is a file's content, the variable `NAME` its path |
//!
//! A value may stand for another one that the agent looks up, see [`Variable::reference`]. Errors name keys, never values.

use std::collections::BTreeMap;
use std::fmt::{Debug, Formatter};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

/// A value that stands for the agent's own variable of the same name.
const AGENT_VARIABLE: &str = "system.agent.envs";

/// What the value of a variable becomes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The variable's value.
    EnvVar,
    /// The content of a file that the variable names.
    FileSystem,
}

/// One variable, decoded. `Debug` does not show the value.
#[derive(Clone, PartialEq, Eq)]
pub struct Variable {
    /// What the value becomes.
    pub kind: Kind,
    /// Its name.
    pub name: String,
    /// The value, which may be a credential.
    pub value: Vec<u8>,
}

/// Where the agent finds the value of which only a reference was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reference<'a> {
    /// In its own variable of the same name; without one the text stays as it is.
    AgentVariable,
    /// At a provider of secrets.
    Secret {
        /// The provider.
        provider: Provider,
        /// The provider's name for the secret.
        id: &'a str,
        /// The key within the secret.
        key: &'a str,
    },
    /// It is a database user for whom a token is to be made.
    RdsUser(&'a str),
}

/// A provider of secrets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Provider {
    /// AWS Secrets Manager.
    Aws,
    /// A variable of the agent that holds a JSON object.
    EnvJson,
    /// Vault, first version of its key-value store.
    VaultKv1,
    /// Vault, second version of its key-value store.
    VaultKv2,
}

/// Why variables could not be decoded or made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum VariableError {
    /// The key has another form.
    #[error("the variable key {0:?} is not envvar:NAME or filesystem:NAME")]
    Key(String),
    /// The value is not base64.
    #[error("the value of {0:?} is not base64")]
    Base64(String),
    /// No program can be given the value.
    #[error("the value of {0:?} contains a zero byte")]
    ZeroByte(String),
    /// A client's variable has another form.
    #[error("the variable is not of the form NAME=VALUE")]
    Assignment,
}

/// Decodes all variables of a map, in the order of their keys.
pub fn decode_variables(map: &BTreeMap<String, String>) -> Result<Vec<Variable>, VariableError> {
    map.iter()
        .map(|(key, value)| Variable::decode(key, value))
        .collect()
}

/// The key and value that a client sends for `NAME=VALUE`.
pub fn client_variable(assignment: &str) -> Result<(String, String), VariableError> {
    match assignment.split_once('=') {
        Some((name, value)) if is_name(name) => {
            Ok((format!("envvar:{name}"), STANDARD.encode(value)))
        }
        _ => Err(VariableError::Assignment),
    }
}

impl Variable {
    fn decode(key: &str, value: &str) -> Result<Self, VariableError> {
        let (kind, name) = match key.split_once(':') {
            Some(("envvar", name)) if is_name(name) => (Kind::EnvVar, name),
            Some(("filesystem", name)) if is_name(name) => (Kind::FileSystem, name),
            _ => return Err(VariableError::Key(key.to_owned())),
        };
        // Go's decoder, which reads the same values, passes over line ends.
        let value = value.replace(['\r', '\n'], "");
        let value = STANDARD
            .decode(value)
            .map_err(|_| VariableError::Base64(key.to_owned()))?;
        if kind == Kind::EnvVar && value.contains(&0) {
            return Err(VariableError::ZeroByte(key.to_owned()));
        }
        Ok(Self {
            kind,
            name: name.to_owned(),
            value,
        })
    }

    /// What the value refers to; `None` when it is the value itself.
    pub fn reference(&self) -> Option<Reference<'_>> {
        let text = std::str::from_utf8(&self.value).ok()?;
        if text == AGENT_VARIABLE {
            return Some(Reference::AgentVariable);
        }
        let mut parts = text.split(':');
        match (parts.next()?, parts.next()?, parts.next(), parts.next()) {
            ("_aws_iam_rds", user, None, None) => Some(Reference::RdsUser(user)),
            (provider, id, Some(key), None) => {
                let provider = match provider {
                    "_aws" => Provider::Aws,
                    "_envjson" => Provider::EnvJson,
                    "_vaultkv1" => Provider::VaultKv1,
                    "_vaultkv2" => Provider::VaultKv2,
                    _ => return None,
                };
                Some(Reference::Secret { provider, id, key })
            }
            _ => None,
        }
    }
}

impl Debug for Variable {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Variable")
            .field("kind", &self.kind)
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

/// Whether an environment can hold a variable of that name and a key can carry it.
fn is_name(name: &str) -> bool {
    !name.is_empty() && !name.contains([':', '=', '\0'])
}

#[cfg(test)]
mod tests {
    use proptest::collection::btree_map;
    use proptest::prelude::{any, proptest};

    use super::*;

    fn decode(key: &str, value: &str) -> Result<Variable, VariableError> {
        let map = BTreeMap::from([(key.to_owned(), value.to_owned())]);
        decode_variables(&map).map(|mut variables| variables.remove(0))
    }

    #[test]
    fn kinds_and_values_are_decoded() {
        let map = BTreeMap::from([
            ("filesystem:CERT".to_owned(), "AP8=".to_owned()),
            ("envvar:A".to_owned(), "Yg==".to_owned()),
            ("envvar:EMPTY".to_owned(), String::new()),
            ("envvar:WRAPPED".to_owned(), "YW\r\nJj\n".to_owned()),
        ]);
        let variable = |kind, name: &str, value: &[u8]| Variable {
            kind,
            name: name.to_owned(),
            value: value.to_vec(),
        };
        assert_eq!(
            decode_variables(&map).unwrap(),
            [
                variable(Kind::EnvVar, "A", b"b"),
                variable(Kind::EnvVar, "EMPTY", b""),
                variable(Kind::EnvVar, "WRAPPED", b"abc"),
                variable(Kind::FileSystem, "CERT", b"\0\xff"),
            ]
        );
    }

    #[test]
    fn errors_name_the_key_and_not_the_value() {
        for key in [
            "",
            "A",
            "envvar",
            "envvar:",
            "envvar:A:B",
            "envvar:A=B",
            "envvar:A\0",
            "file:A",
            "ENVVAR:A",
        ] {
            assert_eq!(decode(key, "Yg=="), Err(VariableError::Key(key.to_owned())));
        }
        for value in ["canary", "Yg", "Yg=", "Y g==", "Yg===", "_-8=", "Yh=="] {
            let error = decode("envvar:A", value).unwrap_err();
            assert_eq!(error, VariableError::Base64("envvar:A".to_owned()));
            assert_eq!(
                error.to_string(),
                r#"the value of "envvar:A" is not base64"#
            );
        }
        assert_eq!(
            decode("envvar:A", "YQBi"),
            Err(VariableError::ZeroByte("envvar:A".to_owned()))
        );
        let shown = format!("{:?}", decode("envvar:A", "Y2FuYXJ5").unwrap());
        assert!(
            !shown.contains("canary") && !shown.contains("99"),
            "{shown}"
        );
    }

    #[test]
    fn references_are_told_from_values() {
        let secret = |provider| {
            Some(Reference::Secret {
                provider,
                id: "id",
                key: "key",
            })
        };
        for (value, reference) in [
            ("system.agent.envs", Some(Reference::AgentVariable)),
            ("_aws:id:key", secret(Provider::Aws)),
            ("_envjson:id:key", secret(Provider::EnvJson)),
            ("_vaultkv1:id:key", secret(Provider::VaultKv1)),
            ("_vaultkv2:id:key", secret(Provider::VaultKv2)),
            ("_aws_iam_rds:bob", Some(Reference::RdsUser("bob"))),
            ("system.agent.envs ", None),
            ("_aws:id", None),
            ("_aws:id:key:more", None),
            ("_other:id:key", None),
            ("host:1", None),
            ("", None),
        ] {
            let variable = decode("envvar:A", &STANDARD.encode(value)).unwrap();
            assert_eq!(variable.reference(), reference, "{value}");
        }
    }

    #[test]
    fn a_client_assigns() {
        let pair = |key: &str, value: &str| Ok((key.to_owned(), value.to_owned()));
        assert_eq!(client_variable("K=v"), pair("envvar:K", "dg=="));
        assert_eq!(client_variable("K="), pair("envvar:K", ""));
        assert_eq!(client_variable("K=a=b"), pair("envvar:K", "YT1i"));
        for text in ["", "K", "=v", "a:b=v"] {
            assert_eq!(client_variable(text), Err(VariableError::Assignment));
        }
    }

    proptest! {
        #[test]
        fn what_a_client_assigns_is_decoded(name in "[A-Za-z_][A-Za-z0-9_]{0,9}", value in "[^\0]*") {
            let (key, encoded) = client_variable(&format!("{name}={value}")).unwrap();
            let variable = decode(&key, &encoded).unwrap();
            assert_eq!(variable.name, name);
            assert_eq!(variable.value, value.into_bytes());
        }

        #[test]
        fn no_map_panics(map in btree_map(any::<String>(), any::<String>(), 0..9), value in any::<Vec<u8>>()) {
            decode_variables(&map).ok();
            decode("filesystem:A", &STANDARD.encode(value)).unwrap().reference();
        }
    }
}
