//! Which gateway a client uses, and with what token.
//!
//! Order, first match wins:
//!
//! 1. `HOOP_GRPCURL`, `HOOP_APIURL` and `HOOP_TOKEN`, all three;
//! 2. the file named by `HOOP_CONFIG`, else `$HOME/.hoop/config.toml`, if it names a gateway;
//! 3. `$HOME/.hoop/gateway/admin.toml`, the administrator's file of a gateway on this account, which must be ours and
//!    of mode 0600;
//! 4. with `HOOP_TOKEN` alone, a gateway on this machine, if 127.0.0.1:8010 accepts a connection.
//!
//! Both files are TOML with the keys `token`, `api_url`, `grpc_url`, `tls_ca`, `skip_tls_verify`. `HOOP_TLSCA` fills an empty
//! `tls_ca`, `HOOP_TLS_SKIP_VERIFY` overrides the file.
//!
//! Rules: the environment is an argument; nothing is connected here except the probe of 4; no message holds a token.

use std::fmt;
use std::io::{self, Read};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;

use crate::key::Secret;

/// Largest configuration file, in bytes: room for a bundle of certificates.
const MAX_FILE: u64 = 1024 * 1024;

/// gRPC address of a gateway on this machine.
const LOCAL_GRPC: &str = "127.0.0.1:8010";

/// HTTP address of a gateway on this machine.
const LOCAL_API: &str = "http://127.0.0.1:8009";

/// How long the probe of a gateway on this machine may take.
const PROBE_TIMEOUT: Duration = Duration::from_secs(5);

/// Reads a variable of the environment.
pub type Variables<'a> = &'a dyn Fn(&str) -> Option<String>;

/// A gateway and how to be let in.
#[derive(Clone, Debug)]
pub struct Gateway {
    /// Where packets go; `None` when only the API is configured, which can tell.
    pub grpc: Option<Address>,
    /// Base of the HTTP API, such as `https://use.hoop.dev`; empty when only the gRPC address is configured.
    pub api_url: String,
    /// The user's token.
    pub token: Option<Secret>,
    /// Settings for TLS.
    pub tls: Tls,
    /// Who said so.
    pub source: Source,
}

/// Settings for TLS, as text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tls {
    /// Certificates to trust: PEM text, `base64://…` or `file://…`.
    pub ca: Option<String>,
    /// The name to verify instead of the host.
    pub server_name: Option<String>,
    /// Accept any certificate.
    pub skip_verify: bool,
}

/// Where a gateway's configuration comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// `HOOP_GRPCURL`, `HOOP_APIURL` and `HOOP_TOKEN`.
    Environment,
    /// A file.
    File(PathBuf),
    /// A gateway answered on this machine.
    Machine,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Environment => f.write_str("HOOP_GRPCURL"),
            Self::File(path) => write!(f, "{}", path.display()),
            Self::Machine => f.write_str("the gateway on this machine"),
        }
    }
}

/// A gRPC address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    /// `host:port`.
    pub authority: String,
    /// Whether TLS is used.
    pub is_tls: bool,
}

/// Why a configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// Only some of the three variables are set: whoever set one means that gateway and no other.
    #[error(
        "HOOP_GRPCURL, HOOP_APIURL and HOOP_TOKEN belong together: set all three, or none of the addresses"
    )]
    Partial,
    /// A file cannot be read.
    #[error("cannot read {}: {reason}", .path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// An address makes no sense.
    ///
    /// The text is not shown: a key, which looks like an address and holds a secret, may have been put there.
    #[error("the gRPC address in {holder} is wrong: expected SCHEME://HOST:PORT or HOST:PORT")]
    Address {
        /// The variable or file that holds it.
        holder: String,
    },
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct File {
    token: String,
    api_url: String,
    grpc_url: String,
    tls_ca: String,
    skip_tls_verify: bool,
}

impl Address {
    /// Reads `SCHEME://HOST:PORT` or `HOST:PORT`. Only the schemes `grpc` and `http` are plain text.
    pub fn parse(url: &str) -> Option<Self> {
        let (scheme, rest) = url.split_once("://").unwrap_or(("", url));
        let authority = rest.trim_end_matches('/');
        let (host, port) = authority.rsplit_once(':')?;
        let clean =
            |text: &str| !text.contains(|c: char| c == '/' || c == '@' || c.is_whitespace());
        (!host.is_empty() && clean(host) && port.parse::<u16>().is_ok()).then(|| Self {
            authority: authority.to_owned(),
            is_tls: !matches!(scheme, "grpc" | "http"),
        })
    }

