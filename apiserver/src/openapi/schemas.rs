//! Types as OpenAPI schemas, with the extensions that clients merge, validate and explain by.
//!
//! Versions 2 and 3 differ in where definitions are and in how a reference stands beside other keywords; the rules are
//! those of `k8s.io/kube-openapi/pkg/builder` and `builder3`.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Map, Value, json};
use skiff_api::Builtin;
use skiff_apimachinery::schema::{FieldDef, ListKind, ListType, Scalar, Type, TypeDef, TypeId, Wrapped};

use super::custom;
use super::descriptions::Descriptions;
use crate::registry::Resource;

const META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.";
const EXTENSIONS: &str = "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.";
const QUANTITY: &str = "io.k8s.apimachinery.pkg.api.resource.Quantity";
const INT_OR_STRING: &str = "io.k8s.apimachinery.pkg.util.intstr.IntOrString";
const RAW_EXTENSION: &str = "io.k8s.apimachinery.pkg.runtime.RawExtension";

const VERSION_INFO: &str = "io.k8s.apimachinery.pkg.version.Info";
/// Types with more names than this are registered in every group version.
const MOST_NAMES: usize = 2;

/// Version of OpenAPI.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Version {
    /// 2.0 ("swagger").
    V2,
    /// 3.0.
    V3,
}

/// The schemas of one document: what is referred to, and what that refers to.
pub(crate) struct Schemas<'a> {
    builtin: &'a Builtin,
    version: Version,
    /// The group version whose document this is: only its names are shown of kinds that all versions have.
    only: Option<(&'a str, &'a str)>,
    descriptions: &'a Descriptions,
    /// Definitions of custom resources.
    custom: BTreeMap<String, Value>,
    done: BTreeMap<String, Value>,
    waiting: Vec<String>,
}

impl<'a> Schemas<'a> {
    /// No schemas yet. In the document of one group version, `only` is that.
    pub(crate) fn new(version: Version, only: Option<(&'a str, &'a str)>, descriptions: &'a Descriptions) -> Self {
        let builtin = skiff_api::builtin();
        Self {
            builtin,
            version,
            only,
            descriptions,
            custom: BTreeMap::new(),
            done: BTreeMap::new(),
            waiting: Vec::new(),
        }
    }

    /// The version of the document.
    pub(crate) fn version(&self) -> Version {
        self.version
    }

    /// A reference to a definition, which will be in the document.
    pub(crate) fn reference(&mut self, name: &str) -> Value {
        if !self.done.contains_key(name) {
            self.done.insert(name.to_owned(), Value::Null);
            self.waiting.push(name.to_owned());
        }
        match self.version {
            Version::V2 => json!({"$ref": format!("#/definitions/{name}")}),
            Version::V3 => json!({"$ref": format!("#/components/schemas/{name}")}),
        }
    }

    /// A reference to a type.
    pub(crate) fn of(&mut self, id: TypeId) -> Value {
        let name = self.builtin.types.def(id).name.clone();
        self.reference(&name)
    }

    /// A reference to a type of `meta/v1`.
    pub(crate) fn meta(&mut self, kind: &str) -> Value {
        self.reference(&format!("{META}{kind}"))
    }

    /// Lets definitions of custom resources be referred to.
    pub(crate) fn add_custom(&mut self, resources: &[Arc<Resource>]) {
        for resource in resources {
            if let Some(custom) = &resource.custom {
                let definitions = custom::definitions(resource, custom, self);
                self.custom.extend(definitions);
            }
        }
    }

    /// The description of a field of a built-in type.
    pub(crate) fn description(&self, name: &str, field: &str) -> Option<String> {
        self.descriptions.of_field(name, field).map(str::to_owned)
    }

    /// All definitions that were referred to, by name.
    pub(crate) fn finish(mut self) -> Map<String, Value> {
        while let Some(name) = self.waiting.pop() {
            let schema = self.definition(&name);
            self.done.insert(name, schema);
        }
        self.done.into_iter().collect()
    }

    fn definition(&mut self, name: &str) -> Value {
        if let Some(custom) = self.custom.get(name) {
            return custom.clone();
        }
        let mut schema = match self.builtin.types.lookup(name) {
            Some(id) => self.structure(id),
            None => special(name, self.version),
        };
        if let Some(text) = self.descriptions.of_type(name) {
            schema["description"] = text.into();
        }
        schema
    }

