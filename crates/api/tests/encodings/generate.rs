//! Objects made from the schema tables: with every field, or with a random choice of fields and borderline values.
//!
//! What is made is canonical: written as Go's types would write it, so that any way through an encoding and back must
//! leave it as it is. An empty value stands only where Go can tell it from absence.

use skiff_apimachinery::schema::{FieldDef, Scalar, SchemaRef, Type, TypeTable, Wrapped};
use skiff_apimachinery::value;
use skiff_apimachinery::value::{Object, Value};

/// The type that contains itself.
const JSON_SCHEMA_PROPS: &str = "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaProps";

/// Structs below which no further struct of the same type is made, and structs in all.
const MAX_SAME: usize = 2;
const MAX_DEPTH: usize = 14;

/// Texts that encodings get wrong.
const TEXTS: [&str; 24] = [
    "a",
    "web-1",
    "true",
    "no",
    "null",
    "~",
    "1",
    "012",
    "0x1f",
    "1e3",
    "1_000",
    "2024-01-01",
    ":",
    "- x",
    "#c",
    "a: b",
    " lead",
    "line\nbreak\n",
    "tab\tquote\"back\\slash",
    "\u{1}\u{7f}",
    "<html>&amp;",
    "é ß 漢字 🦀",
    "\u{2028}\u{2029}\u{feff}",
    "key=value,'q'",
];
const QUANTITIES: [&str; 9] = ["1", "100m", "1Gi", "1536Mi", "2k", "1e3", "-5", "123456789", "1n"];
const TIMES: [&str; 4] =
    ["2026-01-02T03:04:05Z", "1970-01-01T00:00:00Z", "0001-06-01T00:00:00Z", "9999-12-31T23:59:59Z"];
const MICRO_TIMES: [&str; 3] =
    ["2026-01-02T03:04:05.678901Z", "1970-01-01T00:00:00.000000Z", "1969-12-31T23:59:59.999999Z"];
const BYTES: [&str; 3] = ["AQID", "c2tpZmY=", "/+8="];
const FIELDS_V1: &str = r#"{"f:metadata":{"f:labels":{".":{},"k:{\"name\":\"a\\\"b\"}":{}}}}"#;
const DOUBLES: [f64; 7] = [1.5, -0.25, 1e21, 1e-7, 123456.789, 1.7976931348623157e308, 5e-324];

/// Makes objects of a table.
pub(crate) struct Generator<'a> {
    table: &'a TypeTable,
    random: Random,
    /// Every field, or of a hundred optional fields so many.
    chance: Option<usize>,
    counter: i64,
    open: Vec<u32>,
}

impl<'a> Generator<'a> {
    /// Makes objects with every field filled, the same each time.
    pub(crate) fn full(table: &'a TypeTable) -> Self {
        Self { table, random: Random(0), chance: None, counter: 0, open: Vec::new() }
    }

    /// Makes random objects, the same for a seed.
    pub(crate) fn random(table: &'a TypeTable, seed: u64) -> Self {
        let mut random = Random(seed);
        let chance = Some([5, 20, 40][random.below(3)]);
        Self { table, random, chance, counter: 0, open: Vec::new() }
    }

    /// An object of a kind.
    pub(crate) fn object(&mut self, schema: SchemaRef<'_>, api_version: &str, kind: &str) -> Value {
        let Type::Struct(id) = schema.ty else { panic!("{kind} is no struct") };
        let mut object = self.structure(id.0);
        for (name, text) in [("apiVersion", api_version), ("kind", kind)] {
            if schema.field_def(name).is_some_and(|field| field.wire.proto.numbers().is_empty()) {
                object.insert(name, text);
            }
        }
        Value::Object(object)
    }

    fn structure(&mut self, id: u32) -> Object {
        let mut object = Object::new();
        self.open.push(id);
        let table = self.table;
        for field in &table.types()[id as usize].fields {
            if (field.name == "apiVersion" || field.name == "kind") && field.wire.proto.numbers().is_empty() {
                continue;
            }
            if let Some(value) = self.field(field) {
                object.insert(field.name.clone(), value);
            }
        }
        self.open.pop();
        object
    }

    fn field(&mut self, field: &FieldDef) -> Option<Value> {
        let plain = matches!(field.ty, Type::Scalar(s) if is_plain(s));
        // A struct that is no pointer is there in Go whatever it holds.
        let embedded = matches!(field.ty, Type::Struct(_)) && !field.wire.pointer;
        let always = embedded || field.wire.keep_empty && !field.wire.pointer && plain;
        if let Some(chance) = self.chance
            && !always
            && self.random.below(100) >= chance
        {
            return None;
        }
        let value = match field.wire.wrapped {
            Wrapped::No | Wrapped::Items => self.value(&field.ty)?,
            other => match &field.ty {
                Type::Map(_) => {
                    let keys: Vec<_> = (0..self.size()).map(|_| self.text()).collect();
                    let entries = keys.into_iter().map(|key| Some((key, self.schema_or(other)?)));
                    Value::Object(entries.collect::<Option<Object>>()?)
                }
                _ => self.schema_or(other)?,
            },
        };
        let kept = field.wire.pointer || (always && !embedded) || !is_zero(&value, &field.ty);
        kept.then_some(value)
    }