    /// Whether the address is this machine's own.
    pub fn is_loopback(&self) -> bool {
        let host = self.authority.rsplit_once(':').map_or("", |(host, _)| host);
        is_loopback(host)
    }
}

/// Whether `host`, brackets allowed, is this machine itself.
pub fn is_loopback(host: &str) -> bool {
    let host = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || host.parse().is_ok_and(|ip: IpAddr| ip.is_loopback())
}

/// The gateway that the environment names, without looking at files.
pub fn from_environment(variables: Variables<'_>) -> Result<Option<Gateway>, ConfigError> {
    let get = |name| non_empty(variables, name);
    let (grpc, api_url, token) = (get("HOOP_GRPCURL"), get("HOOP_APIURL"), get("HOOP_TOKEN"));
    // A token alone is for a gateway on this machine.
    if grpc.is_none() && api_url.is_none() {
        return Ok(None);
    }
    let (Some(grpc), Some(api_url), Some(token)) = (grpc, api_url, token) else {
        return Err(ConfigError::Partial);
    };
    Ok(Some(Gateway {
        grpc: Some(address("HOOP_GRPCURL", &grpc)?),
        api_url,
        token: Some(Secret::new(token)),
        tls: tls(variables, File::default()),
        source: Source::Environment,
    }))
}

/// The gateway to use, if one is configured or answers on this machine.
pub fn load(variables: Variables<'_>) -> Result<Option<Gateway>, ConfigError> {
    if let Some(gateway) = from_environment(variables)? {
        return Ok(Some(gateway));
    }
    let named = non_empty(variables, "HOOP_CONFIG").map(PathBuf::from);
    let home = non_empty(variables, "HOME").map(|home| PathBuf::from(home).join(".hoop"));
    let default = home.as_ref().map(|home| home.join("config.toml"));
    if let Some(path) = named.as_ref().or(default.as_ref())
        && let Some(gateway) = from_file(path, named.is_some(), false, variables)?
    {
        return Ok(Some(gateway));
    }
    if let Some(path) = home.map(|home| home.join("gateway/admin.toml"))
        && let Some(gateway) = from_file(&path, false, true, variables)?
    {
        return Ok(Some(gateway));
    }
    let Some(token) = non_empty(variables, "HOOP_TOKEN").map(Secret::new) else {
        return Ok(None);
    };
    let answers = |address: SocketAddr| TcpStream::connect_timeout(&address, PROBE_TIMEOUT).is_ok();
    if !LOCAL_GRPC.parse().is_ok_and(answers) {
        return Ok(None);
    }
    Ok(Some(Gateway {
        grpc: Address::parse(&format!("grpc://{LOCAL_GRPC}")),
        api_url: LOCAL_API.to_owned(),
        token: Some(token),
        tls: tls(variables, File::default()),
        source: Source::Machine,
    }))
}

fn from_file(
    path: &Path,
    must_exist: bool,
    must_be_private: bool,
    variables: Variables<'_>,
) -> Result<Option<Gateway>, ConfigError> {
    let failed = |reason: String| ConfigError::File {
        path: path.to_owned(),
        reason,
    };
    let text = match read(path, must_be_private) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound && !must_exist => return Ok(None),
        Err(error) => return Err(failed(error.to_string())),
    };
    // The parser's own message would quote the line, which may hold the token.
    let mut file: File = toml::from_str(&text).map_err(|error| {
        let start = error.span().map_or(0, |span| span.start);
        let line = text
            .bytes()
            .take(start)
            .filter(|byte| *byte == b'\n')
            .count()
            + 1;
        failed(format!(
            "line {line} is not as expected: {}",
            error.message()
        ))
    })?;
    if file.grpc_url.is_empty() && file.api_url.is_empty() {
        return Ok(None);
    }
    let grpc = (!file.grpc_url.is_empty())
        .then(|| address(&path.display().to_string(), &file.grpc_url))
        .transpose()?;
    let token = std::mem::take(&mut file.token);
    Ok(Some(Gateway {
        grpc,
        api_url: std::mem::take(&mut file.api_url),
        token: (!token.is_empty()).then(|| Secret::new(token)),
        tls: tls(variables, file),
        source: Source::File(path.to_owned()),
    }))
}

