//! The types that a server's OpenAPI v3 documents declare (`apiserver/pkg/cel/{common/schemas,openapi/resolver}` upstream).

use std::cell::Cell;
use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::Context;
use serde::Deserialize;
use serde_json::value::RawValue;
use skiff_cel::declared::{Declared, Member, Object};
use skiff_cel::escape::escape;
use skiff_cel::types::Type;

use super::kinds::GroupVersionKind;

/// Parts of one type. Those of Kubernetes have a few thousand; what an aggregated server describes might grow without
/// end, as each schema that is referred to is taken in.
const MAX_PARTS: usize = 100_000;
const REFERENCE: &str = "#/components/schemas/";

/// The description of a group version; schemas are read when they are asked for.
pub(super) struct Document<'d> {
    schemas: BTreeMap<String, &'d RawValue>,
}

#[derive(Deserialize)]
struct Whole<'d> {
    #[serde(borrow, default)]
    components: Components<'d>,
}

#[derive(Default, Deserialize)]
struct Components<'d> {
    #[serde(borrow, default)]
    schemas: BTreeMap<String, &'d RawValue>,
}

#[derive(Deserialize)]
struct Kinds {
    #[serde(default, rename = "x-kubernetes-group-version-kind")]
    kinds: Vec<Listed>,
}

