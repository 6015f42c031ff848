//! Protobuf (not there yet).

use bytes::Bytes;

use crate::json::DecodeError;
use crate::schema::SchemaRef;
use crate::value::Value;

/// Decodes a `k8s\0` document.
pub fn decode(_bytes: &[u8], _schema: SchemaRef<'_>) -> Result<Value, DecodeError> {
    Err(DecodeError("protobuf is not supported yet".into()))
}

/// Encodes a `k8s\0` document.
pub fn encode(
    _value: &Value,
    _api_version: &str,
    _kind: &str,
    _schema: SchemaRef<'_>,
    _out: &mut Vec<u8>,
) -> Result<(), DecodeError> {
    Err(DecodeError("protobuf is not supported yet".into()))
}

/// One frame of a watch.
pub fn watch_frame(_kind: &str, _object: &[u8]) -> Bytes {
    Bytes::new()
}