fn read(path: &Path, must_be_private: bool) -> io::Result<String> {
    let file = std::fs::File::options()
        .read(true)
        .custom_flags(libc::O_NONBLOCK)
        .open(path)?;
    let metadata = file.metadata()?;
    let ours = metadata.uid() == nix::unistd::geteuid().as_raw();
    let mode = metadata.mode() & 0o777;
    if must_be_private && !ours {
        return Err(io::Error::other(format!(
            "it holds an administrator's token and belongs to another user ({})",
            metadata.uid()
        )));
    }
    if must_be_private && mode & 0o077 != 0 {
        return Err(io::Error::other(format!(
            "it holds an administrator's token and others can reach it (mode {mode:o}): chmod 600 it, or delete it to \
             have the gateway make a new one"
        )));
    }
    if mode & 0o077 != 0 {
        tracing::warn!(
            "{} can be reached by others (mode {mode:o})",
            path.display()
        );
    }
    let mut text = String::new();
    file.take(MAX_FILE + 1).read_to_string(&mut text)?;
    if text.len() as u64 > MAX_FILE {
        return Err(io::Error::other("it is larger than 1 MiB"));
    }
    Ok(text)
}

fn tls(variables: Variables<'_>, file: File) -> Tls {
    // The file's value is bare base64, as the reference program writes it; a prefix says anything else.
    let from_file = Some(file.tls_ca).filter(|ca| !ca.is_empty()).map(|ca| {
        if ca.contains("://") || ca.contains("-----BEGIN") {
            ca
        } else {
            format!("base64://{ca}")
        }
    });
    Tls {
        ca: from_file.or_else(|| non_empty(variables, "HOOP_TLSCA")),
        server_name: non_empty(variables, "HOOP_TLSSERVERNAME"),
        skip_verify: non_empty(variables, "HOOP_TLS_SKIP_VERIFY")
            .map_or(file.skip_tls_verify, |value| value == "true"),
    }
}

fn address(holder: &str, url: &str) -> Result<Address, ConfigError> {
    Address::parse(url).ok_or_else(|| ConfigError::Address {
        holder: holder.to_owned(),
    })
}

