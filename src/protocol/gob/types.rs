//! Types: the predefined ones, and those that a stream defines.
//!
//! A definition is a struct with one field set, whose number tells the kind. The first field of each descriptor holds
//! name and id of the type, which nobody needs: the id is in front of the definition.
//!
//! | field | kind | fields after the common one |
//! |---|---|---|
//! | 0 | array | element, length |
//! | 1 | slice | element |
//! | 2 | struct | fields, each a name and a type |
//! | 3 | map | key, element |
//! | 4, 5, 6 | encoded by the type itself | |

use std::collections::BTreeMap;
use std::rc::Rc;

use super::Error;
use super::reader::{FieldNumbers, Reader};

/// First id that a stream may define; smaller ones are Go's own.
const FIRST_USER_ID: i64 = 64;

/// How a value of a type is laid out.
#[derive(Clone)]
pub(super) enum Type<'a> {
    Bool,
    Int,
    Uint,
    Float,
    Bytes,
    Text,
    Complex,
    Interface,
    List { element: i64 },
    Map { key: i64, element: i64 },
    Struct(Rc<[Field<'a>]>),
}

/// A field of a struct.
pub(super) struct Field<'a> {
    pub(super) name: &'a str,
    pub(super) id: i64,
}

/// The types of one stream.
#[derive(Default)]
pub(super) struct Types<'a>(BTreeMap<i64, Type<'a>>);

impl<'a> Types<'a> {
    pub(super) fn get(&self, id: i64) -> Result<Type<'a>, Error> {
        Ok(match id {
            1 => Type::Bool,
            2 => Type::Int,
            3 => Type::Uint,
            4 => Type::Float,
            5 => Type::Bytes,
            6 => Type::Text,
            7 => Type::Complex,
            8 => Type::Interface,
            _ => self.0.get(&id).cloned().ok_or(Error::UnknownType(id))?,
        })
    }

    /// Reads the definition that follows the negative of its id.
    pub(super) fn define(
        &mut self,
        negative_id: i64,
        reader: &mut Reader<'a>,
    ) -> Result<(), Error> {
        let id = negative_id
            .checked_neg()
            .filter(|id| *id >= FIRST_USER_ID)
            .ok_or(Error::Malformed("a definition of a predefined type"))?;
        reader.spend()?;
        let definition = definition(reader)?;
        if self.0.insert(id, definition).is_some() {
            return Err(Error::Malformed("a type defined twice"));
        }
        Ok(())
    }
}

fn definition<'a>(reader: &mut Reader<'a>) -> Result<Type<'a>, Error> {
    let mut found = None;
    let mut numbers = FieldNumbers::new();
    while let Some(number) = numbers.next(reader)? {
        let kind = match number {
            0 | 1 => {
                let [element, _length] = numbers_after_common(reader)?;
                Type::List { element }
            }
            2 => Type::Struct(struct_fields(reader)?),
            3 => {
                let [key, element] = numbers_after_common(reader)?;
                Type::Map { key, element }
            }
            4..=6 => {
                let [_, _] = numbers_after_common(reader)?;
                Type::Bytes
            }
            _ => return Err(Error::Malformed("a type of unknown kind")),
        };
        if found.replace(kind).is_some() {
            return Err(Error::Malformed("a type of two kinds"));
        }
    }
    found.ok_or(Error::Malformed("a type of no kind"))
}

/// A descriptor that has at most two integers after the common field.
fn numbers_after_common(reader: &mut Reader<'_>) -> Result<[i64; 2], Error> {
    let mut found = [0; 2];
    let mut numbers = FieldNumbers::new();
    while let Some(number) = numbers.next(reader)? {
        match number {
            0 => common(reader)?,
            1 => found[0] = reader.int()?,
            2 => found[1] = reader.int()?,
            _ => return Err(Error::Malformed("an unknown field of a descriptor")),
        }
    }
    Ok(found)
}

fn struct_fields<'a>(reader: &mut Reader<'a>) -> Result<Rc<[Field<'a>]>, Error> {
    let mut fields = Vec::new();
    let mut numbers = FieldNumbers::new();
    while let Some(number) = numbers.next(reader)? {
        match number {
            0 => common(reader)?,
            1 => {
                for _ in 0..reader.count()? {
                    reader.spend()?;
                    let (name, id) = name_and_id(reader)?;
                    fields.push(Field { name, id });
                }
            }
            _ => return Err(Error::Malformed("an unknown field of a descriptor")),
        }
    }
    Ok(fields.into())
}

fn common(reader: &mut Reader<'_>) -> Result<(), Error> {
    name_and_id(reader).map(|_| ())
}

fn name_and_id<'a>(reader: &mut Reader<'a>) -> Result<(&'a str, i64), Error> {
    let (mut name, mut id) = ("", 0);
    let mut numbers = FieldNumbers::new();
    while let Some(number) = numbers.next(reader)? {
        match number {
            0 => name = reader.name()?,
            1 => id = reader.int()?,
            _ => return Err(Error::Malformed("an unknown field of a descriptor")),
        }
    }
    Ok((name, id))
}