#[derive(Deserialize)]
struct Listed {
    #[serde(default)]
    group: String,
    #[serde(default)]
    version: String,
    #[serde(default)]
    kind: String,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Schema {
    #[serde(rename = "$ref")]
    reference: String,
    all_of: Vec<Schema>,
    #[serde(rename = "type")]
    ty: String,
    format: String,
    properties: BTreeMap<String, Schema>,
    additional_properties: Option<Additional>,
    items: Option<Box<Schema>>,
    #[serde(rename = "x-kubernetes-int-or-string")]
    int_or_string: bool,
    #[serde(rename = "x-kubernetes-embedded-resource")]
    embedded: bool,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Additional {
    Allowed(#[expect(dead_code, reason = "only that it is no schema matters")] bool),
    Of(Box<Schema>),
}

impl Schema {
    /// The name of the schema that stands for this one; it may be wrapped to keep a description of its own.
    fn referred(&self) -> Option<&str> {
        if !self.reference.is_empty() {
            return Some(self.reference.trim_start_matches(REFERENCE));
        }
        self.all_of.iter().find_map(Schema::referred)
    }
}

impl<'d> Document<'d> {
    /// Reads a document.
    pub(super) fn parse(text: &'d [u8]) -> anyhow::Result<Self> {
        let whole: Whole<'d> = serde_json::from_slice(text).context("no OpenAPI document")?;
        Ok(Self { schemas: whole.components.schemas })
    }

    /// The type of a kind; `None` if the document does not describe it, or not as an object.
    pub(super) fn declared(&self, kind: &GroupVersionKind) -> Option<Declared> {
        let is_kind = |schema: &&&RawValue| {
            let listed = serde_json::from_str::<Kinds>(schema.get()).map_or(Vec::new(), |listed| listed.kinds);
            listed.iter().any(|one| {
                (one.group.as_str(), one.version.as_str(), one.kind.as_str())
                    == (kind.group.as_str(), kind.version.as_str(), kind.kind.as_str())
            })
        };
        let (name, _) = self.schemas.iter().find(|(_, schema)| is_kind(schema))?;
        let mut reading = Reading { document: self, open: vec![name.clone()], left: Cell::new(MAX_PARTS) };
        reading.declared(&self.schema(name)?, &kind.kind, true)
    }

    fn schema(&self, name: &str) -> Option<Schema> {
        serde_json::from_str(self.schemas.get(name)?.get()).ok()
    }
}

/// One type that is put together.
struct Reading<'r> {
    document: &'r Document<'r>,
    /// Schemas within which the part lies: one that refers to itself has no fields there.
    open: Vec<String>,
    left: Cell<usize>,
}

impl Reading<'_> {
    /// The type of values under a schema; `None` where expressions cannot look at them. `name` is that of its objects.
    fn declared(&mut self, schema: &Schema, name: &str, is_resource: bool) -> Option<Declared> {
        self.left.set(self.left.get().checked_sub(1)?);
        if let Some(referred) = schema.referred() {
            if self.open.iter().any(|open| open == referred) {
                return Some(Declared::object(Arc::new(Object { name: name.to_owned(), fields: BTreeMap::new() })));
            }
            let schema = self.document.schema(referred)?;
            self.open.push(referred.to_owned());
            let ty = self.plain(&schema, name, is_resource || schema.embedded);
            self.open.pop();
            return ty;
        }
        self.plain(schema, name, is_resource || schema.embedded)
    }

    fn plain(&mut self, schema: &Schema, name: &str, is_resource: bool) -> Option<Declared> {
        if schema.int_or_string || schema.format == "int-or-string" {
            return Some(Declared::plain(Type::Dyn));
        }
        Some(match schema.ty.as_str() {
            "array" => Declared::list(self.declared(schema.items.as_deref()?, &format!("{name}.@idx"), false)?),
            "object" => match &schema.additional_properties {
                Some(Additional::Of(of)) => Declared::map(self.declared(of, &format!("{name}.@elem"), false)?),
                _ => self.object(schema, name, is_resource),
            },
            "string" => Declared::plain(match schema.format.as_str() {
                "byte" => Type::Bytes,
                "duration" => Type::Duration,
                "date" | "date-time" => Type::Timestamp,
                _ => Type::String,
            }),
            "boolean" => Declared::plain(Type::Bool),
            "number" => Declared::plain(Type::Double),
            "integer" => Declared::plain(Type::Int),
            _ => return None,
        })
    }

    fn object(&mut self, schema: &Schema, name: &str, is_resource: bool) -> Declared {
        let mut fields = BTreeMap::new();
        let mut add = |key: &str, ty: Declared| {
            if let Some(escaped) = escape(key) {
                fields.insert(escaped, Member { key: key.to_owned(), ty: Arc::new(ty) });
            }
        };
        for (key, property) in &schema.properties {
            if let Some(ty) = self.declared(property, &format!("{name}.{key}"), false) {
                add(key, ty);
            }
        }
        // The metadata of custom resources is not described in full.
        if is_resource && !self.has_names(schema) {
            let text = || Declared::plain(Type::String);
            let metadata = Object::new(format!("{name}.metadata"), [("name", text()), ("generateName", text())]);
            add("kind", text());
            add("apiVersion", text());
            add("metadata", Declared::object(metadata));
        }
        Declared::object(Arc::new(Object { name: name.to_owned(), fields }))
    }

    /// Whether a resource says that it has a kind and names.
    fn has_names(&self, schema: &Schema) -> bool {
        let of = |schema: &Schema, key: &str| {
            schema.properties.get(key).is_some_and(|property| property.ty == "string" && property.referred().is_none())
        };
        let Some(metadata) = schema.properties.get("metadata") else { return false };
        let referred = metadata.referred().and_then(|name| self.document.schema(name));
        let metadata = referred.as_ref().unwrap_or(metadata);
        of(schema, "kind")
            && of(schema, "apiVersion")
            && metadata.ty == "object"
            && of(metadata, "name")
            && of(metadata, "generateName")
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// Fields on the way to a value, and its type; `None` where there is no such field.
    fn found(ty: &Declared, path: &str) -> Option<String> {
        let mut ty = ty.clone();
        for key in path.split('.') {
            ty = match key {
                "[]" => ty.items()?.clone(),
                key => ty.member(key)?.clone(),
            };
        }
        Some(ty.ty().to_string())
    }

    #[test]
    fn schemas_become_types() {
        let reference =
            |name: &str| json!({"allOf": [{"$ref": format!("#/components/schemas/{name}")}], "default": {}});
        let kind = json!([{"group": "g", "version": "v1", "kind": "K"}]);
        let document = json!({"components": {"schemas": {
            "k": {"type": "object", "x-kubernetes-group-version-kind": kind, "properties": {
                "spec": reference("spec"), "metadata": {"type": "object"}, "at": {"type": "string", "format": "date-time"}}},
            "spec": {"type": "object", "properties": {
                "again": reference("spec"), "quantity": reference("quantity"), "port": {"format": "int-or-string"},
                "list": {"type": "array", "items": {"type": "integer"}},
                "limits": {"type": "object", "additionalProperties": reference("quantity")},
                "labels": {"type": "object", "additionalProperties": {"type": "string"}},
                "nowhere": reference("nowhere")}},
            "quantity": {"oneOf": [{"type": "string"}, {"type": "number"}]},
        }}});
        let text = document.to_string();
        let document = Document::parse(text.as_bytes()).expect("a document");
        let of = |kind: &str| {
            let kind = GroupVersionKind { group: "g".to_owned(), version: "v1".to_owned(), kind: kind.to_owned() };
            document.declared(&kind)
        };
        assert!(of("Other").is_none());
        let ty = of("K").expect("a type");
        for (path, want) in [
            ("spec", Some("K.spec")),
            ("spec.again", Some("K.spec.again")),
            // What is within itself has no fields there.
            ("spec.again.list", None),
            ("spec.list", Some("list(int)")),
            ("spec.labels", Some("map(string, string)")),
            // Expressions cannot look at what may be of several types, unless it says that it is a port.
            ("spec.quantity", None),
            ("spec.limits", None),
            ("spec.port", Some("dyn")),
            ("spec.nowhere", None),
            ("at", Some("timestamp")),
            // Every resource has a name, whether its schema says so or not.
            ("metadata.name", Some("string")),
            ("kind", Some("string")),
        ] {
            assert_eq!(found(&ty, path).as_deref(), want, "{path}");
        }
        assert!(Document::parse(b"[]x").is_err());
    }
}
