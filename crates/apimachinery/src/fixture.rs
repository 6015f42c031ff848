//! Small schemas for tests.

use crate::schema::{
    FieldDef, ListKind, ListType, MapType, PatchStrategy, Scalar, SchemaRef, Type, TypeDef, TypeId, TypeTable,
};
use crate::value::Value;

/// Collects struct types; a type is referred to by the index that [`Builder::declare`] gave its name.
pub(crate) struct Builder {
    names: Vec<&'static str>,
    types: Vec<TypeDef>,
}

impl Builder {
    /// A builder of these struct types, to be defined in any order.
    pub(crate) fn new(names: &[&'static str]) -> Self {
        let types = names
            .iter()
            .map(|name| TypeDef { name: (*name).into(), fields: Vec::new(), atomic: false, preserve_unknown: false })
            .collect();
        Self { names: names.to_vec(), types }
    }

    fn index(&self, name: &str) -> usize {
        self.names.iter().position(|known| *known == name).expect("a declared type")
    }

    /// The struct type with this name.
    pub(crate) fn named(&self, name: &str) -> Type {
        Type::Struct(TypeId(self.index(name) as u32))
    }

    /// Adds fields to a struct.
    pub(crate) fn define(&mut self, name: &str, fields: Vec<FieldDef>) -> &mut TypeDef {
        let index = self.index(name);
        let def = &mut self.types[index];
        def.fields.extend(fields);
        def
    }

    /// The finished table.
    pub(crate) fn build(self) -> TypeTable {
        TypeTable::new(self.types)
    }
}

/// A field of this type.
pub(crate) fn field(name: &str, ty: Type) -> FieldDef {
    FieldDef {
        name: name.into(),
        ty,
        required: false,
        default: None,
        patch: PatchStrategy::default(),
        atomic: None,
        wire: Default::default(),
    }
}

impl FieldDef {
    /// With a default.
    pub(crate) fn with_default(mut self, value: Value) -> Self {
        self.default = Some(value);
        self
    }

    /// Merged by strategic merge patch, by `key` if it is not empty.
    pub(crate) fn merged_by(mut self, key: &str) -> Self {
        self.patch.merge = true;
        if let Type::List(list) = &mut self.ty {
            list.patch_merge_key = (!key.is_empty()).then(|| key.into());
        }
        self
    }

    /// Replaced by strategic merge patch.
    pub(crate) fn replaced(mut self) -> Self {
        self.patch.replace = true;
        self
    }
}

/// A string.
pub(crate) fn string() -> Type {
    Type::Scalar(Scalar::String)
}

/// A 64-bit integer.
pub(crate) fn int() -> Type {
    Type::Scalar(Scalar::Int64)
}

fn list(item: Type, kind: ListKind, keys: &[&str]) -> Type {
    let map_keys = keys.iter().map(|key| (*key).into()).collect();
    Type::List(Box::new(ListType { item, kind, map_keys, patch_merge_key: None }))
}

/// An atomic list.
pub(crate) fn atomic_list(item: Type) -> Type {
    list(item, ListKind::Atomic, &[])
}

/// A set of scalars.
pub(crate) fn set(item: Type) -> Type {
    list(item, ListKind::Set, &[])
}

/// A list of objects with keys.
pub(crate) fn keyed(item: Type, keys: &[&str]) -> Type {
    list(item, ListKind::Map, keys)
}

/// A map from strings, merged by key.
pub(crate) fn map(value: Type) -> Type {
    Type::Map(Box::new(MapType { value, atomic: false }))
}

/// A map from strings that has one owner.
pub(crate) fn atomic_map(value: Type) -> Type {
    Type::Map(Box::new(MapType { value, atomic: true }))
}

/// The value that a JSON text stands for.
pub(crate) fn json(text: &str) -> Value {
    crate::json::parse(text.as_bytes()).unwrap_or_else(|error| panic!("{error} in test data {text}"))
}

/// A table and one of its types.
pub(crate) struct Schema {
    table: TypeTable,
    ty: Type,
}

impl Schema {
    /// The type `name` of a table.
    pub(crate) fn new(builder: Builder, name: &str) -> Self {
        let ty = builder.named(name);
        Self { table: builder.build(), ty }
    }

    /// As a reference.
    pub(crate) fn get(&self) -> SchemaRef<'_> {
        SchemaRef::new(&self.table, &self.ty)
    }
}