    fn structure(&mut self, id: TypeId) -> Value {
        let builtin = self.builtin;
        let def = builtin.types.def(id);
        let mut properties = Map::new();
        for field in &def.fields {
            properties.insert(field.name.to_string(), self.property(def, field));
        }
        let mut schema = json!({"type": "object"});
        if !properties.is_empty() {
            schema["properties"] = properties.into();
        }
        let required = def.fields.iter().filter(|field| field.required).map(|field| field.name.as_str());
        let required = required.collect::<Vec<_>>();
        if !required.is_empty() {
            schema["required"] = required.into();
        }
        let kinds = self.kinds_of(id);
        if !kinds.is_empty() {
            schema["x-kubernetes-group-version-kind"] = kinds.into();
        }
        if def.atomic {
            schema["x-kubernetes-map-type"] = "atomic".into();
        }
        if let Ok(unions) = serde_json::from_str::<Value>(builtin.unions(id)) {
            schema["x-kubernetes-unions"] = unions;
        }
        schema
    }

    /// What a type is registered as. Options and watch events are registered in every group version; the document of one
    /// shows them as its own and as those of `v1`.
    fn kinds_of(&self, id: TypeId) -> Vec<Value> {
        let kinds = self.builtin.published_kinds(id).collect::<Vec<_>>();
        let everywhere = kinds.len() > MOST_NAMES;
        let shown = |group: &str, version: &str| match self.only {
            Some(only) => !everywhere || (group, version) == only || (group, version) == ("", "v1"),
            None => true,
        };
        let kinds = kinds.into_iter().filter(|(group, version, _)| shown(group, version));
        kinds.map(|(group, version, kind)| json!({"group": group, "kind": kind, "version": version})).collect()
    }

    fn property(&mut self, owner: &TypeDef, field: &FieldDef) -> Value {
        let mut schema = self.typed(&field.ty, field);
        if let Some(values) =
            self.builtin.types.lookup(&owner.name).and_then(|id| self.builtin.enum_of(id, &field.name))
        {
            let limited = match &field.ty {
                Type::List(_) => &mut schema["items"],
                Type::Map(_) => &mut schema["additionalProperties"],
                _ => &mut schema,
            };
            limited["enum"] = values.collect();
        }
        let description = self.descriptions.of_field(&owner.name, &field.name);
        let default = self.default(field);
        let reference = schema.get("$ref").cloned();
        if self.version == Version::V3
            && let Some(reference) = reference
            && (description.is_some() || default.is_some())
        {
            // Nothing may stand beside a reference in version 3.
            schema = json!({"allOf": [{"$ref": reference}]});
        }
        if let Some(description) = description {
            schema["description"] = description.into();
        }
        if let Some(default) = default {
            schema["default"] = default;
        }
        let patch = field.patch;
        let strategies = [(patch.merge, "merge"), (patch.replace, "replace"), (patch.retain_keys, "retainKeys")];
        let strategies = strategies.iter().filter(|(on, _)| *on).map(|(_, name)| *name).collect::<Vec<_>>();
        if !strategies.is_empty() {
            schema["x-kubernetes-patch-strategy"] = strategies.join(",").into();
        }
        if let Some(atomic) = field.atomic {
            schema["x-kubernetes-map-type"] = if atomic { "atomic" } else { "granular" }.into();
        }
        schema
    }

    /// Only version 3 states defaults.
    fn default(&self, field: &FieldDef) -> Option<Value> {
        if self.version == Version::V2 {
            return None;
        }
        if let Some(default) = &field.default {
            let mut text = Vec::new();
            skiff_apimachinery::json::write(default, &mut text);
            return serde_json::from_slice(&text).ok();
        }
        if !field.wire.zero_default {
            return None;
        }
        Some(match &field.ty {
            Type::Scalar(Scalar::Bool) => false.into(),
            Type::Scalar(Scalar::Int32 | Scalar::Int64 | Scalar::Double) => 0.into(),
            Type::Scalar(Scalar::String) => "".into(),
            _ => json!({}),
        })
    }

    fn typed(&mut self, ty: &Type, field: &FieldDef) -> Value {
        match ty {
            Type::Scalar(Scalar::Bytes) if !field.wire.list_kind_unset => {
                json!({"type": "string", "format": "byte", "x-kubernetes-list-type": "atomic"})
            }
            Type::Scalar(scalar) => self.scalar(*scalar),
            Type::Struct(id) => self.of(*id),
            Type::List(list) => self.list(list, field),
            Type::Map(map) => {
                let mut values = self.typed(&map.value, field);
                if let Some(values) = values.as_object_mut() {
                    values.remove("x-kubernetes-list-type");
                }
                json!({"type": "object", "additionalProperties": values})
            }
            Type::Any => self.any(field),
        }
    }

