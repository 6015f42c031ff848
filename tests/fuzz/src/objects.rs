//! Objects in their three encodings.

use skiff_api::builtin;
use skiff_apimachinery::schema::SchemaRef;
use skiff_apimachinery::value::Value;
use skiff_apimachinery::{json as codec, protobuf as binary, yaml as human};

/// Kinds that an input is read as: the first byte chooses.
const KINDS: [(&str, &str, &str); 8] = [
    ("", "v1", "Pod"),
    ("apps", "v1", "Deployment"),
    ("", "v1", "Service"),
    ("", "v1", "Secret"),
    ("networking.k8s.io", "v1", "Ingress"),
    ("batch", "v1", "CronJob"),
    ("autoscaling", "v2", "HorizontalPodAutoscaler"),
    ("", "v1", "Event"),
];

/// A kind and the rest of the input.
fn kind_of(input: &[u8]) -> Option<((&'static str, &'static str, &'static str), SchemaRef<'static>, &[u8])> {
    let (first, rest) = input.split_first()?;
    let kind = KINDS[usize::from(*first) % KINDS.len()];
    Some((kind, builtin().schema_of(kind.0, kind.1, kind.2).expect("it is built in"), rest))
}

pub(crate) fn json(input: &[u8]) {
    if let Ok(value) = codec::parse(input) {
        check_written(&value);
    }
    if let Some((_, schema, rest)) = kind_of(input) {
        let _ = codec::decode(rest, schema);
    }
}

pub(crate) fn yaml(input: &[u8]) {
    if let Ok(value) = human::parse(input) {
        check_written(&value);
    }
    if let Some((_, schema, rest)) = kind_of(input) {
        let _ = human::decode(rest, schema);
    }
}

pub(crate) fn protobuf(input: &[u8]) {
    let Some(((group, version, kind), schema, rest)) = kind_of(input) else { return };
    let Ok(mut value) = binary::decode(rest, schema) else { return };
    let api_version = if group.is_empty() { version.to_owned() } else { format!("{group}/{version}") };
    value.set_at(&["apiVersion"], api_version.as_str());
    value.set_at(&["kind"], kind);
    let mut bytes = Vec::new();
    // Text that protobuf carries and JSON does not (a quantity, embedded JSON) may be refused on the way back.
    if binary::encode(&value, &api_version, kind, schema, &mut bytes).is_ok() {
        let again = binary::decode(&bytes, schema).expect("what was written is read");
        let mut second = Vec::new();
        binary::encode(&again, &api_version, kind, schema, &mut second).expect("what was read is written");
        assert_eq!(second, bytes, "what was written is read otherwise");
    }
}

/// What is written is read again as the same, from the second time on: at first, 1e3 becomes an integer and -0.0 loses
/// its sign, as upstream has it.
fn check_written(value: &Value) {
    let again = codec::parse(&written(value)).expect("what was written is read");
    let text = written(&again);
    let third = codec::parse(&text).expect("what was written is read");
    assert_eq!(written(&third), text, "what was read and written is read otherwise");
}

fn written(value: &Value) -> Vec<u8> {
    let mut bytes = Vec::new();
    codec::write(value, &mut bytes);
    bytes
}
