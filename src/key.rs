//! Credentials: secrets that cannot be printed, their hashes, and the DSN that carries an agent's key.

use zeroize::Zeroize;

/// A secret text, zeroed when dropped, without `Display`.
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

impl Drop for Secret {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}
