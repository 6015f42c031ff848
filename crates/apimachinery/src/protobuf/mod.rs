//! Kubernetes protobuf, both ways, driven by the same tables as JSON.
//!
//! A document is `k8s\0` and a `runtime.Unknown` with the type's name and the object's message (upstream:
//! `k8s.io/apimachinery/pkg/runtime/serializer/protobuf`). Messages are written as upstream's generated code does:
//! fields in the order of their numbers, maps in the order of their keys, and fields that are no pointers in Go even
//! when they are empty, so that equal objects are equal bytes.

mod backward;
mod decode;
mod encode;
mod layout;
mod tape;
mod wire;

use bytes::Bytes;

use crate::json::{self, DecodeError};
use crate::schema::SchemaRef;
use crate::value::Value;

pub use encode::Encoder;
pub(crate) use layout::{Layout, Layouts};

/// First bytes of a document.
const PREFIX: &[u8; 4] = b"k8s\0";
/// Deepest nesting of messages. Only JSONSchemaProps nest at all deeply; upstream bounds the size alone.
const MAX_DEPTH: u32 = 256;

/// Numbers of `runtime.Unknown`.
mod unknown {
    pub(super) const TYPE_META: u32 = 1;
    pub(super) const RAW: u32 = 2;
    pub(super) const CONTENT_ENCODING: u32 = 3;
    pub(super) const CONTENT_TYPE: u32 = 4;
    pub(super) const API_VERSION: u32 = 1;
    pub(super) const KIND: u32 = 2;
}

/// The envelope of a document.
#[derive(Default)]
struct Envelope<'a> {
    api_version: &'a str,
    kind: &'a str,
    raw: &'a [u8],
}

fn open(bytes: &[u8]) -> Result<Envelope<'_>, DecodeError> {
    let Some(body) = bytes.strip_prefix(PREFIX.as_slice()) else {
        let message = if bytes.is_empty() {
            "empty data".to_owned()
        } else {
            format!("provided data does not appear to be a protobuf message, expected prefix {}", decimal(PREFIX))
        };
        return Err(DecodeError(message));
    };
    if body.is_empty() {
        return Err(DecodeError("empty body".into()));
    }
    let (mut envelope, mut encoding) = (Envelope::default(), "");
    wire::fields(body, |number, value| {
        match number {
            unknown::TYPE_META => wire::fields(value.bytes()?, |number, value| {
                match number {
                    unknown::API_VERSION => envelope.api_version = value.text()?,
                    unknown::KIND => envelope.kind = value.text()?,
                    _ => {}
                }
                Ok(())
            })?,
            unknown::RAW => envelope.raw = value.bytes()?,
            unknown::CONTENT_ENCODING => encoding = value.text()?,
            _ => {}
        }
        Ok(())
    })?;
    if !encoding.is_empty() {
        return Err(DecodeError(format!("content encoding {encoding:?} is not supported")));
    }
    Ok(envelope)
}

/// `apiVersion` and `kind` of a document, empty where it does not say them.
pub fn kind(bytes: &[u8]) -> Result<(&str, &str), DecodeError> {
    open(bytes).map(|envelope| (envelope.api_version, envelope.kind))
}

/// Decodes a document. `apiVersion` and `kind` are what it says, if it says them.
pub fn decode(bytes: &[u8], schema: SchemaRef<'_>) -> Result<Value, DecodeError> {
    let Envelope { api_version, kind, raw } = open(bytes)?;
    let mut value = decode::message(schema, raw)?;
    if let Value::Object(fields) = &mut value {
        for (name, text) in [("apiVersion", api_version), ("kind", kind)] {
            if !text.is_empty() {
                fields.insert(name, text);
            }
        }
    }
    Ok(value)
}

/// Appends the document of a tree.
pub fn encode(
    value: &Value,
    api_version: &str,
    kind: &str,
    schema: SchemaRef<'_>,
    out: &mut Vec<u8>,
) -> Result<(), DecodeError> {
    let mut text = Vec::new();
    json::write(value, &mut text);
    document(api_version, kind, Encoder::default().message(schema, &text)?, out);
    Ok(())
}

/// Appends the document of a message.
pub fn document(api_version: &str, kind: &str, message: &[u8], out: &mut Vec<u8>) {
    begin_document(api_version, kind, message.len(), out);
    out.extend_from_slice(message);
    end_document(out);
}

/// Appends what stands before a message of `length` bytes, for those who write it in pieces.
pub fn begin_document(api_version: &str, kind: &str, length: usize, out: &mut Vec<u8>) {
    let mut type_meta = Vec::with_capacity(api_version.len() + kind.len() + 4);
    wire::put_bytes(&mut type_meta, unknown::API_VERSION, api_version.as_bytes());
    wire::put_bytes(&mut type_meta, unknown::KIND, kind.as_bytes());
    out.extend_from_slice(PREFIX);
    wire::put_bytes(out, unknown::TYPE_META, &type_meta);
    wire::put_length(out, unknown::RAW, length);
}

/// Appends what stands before a message of `length` bytes that is a field of another.
pub fn begin_field(number: u32, length: usize, out: &mut Vec<u8>) {
    wire::put_length(out, number, length);
}

/// Appends what stands after the message.
pub fn end_document(out: &mut Vec<u8>) {
    wire::put_bytes(out, unknown::CONTENT_ENCODING, b"");
    wire::put_bytes(out, unknown::CONTENT_TYPE, b"");
}

/// One frame of a watch: its length, and a `metav1.WatchEvent` whose object is a document.
pub fn watch_frame(kind: &str, object: &[u8]) -> Bytes {
    let mut frame = Vec::with_capacity(object.len() + kind.len() + 24);
    frame.extend_from_slice(&[0; 4]);
    wire::put_bytes(&mut frame, 1, kind.as_bytes());
    let mut raw = Vec::with_capacity(object.len() + 8);
    wire::put_bytes(&mut raw, 1, object);
    wire::put_bytes(&mut frame, 2, &raw);
    let length = u32::try_from(frame.len() - 4).unwrap_or(u32::MAX);
    frame[..4].copy_from_slice(&length.to_be_bytes());
    frame.into()
}

/// Bytes as Go prints them.
fn decimal(bytes: &[u8]) -> String {
    let numbers: Vec<String> = bytes.iter().map(u8::to_string).collect();
    format!("[{}]", numbers.join(" "))
}

#[cfg(test)]
mod tests;
