//! What an object may hold: the tables that decoding, pruning, patches, server-side apply, protobuf, OpenAPI and
//! field paths are driven by.
//!
//! One [`TypeTable`] holds the struct types of one source: all built-in kinds, or one version of a
//! CustomResourceDefinition. Types refer to each other by [`TypeId`], so tables may be recursive. A [`SchemaRef`] is a
//! type together with its table; generic algorithms walk a `Value` and a `SchemaRef` side by side, by field name.

use std::collections::HashMap;

use compact_str::CompactString;

use crate::order::Key;
use crate::value::{Object, Value};

/// Index of a struct type in its [`TypeTable`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TypeId(pub u32);

/// The type of a value.
#[derive(Clone, Debug, PartialEq)]
pub enum Type {
    /// A scalar, or a type that JSON writes as one.
    Scalar(Scalar),
    /// A struct with known fields.
    Struct(TypeId),
    /// A list.
    List(Box<ListType>),
    /// A map from strings.
    Map(Box<MapType>),
    /// Any JSON, kept as it is (RawExtension, JSONSchemaProps defaults, preserved unknown fields).
    Any,
}

impl Type {
    /// What Go has where nothing was said, as JSON.
    pub fn zero(&self) -> Value {
        match self {
            Type::Scalar(Scalar::Bool) => Value::Bool(false),
            Type::Scalar(Scalar::Int32 | Scalar::Int64 | Scalar::IntOrString | Scalar::Double) => Value::Int(0),
            Type::Scalar(Scalar::Quantity) => Value::String("0".into()),
            Type::Scalar(Scalar::Time | Scalar::MicroTime | Scalar::FieldsV1) | Type::Any => Value::Null,
            Type::Scalar(Scalar::String | Scalar::Bytes | Scalar::Duration) => Value::String("".into()),
            Type::List(_) => Value::Array(Vec::new()),
            Type::Struct(_) | Type::Map(_) => Value::Object(Object::new()),
        }
    }
}

/// Scalars, named for what they accept in JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scalar {
    /// `true` / `false`.
    Bool,
    /// 32-bit integer.
    Int32,
    /// 64-bit integer.
    Int64,
    /// A float.
    Double,
    /// A string.
    String,
    /// Bytes, base64 in JSON.
    Bytes,
    /// `resource.Quantity`: string or number in, canonical string out.
    Quantity,
    /// `intstr.IntOrString`.
    IntOrString,
    /// RFC 3339 with whole seconds.
    Time,
    /// RFC 3339 with six digits of a second.
    MicroTime,
    /// A Go duration string.
    Duration,
    /// `metav1.FieldsV1`: a JSON object kept as [`Value::Raw`].
    FieldsV1,
}

/// A list and how it merges.
#[derive(Clone, Debug, PartialEq)]
pub struct ListType {
    /// Type of the elements.
    pub item: Type,
    /// How server-side apply merges it (`x-kubernetes-list-type`).
    pub kind: ListKind,
    /// `x-kubernetes-list-map-keys`, for [`ListKind::Map`].
    pub map_keys: Vec<CompactString>,
    /// `x-kubernetes-patch-merge-key`, for strategic merge.
    pub patch_merge_key: Option<CompactString>,
}

/// `x-kubernetes-list-type`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ListKind {
    /// Replaced as a whole.
    Atomic,
    /// Unique scalars.
    Set,
    /// Keyed elements.
    Map,
}

/// A map and how it merges.
#[derive(Clone, Debug, PartialEq)]
pub struct MapType {
    /// Type of the values.
    pub value: Type,
    /// Whether server-side apply treats it as one value (`x-kubernetes-map-type: atomic`).
    pub atomic: bool,
}

/// `x-kubernetes-patch-strategy` of a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct PatchStrategy {
    /// `merge`: lists merge by key (or as a set of scalars).
    pub merge: bool,
    /// `replace`: maps are replaced.
    pub replace: bool,
    /// `retainKeys`: keys not named in `$retainKeys` are removed.
    pub retain_keys: bool,
}

