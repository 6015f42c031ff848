//! The table by which objects of a custom resource merge, and the one under which they are decoded.
//!
//! Follows how `kube-openapi/pkg/schemaconv` reads a schema for server-side apply. Decoding knows metadata only: what a
//! custom resource holds besides is validated, with errors at its fields, not refused by the decoder.

use std::collections::HashMap;
use std::sync::LazyLock;

use compact_str::CompactString;
use skiff_apimachinery::schema::{
    FieldDef, ListKind, ListType, MapType, Scalar, SchemaRef, Type, TypeDef, TypeId, TypeTable,
};

use super::schema::Schema;

const OBJECT_META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta";
const LIST_META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.ListMeta";

/// A table of the types of one version of a custom resource.
pub struct Types {
    /// The table.
    pub table: TypeTable,
    /// Type of the objects.
    pub object: TypeId,
    /// Type of lists of them.
    pub list: TypeId,
}

/// The types of a schema; without one, everything is kept and merges as it is.
pub fn of(name: &str, schema: Option<&Schema>) -> Types {
    let mut builder = Builder::default();
    let object = builder.reserve(name);
    let list = builder.reserve(&format!("{name}List"));
    let mut def = match schema {
        Some(schema) => builder.structure(name, schema),
        None => TypeDef { name: name.into(), fields: Vec::new(), atomic: false, preserve_unknown: true },
    };
    let metadata = Type::Struct(builder.import(OBJECT_META));
    builder.add_meta(&mut def, metadata);
    builder.types[object.0 as usize] = def;
    let list_metadata = Type::Struct(builder.import(LIST_META));
    let items =
        ListType { item: Type::Struct(object), kind: ListKind::Atomic, map_keys: Vec::new(), patch_merge_key: None };
    let fields = vec![FieldDef::new("items", Type::List(Box::new(items)))];
    let name = format!("{name}List");
    let mut def = TypeDef { name: name.into(), fields, atomic: false, preserve_unknown: false };
    builder.add_meta(&mut def, list_metadata);
    builder.types[list.0 as usize] = def;
    Types { table: TypeTable::new(builder.types), object, list }
}

/// The type under which every custom resource is decoded: metadata, and anything beside it.
pub fn envelope() -> SchemaRef<'static> {
    static ENVELOPE: LazyLock<(TypeTable, TypeId)> = LazyLock::new(|| {
        let types = of("", None);
        (types.table, types.object)
    });
    ENVELOPE.0.schema(ENVELOPE.1)
}

#[derive(Default)]
struct Builder {
    types: Vec<TypeDef>,
    imported: HashMap<CompactString, TypeId>,
}

impl Builder {
    fn reserve(&mut self, name: &str) -> TypeId {
        // A table has far fewer types than a schema of 3 MiB has bytes.
        let id = TypeId(self.types.len() as u32);
        self.types.push(TypeDef { name: name.into(), fields: Vec::new(), atomic: false, preserve_unknown: false });
        id
    }

    fn add_meta(&mut self, def: &mut TypeDef, metadata: Type) {
        def.fields.retain(|field| !super::schema::META_FIELDS.contains(&field.name.as_str()));
        def.fields.push(FieldDef::new("apiVersion", Type::Scalar(Scalar::String)));
        def.fields.push(FieldDef::new("kind", Type::Scalar(Scalar::String)));
        def.fields.push(FieldDef::new("metadata", metadata));
    }

    /// A built-in type with all that it refers to.
    fn import(&mut self, name: &str) -> TypeId {
        if let Some(id) = self.imported.get(name) {
            return *id;
        }
        let id = self.reserve(name);
        self.imported.insert(name.into(), id);
        let builtin = &skiff_api::builtin().types;
        if let Some(def) = builtin.lookup(name).map(|id| builtin.def(id)) {
            let mut def = def.clone();
            for field in &mut def.fields {
                self.rebase(&mut field.ty, builtin);
            }
            self.types[id.0 as usize] = def;
        }
        id
    }

