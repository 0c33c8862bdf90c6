//! The encodings that are needed to write a blob.

use bytes::Bytes;

/// First id that is given to a type of ours, as a fresh Go encoder would.
pub(crate) const FIRST_ID: i64 = 65;
/// Predefined id of `[]byte`.
pub(crate) const BYTES: i64 = 5;
/// Predefined id of `string`.
pub(crate) const STRING: i64 = 6;
/// Predefined id of `interface{}`.
pub(crate) const INTERFACE: i64 = 8;

/// The layout of a type to define.
pub(crate) enum Definition<'a> {
    /// Element.
    Slice(i64),
    /// Key and element.
    Map(i64, i64),
    /// Names and types of the fields.
    Struct(&'a [(&'a str, i64)]),
}

/// Bytes being written.
pub(crate) struct Writer(Vec<u8>);

impl Writer {
    pub(crate) fn new() -> Self {
        Self(Vec::new())
    }

    pub(crate) fn into_bytes(self) -> Bytes {
        self.0.into()
    }

    pub(crate) fn uint(&mut self, value: u64) {
        match u8::try_from(value) {
            Ok(byte) if byte < 0x80 => self.0.push(byte),
            _ => {
                let bytes = value.to_be_bytes();
                let significant = bytes.iter().skip_while(|byte| **byte == 0);
                let width = significant.clone().fold(0u8, |count, _| count + 1);
                self.0.push(width.wrapping_neg());
                self.0.extend(significant);
            }
        }
    }

    pub(crate) fn int(&mut self, value: i64) {
        let shifted = value.cast_unsigned() << 1;
        self.uint(if value < 0 { !shifted } else { shifted });
    }

    /// A length or count.
    pub(crate) fn len(&mut self, len: usize) {
        self.uint(u64::try_from(len).unwrap_or(u64::MAX));
    }

    /// A string or bytes.
    pub(crate) fn bytes(&mut self, bytes: &[u8]) {
        self.len(bytes.len());
        self.0.extend(bytes);
    }

    /// The value of a `[]string`.
    pub(crate) fn strings(&mut self, items: &[impl AsRef<str>]) {
        self.len(items.len());
        for item in items {
            self.bytes(item.as_ref().as_bytes());
        }
    }

    /// A string inside an interface.
    pub(crate) fn boxed_string(&mut self, text: &str) {
        let mut value = Self::new();
        value.uint(0);
        value.bytes(text.as_bytes());
        self.bytes(b"string");
        self.int(STRING);
        self.bytes(&value.0);
    }

    /// A message of which `body` is the content.
    pub(crate) fn message(&mut self, body: &Self) {
        self.bytes(&body.0);
    }

    /// The message that defines type `id`.
    pub(crate) fn define(&mut self, id: i64, name: &str, definition: &Definition<'_>) {
        let mut body = Self::new();
        body.int(-id);
        body.uint(match definition {
            Definition::Slice(_) => 2,
            Definition::Struct(_) => 3,
            Definition::Map(..) => 4,
        });
        body.uint(1);
        body.named(name, id);
        match definition {
            Definition::Slice(element) => body.integers(&[*element]),
            Definition::Map(key, element) => body.integers(&[*key, *element]),
            Definition::Struct(fields) => {
                body.uint(1);
                body.len(fields.len());
                for (name, id) in *fields {
                    body.named(name, *id);
                }
            }
        }
        body.uint(0);
        body.uint(0);
        self.message(&body);
    }

    /// A struct of a name, left out when empty, and an id.
    fn named(&mut self, name: &str, id: i64) {
        if name.is_empty() {
            self.uint(2);
        } else {
            self.uint(1);
            self.bytes(name.as_bytes());
            self.uint(1);
        }
        self.int(id);
        self.uint(0);
    }

    fn integers(&mut self, values: &[i64]) {
        for value in values {
            self.uint(1);
            self.int(*value);
        }
    }
}

/// The fields of a struct value, in ascending order.
pub(crate) struct StructWriter {
    writer: Writer,
    next: u64,
}

impl StructWriter {
    /// A struct of type `id`.
    pub(crate) fn new(id: i64) -> Self {
        let mut writer = Writer::new();
        writer.int(id);
        Self { writer, next: 0 }
    }

    /// Where the value of field `number` goes; the numbers must ascend.
    pub(crate) fn field(&mut self, number: u64) -> &mut Writer {
        self.writer.uint(number + 1 - self.next);
        self.next = number + 1;
        &mut self.writer
    }

    pub(crate) fn finish(mut self) -> Writer {
        self.writer.uint(0);
        self.writer
    }
}
