//! The environment of a session's program.
//!
//! In order, later over earlier: the application's own, byte for byte, less what is only the application's or ours; what the
//! client sets (`-e`), but for the variables that choose code to load; the connection's values, which are never overridden by
//! the host or the client; `TERM` of a console; and the `HOOP_…` description of the session. Sources: fact sheet 7.5 and 7.6
//! for the names; the order is ours, because the reference lets the host override a connection's secrets.

use std::collections::BTreeMap;
use std::ffi::{CStr, CString};
use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use bytes::Bytes;

use crate::protocol::environment::{Kind, Reference, Variable, decode_variables};
use crate::protocol::params::ConnectionParams;
use crate::protocol::{Packet, gob, spec};

/// Ours: never in a session's environment.
const SECRETS: &[&[u8]] = &[b"HOOP_KEY", b"HOOP_DSN", b"HOOP_TOKEN", b"HOOP_DB_URI"];
/// The application's relation to its service manager: a console's second server must not speak for it.
const SERVICE: &[&[u8]] = &[
    b"NOTIFY_SOCKET",
    b"LISTEN_PID",
    b"LISTEN_FDS",
    b"LISTEN_FDNAMES",
    b"WATCHDOG_PID",
    b"WATCHDOG_USEC",
];
/// What a client may not set: variables that make a program load or run other code.
const DENIED: &[&str] = &["PATH", "RUBYOPT", "NODE_OPTIONS", "BASH_ENV", "ENV", "IFS"];
/// The same by their beginning.
const DENIED_PREFIXES: &[&str] = &["LD_", "PYTHON", "PERL5", "HOOP_"];
/// `TERM` when the client sent none that is usable.
const DEFAULT_TERM: &str = "xterm-256color";
/// Longest `TERM`, in bytes.
const MAX_TERM: usize = 64;

/// The application's environment, entry by entry.
#[derive(Clone, Default)]
pub struct Base {
    entries: Vec<CString>,
}

impl Base {
    /// Takes over an environment; secrets of ours and the service manager's variables stay out.
    pub fn new<'a>(entries: impl IntoIterator<Item = &'a CStr>) -> Self {
        let kept = |entry: &&CStr| {
            let name = name_of(entry);
            !SECRETS.contains(&name) && !SERVICE.contains(&name)
        };
        Self {
            entries: entries
                .into_iter()
                .filter(kept)
                .map(CStr::to_owned)
                .collect(),
        }
    }

    /// The value of the first entry of that name.
    fn get(&self, name: &str) -> Option<&[u8]> {
        let entry = self
            .entries
            .iter()
            .find(|entry| name_of(entry) == name.as_bytes())?;
        entry.to_bytes().get(name.len() + 1..)
    }
}

/// A session's environment, and the files that it names.
pub(super) struct Built {
    pub(super) variables: Vec<CString>,
    #[expect(dead_code, reason = "kept for its Drop, which removes the files")]
    files: Vec<SecretFile>,
}

/// A file with a secret, removed with the session.
struct SecretFile(PathBuf);

impl Drop for SecretFile {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_file(&self.0) {
            tracing::warn!("cannot remove {}: {error}", self.0.display());
        }
    }
}

/// Builds the environment of session `id`. Errors name variables, never values.
pub(super) fn build(
    base: &Base,
    open: &Packet,
    params: &ConnectionParams,
    id: &str,
) -> Result<Built, String> {
    let mut layer = Layer::default();
    let connection = decode_variables(&params.env_vars).map_err(|error| error.to_string())?;
    for variable in client_variables(open)? {
        if variable.kind == Kind::EnvVar && is_allowed(&variable.name) {
            layer.set(variable.name, variable.value);
        } else {
            tracing::warn!(sid = %id, "the client may not set {:?}", variable.name);
        }
    }
    for variable in connection {
        layer.add(base, variable)?;
    }
    if params.client_verb == "connect" {
        layer.set("TERM", term(open.spec.get(spec::TERM)).into_bytes());
    }
    for (name, value) in [
        ("HOOP_CONNECTION_NAME", params.connection_name.as_str()),
        ("HOOP_CONNECTION_TYPE", params.connection_type.as_str()),
        ("HOOP_CLIENT_ORIGIN", params.client_origin.as_str()),
        ("HOOP_CLIENT_VERB", params.client_verb.as_str()),
        ("HOOP_USER_ID", params.user_id.as_str()),
        ("HOOP_USER_EMAIL", params.user_email.as_str()),
        ("HOOP_SESSION_ID", id),
    ] {
        layer.set(name, value.as_bytes().to_vec());
    }
    layer.over(base)
}

