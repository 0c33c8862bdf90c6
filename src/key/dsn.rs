//! The DSN in which an agent's key travels: `scheme://name:secret@host:port?mode=mode`.
//!
//! Read as the reference gateway reads it (a URL in Go's sense), with one difference: it takes every unknown scheme for
//! plain text, we refuse one, because a misspelt `grpcs` must not send a key in the clear.
//!
//! | part | rule |
//! |---|---|
//! | scheme | `grpcs`, `https`, `wss` with TLS; `grpc`, `http`, `ws` without |
//! | name, secret | percent-decoded; the secret must not be empty |
//! | address | as written, IPv6 in brackets, the port may be missing |
//! | path | ignored, but one of 64 characters marks the legacy form: no name, mode `embedded`, all of it is the secret |
//! | query | the first `mode` counts, everything else is ignored |

use super::{KeyHash, Secret};

/// Longest DSN, in bytes: it has to fit into one header of a call, with room for the others.
const MAX_LEN: usize = 4096;

/// Characters of a legacy DSN's path, its slash included.
const LEGACY_PATH: usize = 65;

/// An agent's key and where it is valid.
#[derive(Clone)]
pub struct Dsn {
    text: Secret,
    tls: bool,
    name: String,
    address: String,
    mode: Option<String>,
    hash: KeyHash,
}

/// Why a text is not a DSN. It never shows any of the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DsnError {
    /// More than a header holds.
    #[error("the key is longer than {MAX_LEN} bytes")]
    TooLong,
    /// Not a URL.
    #[error("the key is not of the form scheme://name:secret@host:port?mode=mode: {0}")]
    Malformed(&'static str),
    /// A scheme of which nobody knows whether it means TLS.
    #[error(
        "the key has an unknown scheme, use grpcs, https or wss (TLS), or grpc, http or ws (plain text)"
    )]
    Scheme,
    /// No secret in it.
    #[error("the key has no secret between name and address")]
    NoSecret,
}

impl Dsn {
    /// Reads a DSN; an empty text is none.
    pub fn parse(text: &str) -> Result<Option<Self>, DsnError> {
        if text.is_empty() {
            return Ok(None);
        }
        if text.len() > MAX_LEN {
            return Err(DsnError::TooLong);
        }
        if text.contains(|c: char| c.is_control() || c.is_whitespace()) {
            return Err(DsnError::Malformed("it contains white space"));
        }
        let (scheme, rest) = text
            .split_once("://")
            .ok_or(DsnError::Malformed("there is no scheme"))?;
        let tls = is_tls(scheme).ok_or(DsnError::Scheme)?;
        let (rest, _fragment) = rest.split_once('#').unwrap_or((rest, ""));
        let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        let (user, address) = authority.rsplit_once('@').unwrap_or(("", authority));
        if !is_address(address) {
            return Err(DsnError::Malformed("the address is not host:port"));
        }
        let path = unescape(path).ok_or(DsnError::Malformed("the path is badly escaped"))?;

        let dsn = |name, mode, hash| Self {
            text: Secret::new(text.to_owned()),
            tls,
            name,
            address: address.to_owned(),
            mode,
            hash,
        };
        if path.len() + 1 == LEGACY_PATH {
            let mode = Some("embedded".to_owned());
            return Ok(Some(dsn(String::new(), mode, KeyHash::of(text))));
        }
        let (name, secret) = user.split_once(':').ok_or(DsnError::NoSecret)?;
        let name = unescape_user(name)
            .and_then(|name| String::from_utf8(name).ok())
            .ok_or(DsnError::Malformed("the name is badly escaped"))?;
        let secret = unescape_user(secret)
            .map(zeroize::Zeroizing::new)
            .ok_or(DsnError::Malformed("the secret is badly escaped"))?;
        if secret.is_empty() {
            return Err(DsnError::NoSecret);
        }
        Ok(Some(dsn(name, mode(query), KeyHash::of(&*secret))))
    }

    /// The text of a new DSN. Nothing is escaped: the parts are a resource name, a generated secret and a validated
    /// address.
    pub fn build(
        scheme: &str,
        name: &str,
        secret: &Secret,
        address: &str,
        mode: Option<&str>,
    ) -> Secret {
        let (query, mode) = mode.map_or(("", ""), |mode| ("?mode=", mode));
        Secret::new(format!(
            "{scheme}://{name}:{}@{address}{query}{mode}",
            secret.expose()
        ))
    }

    /// Name of the agent, empty in the legacy form.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// `host[:port]` as written.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// The mode, if one is given.
    pub fn mode(&self) -> Option<&str> {
        self.mode.as_deref()
    }

    /// Whether the scheme asks for TLS.
    pub fn is_tls(&self) -> bool {
        self.tls
    }

