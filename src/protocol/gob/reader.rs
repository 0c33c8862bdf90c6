//! The primitive encodings, read from a slice with a budget for the values that come out of it.

use super::{Error, MAX_VALUES};

/// Widest integer on the wire, in bytes.
const MAX_INTEGER: usize = 8;

/// What is left of a blob.
pub(super) struct Reader<'a> {
    rest: &'a [u8],
    budget: usize,
}

impl<'a> Reader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self {
            rest: bytes,
            budget: MAX_VALUES,
        }
    }

    /// Bytes left.
    pub(super) fn remaining(&self) -> usize {
        self.rest.len()
    }

    /// Pays for one value that is kept in memory.
    pub(super) fn spend(&mut self) -> Result<(), Error> {
        self.budget = self.budget.checked_sub(1).ok_or(Error::TooManyValues)?;
        Ok(())
    }

    fn take(&mut self, count: usize) -> Result<&'a [u8], Error> {
        let (head, rest) = self.rest.split_at_checked(count).ok_or(Error::Truncated)?;
        self.rest = rest;
        Ok(head)
    }

    fn byte(&mut self) -> Result<u8, Error> {
        let (byte, rest) = self.rest.split_first().ok_or(Error::Truncated)?;
        self.rest = rest;
        Ok(*byte)
    }

    pub(super) fn uint(&mut self) -> Result<u64, Error> {
        let first = self.byte()?;
        if first < 0x80 {
            return Ok(u64::from(first));
        }
        let width = usize::from(first.wrapping_neg());
        if width > MAX_INTEGER {
            return Err(Error::Malformed("an integer of more than eight bytes"));
        }
        let bytes = self.take(width)?;
        Ok(bytes
            .iter()
            .fold(0, |value, byte| value << 8 | u64::from(*byte)))
    }

    pub(super) fn int(&mut self) -> Result<i64, Error> {
        let bits = self.uint()?;
        let half = (bits >> 1).cast_signed();
        Ok(if bits & 1 == 0 { half } else { !half })
    }

    pub(super) fn float(&mut self) -> Result<f64, Error> {
        Ok(f64::from_bits(self.uint()?.swap_bytes()))
    }

    /// A count of things of at least one byte each.
    pub(super) fn count(&mut self) -> Result<usize, Error> {
        match usize::try_from(self.uint()?) {
            Ok(count) if count <= self.remaining() => Ok(count),
            _ => Err(Error::Truncated),
        }
    }

    /// Bytes that follow their count.
    pub(super) fn bytes(&mut self) -> Result<&'a [u8], Error> {
        let count = self.count()?;
        self.take(count)
    }

    /// A name of a type or field.
    pub(super) fn name(&mut self) -> Result<&'a str, Error> {
        std::str::from_utf8(self.bytes()?).map_err(|_| Error::Malformed("a name that is not text"))
    }
}

/// The field numbers of one struct, in the order sent.
pub(super) struct FieldNumbers(Option<usize>);

impl FieldNumbers {
    pub(super) fn new() -> Self {
        Self(None)
    }

    /// The next field's number; `None` at the end of the struct.
    pub(super) fn next(&mut self, reader: &mut Reader<'_>) -> Result<Option<usize>, Error> {
        let delta = reader.uint()?;
        if delta == 0 {
            return Ok(None);
        }
        let number = usize::try_from(delta - 1)
            .ok()
            .and_then(|delta| match self.0 {
                Some(last) => last.checked_add(1)?.checked_add(delta),
                None => Some(delta),
            })
            .ok_or(Error::Malformed("a field number out of range"))?;
        self.0 = Some(number);
        Ok(Some(number))
    }
}
