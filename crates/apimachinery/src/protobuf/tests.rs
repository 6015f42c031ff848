//! Documents against bytes written down by hand from upstream's `generated.proto`, and damaged ones.

use super::*;
use crate::json;
use crate::schema::{
    FieldDef, ListKind, ListType, MapType, ProtoPath, Scalar, Type, TypeDef, TypeId, TypeTable, Wrapped,
};

fn field(name: &str, numbers: &[u16], ty: Type, pointer: bool) -> FieldDef {
    let mut field = FieldDef::new(name, ty);
    field.wire.proto = ProtoPath::new(numbers);
    field.wire.pointer = pointer;
    field
}

fn list(item: Type) -> Type {
    Type::List(Box::new(ListType { item, kind: ListKind::Atomic, map_keys: Vec::new(), patch_merge_key: None }))
}

fn scalar(scalar: Scalar) -> Type {
    Type::Scalar(scalar)
}

/// One field of everything.
fn table() -> TypeTable {
    let map = |value| Type::Map(Box::new(MapType { value, atomic: false }));
    let mut extra = field("extra", &[9], map(list(scalar(Scalar::String))), false);
    extra.wire.wrapped = Wrapped::Items;
    let root = vec![
        field("name", &[1], scalar(Scalar::String), false),
        field("replicas", &[2], scalar(Scalar::Int32), true),
        field("numbers", &[3], list(scalar(Scalar::Int64)), false),
        field("labels", &[4], map(scalar(Scalar::String)), false),
        field("size", &[5], scalar(Scalar::Quantity), true),
        field("port", &[6], scalar(Scalar::IntOrString), true),
        field("at", &[7], scalar(Scalar::Time), true),
        field("inner", &[8], Type::Struct(TypeId(1)), true),
        extra,
        field("path", &[10, 1], scalar(Scalar::String), true),
        field("data", &[11], scalar(Scalar::Bytes), false),
        field("raw", &[12], Type::Any, true),
    ];
    let inner = vec![field("on", &[1], scalar(Scalar::Bool), true), field("self", &[2], Type::Struct(TypeId(1)), true)];
    let def = |name: &str, fields| TypeDef { name: name.into(), fields, atomic: false, preserve_unknown: false };
    TypeTable::new(vec![def("Root", root), def("Inner", inner)])
}

fn check(text: &str, message: &[u8]) {
    let table = table();
    let schema = table.schema(TypeId(0));
    let value = json::parse(text.as_bytes()).expect("JSON");
    let mut out = Vec::new();
    encode(&value, "v1", "Root", schema, &mut out).expect("encoded");
    let mut expected = b"k8s\0\x0a\x0a\x0a\x02v1\x12\x04Root\x12".to_vec();
    expected.push(u8::try_from(message.len()).expect("short"));
    expected.extend_from_slice(message);
    expected.extend_from_slice(b"\x1a\0\x22\0");
    assert_eq!(out, expected, "{text}");
    let mut back = decode(&out, schema).expect("decoded");
    let object = back.as_object_mut().expect("an object");
    assert_eq!(object.remove("kind"), Some(Value::String("Root".into())));
    object.remove("apiVersion");
    assert_eq!(back, value, "{text}");
}