fn client_variables(open: &Packet) -> Result<Vec<Variable>, String> {
    let Some(encoded) = open
        .spec
        .get(spec::TERMINAL_ENVVARS)
        .filter(|encoded| !encoded.is_empty())
    else {
        return Ok(Vec::new());
    };
    let map = gob::decode_string_map(encoded)
        .map_err(|_| "failed decoding client env vars".to_owned())?;
    decode_variables(&map).map_err(|error| error.to_string())
}

fn is_allowed(name: &str) -> bool {
    !DENIED.contains(&name)
        && !DENIED_PREFIXES
            .iter()
            .any(|prefix| name.starts_with(prefix))
}

/// The client's `TERM` if it is one short word of printable ASCII.
fn term(sent: Option<&Bytes>) -> String {
    sent.and_then(|term| std::str::from_utf8(term).ok())
        .filter(|term| {
            !term.is_empty()
                && term.len() <= MAX_TERM
                && term.bytes().all(|byte| byte.is_ascii_graphic())
        })
        .unwrap_or(DEFAULT_TERM)
        .to_owned()
}

fn name_of(entry: &CStr) -> &[u8] {
    entry
        .to_bytes()
        .split(|byte| *byte == b'=')
        .next()
        .unwrap_or_default()
}

/// Values that go over the application's.
#[derive(Default)]
struct Layer {
    values: BTreeMap<String, Vec<u8>>,
    files: Vec<SecretFile>,
}

impl Layer {
    fn set(&mut self, name: impl Into<String>, value: Vec<u8>) {
        self.values.insert(name.into(), value);
    }

    /// Adds a variable of the connection.
    fn add(&mut self, base: &Base, variable: Variable) -> Result<(), String> {
        let value = match variable.reference() {
            None => variable.value,
            Some(Reference::AgentVariable) => base
                .get(&variable.name)
                .map_or(variable.value.clone(), <[u8]>::to_vec),
            Some(Reference::Secret { .. } | Reference::RdsUser(_)) => {
                return Err(format!(
                    "the value of {:?} is at a provider that this agent cannot ask",
                    variable.name
                ));
            }
        };
        match variable.kind {
            Kind::EnvVar => self.set(variable.name, value),
            Kind::FileSystem => {
                let path = write_secret(base, &variable.name, &value)?;
                self.set(
                    variable.name,
                    path.0.as_os_str().as_encoded_bytes().to_vec(),
                );
                self.files.push(path);
            }
        }
        Ok(())
    }

    /// The application's entries, less those of the same names, and then these.
    fn over(self, base: &Base) -> Result<Built, String> {
        let replaced = |entry: &&CString| {
            std::str::from_utf8(name_of(entry)).is_ok_and(|name| self.values.contains_key(name))
        };
        let mut variables: Vec<CString> = base
            .entries
            .iter()
            .filter(|entry| !replaced(entry))
            .cloned()
            .collect();
        for (name, value) in &self.values {
            let entry = [name.as_bytes(), b"=", value].concat();
            variables.push(
                CString::new(entry)
                    .map_err(|_| format!("the value of {name:?} contains a zero byte"))?,
            );
        }
        Ok(Built {
            variables,
            files: self.files,
        })
    }
}

