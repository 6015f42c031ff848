//! OpenAPI documents in protobuf, read with nothing but the messages' facts.
//!
//! `facts/gnostic.txt` says what fields the messages of `github.com/google/gnostic-models` have. They wrap JSON in a
//! regular way, which is undone here: so the JSON document must come out again.

use anyhow::{Context, bail, ensure};
use serde_json::{Map, Value};

use crate::facts::Facts;

/// Reads the facts from the text of `OpenAPIv2.proto` or `OpenAPIv3.proto`.
pub fn condense(version: &str, proto: &str, facts: &mut Facts) -> anyhow::Result<()> {
    let (mut message, mut choice) = (String::new(), false);
    for line in proto.lines().map(str::trim) {
        if line.starts_with("oneof ") || line == "}" {
            choice = line != "}";
        } else if let Some(rest) = line.strip_prefix("message ") {
            message = format!("{version} {}", rest.trim_end_matches([' ', '{']));
        } else if let Some((field, number)) = line.trim_end_matches(';').split_once(" = ")
            && number.parse::<u32>().is_ok()
            && !message.is_empty()
        {
            facts.add(&message, number, if choice { format!("oneof {field}") } else { field.to_owned() })?;
        }
    }
    Ok(())
}

/// The JSON document behind a protobuf one; `version` is `v2` or `v3`.
pub fn read(version: &str, facts: &Facts, bytes: &[u8]) -> anyhow::Result<Value> {
    Reader { version, facts }.message("Document", bytes)
}

struct Reader<'a> {
    version: &'a str,
    facts: &'a Facts,
}

/// A field as it is on the wire.
enum Wire<'a> {
    Varint(u64),
    Fixed64([u8; 8]),
    Bytes(&'a [u8]),
}

impl Reader<'_> {
    fn message(&self, name: &str, mut bytes: &[u8]) -> anyhow::Result<Value> {
        let group = format!("{} {name}", self.version);
        let (mut members, mut items, mut chosen) = (Map::new(), Vec::new(), None);
        while !bytes.is_empty() {
            let (number, wire) = field(&mut bytes)?;
            let said =
                self.facts.get(&group, &number.to_string()).with_context(|| format!("{group}: no field {number}"))?;
            let (said, field) = said.rsplit_once(' ').context("a type and a name")?;
            let (label, ty) = said.split_once(' ').unwrap_or(("", said));
            let value = self.value(ty, wire).with_context(|| format!("{name}.{field}"))?;
            match label {
                // The message is one of its fields.
                "oneof" => chosen = Some(value),
                // Named values are members.
                "repeated" if ty.starts_with("Named") => insert(&mut members, value)?,
                // The message is a list, or the only item of it.
                "repeated" if is_list(name) => items.push(value),
                "repeated" => {
                    let list = members.entry(camel(field)).or_insert_with(|| Value::Array(Vec::new()));
                    list.as_array_mut().context("a list")?.push(value);
                }
                _ => drop(members.insert(camel(field), value)),
            }
        }
        if name == "StringArray" {
            return Ok(items.into());
        }
        ensure!(items.len() <= 1, "{name} has several items");
        Ok(chosen.or(items.pop()).unwrap_or(Value::Object(members)))
    }

    fn value(&self, ty: &str, wire: Wire<'_>) -> anyhow::Result<Value> {
        Ok(match (ty, wire) {
            ("string", Wire::Bytes(text)) => std::str::from_utf8(text)?.into(),
            ("bool", Wire::Varint(value)) => (value != 0).into(),
            ("int64", Wire::Varint(value)) => value.into(),
            ("double", Wire::Fixed64(bytes)) => number(f64::from_le_bytes(bytes)),
            ("Any", Wire::Bytes(bytes)) => {
                let any = yaml(bytes)?;
                serde_saphyr::from_str(&any).with_context(|| any.clone())?
            }
            (message, Wire::Bytes(bytes)) => self.message(message, bytes)?,
            (ty, _) => bail!("{ty} is otherwise on the wire"),
        })
    }
}

/// Whether a message is nothing but a list.
fn is_list(name: &str) -> bool {
    matches!(name, "ItemsItem" | "StringArray" | "TypeItem")
}

/// Adds a named value.
fn insert(members: &mut Map<String, Value>, named: Value) -> anyhow::Result<()> {
    let name = named["name"].as_str().context("a name")?.to_owned();
    let value = named.get("value").cloned().unwrap_or_else(|| Value::Object(Map::new()));
    ensure!(members.insert(name, value).is_none(), "the same name twice: {named}");
    Ok(())
}

/// The YAML of an `Any`.
fn yaml(mut bytes: &[u8]) -> anyhow::Result<String> {
    let mut yaml = String::new();
    while !bytes.is_empty() {
        if let (2, Wire::Bytes(text)) = field(&mut bytes)? {
            yaml = std::str::from_utf8(text)?.to_owned();
        }
    }
    Ok(yaml)
}

fn number(value: f64) -> Value {
    if value.fract() == 0.0 { (value as i64).into() } else { value.into() }
}

fn field<'a>(bytes: &mut &'a [u8]) -> anyhow::Result<(u64, Wire<'a>)> {
    let key = varint(bytes)?;
    let wire = match key & 7 {
        0 => Wire::Varint(varint(bytes)?),
        1 => {
            let (head, rest) = bytes.split_first_chunk::<8>().context("eight bytes")?;
            *bytes = rest;
            Wire::Fixed64(*head)
        }
        2 => {
            let length = usize::try_from(varint(bytes)?)?;
            let (head, rest) = bytes.split_at_checked(length).context("a message is cut off")?;
            *bytes = rest;
            Wire::Bytes(head)
        }
        other => bail!("wire type {other}"),
    };
    Ok((key >> 3, wire))
}

fn varint(bytes: &mut &[u8]) -> anyhow::Result<u64> {
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

/// `operation_id` as `operationId`, `_ref` as `$ref`.
fn camel(name: &str) -> String {
    if name == "_ref" {
        return "$ref".to_owned();
    }
    let mut out = String::new();
    let mut upper = false;
    for letter in name.chars() {
        match letter {
            '_' => upper = true,
            letter if upper => {
                out.extend(letter.to_uppercase());
                upper = false;
            }
            letter => out.push(letter),
        }
    }
    out
}
