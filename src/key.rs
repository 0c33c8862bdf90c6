//! Credentials: secrets that cannot be printed, their hashes, and the DSN that carries an agent's key.
//!
//! Rules: no secret in `Debug` or in an error; secrets and hashes are compared in constant time; whoever issues a secret
//! keeps its hash only.

mod dsn;
mod hash;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use subtle::ConstantTimeEq;
use zeroize::{Zeroize, Zeroizing};

pub use dsn::{Dsn, DsnError};
pub use hash::KeyHash;

/// Random bytes in a generated secret.
const SECRET_BYTES: usize = 32;

/// A secret text, zeroed when dropped, without `Display`; compared in constant time.
#[derive(Clone)]
pub struct Secret(String);

impl Secret {
    /// Takes ownership of a secret.
    pub fn new(text: String) -> Self {
        Self(text)
    }

    /// The secret itself, for the one place that sends or hashes it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret(…)")
    }
}

impl PartialEq for Secret {
    fn eq(&self, other: &Self) -> bool {
        self.0.as_bytes().ct_eq(other.0.as_bytes()).into()
    }
}

impl Eq for Secret {}

impl Drop for Secret {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

/// A new secret for an agent's key: `xagt-` and 43 characters.
pub fn generate_agent_secret() -> Secret {
    generate("xagt-")
}

/// A new token for a user: `hpk_` and 43 characters.
pub fn generate_user_token() -> Secret {
    generate("hpk_")
}

fn generate(prefix: &str) -> Secret {
    let mut bytes = Zeroizing::new([0; SECRET_BYTES]);
    rand::fill(bytes.as_mut_slice());
    // Room for everything at once: a text that grows leaves copies behind.
    let mut text = String::with_capacity(prefix.len() + SECRET_BYTES * 2);
    text.push_str(prefix);
    URL_SAFE_NO_PAD.encode_string(bytes.as_slice(), &mut text);
    Secret::new(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn generated_secrets_have_their_form_and_differ() {
        for (generate, prefix) in [
            (generate_agent_secret as fn() -> Secret, "xagt-"),
            (generate_user_token, "hpk_"),
        ] {
            let secret = generate();
            let random = secret.expose().strip_prefix(prefix).unwrap();
            assert_eq!(random.len(), 43);
            assert_eq!(URL_SAFE_NO_PAD.decode(random).unwrap().len(), SECRET_BYTES);
            assert!(secret == secret.clone());
            assert!(secret != generate());
        }
    }

    #[test]
    fn a_secret_is_not_shown() {
        assert_eq!(
            format!("{:?}", Secret::new("canary".to_owned())),
            "Secret(…)"
        );
    }
}
