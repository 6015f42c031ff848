//! JSON to and from [`Value`], with or without a schema.
//!
//! With a schema the parse itself finds unknown and duplicate fields, refuses values of the wrong type and writes
//! scalars in their canonical form, so that no second pass is needed.

mod conforms;
mod lex;
mod read;
mod scalar;
mod write;

use std::sync::LazyLock;

use crate::schema::{SchemaRef, Type, TypeTable};
use crate::value::Value;

pub use conforms::conforms;
pub use write::write;

/// Deepest nesting that is read.
pub const MAX_DEPTH: usize = 512;
/// Members up to which looking at every earlier one beats hashing.
const FEW_MEMBERS: usize = 32;
/// Unknown and duplicate fields that are remembered.
const MAX_REPORTED: usize = 100;

/// Why text could not be decoded.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct DecodeError(pub String);

/// A decoded object.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Decoded {
    /// The object.
    pub value: Value,
    /// Paths of fields that the schema does not have; they were dropped.
    pub unknown: Vec<String>,
    /// Paths of fields given twice; the last one counts.
    pub duplicate: Vec<String>,
    /// Keys given twice in YAML, with their lines.
    pub repeated_keys: Vec<String>,
}

/// Parses without a schema.
pub fn parse(bytes: &[u8]) -> Result<Value, DecodeError> {
    static ANY: Type = Type::Any;
    static NO_TYPES: LazyLock<TypeTable> = LazyLock::new(TypeTable::default);
    Ok(read::read(bytes, SchemaRef::new(&NO_TYPES, &ANY))?.value)
}

/// Reads a string in quotes.
pub(crate) fn unquote(text: &[u8]) -> Result<compact_str::CompactString, DecodeError> {
    lex::Lexer::new(text).string()
}

/// Parses under a schema.
pub fn decode(bytes: &[u8], schema: SchemaRef<'_>) -> Result<Decoded, DecodeError> {
    read::read(bytes, schema)
}

#[cfg(test)]
mod tests;