fn non_empty(variables: Variables<'_>, name: &str) -> Option<String> {
    variables(name).filter(|value| !value.is_empty())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    const FILE: &str =
        "token = 'filetoken'\napi_url = 'https://api'\ngrpc_url = 'grpcs://file:8443'\n";

    fn load_with(pairs: &[(&str, &str)]) -> Result<Option<Gateway>, ConfigError> {
        load(&|name| {
            let found = pairs.iter().find(|(key, _)| *key == name)?;
            Some(found.1.to_owned())
        })
    }

    fn home(files: &[(&str, &str, u32)]) -> tempfile::TempDir {
        let home = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(home.path().join(".hoop/gateway")).unwrap();
        for (name, text, mode) in files {
            let path = home.path().join(".hoop").join(name);
            std::fs::write(&path, text).unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(*mode)).unwrap();
        }
        home
    }

    #[test]
    fn the_environment_wins_only_when_all_three_are_set() {
        let home = home(&[("config.toml", FILE, 0o600)]);
        let home_text = home.path().to_str().unwrap();
        let all = [
            ("HOME", home_text),
            ("HOOP_GRPCURL", "grpc://env:8010"),
            ("HOOP_TOKEN", "envtoken"),
            ("HOOP_APIURL", "http://env:8009"),
        ];
        let gateway = load_with(&all).unwrap().unwrap();
        assert_eq!(gateway.source, Source::Environment);
        assert_eq!(gateway.grpc, Address::parse("grpc://env:8010"));
        assert_eq!(gateway.token.unwrap().expose(), "envtoken");
        // An address without the rest would lead to another gateway than the one that was meant.
        assert!(matches!(load_with(&all[..3]), Err(ConfigError::Partial)));
        let token_alone = [all[0], all[2]];
        let gateway = load_with(&token_alone).unwrap().unwrap();
        assert_eq!(
            gateway.source,
            Source::File(home.path().join(".hoop/config.toml"))
        );
        assert_eq!(gateway.token.unwrap().expose(), "filetoken");
        assert_eq!(gateway.api_url, "https://api");
    }

    #[test]
    fn the_administrators_file_comes_after_the_persons_and_must_be_private() {
        let admin = "token='a'\ngrpc_url='grpc://127.0.0.1:1'\napi_url='http://127.0.0.1:2'\n";
        let both = home(&[
            ("config.toml", "", 0o600),
            ("gateway/admin.toml", admin, 0o600),
        ]);
        let gateway = load_with(&[("HOME", both.path().to_str().unwrap())])
            .unwrap()
            .unwrap();
        assert_eq!(
            gateway.source,
            Source::File(both.path().join(".hoop/gateway/admin.toml"))
        );
        let open = home(&[("gateway/admin.toml", admin, 0o640)]);
        let error = load_with(&[("HOME", open.path().to_str().unwrap())]).unwrap_err();
        assert!(error.to_string().contains("mode 640"), "{error}");
    }

    #[test]
    fn a_named_file_replaces_the_default_and_must_exist() {
        let home = home(&[("other.toml", FILE, 0o600)]);
        let path = home.path().join(".hoop/other.toml");
        let gateway = load_with(&[("HOOP_CONFIG", path.to_str().unwrap())])
            .unwrap()
            .unwrap();
        assert_eq!(gateway.source, Source::File(path));
        let error = load_with(&[("HOOP_CONFIG", "/nonexistent")]).unwrap_err();
        assert!(
            error.to_string().starts_with("cannot read /nonexistent: "),
            "{error}"
        );
    }

    #[test]
    fn a_broken_file_is_told_without_its_content() {
        let home = home(&[(
            "config.toml",
            "api_url = 'x'\ntoken = canary-secret\n",
            0o600,
        )]);
        let error = load_with(&[("HOME", home.path().to_str().unwrap())]).unwrap_err();
        let text = format!("{error} {error:?}");
        assert!(
            text.contains("line 2") && !text.contains("canary"),
            "{text}"
        );
    }

    #[test]
    fn settings_for_tls_come_from_file_and_environment() {
        let file = "grpc_url='h:1'\ntls_ca='QUJD'\nskip_tls_verify=true\n";
        let home = home(&[("config.toml", file, 0o600)]);
        let home = ("HOME", home.path().to_str().unwrap());
        let tls = load_with(&[home, ("HOOP_TLSCA", "file:///x")])
            .unwrap()
            .unwrap()
            .tls;
        assert_eq!(tls.ca.as_deref(), Some("base64://QUJD"));
        assert!(tls.skip_verify);
        let tls = load_with(&[
            home,
            ("HOOP_TLS_SKIP_VERIFY", "false"),
            ("HOOP_TLSSERVERNAME", "n"),
        ])
        .unwrap()
        .unwrap()
        .tls;
        assert!(!tls.skip_verify);
        assert_eq!(tls.server_name.as_deref(), Some("n"));
    }

    #[test]
    fn an_address_is_plain_only_by_its_scheme() {
        let table = [
            ("grpc://h:1", Some(("h:1", false))),
            ("http://h:1/", Some(("h:1", false))),
            ("grpcs://h:1", Some(("h:1", true))),
            ("h:8010", Some(("h:8010", true))),
            ("grpc://[::1]:1", Some(("[::1]:1", false))),
            ("grpc://h", None),
            ("h:99999", None),
            (":1", None),
            ("grpc://u@h:1", None),
        ];
        for (url, wanted) in table {
            let found = Address::parse(url);
            let found = found.as_ref().map(|a| (a.authority.as_str(), a.is_tls));
            assert_eq!(found, wanted, "{url}");
        }
        for (url, local) in [
            ("127.9.9.9:1", true),
            ("[::1]:1", true),
            ("localhost:1", true),
            ("h:1", false),
        ] {
            assert_eq!(Address::parse(url).unwrap().is_loopback(), local, "{url}");
        }
    }
}