/// A field of a struct.
#[derive(Clone, Debug, PartialEq)]
pub struct FieldDef {
    /// JSON name.
    pub name: CompactString,
    /// Type of the value.
    pub ty: Type,
    /// Listed under `required` in OpenAPI.
    pub required: bool,
    /// Default in the schema (`+default`), applied when absent.
    pub default: Option<Value>,
    /// Strategic merge directives.
    pub patch: PatchStrategy,
    /// `x-kubernetes-map-type` on the field itself, which overrides the one of its struct or map type.
    pub atomic: Option<bool>,
    /// How Go and protobuf write the field.
    pub wire: FieldWire,
}

impl FieldDef {
    /// Whether Go writes `null` when nothing was set: a list, a map or a pointer without `omitempty`, and a time that is no pointer,
    /// which `omitempty` does not leave out.
    pub fn is_null_when_unset(&self) -> bool {
        if self.wire.pointer {
            return self.wire.keep_empty;
        }
        match self.ty {
            Type::List(_) | Type::Map(_) | Type::Scalar(Scalar::Bytes) => self.wire.keep_empty,
            // The only time with `omitzero`.
            Type::Scalar(Scalar::Time | Scalar::MicroTime) => self.name != "creationTimestamp",
            _ => false,
        }
    }

    /// An optional field without anything special.
    pub fn new(name: impl Into<CompactString>, ty: Type) -> Self {
        Self {
            name: name.into(),
            ty,
            required: false,
            default: None,
            patch: PatchStrategy::default(),
            atomic: None,
            wire: FieldWire::default(),
        }
    }
}

/// What the Go types say about a field beyond its JSON schema. All default for fields of custom resources.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct FieldWire {
    /// Protobuf field numbers from the message to the value: one number, or more where Go embeds structs that JSON
    /// inlines. Empty when the field is not in protobuf (`apiVersion`, `kind`).
    pub proto: ProtoPath,
    /// How protobuf writes the (innermost) value where its type alone does not say.
    pub wrapped: Wrapped,
    /// The Go field is a pointer: an explicit zero value is kept apart from absence.
    pub pointer: bool,
    /// The Go field has neither `omitempty` nor `omitzero`: it is written even when empty.
    pub keep_empty: bool,
    /// OpenAPI v3 states the zero value as default, as it does for fields that are never absent in Go.
    pub zero_default: bool,
    /// OpenAPI states no `x-kubernetes-list-type`; it merges as atomic.
    pub list_kind_unset: bool,
    /// Go type as error messages name it, when it is a named type, e.g. `v1.Protocol`.
    pub go_type: Option<&'static str>,
}

/// Field numbers from a protobuf message to a value, through at most two embedded messages; unused places are 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Default, Hash)]
pub struct ProtoPath([u16; 3]);

impl ProtoPath {
    /// A path of one to three numbers.
    ///
    /// # Panics
    /// With more than three numbers: paths come from generated tables.
    pub fn new(numbers: &[u16]) -> Self {
        let mut path = [0; 3];
        path[..numbers.len()].copy_from_slice(numbers);
        Self(path)
    }

    /// The numbers, outermost first; empty for a field that is not in protobuf.
    pub fn numbers(&self) -> &[u16] {
        let used = self.0.iter().position(|n| *n == 0).unwrap_or(self.0.len());
        &self.0[..used]
    }
}

/// Protobuf encodings that the JSON type does not tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Wrapped {
    /// As the type says.
    #[default]
    No,
    /// A list of strings inside a message (`ExtraValue`, `Verbs`).
    Items,
    /// `JSONSchemaPropsOrArray`.
    SchemaOrArray,
    /// `JSONSchemaPropsOrBool`.
    SchemaOrBool,
    /// `JSONSchemaPropsOrStringArray`.
    SchemaOrStringArray,
}

/// A struct type.
#[derive(Clone, Debug, PartialEq)]
pub struct TypeDef {
    /// OpenAPI definition name, e.g. `io.k8s.api.core.v1.Pod`.
    pub name: CompactString,
    /// Fields sorted by name.
    pub fields: Vec<FieldDef>,
    /// Whether server-side apply treats the struct as one value (`x-kubernetes-map-type: atomic`).
    pub atomic: bool,
    /// Whether fields outside `fields` are kept instead of reported and dropped.
    pub preserve_unknown: bool,
}