#[test]
fn every_kind_of_field_is_written_as_upstream_does() {
    // A name that is not set is written, and so is the message that Go embeds.
    check("{}", b"\x0a\0\x52\0");
    check(r#"{"name":"a"}"#, b"\x0a\x01a\x52\0");
    check(r#"{"replicas":0}"#, b"\x0a\0\x10\0\x52\0");
    check(r#"{"replicas":-1}"#, b"\x0a\0\x10\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01\x52\0");
    check(r#"{"numbers":[1,300]}"#, b"\x0a\0\x18\x01\x18\xac\x02\x52\0");
    check(r#"{"labels":{"a":"1","b":""}}"#, b"\x0a\0\x22\x06\x0a\x01a\x12\x011\x22\x05\x0a\x01b\x12\0\x52\0");
    check(r#"{"size":"1Gi"}"#, b"\x0a\0\x2a\x05\x0a\x031Gi\x52\0");
    check(r#"{"port":80}"#, b"\x0a\0\x32\x06\x08\0\x10\x50\x1a\0\x52\0");
    check(r#"{"port":"web"}"#, b"\x0a\0\x32\x09\x08\x01\x10\0\x1a\x03web\x52\0");
    check(r#"{"at":"1970-01-01T00:01:00Z"}"#, b"\x0a\0\x3a\x04\x08\x3c\x10\0\x52\0");
    check(r#"{"inner":{"on":false,"self":{"on":true}}}"#, b"\x0a\0\x42\x06\x08\0\x12\x02\x08\x01\x52\0");
    check(r#"{"extra":{"k":["x","y"]}}"#, b"\x0a\0\x4a\x0b\x0a\x01k\x12\x06\x0a\x01x\x0a\x01y\x52\0");
    check(r#"{"path":"/"}"#, b"\x0a\0\x52\x03\x0a\x01/");
    check(r#"{"data":"AQI="}"#, b"\x0a\0\x52\0\x5a\x02\x01\x02");
    check(r#"{"raw":{"a":1}}"#, b"\x0a\0\x52\0\x62\x09\x0a\x07{\"a\":1}");
}

#[test]
fn long_messages_get_long_lengths() {
    let table = table();
    let name = "x".repeat(20_000);
    let value = json::parse(format!(r#"{{"name":"{name}"}}"#).as_bytes()).expect("JSON");
    let mut out = Vec::new();
    encode(&value, "v1", "Root", table.schema(TypeId(0)), &mut out).expect("encoded");
    let back = decode(&out, table.schema(TypeId(0))).expect("decoded");
    assert_eq!(back.str_at(&["name"]), Some(name.as_str()));
}

#[test]
fn fields_of_newer_versions_are_skipped_and_packed_lists_are_read() {
    let table = table();
    // 99: varint, 98: bytes, 97: fixed 32, 96: a group; then numbers, packed.
    let message = b"\x98\x06\x01\x92\x06\x01z\x8d\x06\0\0\0\0\x83\x06\x08\x01\x84\x06\x1a\x03\x01\xac\x02";
    let mut document = b"k8s\0\x12".to_vec();
    document.push(u8::try_from(message.len()).expect("short"));
    document.extend_from_slice(message);
    let value = decode(&document, table.schema(TypeId(0))).expect("decoded");
    assert_eq!(value, json::parse(br#"{"numbers":[1,300]}"#).expect("JSON"));
}

#[test]
fn damage_is_an_error() {
    let table = table();
    let schema = table.schema(TypeId(0));
    let error = decode(b"{}", schema).expect_err("JSON").0;
    assert_eq!(error, "provided data does not appear to be a protobuf message, expected prefix [107 56 115 0]");
    let value = json::parse(br#"{"name":"abc","inner":{"on":true},"at":"1970-01-01T00:01:00Z"}"#).expect("JSON");
    let mut whole = Vec::new();
    encode(&value, "v1", "Root", schema, &mut whole).expect("encoded");
    for cut in 5..whole.len() {
        // Some cuts fall between fields; none may panic.
        let _ = decode(&whole[..cut], schema);
    }
    for at in 4..whole.len() {
        for flip in [0x01, 0x80, 0xff] {
            let mut damaged = whole.clone();
            damaged[at] ^= flip;
            let _ = decode(&damaged, schema);
        }
    }
    assert!(decode(b"k8s\0\x12\x7f", schema).is_err(), "a length beyond the end");
    let mut deep = Vec::new();
    for _ in 0..MAX_DEPTH + 2 {
        let mut outer = vec![];
        wire::put_bytes(&mut outer, 2, &deep);
        deep = outer;
    }
    let mut message = Vec::new();
    wire::put_bytes(&mut message, 8, &deep);
    let mut document = PREFIX.to_vec();
    wire::put_bytes(&mut document, 2, &message);
    assert!(decode(&document, schema).is_err(), "too deep");
}

#[test]
fn a_watch_frame_has_a_length_a_kind_and_an_object() {
    assert_eq!(&watch_frame("ADDED", b"k8s\0")[..], b"\0\0\0\x0f\x0a\x05ADDED\x12\x06\x0a\x04k8s\0");
}

/// Entries in descending order once took time with the square of their number: 200 000 of them a minute and more.
#[test]
fn maps_in_any_order_are_read_in_bounded_time() {
    let table = table();
    let mut message = Vec::new();
    let mut entry = |key: &str, value: &[u8]| {
        let mut entry = Vec::new();
        wire::put_bytes(&mut entry, 1, key.as_bytes());
        wire::put_bytes(&mut entry, 2, value);
        wire::put_bytes(&mut message, 4, &entry);
    };
    for number in (0..200_000).rev() {
        entry(&format!("{number:06}"), b"");
    }
    entry("000007", b"last");
    let mut document = PREFIX.to_vec();
    wire::put_bytes(&mut document, 2, &message);
    let started = std::time::Instant::now();
    let value = decode(&document, table.schema(TypeId(0))).expect("decoded");
    assert!(started.elapsed() < std::time::Duration::from_secs(5), "{:?}", started.elapsed());
    let labels = value.at(&["labels"]).and_then(Value::as_object).expect("labels");
    assert_eq!(labels.len(), 200_000);
    assert!(labels.keys().is_sorted());
    assert_eq!(labels.get("000007"), Some(&Value::from("last")));
}
