//! YAML to and from [`Value`], as `sigs.k8s.io/yaml` has it: YAML 1.1, where `yes` is true and `0444` an octal number.
//!
//! YAML becomes JSON, and JSON is decoded: one place decides what fields there are and what they may hold.

mod load;
mod resolve;

use crate::json::{self, DecodeError, Decoded};
use crate::schema::SchemaRef;
use crate::value::Value;

/// Parses without a schema.
pub fn parse(bytes: &[u8]) -> Result<Value, DecodeError> {
    json::parse(&load::to_json(bytes)?.json)
}

/// Parses under a schema.
pub fn decode(bytes: &[u8], schema: SchemaRef<'_>) -> Result<Decoded, DecodeError> {
    let loaded = load::to_json(bytes)?;
    Ok(Decoded { repeated_keys: loaded.repeated_keys, ..json::decode(&loaded.json, schema)? })
}

/// Writes YAML.
pub fn write(value: &Value, out: &mut Vec<u8>) {
    let mut text = Vec::new();
    json::write(value, &mut text);
    if let Ok(value) = serde_json::from_slice::<serde_json::Value>(&text)
        && let Ok(yaml) = serde_saphyr::to_string(&value)
    {
        out.extend_from_slice(yaml.as_bytes());
    }
}

#[cfg(test)]
mod tests;
