//! Parts of an object that a component passes on without reading: kept as their JSON text.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Deserializer};
use serde_json::Value;
use serde_json::value::RawValue;

/// A JSON value as text, for templates that are copied into new objects: nothing in them can be lost, and one costs
/// its bytes and no more. Equality is that of the text, which for one server's output is that of the value.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct RawJson(Arc<str>);

impl Default for RawJson {
    fn default() -> Self {
        RawJson("".into())
    }
}

impl RawJson {
    /// The text of a value.
    pub fn of(value: &Value) -> Self {
        RawJson(value.to_string().into())
    }

    /// The text; empty if the field was absent.
    pub fn text(&self) -> &str {
        &self.0
    }

    /// Whether the field was absent.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The value as a tree; `Null` if the field was absent.
    pub fn value(&self) -> Value {
        serde_json::from_str(&self.0).unwrap_or(Value::Null)
    }

    /// Reads the value as another type.
    pub fn parse<'a, T: Deserialize<'a>>(&'a self) -> serde_json::Result<T> {
        serde_json::from_str(&self.0)
    }
}

impl fmt::Debug for RawJson {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for RawJson {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = Box::<RawValue>::deserialize(deserializer)?;
        if raw.get() == "null" {
            return Ok(RawJson::default());
        }
        Ok(RawJson(raw.get().into()))
    }
}