    /// Makes a built-in type refer to this table.
    fn rebase(&mut self, ty: &mut Type, from: &TypeTable) {
        match ty {
            Type::Struct(id) => *id = self.import(&from.def(*id).name.clone()),
            Type::List(list) => self.rebase(&mut list.item, from),
            Type::Map(map) => self.rebase(&mut map.value, from),
            Type::Scalar(_) | Type::Any => {}
        }
    }

    fn structure(&mut self, name: &str, schema: &Schema) -> TypeDef {
        let fields = schema.properties.iter().map(|(key, member)| {
            let ty = self.typed(&format!("{name}.{key}"), member);
            FieldDef { default: member.default.clone(), ..FieldDef::new(key.clone(), ty) }
        });
        let fields = fields.collect();
        TypeDef { name: name.into(), fields, atomic: schema.atomic_map, preserve_unknown: schema.preserve_unknown }
    }

    fn typed(&mut self, name: &str, schema: &Schema) -> Type {
        if schema.int_or_string {
            return Type::Scalar(Scalar::IntOrString);
        }
        match schema.ty.as_str() {
            "string" => Type::Scalar(Scalar::String),
            "boolean" => Type::Scalar(Scalar::Bool),
            "integer" | "number" => Type::Scalar(Scalar::Double),
            "array" => {
                let item = match &schema.items {
                    Some(items) => self.typed(&format!("{name}[]"), items),
                    None => Type::Any,
                };
                let kind = schema.list_type.unwrap_or(ListKind::Atomic);
                let map_keys = schema.list_map_keys.clone();
                Type::List(Box::new(ListType { item, kind, map_keys, patch_merge_key: None }))
            }
            "object" => self.object(name, schema),
            _ => Type::Any,
        }
    }

    fn object(&mut self, name: &str, schema: &Schema) -> Type {
        if schema.properties.is_empty() && !schema.embedded {
            if let Some(values) = schema.additional_schema() {
                let value = self.typed(&format!("{name}[]"), values);
                return Type::Map(Box::new(MapType { value, atomic: schema.atomic_map }));
            }
            if schema.atomic_map {
                return Type::Map(Box::new(MapType { value: Type::Any, atomic: true }));
            }
            return Type::Any;
        }
        let id = self.reserve(name);
        let mut def = self.structure(name, schema);
        if schema.embedded {
            self.add_meta(&mut def, Type::Any);
        }
        self.types[id.0 as usize] = def;
        Type::Struct(id)
    }
}

#[cfg(test)]
mod tests {
    use skiff_apimachinery::{json, value};

    use super::*;

    #[test]
    fn a_schema_becomes_types() {
        let schema = Schema::parse(&value!({"type": "object", "properties": {
            "spec": {"type": "object", "properties": {
                "ports": {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"],
                    "items": {"type": "object", "properties": {"name": {"type": "string"}}}},
                "labels": {"type": "object", "additionalProperties": {"type": "string"}, "x-kubernetes-map-type": "atomic"},
                "open": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}
            }}
        }}));
        let types = of("a.v1.B", Some(&schema));
        let spec = types.table.schema(types.object).member("spec").expect("spec");
        let Type::List(ports) = &spec.field_def("ports").expect("ports").ty else { panic!("a list") };
        assert_eq!((ports.kind, ports.map_keys.as_slice()), (ListKind::Map, &["name".into()][..]));
        assert!(matches!(&spec.field_def("labels").expect("labels").ty, Type::Map(map) if map.atomic));
        assert_eq!(spec.field_def("open").expect("open").ty, Type::Any);
        assert!(
            types.table.schema(types.object).member("metadata").and_then(|m| m.field_def("ownerReferences")).is_some()
        );
    }

    #[test]
    fn the_envelope_knows_metadata_only() {
        let text = br#"{"kind":"A","metadata":{"name":"a","odd":1},"spec":{"x":null}}"#;
        let decoded = json::decode(text, envelope()).expect("JSON");
        assert_eq!(decoded.unknown, ["metadata.odd"]);
        assert_eq!(decoded.value, value!({"kind": "A", "metadata": {"name": "a"}, "spec": {"x": null}}));
    }
}