/// Writes a secret to a file of its own that only we can read, from its first moment on.
fn write_secret(base: &Base, name: &str, value: &[u8]) -> Result<SecretFile, String> {
    let directory = ["XDG_RUNTIME_DIR", "TMPDIR"]
        .iter()
        .find_map(|variable| {
            base.get(variable)
                .and_then(|path| std::str::from_utf8(path).ok())
        })
        .map_or_else(|| Path::new("/tmp").to_owned(), PathBuf::from);
    let path = directory.join(format!("hoop-{}.envfs", uuid::Uuid::new_v4()));
    let failed = |error: std::io::Error| {
        format!(
            "cannot write the file of {name:?} in {}: {error}",
            directory.display()
        )
    };
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&path)
        .map_err(failed)?;
    let secret = SecretFile(path);
    file.write_all(value).map_err(failed)?;
    Ok(secret)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::PacketType;

    fn base() -> Base {
        Base::new([
            c"A=1",
            c"HOOP_KEY=secret",
            c"A=2",
            c"X:Y=odd",
            c"LISTEN_FDS=1",
            c"PGHOST=here",
            c"\xff=\xfe",
        ])
    }

    fn lines(built: &Built) -> Vec<String> {
        built
            .variables
            .iter()
            .map(|entry| String::from_utf8_lossy(entry.to_bytes()).into_owned())
            .collect()
    }

    fn params(verb: &str, variables: &[(&str, &str)]) -> ConnectionParams {
        let env_vars = variables
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect();
        ConnectionParams {
            client_verb: verb.to_owned(),
            env_vars,
            ..ConnectionParams::default()
        }
    }

    fn open_with(assignments: &[&str]) -> Packet {
        let map = assignments
            .iter()
            .map(|assignment| crate::protocol::environment::client_variable(assignment).unwrap())
            .collect();
        Packet::new(PacketType::AgentSessionOpen)
            .with(spec::TERMINAL_ENVVARS, gob::encode_string_map(&map))
    }

    /// The reference agent hands its key to every session (E8) and lets the host override the connection (E9).
    #[test]
    fn the_hosts_entries_stay_but_for_ours_and_the_connection_wins() {
        let built = build(
            &base(),
            &open_with(&["PGHOST=client"]),
            &params("exec", &[("envvar:PGHOST", "ZGI=")]),
            "s",
        )
        .unwrap();
        let lines = lines(&built);
        assert_eq!(
            lines.iter().take(4).collect::<Vec<_>>(),
            ["A=1", "A=2", "X:Y=odd", "\u{fffd}=\u{fffd}"]
        );
        assert!(lines.contains(&"PGHOST=db".to_owned()));
        assert!(lines.contains(&"HOOP_SESSION_ID=s".to_owned()));
        assert!(!lines.iter().any(|line| line.contains("secret")
            || line.starts_with("LISTEN_")
            || line.starts_with("TERM=")));
    }

    #[test]
    fn a_client_sets_what_it_may() {
        let open = open_with(&[
            "A=client",
            "PATH=/evil",
            "LD_PRELOAD=x",
            "PYTHONPATH=x",
            "HOOP_USER_EMAIL=root",
        ]);
        let lines = lines(&build(&base(), &open, &params("exec", &[]), "s").unwrap());
        assert!(lines.contains(&"A=client".to_owned()));
        assert!(!lines.contains(&"A=1".to_owned()));
        assert!(lines.contains(&"HOOP_USER_EMAIL=".to_owned()));
        assert!(!lines.iter().any(|line| line.starts_with("PATH=")
            || line.starts_with("LD_")
            || line.starts_with("PYTHON")));
    }

    #[test]
    fn a_console_has_a_terminal_name_that_is_safe() {
        for (sent, name) in [
            (&b"screen-256color"[..], "screen-256color"),
            (b"", DEFAULT_TERM),
            (b"x\x1b[2J", DEFAULT_TERM),
            (&[b'x'; 64], &"x".repeat(64)),
            (&[b'x'; 65], DEFAULT_TERM),
        ] {
            let open = Packet::new(PacketType::AgentSessionOpen).with(spec::TERM, sent.to_vec());
            let lines = lines(&build(&base(), &open, &params("connect", &[]), "s").unwrap());
            assert!(lines.contains(&format!("TERM={name}")), "{lines:?}");
        }
    }

    /// The reference agent creates the file before it restricts it, and leaves it behind (A10).
    #[test]
    fn a_file_is_private_and_goes_with_the_session() {
        use std::os::unix::fs::MetadataExt;
        let built = build(
            &base(),
            &Packet::default(),
            &params("exec", &[("filesystem:CA", "cGVt")]),
            "s",
        )
        .unwrap();
        let line = lines(&built)
            .into_iter()
            .find_map(|line| line.strip_prefix("CA=").map(str::to_owned))
            .unwrap();
        assert_eq!(std::fs::read(&line).unwrap(), b"pem");
        assert_eq!(std::fs::metadata(&line).unwrap().mode() & 0o777, 0o600);
        drop(built);
        assert!(!Path::new(&line).exists());
    }

    #[test]
    fn a_value_elsewhere_is_an_error_that_names_the_variable_only() {
        let provider = "X2F3czpzZWNyZXQ6a2V5"; // _aws:secret:key
        let error = build(
            &base(),
            &Packet::default(),
            &params("exec", &[("envvar:DB", provider)]),
            "s",
        )
        .err()
        .unwrap();
        assert!(error.contains("DB") && !error.contains("secret"), "{error}");
    }
}
