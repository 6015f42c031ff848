//! YAML to and from [`Value`].

use crate::json::{self, DecodeError, Decoded};
use crate::schema::SchemaRef;
use crate::value::Value;

/// Parses without a schema.
pub fn parse(bytes: &[u8]) -> Result<Value, DecodeError> {
    json::parse(&to_json(bytes)?)
}

/// Parses under a schema.
pub fn decode(bytes: &[u8], schema: SchemaRef<'_>) -> Result<Decoded, DecodeError> {
    json::decode(&to_json(bytes)?, schema)
}

fn to_json(bytes: &[u8]) -> Result<Vec<u8>, DecodeError> {
    if bytes.iter().find(|b| !b.is_ascii_whitespace()) == Some(&b'{') {
        return Ok(bytes.to_vec());
    }
    let text = std::str::from_utf8(bytes).map_err(|_| DecodeError("invalid UTF-8".into()))?;
    // As YAML 1.1 has it: `defaultMode: 0444` is an octal number in every manifest there is.
    let options = serde_saphyr::options! { legacy_octal_numbers: true };
    let value = serde_saphyr::from_str_with_options::<serde_json::Value>(text, options)
        .map_err(|error| DecodeError(format!("error converting YAML to JSON: yaml: {error}")))?;
    serde_json::to_vec(&value).map_err(|error| DecodeError(error.to_string()))
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
mod tests {
    use super::*;

    #[test]
    fn file_modes_are_octal() {
        let value = parse(b"a: 0444\nb: 10\nc: 0\nd: '0444'\n").expect("YAML");
        assert_eq!(value, json::parse(br#"{"a":292,"b":10,"c":0,"d":"0444"}"#).expect("JSON"));
    }
}
