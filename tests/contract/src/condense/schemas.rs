//! Definitions as lines: `[]` a list of, `{}` a map of, `^` a reference, then what else is said.

use std::fmt::Write;

use anyhow::{Context, bail};
use serde_json::{Map, Value};

use super::{list, map, text};
use crate::facts::Facts;

/// Everything else that may be said of a schema. `enum` has an order of its own; `required` has none.
const SAID: [&str; 12] = [
    "default",
    "enum",
    "oneOf",
    "required",
    "x-kubernetes-group-version-kind",
    "x-kubernetes-list-map-keys",
    "x-kubernetes-list-type",
    "x-kubernetes-map-type",
    "x-kubernetes-patch-merge-key",
    "x-kubernetes-patch-strategy",
    "x-kubernetes-unions",
    "x-kubernetes-preserve-unknown-fields",
];

/// Adds a group for each definition, with its fields.
pub(super) fn condense(definitions: &Value, facts: &mut Facts) -> anyhow::Result<()> {
    for (name, definition) in map(definitions)? {
        add(name, definition, facts).with_context(|| name.clone())?;
    }
    Ok(())
}

fn add(name: &str, definition: &Value, facts: &mut Facts) -> anyhow::Result<()> {
    let mut definition = map(definition)?.clone();
    let fields = definition.remove("properties");
    let mut kinds = list(&definition.remove("x-kubernetes-group-version-kind").unwrap_or_default())
        .iter()
        .map(|kind| format!("{}/{}/{}", word(&kind["group"]), word(&kind["version"]), word(&kind["kind"])))
        .collect::<Vec<_>>();
    kinds.sort();
    let group = format!("type {name}");
    // Each document shows other names of the kinds that all group versions have.
    if kinds.len() < EVERYWHERE && !name.ends_with(".DeleteOptions") && !name.ends_with(".WatchEvent") {
        facts.add(&group, "(kinds)", kinds.join(" "))?;
    } else {
        kinds.iter().try_for_each(|kind| facts.add(&group, &format!("(kind) {kind}"), "yes".to_owned()))?;
    }
    facts.add(&group, "(self)", expression(definition)?)?;
    for (field, schema) in fields.iter().flat_map(|fields| fields.as_object()).flatten() {
        let line = map(schema).cloned().and_then(expression).with_context(|| field.clone())?;
        facts.add(&group, field, line)?;
    }
    Ok(())
}

/// Types with more names than this are registered in every group version.
const EVERYWHERE: usize = 3;

fn word(value: &Value) -> &str {
    value.as_str().unwrap_or("?")
}

fn expression(mut schema: Map<String, Value>) -> anyhow::Result<String> {
    schema.remove("description");
    let mut line = String::new();
    if let Some(reference) = schema.remove("$ref") {
        line.push_str(&reference_name(&reference)?);
    } else if let Some(all) = schema.remove("allOf") {
        let [only] = list(&all) else { bail!("allOf of several") };
        let _ = write!(line, "{}!", reference_name(&only["$ref"])?);
    } else if let Some(items) = schema.remove("items") {
        expect_type(&mut schema, "array")?;
        let _ = write!(line, "[]{}", expression(map(&items)?.clone())?);
    } else if let Some(values) = schema.remove("additionalProperties") {
        expect_type(&mut schema, "object")?;
        let _ = write!(line, "{{}}{}", expression(map(&values)?.clone())?);
    } else {
        line.push_str(word(&schema.remove("type").unwrap_or_default()));
        if let Some(format) = schema.remove("format") {
            let _ = write!(line, ":{}", text(&format)?);
        }
    }
    for said in SAID {
        if let Some(value) = schema.remove(said) {
            let value = if said == "required" { Value::from(super::sorted(&value)) } else { value };
            let _ = write!(line, " {}={value}", said.trim_start_matches("x-kubernetes-"));
        }
    }
    match schema.keys().next() {
        Some(other) => bail!("{other:?} is not understood"),
        None => Ok(line),
    }
}

fn expect_type(schema: &mut Map<String, Value>, ty: &str) -> anyhow::Result<()> {
    let found = schema.remove("type").unwrap_or_default();
    anyhow::ensure!(found == ty, "{found} where {ty} belongs");
    Ok(())
}

/// The name at the end of a reference, without what most names begin with.
pub(super) fn reference_name(reference: &Value) -> anyhow::Result<String> {
    let name = text(reference)?.rsplit('/').next().unwrap_or_default();
    Ok(format!("^{}", name.strip_prefix("io.k8s.").unwrap_or(name).replace("apimachinery.pkg.apis.meta.", "meta.")))
}

/// The line as version 2 would have it: it has no defaults, and references stand for themselves.
pub(super) fn without_defaults(line: &str) -> String {
    let line = line.replace('!', "");
    let Some(at) = line.find(" default=") else { return line };
    let value = &line[at + " default=".len()..];
    let mut values = serde_json::Deserializer::from_str(value).into_iter::<Value>();
    let _ = values.next();
    format!("{}{}", &line[..at], &value[values.byte_offset()..])
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn line(schema: Value) -> String {
        expression(schema.as_object().expect("object").clone()).expect("understood")
    }

    #[test]
    fn lines() {
        let list =
            json!({"type": "array", "items": {"type": "integer", "format": "int32"}, "x-kubernetes-list-type": "set"});
        assert_eq!(line(list), "[]integer:int32 list-type=\"set\"");
        let reference =
            json!({"allOf": [{"$ref": "#/components/schemas/io.k8s.api.A"}], "default": {}, "description": "x"});
        assert_eq!(line(reference), "^api.A! default={}");
        let values =
            json!({"type": "object", "additionalProperties": {"type": "string", "default": ""}, "enum": ["a"]});
        assert_eq!(line(values.clone()), "{}string default=\"\" enum=[\"a\"]");
        assert_eq!(without_defaults(&line(values)), "{}string enum=[\"a\"]");
        assert!(expression(json!({"type": "string", "minimum": 1}).as_object().expect("object").clone()).is_err());
    }
}
