//! Names: those under which an application is reached, and those of the gateway's other resources.
//!
//! What a person or a host calls an application becomes a connection name: letters lose their accents and case, spaces
//! become `_`. We refuse two kinds of names that the reference agent lets through: with control characters, which would
//! be printed in other people's terminals, and with `/`, which separates a name from an instance.

use unicode_normalization::UnicodeNormalization;
use unicode_normalization::char::is_combining_mark;

/// A connection name has fewer bytes than this.
const CONNECTION_NAME_END: usize = 253;

/// Fewest characters of a resource name, separators not counted.
const RESOURCE_NAME_MIN: usize = 3;

/// Most characters of a resource name.
const RESOURCE_NAME_MAX: usize = 254;

/// What [`is_resource_name`] asks for, in the words of the reference gateway.
pub const RESOURCE_NAME_RULE: &str = "it must contain between 3 and 254 alphanumeric characters, \
     it may include (-), (_) or (.) characters";

/// Why a text cannot be a connection name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// Nothing is left of it.
    #[error("the name is empty")]
    Empty,
    /// Too long for the gateway.
    #[error("the name must be shorter than {CONNECTION_NAME_END} bytes, it has {0}")]
    TooLong(usize),
    /// Holds a character that no name may have.
    #[error("the name must not contain {0:?}")]
    Character(char),
}

/// The connection name for what a person wrote or a host is called.
pub fn normalise(text: &str) -> Result<String, NameError> {
    // Nothing that shortens a text makes up for more than this.
    if text.len() > CONNECTION_NAME_END * 16 {
        return Err(NameError::TooLong(text.len()));
    }
    let plain: String = text
        .nfd()
        .filter(|c| !is_combining_mark(*c))
        .nfc()
        .collect();
    let name = plain.to_lowercase().replace(' ', "_");
    if name.is_empty() {
        return Err(NameError::Empty);
    }
    if name.len() >= CONNECTION_NAME_END {
        return Err(NameError::TooLong(name.len()));
    }
    match name.chars().find(|c| c.is_control() || *c == '/') {
        Some(c) => Err(NameError::Character(c)),
        None => Ok(name),
    }
}

/// Whether an agent or a connection that is made through the API may be called so: letters, digits and `_`, with single
/// `-` or `.` between them.
pub fn is_resource_name(text: &str) -> bool {
    let is_word = |part: &str| {
        !part.is_empty() && part.bytes().all(|c| c.is_ascii_alphanumeric() || c == b'_')
    };
    let separators = text.bytes().filter(|c| b"-.".contains(c)).count();
    text.len() <= RESOURCE_NAME_MAX
        && text.len() - separators >= RESOURCE_NAME_MIN
        && text.split(['-', '.']).all(is_word)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::proptest;

    use super::*;

    #[test]
    fn names_are_normalised() {
        for (text, name) in [
            ("rails", "rails"),
            ("Web-1.Example.COM", "web-1.example.com"),
            ("My App  2", "my_app__2"),
            ("Café Ünïté", "cafe_unite"),
            ("e\u{301}", "e"),
            ("漢字", "漢字"),
            ("한글", "한글"),
        ] {
            assert_eq!(normalise(text).unwrap(), name);
        }
        assert_eq!(normalise(""), Err(NameError::Empty));
        assert_eq!(normalise("\u{301}"), Err(NameError::Empty));
        assert_eq!(normalise("a/b"), Err(NameError::Character('/')));
        assert_eq!(normalise("a\x1b[1m"), Err(NameError::Character('\x1b')));
    }

    #[test]
    fn the_length_has_a_limit() {
        let longest = "x".repeat(252);
        assert_eq!(normalise(&longest).unwrap(), longest);
        assert_eq!(normalise(&"x".repeat(253)), Err(NameError::TooLong(253)));
        assert_eq!(normalise(&"é".repeat(252)).unwrap(), "e".repeat(252));
        assert_eq!(
            normalise(&"x".repeat(99_999)),
            Err(NameError::TooLong(99_999))
        );
    }

    #[test]
    fn resource_names_are_those_of_the_reference_gateway() {
        let longest = "x".repeat(254);
        for name in [
            "abc", "a-b_c.d", "_default", "a.bc", "a-b-c", "123", "___", &longest,
        ] {
            assert!(is_resource_name(name), "{name}");
        }
        let too_long = "x".repeat(255);
        for name in [
            "", "a", "ab", "a-b", "-abc", "abc-", "a--bc", "a.-bc", "a b c", "é-abc", "abc\n",
            "a/bc", &too_long,
        ] {
            assert!(!is_resource_name(name), "{name}");
        }
    }

    proptest! {
        #[test]
        fn a_name_is_normalised_once(text: String) {
            if let Ok(name) = normalise(&text) {
                assert_eq!(normalise(&name).as_ref(), Ok(&name));
            }
        }

        #[test]
        fn what_the_pattern_makes_is_a_resource_name(text in "[a-zA-Z0-9_]([-.]?[a-zA-Z0-9_]){2,99}") {
            assert!(is_resource_name(&text));
        }
    }
}