    fn list(&mut self, list: &ListType, field: &FieldDef) -> Value {
        let items = self.typed(&list.item, field);
        let mut schema = json!({"type": "array", "items": items});
        if !field.wire.list_kind_unset {
            let kind = match list.kind {
                ListKind::Atomic => "atomic",
                ListKind::Set => "set",
                ListKind::Map => "map",
            };
            schema["x-kubernetes-list-type"] = kind.into();
        }
        if !list.map_keys.is_empty() {
            let keys = list.map_keys.iter().map(|key| key.as_str()).collect::<Vec<_>>();
            schema["x-kubernetes-list-map-keys"] = keys.into();
        }
        if let Some(key) = &list.patch_merge_key {
            schema["x-kubernetes-patch-merge-key"] = key.as_str().into();
        }
        schema
    }

    fn scalar(&mut self, scalar: Scalar) -> Value {
        match scalar {
            Scalar::Bool => json!({"type": "boolean"}),
            Scalar::Int32 => json!({"type": "integer", "format": "int32"}),
            Scalar::Int64 => json!({"type": "integer", "format": "int64"}),
            Scalar::Double => json!({"type": "number", "format": "double"}),
            Scalar::String => json!({"type": "string"}),
            Scalar::Bytes => json!({"type": "string", "format": "byte"}),
            Scalar::Quantity => self.reference(QUANTITY),
            Scalar::IntOrString => self.reference(INT_OR_STRING),
            Scalar::Time => self.meta("Time"),
            Scalar::MicroTime => self.meta("MicroTime"),
            Scalar::Duration => self.meta("Duration"),
            Scalar::FieldsV1 => self.meta("FieldsV1"),
        }
    }

    fn any(&mut self, field: &FieldDef) -> Value {
        match (field.wire.wrapped, field.wire.go_type) {
            (Wrapped::SchemaOrArray, _) => self.reference(&format!("{EXTENSIONS}JSONSchemaPropsOrArray")),
            (Wrapped::SchemaOrBool, _) => self.reference(&format!("{EXTENSIONS}JSONSchemaPropsOrBool")),
            (Wrapped::SchemaOrStringArray, _) => self.reference(&format!("{EXTENSIONS}JSONSchemaPropsOrStringArray")),
            (_, Some("v1.JSON")) => self.reference(&format!("{EXTENSIONS}JSON")),
            _ => self.reference(RAW_EXTENSION),
        }
    }
}

/// The answer of `/version`: all strings, and which of them are always there.
fn version_info(version: Version) -> Value {
    let always =
        ["major", "minor", "gitVersion", "gitCommit", "gitTreeState", "buildDate", "goVersion", "compiler", "platform"];
    let sometimes = ["emulationMajor", "emulationMinor", "minCompatibilityMajor", "minCompatibilityMinor"];
    let mut properties = Map::new();
    for name in always.iter().chain(&sometimes) {
        properties.insert((*name).to_owned(), json!({"type": "string"}));
        if version == Version::V3 && always.contains(name) {
            properties[*name]["default"] = "".into();
        }
    }
    json!({"type": "object", "required": always, "properties": properties})
}

/// Definitions of types that JSON writes as something other than an object of fields.
fn special(name: &str, version: Version) -> Value {
    match (name, version) {
        (QUANTITY, Version::V2) => json!({"type": "string"}),
        (QUANTITY, Version::V3) => json!({"oneOf": [{"type": "string"}, {"type": "number"}]}),
        (INT_OR_STRING, Version::V2) => json!({"type": "string", "format": "int-or-string"}),
        (INT_OR_STRING, Version::V3) => {
            json!({"format": "int-or-string", "oneOf": [{"type": "integer"}, {"type": "string"}]})
        }
        (VERSION_INFO, _) => version_info(version),
        _ if name.starts_with(EXTENSIONS) => json!({}),
        _ => match name.strip_prefix(META) {
            Some("Time" | "MicroTime") => json!({"type": "string", "format": "date-time"}),
            Some("Duration") => json!({"type": "string"}),
            _ => json!({"type": "object"}),
        },
    }
}
