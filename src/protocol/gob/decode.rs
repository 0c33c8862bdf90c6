//! Values, decoded by the types that their stream defines.

use super::reader::{FieldNumbers, Reader};
use super::types::{Field, Type, Types};
use super::{Error, MAX_DEPTH, MAX_SIZE, Value};

/// Decodes a blob: any definitions, one value, nothing after it.
pub fn decode(bytes: &[u8]) -> Result<Value<'_>, Error> {
    if bytes.len() > MAX_SIZE {
        return Err(Error::TooLarge);
    }
    let mut decoder = Decoder {
        reader: Reader::new(bytes),
        types: Types::default(),
    };
    let value = decoder.stream()?;
    match decoder.reader.remaining() {
        0 => Ok(value),
        _ => Err(Error::Malformed("bytes after the value")),
    }
}

struct Decoder<'a> {
    reader: Reader<'a>,
    types: Types<'a>,
}

impl<'a> Decoder<'a> {
    fn stream(&mut self) -> Result<Value<'a>, Error> {
        loop {
            let count = self.reader.count()?;
            let end = self.reader.remaining() - count;
            let id = self.reader.int()?;
            if id >= 0 {
                return self.top(id, 0);
            }
            self.types.define(id, &mut self.reader)?;
            if self.reader.remaining() != end {
                return Err(Error::Malformed("a definition of another length than said"));
            }
        }
    }

    /// A value of a message or an interface: a zero byte stands before all but structs.
    fn top(&mut self, id: i64, depth: usize) -> Result<Value<'a>, Error> {
        let kind = self.types.get(id)?;
        if !matches!(kind, Type::Struct(_)) && self.reader.uint()? != 0 {
            return Err(Error::Malformed("no zero before a value"));
        }
        self.value(&kind, depth)
    }

    fn element(&mut self, id: i64, depth: usize) -> Result<Value<'a>, Error> {
        let kind = self.types.get(id)?;
        self.value(&kind, depth + 1)
    }

    fn value(&mut self, kind: &Type<'a>, depth: usize) -> Result<Value<'a>, Error> {
        if depth >= MAX_DEPTH {
            return Err(Error::TooDeep);
        }
        self.reader.spend()?;
        let reader = &mut self.reader;
        Ok(match kind {
            Type::Bool => Value::Bool(reader.uint()? != 0),
            Type::Int => Value::Int(reader.int()?),
            Type::Uint => Value::Uint(reader.uint()?),
            Type::Float => Value::Float(reader.float()?),
            Type::Complex => Value::Complex(reader.float()?, reader.float()?),
            Type::Bytes => Value::Bytes(reader.bytes()?),
            Type::Text => Value::Text(reader.bytes()?),
            Type::Interface => self.interface(depth)?,
            Type::List { element } => self.list(*element, depth)?,
            Type::Map { key, element } => self.map(*key, *element, depth)?,
            Type::Struct(fields) => self.fields(fields, depth)?,
        })
    }

    /// Definitions of a concrete type that was not sent before stand between its name and its id. The byte count that
    /// follows each of them, like the one before the value, is for those who skip.
    fn interface(&mut self, depth: usize) -> Result<Value<'a>, Error> {
        if self.reader.name()?.is_empty() {
            return Ok(Value::Nil);
        }
        loop {
            let id = self.reader.int()?;
            if id < 0 {
                self.types.define(id, &mut self.reader)?;
            }
            self.reader.count()?;
            if id >= 0 {
                return self.top(id, depth + 1);
            }
        }
    }

    fn list(&mut self, element: i64, depth: usize) -> Result<Value<'a>, Error> {
        let mut items = Vec::new();
        for _ in 0..self.reader.count()? {
            items.push(self.element(element, depth)?);
        }
        Ok(Value::List(items))
    }

    fn map(&mut self, key: i64, element: i64, depth: usize) -> Result<Value<'a>, Error> {
        let mut entries = Vec::new();
        for _ in 0..self.reader.count()? {
            entries.push((self.element(key, depth)?, self.element(element, depth)?));
        }
        Ok(Value::Map(entries))
    }

    fn fields(&mut self, fields: &[Field<'a>], depth: usize) -> Result<Value<'a>, Error> {
        let mut values = Vec::new();
        for field in fields {
            self.reader.spend()?;
            values.push((field.name, Value::Nil));
        }
        let mut numbers = FieldNumbers::new();
        while let Some(number) = numbers.next(&mut self.reader)? {
            let (Some(field), Some(slot)) = (fields.get(number), values.get_mut(number)) else {
                return Err(Error::Malformed("a field that its type does not have"));
            };
            slot.1 = self.element(field.id, depth)?;
        }
        Ok(Value::Struct(values))
    }
}