    /// Hash of the secret, by which the gateway knows the key.
    pub fn hash(&self) -> KeyHash {
        self.hash
    }

    /// What is sent as the bearer token: the whole text, unchanged.
    pub fn bearer(&self) -> Secret {
        self.text.clone()
    }
}

impl std::fmt::Debug for Dsn {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Dsn")
            .field("tls", &self.tls)
            .field("name", &self.name)
            .field("address", &self.address)
            .field("mode", &self.mode)
            .finish_non_exhaustive()
    }
}

fn is_tls(scheme: &str) -> Option<bool> {
    match scheme.to_ascii_lowercase().as_str() {
        "grpcs" | "https" | "wss" => Some(true),
        "grpc" | "http" | "ws" => Some(false),
        _ => None,
    }
}

/// `host`, `host:port`, `[v6]` or `[v6]:port`.
fn is_address(text: &str) -> bool {
    let (host, rest) = match text.strip_prefix('[') {
        Some(inner) => match inner.split_once(']') {
            Some(parts) => parts,
            None => return false,
        },
        None => match text.rfind(':') {
            Some(colon) => text.split_at(colon),
            None => (text, ""),
        },
    };
    let port = rest.strip_prefix(':').unwrap_or(rest);
    !host.is_empty()
        && !host.contains(['[', ']', '%', '@'])
        && (rest.is_empty() || rest.starts_with(':'))
        && port.bytes().all(|byte| byte.is_ascii_digit())
}

/// The first value of `mode`; pairs that are badly escaped are skipped.
fn mode(query: &str) -> Option<String> {
    let pairs = query.split('&').filter(|pair| !pair.contains(';'));
    let first = pairs
        .filter_map(|pair| {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            let key = unescape(&key.replace('+', " "))?;
            let value = unescape(&value.replace('+', " "))?;
            Some((key, String::from_utf8(value).ok()?))
        })
        .find(|(key, _)| key == b"mode");
    first
        .map(|(_, value)| value)
        .filter(|mode| !mode.is_empty())
}

/// Decodes a name or secret, in which other characters than these are always escaped.
fn unescape_user(text: &str) -> Option<Vec<u8>> {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._:~!$&'()*+,;=%@".contains(&byte);
    text.bytes().all(is_plain).then(|| unescape(text))?
}

