//! What is stored of a secret: the SHA-256 of its text.
//!
//! A secret has 256 random bits, so a plain hash is as hard to turn around as guessing; nothing slower is needed.

use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

/// Bytes of a hash.
const LEN: usize = 32;

/// The hash of a secret; compared in constant time.
#[derive(Clone, Copy)]
pub struct KeyHash([u8; LEN]);

impl KeyHash {
    /// The hash of a secret's bytes.
    pub fn of(secret: impl AsRef<[u8]>) -> Self {
        Self(Sha256::digest(secret).into())
    }

    /// 64 lower-case hexadecimal digits, the form in which it is stored.
    pub fn to_hex(&self) -> String {
        let nibbles = self.0.iter().flat_map(|byte| [byte >> 4, byte & 0xf]);
        nibbles
            .filter_map(|nibble| char::from_digit(nibble.into(), 16))
            .collect()
    }

    /// The hash that [`to_hex`](Self::to_hex) wrote; `None` for anything else.
    pub fn from_hex(text: &str) -> Option<Self> {
        let digits = text.as_bytes();
        if digits.len() != 2 * LEN {
            return None;
        }
        let mut bytes = [0; LEN];
        for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
            *byte = pair
                .iter()
                .try_fold(0, |value, digit| Some(value << 4 | nibble(*digit)?))?;
        }
        Some(Self(bytes))
    }
}

fn nibble(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    }
}

impl PartialEq for KeyHash {
    fn eq(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl Eq for KeyHash {}

impl std::fmt::Debug for KeyHash {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("KeyHash(…)")
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::proptest;

    use super::*;

    /// Of the empty text, as everybody knows it.
    const OF_NOTHING: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    #[test]
    fn it_is_sha_256_in_lower_case() {
        assert_eq!(KeyHash::of("").to_hex(), OF_NOTHING);
        assert_eq!(KeyHash::from_hex(OF_NOTHING), Some(KeyHash::of("")));
        assert!(KeyHash::of("a") != KeyHash::of("b"));
        assert_eq!(format!("{:?}", KeyHash::of("")), "KeyHash(…)");
    }

    #[test]
    fn other_texts_are_no_hash() {
        let upper = OF_NOTHING.to_uppercase();
        let short = OF_NOTHING.strip_suffix('5').unwrap();
        let long = format!("{OF_NOTHING}0");
        let not_hex = OF_NOTHING.replace('a', "g");
        for text in ["", short, &long, &upper, &not_hex] {
            assert_eq!(KeyHash::from_hex(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn it_survives_as_hex(secret: Vec<u8>) {
            let hash = KeyHash::of(secret);
            assert_eq!(KeyHash::from_hex(&hash.to_hex()), Some(hash));
        }

        #[test]
        fn no_text_panics(text: String) {
            KeyHash::from_hex(&text);
        }
    }
}