impl TypeDef {
    /// The field with this JSON name.
    pub fn field(&self, name: &str) -> Option<&FieldDef> {
        let name = Key::new(name);
        self.fields.binary_search_by(|f| name.order_of(&f.name)).ok().map(|i| &self.fields[i])
    }
}

/// All struct types of one source.
#[derive(Clone, Debug, Default)]
pub struct TypeTable {
    types: Vec<TypeDef>,
    struct_types: Vec<Type>,
    by_name: HashMap<CompactString, TypeId>,
    layouts: crate::protobuf::Layouts,
}

impl TypeTable {
    /// A table of these types, indexed by their order. Fields are sorted here.
    pub fn new(mut types: Vec<TypeDef>) -> Self {
        for def in &mut types {
            def.fields.sort_by(|a, b| a.name.cmp(&b.name));
        }
        let by_name = types.iter().zip(0..).map(|(t, i)| (t.name.clone(), TypeId(i))).collect();
        let struct_types = (0..types.len() as u32).map(|i| Type::Struct(TypeId(i))).collect();
        Self { types, struct_types, by_name, layouts: crate::protobuf::Layouts::default() }
    }

    /// The schema of a struct type of this table.
    pub fn schema(&self, id: TypeId) -> SchemaRef<'_> {
        SchemaRef::new(self, &self.struct_types[id.0 as usize])
    }

    /// The type with this OpenAPI definition name.
    pub fn lookup(&self, name: &str) -> Option<TypeId> {
        self.by_name.get(name).copied()
    }

    /// The definition behind an id of this table.
    pub fn def(&self, id: TypeId) -> &TypeDef {
        &self.types[id.0 as usize]
    }

    /// A type's fields as protobuf orders them.
    pub(crate) fn layout(&self, id: TypeId) -> &crate::protobuf::Layout {
        self.layouts.of(self, id)
    }

    /// All types, in id order.
    pub fn types(&self) -> &[TypeDef] {
        &self.types
    }
}

/// A type and the table it belongs to.
#[derive(Clone, Copy, Debug)]
pub struct SchemaRef<'a> {
    /// The table.
    pub table: &'a TypeTable,
    /// The type.
    pub ty: &'a Type,
    /// Whether server-side apply treats this place by member although its struct says as a whole.
    pub granular: bool,
}

static ANY: Type = Type::Any;

impl<'a> SchemaRef<'a> {
    /// A schema reference.
    pub fn new(table: &'a TypeTable, ty: &'a Type) -> Self {
        Self { table, ty, granular: false }
    }

    /// Whether server-side apply treats the struct or map here as one value.
    pub fn is_atomic(&self) -> bool {
        match self.ty {
            Type::Struct(_) => !self.granular && self.struct_def().is_some_and(|def| def.atomic),
            Type::Map(map) => map.atomic,
            _ => false,
        }
    }

    /// The struct behind this type, if it is one.
    pub fn struct_def(&self) -> Option<&'a TypeDef> {
        match self.ty {
            Type::Struct(id) => Some(self.table.def(*id)),
            _ => None,
        }
    }

    /// The definition of a struct's field.
    pub fn field_def(&self, name: &str) -> Option<&'a FieldDef> {
        self.struct_def()?.field(name)
    }

    /// The schema of member `name`: a struct's field, a map's value, or anything below [`Type::Any`]. `None` when the
    /// struct has no such field or the type has no members.
    pub fn member(&self, name: &str) -> Option<SchemaRef<'a>> {
        let ty = match self.ty {
            Type::Struct(id) => {
                let def = self.table.def(*id);
                match def.field(name) {
                    Some(FieldDef { ty, atomic: Some(false), .. }) => {
                        return Some(SchemaRef { table: self.table, ty, granular: true });
                    }
                    Some(field) => &field.ty,
                    None if def.preserve_unknown => &ANY,
                    None => return None,
                }
            }
            Type::Map(map) => &map.value,
            Type::Any => &ANY,
            Type::Scalar(_) | Type::List(_) => return None,
        };
        Some(SchemaRef::new(self.table, ty))
    }

    /// The schema of a list's elements.
    pub fn item(&self) -> Option<SchemaRef<'a>> {
        match self.ty {
            Type::List(list) => Some(SchemaRef::new(self.table, &list.item)),
            Type::Any => Some(SchemaRef::new(self.table, &ANY)),
            _ => None,
        }
    }
}
