//! Go's `gob` encoding, as far as it appears in packets: decoded generically, encoded for three types.
//!
//! A blob is one independent stream: messages that define types, then one message with a value. Type ids depend on what
//! the sending process encoded before, so only the definitions in the stream give them a meaning.
//!
//! | item | bytes |
//! |---|---|
//! | unsigned `u` | below 128 one byte; else a byte `256 − n`, then `n` big-endian bytes |
//! | signed `i` | unsigned `i << 1`, negative `(!i << 1) \| 1` |
//! | string, bytes | unsigned length, raw bytes |
//! | float | the unsigned value of its byte-reversed bits |
//! | list, map | unsigned count, then elements, or keys and values in turn |
//! | struct | per field that is not zero: unsigned delta of the field number (from −1), value; ends with 0 |
//! | interface | name of the concrete type (empty: nil), type id, byte count, 0 unless a struct, value |
//! | message | unsigned byte count, signed id (negative: definition follows), 0 unless a struct, value |
//!
//! Rules: no input makes the decoder panic, recurse deeper than [`MAX_DEPTH`] or build more than [`MAX_VALUES`]; texts
//! and bytes are borrowed from the input. Source: the documentation of Go's package `encoding/gob`, and what its decoder
//! accepts: a message's byte count is not a border for a value whose interface brings a definition along.

mod decode;
pub(crate) mod encode;
mod reader;
mod types;

use std::collections::BTreeMap;

use bytes::Bytes;

pub use decode::decode;
use encode::{Definition, FIRST_ID, STRING, Writer};

/// Largest blob that is decoded, in bytes. Connection values may be whole files (certificates, key rings), hence more
/// than an argument list ever holds.
pub const MAX_SIZE: usize = 4 * 1024 * 1024;

/// Deepest nesting of values. What is sent has four levels.
pub const MAX_DEPTH: usize = 32;

/// Most values in one blob, type definitions and their fields included. An element may take a single byte of input and
/// some fifty of memory, so the size alone is no limit.
pub const MAX_VALUES: usize = 128 * 1024;

/// A decoded value. It may hold credentials: never log one.
#[derive(Clone, Debug, PartialEq)]
pub enum Value<'a> {
    /// A nil interface, or a field of a struct that was not sent because it is zero.
    Nil,
    /// A boolean.
    Bool(bool),
    /// A signed integer of any width.
    Int(i64),
    /// An unsigned integer of any width.
    Uint(u64),
    /// A float of either width.
    Float(f64),
    /// Real and imaginary part.
    Complex(f64, f64),
    /// Bytes, or a value that its type encoded itself.
    Bytes(&'a [u8]),
    /// A string: bytes that need not be UTF-8.
    Text(&'a [u8]),
    /// An array or slice.
    List(Vec<Value<'a>>),
    /// A map, in the order sent.
    Map(Vec<(Value<'a>, Value<'a>)>),
    /// Every field that the sender's type declares, in its order.
    Struct(Vec<(&'a str, Value<'a>)>),
}

/// Why a blob could not be decoded.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// More than [`MAX_SIZE`] bytes.
    #[error("gob is larger than {MAX_SIZE} bytes")]
    TooLarge,
    /// Deeper than [`MAX_DEPTH`].
    #[error("gob is nested deeper than {MAX_DEPTH} levels")]
    TooDeep,
    /// More than [`MAX_VALUES`].
    #[error("gob has more than {MAX_VALUES} values")]
    TooManyValues,
    /// The bytes end too early.
    #[error("gob is cut short")]
    Truncated,
    /// A type that the stream did not define.
    #[error("gob uses the undefined type {0}")]
    UnknownType(i64),
    /// Something that no encoder writes.
    #[error("gob is malformed: {0}")]
    Malformed(&'static str),
    /// Well formed, but not what was asked for.
    #[error("gob does not hold {0}")]
    Unexpected(&'static str),
    /// A string that should be text and is not.
    #[error("gob holds a string that is not UTF-8")]
    NotUtf8,
}

impl Value<'_> {
    /// The value as text; a field that was not sent is empty.
    pub(crate) fn to_text(&self) -> Result<String, Error> {
        match self {
            Self::Nil => Ok(String::new()),
            Self::Text(bytes) => text(bytes).map(str::to_owned),
            _ => Err(Error::Unexpected("a string")),
        }
    }

    /// The value as bytes; a field that was not sent is empty.
    pub(crate) fn to_bytes(&self) -> Result<Vec<u8>, Error> {
        match self {
            Self::Nil => Ok(Vec::new()),
            Self::Bytes(bytes) => Ok(bytes.to_vec()),
            _ => Err(Error::Unexpected("bytes")),
        }
    }

    /// The value as a list of texts; a field that was not sent is empty.
    pub(crate) fn to_strings(&self) -> Result<Vec<String>, Error> {
        match self {
            Self::Nil => Ok(Vec::new()),
            Self::List(items) => items
                .iter()
                .map(|item| match item {
                    Self::Text(bytes) => text(bytes).map(str::to_owned),
                    _ => Err(Error::Unexpected("a list of strings")),
                })
                .collect(),
            _ => Err(Error::Unexpected("a list of strings")),
        }
    }

    /// The value as a map of texts; a field that was not sent is empty, of equal keys the last one wins.
    pub(crate) fn to_string_map(&self) -> Result<BTreeMap<String, String>, Error> {
        match self {
            Self::Nil => Ok(BTreeMap::new()),
            Self::Map(entries) => entries
                .iter()
                .map(|entry| match entry {
                    (Self::Text(key), Self::Text(value)) => {
                        Ok((text(key)?.to_owned(), text(value)?.to_owned()))
                    }
                    _ => Err(Error::Unexpected("a map of strings")),
                })
                .collect(),
            _ => Err(Error::Unexpected("a map of strings")),
        }
    }
}

fn text(bytes: &[u8]) -> Result<&str, Error> {
    std::str::from_utf8(bytes).map_err(|_| Error::NotUtf8)
}

/// Encodes Go's `[]string`.
pub fn encode_strings(items: &[impl AsRef<str>]) -> Bytes {
    let mut out = Writer::new();
    out.define(FIRST_ID, "", &Definition::Slice(STRING));
    let mut value = Writer::new();
    value.int(FIRST_ID);
    value.uint(0);
    value.strings(items);
    out.message(&value);
    out.into_bytes()
}

/// Decodes a list of strings.
pub fn decode_strings(bytes: &[u8]) -> Result<Vec<String>, Error> {
    decode(bytes)?.to_strings()
}

/// Encodes Go's `map[string]string`.
pub fn encode_string_map(map: &BTreeMap<String, String>) -> Bytes {
    let mut out = Writer::new();
    out.define(FIRST_ID, "", &Definition::Map(STRING, STRING));
    let mut value = Writer::new();
    value.int(FIRST_ID);
    value.uint(0);
    value.len(map.len());
    for (key, item) in map {
        value.bytes(key.as_bytes());
        value.bytes(item.as_bytes());
    }
    out.message(&value);
    out.into_bytes()
}

/// Decodes a map of strings, whether its type says so or its values are strings inside interfaces.
pub fn decode_string_map(bytes: &[u8]) -> Result<BTreeMap<String, String>, Error> {
    decode(bytes)?.to_string_map()
}

#[cfg(test)]
mod tests;
#[cfg(test)]
pub(crate) mod vectors;
