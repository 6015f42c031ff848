//! The two encodings, from and to JSON values.

use anyhow::{Context, bail, ensure};
use serde_json::Value;
use skiff_apimachinery::{json, protobuf};

/// JSON or Kubernetes protobuf.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    /// `application/json`.
    Json,
    /// `application/vnd.kubernetes.protobuf`.
    Protobuf,
}

impl Encoding {
    /// The media type.
    pub fn media(self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::Protobuf => "application/vnd.kubernetes.protobuf",
        }
    }

    /// Encodes an object that says what it is.
    pub fn encode(self, object: &Value) -> anyhow::Result<Vec<u8>> {
        let text = object.to_string().into_bytes();
        match self {
            Self::Json => Ok(text),
            Self::Protobuf => {
                let api_version = object["apiVersion"].as_str().context("apiVersion")?;
                let kind = object["kind"].as_str().context("kind")?;
                let mut out = Vec::new();
                let tree = json::parse(&text)?;
                protobuf::encode(&tree, api_version, kind, schema(api_version, kind)?, &mut out)?;
                Ok(out)
            }
        }
    }

    /// Decodes an object of a kind that it names.
    pub fn decode(self, bytes: &[u8]) -> anyhow::Result<Value> {
        match self {
            Self::Json => Ok(serde_json::from_slice(bytes)?),
            Self::Protobuf => {
                let (api_version, kind) = type_meta(bytes)?;
                let tree = protobuf::decode(bytes, schema(&api_version, &kind)?)?;
                let mut text = Vec::new();
                json::write(&tree, &mut text);
                Ok(serde_json::from_slice(&text)?)
            }
        }
    }
}

fn schema(api_version: &str, kind: &str) -> anyhow::Result<skiff_apimachinery::schema::SchemaRef<'static>> {
    let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
    skiff_api::builtin().schema_of(group, version, kind).with_context(|| format!("no type {api_version} {kind}"))
}

/// What the envelope of a document says that is in it.
fn type_meta(bytes: &[u8]) -> anyhow::Result<(String, String)> {
    let mut rest = bytes.strip_prefix(b"k8s\0").context("no prefix of Kubernetes protobuf")?;
    while !rest.is_empty() {
        let (number, message) = part(&mut rest)?;
        if number == 1 {
            let (mut api_version, mut kind) = (String::new(), String::new());
            let mut meta = message;
            while !meta.is_empty() {
                let (number, text) = part(&mut meta)?;
                let text = std::str::from_utf8(text)?.to_owned();
                if number == 1 { api_version = text } else { kind = text }
            }
            return Ok((api_version, kind));
        }
    }
    bail!("the envelope does not say what is in it")
}

/// The event of a protobuf watch frame without its length: type and document.
pub fn watch_event(mut frame: &[u8]) -> anyhow::Result<(String, Vec<u8>)> {
    let (mut ty, mut object) = (String::new(), Vec::new());
    while !frame.is_empty() {
        match part(&mut frame)? {
            (1, text) => ty = std::str::from_utf8(text)?.to_owned(),
            (_, mut raw) => {
                let (number, document) = part(&mut raw)?;
                ensure!(number == 1, "field {number} in a RawExtension");
                object = document.to_vec();
            }
        }
    }
    Ok((ty, object))
}

/// The next field, all of which are bytes here.
fn part<'a>(rest: &mut &'a [u8]) -> anyhow::Result<(u64, &'a [u8])> {
    let key = varint(rest)?;
    ensure!(key & 7 == 2, "wire type {}", key & 7);
    let length = usize::try_from(varint(rest)?)?;
    let (head, tail) = rest.split_at_checked(length).context("a message is cut off")?;
    *rest = tail;
    Ok((key >> 3, head))
}

/// A number in base 128.
pub fn varint(bytes: &mut &[u8]) -> anyhow::Result<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (head, rest) = bytes.split_first().context("a number is cut off")?;
        *bytes = rest;
        value |= u64::from(head & 0x7f) << shift;
        if head & 0x80 == 0 {
            return Ok(value);
        }
    }
    bail!("a number of more than 64 bits")
}