/// Decodes `%XX`; `None` if a `%` is followed by anything else.
fn unescape(text: &str) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((byte, tail)) = rest.split_first() {
        rest = tail;
        if *byte == b'%' {
            let (pair, tail) = rest.split_first_chunk::<2>()?;
            let [high, low] = pair.map(|digit| char::from(digit).to_digit(16));
            out.push(u8::try_from(high? << 4 | low?).ok()?);
            rest = tail;
        } else {
            out.push(*byte);
        }
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use proptest::option;
    use proptest::prelude::proptest;

    use super::super::generate_agent_secret;
    use super::*;

    fn parse(text: &str) -> Dsn {
        Dsn::parse(text).unwrap().unwrap()
    }

    #[test]
    fn the_parts_are_found() {
        let cases = [
            (
                "grpc://test:s3@127.0.0.1:8010?mode=standard",
                "test",
                "127.0.0.1:8010",
                Some("standard"),
                "s3",
            ),
            (
                "grpcs://test:s3@use.hoop.dev:8443?mode=embedded",
                "test",
                "use.hoop.dev:8443",
                Some("embedded"),
                "s3",
            ),
            (
                "GRPC://_default:s3@localhost",
                "_default",
                "localhost",
                None,
                "s3",
            ),
            ("http://:s3@[::1]:8010", "", "[::1]:8010", None, "s3"),
            (
                "ws://a%2Fb:s%3A3%25@h:1/some/path?x=1&mode=a+b&mode=c#f",
                "a/b",
                "h:1",
                Some("a b"),
                "s:3%",
            ),
            ("grpc://a:b:c@d@h:1?mode=", "a", "h:1", None, "b:c@d"),
            ("grpc://a:b@h:?mode=%zz&mode=x", "a", "h:", Some("x"), "b"),
        ];
        for (text, name, address, mode, secret) in cases {
            let dsn = parse(text);
            assert_eq!(dsn.name(), name, "{text}");
            assert_eq!(dsn.address(), address, "{text}");
            assert_eq!(dsn.mode(), mode, "{text}");
            assert_eq!(dsn.hash(), KeyHash::of(secret), "{text}");
            assert_eq!(dsn.bearer().expose(), text);
        }
    }

    #[test]
    fn the_scheme_decides_on_tls() {
        for scheme in ["grpcs", "https", "wss", "GRPCS"] {
            assert!(parse(&format!("{scheme}://a:b@h:1")).is_tls());
        }
        for scheme in ["grpc", "http", "ws"] {
            assert!(!parse(&format!("{scheme}://a:b@h:1")).is_tls());
        }
    }

    #[test]
    fn a_legacy_dsn_is_its_own_secret() {
        let text = format!("https://hoop.example:8443/{}", "x".repeat(64));
        let dsn = parse(&text);
        assert_eq!((dsn.name(), dsn.mode()), ("", Some("embedded")));
        assert_eq!(dsn.address(), "hoop.example:8443");
        assert_eq!(dsn.hash(), KeyHash::of(&text));
        for len in [63, 65] {
            let path = "x".repeat(len);
            let text = format!("https://hoop.example:8443/{path}");
            assert_eq!(Dsn::parse(&text).unwrap_err(), DsnError::NoSecret);
        }
    }

    #[test]
    fn an_empty_text_is_no_key() {
        assert!(Dsn::parse("").unwrap().is_none());
    }

    #[test]
    fn what_is_wrong_is_said_without_the_secret() {
        let malformed = |what| DsnError::Malformed(what);
        let long = format!("grpc://a:canary@h:1?{}", "x".repeat(MAX_LEN));
        let cases = [
            ("canary", malformed("there is no scheme")),
            ("a:canary@h:1", malformed("there is no scheme")),
            ("grcps://a:canary@h:1", DsnError::Scheme),
            ("://a:canary@h:1", DsnError::Scheme),
            ("grpc://h:1", DsnError::NoSecret),
            ("grpc://a@h:1", DsnError::NoSecret),
            ("grpc://a:@h:1", DsnError::NoSecret),
            (
                "grpc://a:canary@",
                malformed("the address is not host:port"),
            ),
            (
                "grpc://a:canary@:1",
                malformed("the address is not host:port"),
            ),
            (
                "grpc://a:canary@h:p",
                malformed("the address is not host:port"),
            ),
            (
                "grpc://a:canary@[::1",
                malformed("the address is not host:port"),
            ),
            (
                "grpc://a:canary@[::1]1",
                malformed("the address is not host:port"),
            ),
            (
                "grpc://a:canary/x@h:1",
                malformed("the address is not host:port"),
            ),
            (
                "grpc://a:canary%2@h:1",
                malformed("the secret is badly escaped"),
            ),
            (
                "grpc://a:canary<@h:1",
                malformed("the secret is badly escaped"),
            ),
            (
                "grpc://a%ff:canary@h:1",
                malformed("the name is badly escaped"),
            ),
            (
                "grpc://a:canary@h:1/%",
                malformed("the path is badly escaped"),
            ),
            (
                "grpc://a:canary@h:1\n",
                malformed("it contains white space"),
            ),
            (&long, DsnError::TooLong),
        ];
        for (text, error) in cases {
            assert_eq!(Dsn::parse(text).unwrap_err(), error, "{text}");
            assert!(!format!("{error} {error:?}").contains("canary"));
        }
    }

    #[test]
    fn the_length_has_a_limit() {
        let base = "grpc://a:b@h:1?";
        let text = format!("{base}{}", "x".repeat(MAX_LEN - base.len()));
        assert!(Dsn::parse(&text).is_ok());
        assert_eq!(
            Dsn::parse(&format!("{text}x")).unwrap_err(),
            DsnError::TooLong
        );
    }

    #[test]
    fn debug_shows_no_secret() {
        let shown = format!("{:?}", parse("grpc://test:canary@h:1?mode=standard"));
        assert!(
            shown.contains("test") && !shown.contains("canary"),
            "{shown}"
        );
    }

    proptest! {
        #[test]
        fn what_is_built_is_read(
            name in "[a-zA-Z0-9_]{1,9}[-.]?[a-zA-Z0-9_]{2,9}",
            host in r"[a-z0-9.-]{1,20}|\[[0-9a-f:]{2,20}\]",
            port: u16,
            mode in option::of("standard|embedded"),
        ) {
            let secret = generate_agent_secret();
            let address = format!("{host}:{port}");
            let dsn = parse(Dsn::build("grpcs", &name, &secret, &address, mode.as_deref()).expose());
            assert_eq!(dsn.name(), name);
            assert_eq!(dsn.address(), address);
            assert_eq!(dsn.mode(), mode.as_deref());
            assert_eq!(dsn.hash(), KeyHash::of(secret.expose()));
        }

        #[test]
        fn no_text_panics(text: String) {
            Dsn::parse(&text).ok();
        }

        #[test]
        fn no_dsn_like_text_panics(text in "(grpc|https)://[a-z:@%/?&=#\\[\\]0-9+;é]{0,80}") {
            Dsn::parse(&text).ok();
        }
    }
}
