//! Reads the embedded tables.
//!
//! `types.tsv` holds a line `=DEFINITION  FLAGS  GVKS  UNIONS` per struct type, in id order, followed by a line
//! `NAME  TYPE  FLAGS  PROTO  MERGEKEY  DEFAULT  GO  ENUM` per field, sorted by name. `resources.tsv` holds a line
//! `=GROUP/VERSION` per group version in order of priority, followed by a line per resource and subresource:
//! `NAME  KIND  DEFINITION  KINDGV  SCOPE  VERBS  SINGULAR  SHORT  CATEGORIES  LISTKIND  HASH  STORAGE`. Columns are
//! separated by tabs; empty ones at the end are left out. The letters are explained where they are read.
//!
//! The tables are part of the program, so a mistake in them is a bug and panics; a test parses them all.

use compact_str::CompactString;
use skiff_apimachinery::schema::{
    FieldDef, FieldWire, ListKind, ListType, MapType, PatchStrategy, ProtoPath, Scalar, Type, TypeDef, TypeId, Wrapped,
};
use skiff_apimachinery::value::Value;

const TYPES: &str = include_str!("tables/types.tsv");
const RESOURCES: &str = include_str!("tables/resources.tsv");

/// Where the values of a field are listed in its line.
const ENUM_COLUMN: usize = 7;

/// A struct type with what only OpenAPI documents need.
pub(crate) struct TypeRecord {
    pub(crate) def: TypeDef,
    /// `group/version/kind` it is registered as.
    pub(crate) gvks: Vec<&'static str>,
    /// Not in OpenAPI documents.
    pub(crate) unpublished: bool,
    /// `x-kubernetes-unions` as JSON; empty if none.
    pub(crate) unions: &'static str,
    /// The values that fields may have, by field: those whose values are listed, commas between them.
    pub(crate) enums: Vec<(&'static str, &'static str)>,
}

/// One line of the resource table.
pub(crate) struct ResourceRecord {
    pub(crate) group: &'static str,
    pub(crate) version: &'static str,
    pub(crate) name: &'static str,
    pub(crate) kind: &'static str,
    pub(crate) definition: &'static str,
    pub(crate) kind_group_version: Option<(&'static str, &'static str)>,
    pub(crate) namespaced: bool,
    pub(crate) verbs: Vec<CompactString>,
    pub(crate) singular: &'static str,
    pub(crate) short_names: Vec<CompactString>,
    pub(crate) categories: Vec<CompactString>,
    pub(crate) list_kind: Option<&'static str>,
    pub(crate) storage_version_hash: Option<&'static str>,
    pub(crate) storage: Option<(&'static str, &'static str)>,
}

/// The columns of a line; missing ones are empty.
struct Columns(std::str::Split<'static, char>);

impl Columns {
    fn next(&mut self) -> &'static str {
        self.0.next().unwrap_or("")
    }

    fn optional(&mut self) -> Option<&'static str> {
        Some(self.next()).filter(|c| !c.is_empty())
    }

    fn list(&mut self) -> impl Iterator<Item = &'static str> {
        self.next().split(',').filter(|c| !c.is_empty())
    }

    fn pair(&mut self) -> Option<(&'static str, &'static str)> {
        self.optional()?.split_once('/')
    }
}

pub(crate) fn types() -> Vec<TypeRecord> {
    let mut types: Vec<TypeRecord> = Vec::with_capacity(900);
    for line in TYPES.lines() {
        if let Some(rest) = line.strip_prefix('=') {
            types.push(type_record(rest));
        } else if let Some(last) = types.last_mut() {
            let (name, values) = (line.split('\t').next(), line.split('\t').nth(ENUM_COLUMN));
            last.enums.extend(name.zip(values));
            last.def.fields.push(field(line));
        }
    }
    types
}

fn type_record(line: &'static str) -> TypeRecord {
    let mut columns = Columns(line.split('\t'));
    let name = CompactString::const_new(columns.next());
    let flags = columns.next();
    TypeRecord {
        def: TypeDef { name, fields: Vec::new(), atomic: flags.contains('a'), preserve_unknown: false },
        unpublished: flags.contains('x'),
        gvks: columns.list().collect(),
        unions: columns.next(),
        enums: Vec::new(),
    }
}

fn field(line: &'static str) -> FieldDef {
    let mut columns = Columns(line.split('\t'));
    let name = CompactString::const_new(columns.next());
    let (ty, flags, proto) = (columns.next(), columns.next(), columns.next());
    let (merge_key, default, go_type) = (columns.optional(), columns.optional(), columns.optional());
    let mut ty = parse_type(ty);
    if let Type::List(list) = &mut ty {
        list.patch_merge_key = merge_key.map(CompactString::const_new);
    }
    let mut field = FieldDef::new(name, ty);
    field.default = default.map(default_value);
    field.wire = FieldWire { proto: proto_path(proto), go_type, ..FieldWire::default() };
    for flag in flags.chars() {
        apply_flag(&mut field, flag);
    }
    if let (Type::Map(map), Some(atomic)) = (&mut field.ty, field.atomic) {
        map.atomic = atomic;
    }
    field
}