    fn value(&mut self, ty: &Type) -> Option<Value> {
        Some(match ty {
            Type::Scalar(scalar) => self.scalar(*scalar),
            Type::Struct(id) => {
                let same = self.open.iter().filter(|open| **open == id.0).count();
                if same >= MAX_SAME || self.open.len() >= MAX_DEPTH {
                    return None;
                }
                Value::Object(self.structure(id.0))
            }
            Type::List(list) => {
                let items: Option<Vec<_>> = (0..self.size()).map(|_| self.value(&list.item)).collect();
                Value::Array(items.filter(|items| !items.is_empty())?)
            }
            Type::Map(map) => {
                let mut object = Object::new();
                for _ in 0..self.size() {
                    object.insert(self.text(), self.value(&map.value)?);
                }
                Value::Object(object)
            }
            Type::Any => self.any(),
        })
    }

    fn schema_or(&mut self, wrapped: Wrapped) -> Option<Value> {
        let id = self.table.lookup(JSON_SCHEMA_PROPS)?;
        let schema = self.open.len() < 6 && self.either();
        if schema && self.open.iter().filter(|open| **open == id.0).count() < MAX_SAME {
            return Some(Value::Object(self.structure(id.0)));
        }
        Some(match wrapped {
            Wrapped::SchemaOrBool => Value::Bool(self.either()),
            Wrapped::SchemaOrArray => value!([{"type": "string"}, {"minimum": 1}]),
            _ => value!(["a", "b"]),
        })
    }

    /// Elements of a list or map.
    fn size(&mut self) -> usize {
        if self.chance.is_none() { 2 } else { 1 + self.random.below(3) }
    }

    fn scalar(&mut self, scalar: Scalar) -> Value {
        let full = self.chance.is_none();
        self.counter += 1;
        match scalar {
            Scalar::Bool => Value::Bool(full || self.either()),
            Scalar::Int32 if full => Value::Int(self.counter),
            Scalar::Int64 if full => Value::Int((1 << 40) + self.counter),
            Scalar::Int32 => Value::Int(self.pick(&[0, 1, -1, 127, 128, 65_535, i32::MAX.into(), i32::MIN.into()])),
            Scalar::Int64 => Value::Int(self.pick(&[0, 1, -1, 300, (1 << 53) + 1, i64::MAX, i64::MIN])),
            Scalar::Double if self.either() => Value::Int(self.counter),
            Scalar::Double => Value::Float(self.pick(&DOUBLES)),
            Scalar::String if full => Value::from(format!("text-{}", self.counter)),
            Scalar::String => self.random_text(),
            Scalar::Bytes => Value::from(self.pick(&BYTES)),
            Scalar::Quantity => Value::from(self.pick(&QUANTITIES)),
            Scalar::IntOrString if self.either() => Value::Int(self.counter),
            Scalar::IntOrString => Value::from(self.pick(&["25%", "http"])),
            Scalar::Time => Value::from(self.pick(&TIMES)),
            Scalar::MicroTime => Value::from(self.pick(&MICRO_TIMES)),
            Scalar::Duration => Value::from(self.pick(&["5s", "1h2m3s"])),
            Scalar::FieldsV1 => Value::Raw(FIELDS_V1.into()),
        }
    }

    /// One of several: at random, or for full objects in turn, so that they never change.
    fn pick<T: Copy>(&mut self, all: &[T]) -> T {
        match self.chance {
            None => all[self.counter as usize % all.len()],
            Some(_) => all[self.random.below(all.len())],
        }
    }

    fn either(&mut self) -> bool {
        self.pick(&[true, false])
    }

    fn random_text(&mut self) -> Value {
        if self.random.below(10) == 0 {
            return Value::from("");
        }
        Value::from(self.text())
    }

    /// A text that is not empty; unlike all before it in an object with every field.
    fn text(&mut self) -> String {
        self.counter += 1;
        match self.chance {
            None => format!("key-{}", self.counter),
            Some(_) => self.pick(&TEXTS).to_owned(),
        }
    }

    /// Any JSON but null, which stands for absence.
    fn any(&mut self) -> Value {
        let text = self.text();
        value!({
            "apiVersion": "example.com/v1",
            "kind": "Thing",
            "list": [1, null, true, (Value::Float(2.5)), text, {}, []],
            "map": {"": "empty key", "nested": {"n": (i64::MIN)}}
        })
    }
}

/// SplitMix64: the same numbers for a seed on every machine and in every year, as recorded digests need.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) % bound as u64) as usize
    }
}

fn is_plain(scalar: Scalar) -> bool {
    matches!(scalar, Scalar::Bool | Scalar::Int32 | Scalar::Int64 | Scalar::Double | Scalar::String)
}

/// Whether Go writes the same for it as for nothing.
fn is_zero(value: &Value, ty: &Type) -> bool {
    match value {
        Value::Bool(on) => !on,
        Value::Int(number) => *number == 0,
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(object) => object.is_empty() && !matches!(ty, Type::Any),
        _ => false,
    }
}