fn apply_flag(field: &mut FieldDef, flag: char) {
    let PatchStrategy { merge, replace, retain_keys } = &mut field.patch;
    let wire = &mut field.wire;
    match flag {
        'm' => *merge = true,
        'p' => *replace = true,
        'k' => *retain_keys = true,
        'r' => field.required = true,
        '*' => wire.pointer = true,
        'e' => wire.keep_empty = true,
        'z' => wire.zero_default = true,
        'u' => wire.list_kind_unset = true,
        'a' => field.atomic = Some(true),
        'g' => field.atomic = Some(false),
        'I' => wire.wrapped = Wrapped::Items,
        'A' => wire.wrapped = Wrapped::SchemaOrArray,
        'B' => wire.wrapped = Wrapped::SchemaOrBool,
        'S' => wire.wrapped = Wrapped::SchemaOrStringArray,
        other => panic!("field flag {other:?} in the type table"),
    }
}

fn proto_path(text: &str) -> ProtoPath {
    let mut numbers = [0; 3];
    let mut used = 0;
    for number in text.split('.').filter(|n| !n.is_empty()) {
        numbers[used] = number.parse().expect("protobuf number in the type table");
        used += 1;
    }
    ProtoPath::new(&numbers[..used])
}

/// Defaults are scalars: a string, a number or a boolean.
fn default_value(text: &str) -> Value {
    match serde_json::from_str(text).expect("default in the type table") {
        serde_json::Value::Bool(b) => Value::Bool(b),
        serde_json::Value::Number(n) => Value::Int(n.as_i64().expect("integer default in the type table")),
        serde_json::Value::String(s) => Value::String(s.into()),
        other => panic!("default {other} in the type table"),
    }
}

/// `[KIND]ITEM` is a list (`a` atomic, `s` set, `mKEY,KEY` map), `{VALUE` a map, `#ID` a struct, a letter a scalar.
fn parse_type(text: &'static str) -> Type {
    if let Some(rest) = text.strip_prefix('[') {
        let (kind, item) = rest.split_once(']').expect("list type in the type table");
        let (kind, map_keys) = match kind.split_at(1) {
            ("a", _) => (ListKind::Atomic, Vec::new()),
            ("s", _) => (ListKind::Set, Vec::new()),
            ("m", keys) => (ListKind::Map, keys.split(',').map(CompactString::const_new).collect()),
            other => panic!("list kind {other:?} in the type table"),
        };
        return Type::List(Box::new(ListType { item: parse_type(item), kind, map_keys, patch_merge_key: None }));
    }
    if let Some(value) = text.strip_prefix('{') {
        return Type::Map(Box::new(MapType { value: parse_type(value), atomic: false }));
    }
    if let Some(id) = text.strip_prefix('#') {
        return Type::Struct(TypeId(id.parse().expect("type id in the type table")));
    }
    Type::Scalar(match text {
        "*" => return Type::Any,
        "b" => Scalar::Bool,
        "i" => Scalar::Int32,
        "l" => Scalar::Int64,
        "d" => Scalar::Double,
        "s" => Scalar::String,
        "y" => Scalar::Bytes,
        "q" => Scalar::Quantity,
        "o" => Scalar::IntOrString,
        "t" => Scalar::Time,
        "u" => Scalar::MicroTime,
        "n" => Scalar::Duration,
        "f" => Scalar::FieldsV1,
        other => panic!("type {other:?} in the type table"),
    })
}

pub(crate) fn resources() -> Vec<ResourceRecord> {
    let mut group_version = ("", "");
    let mut records = Vec::with_capacity(300);
    for line in RESOURCES.lines() {
        if let Some(rest) = line.strip_prefix('=') {
            group_version = rest.split_once('/').expect("group version in the resource table");
            continue;
        }
        let mut columns = Columns(line.split('\t'));
        records.push(ResourceRecord {
            group: group_version.0,
            version: group_version.1,
            name: columns.next(),
            kind: columns.next(),
            definition: columns.next(),
            kind_group_version: columns.pair(),
            namespaced: columns.next() == "n",
            verbs: columns.list().map(CompactString::const_new).collect(),
            singular: columns.next(),
            short_names: columns.list().map(CompactString::const_new).collect(),
            categories: columns.list().map(CompactString::const_new).collect(),
            list_kind: columns.optional(),
            storage_version_hash: columns.optional(),
            storage: columns.pair(),
        });
    }
    records
}
