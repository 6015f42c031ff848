//! Upstream's Go types as the independent codec: a program, built outside this repository from `k8s.io/api`, that reads
//! a JSON line per object and answers with what those types make of it.
//!
//! A question has the members `Group`, `Version`, `Kind`, `JSON` (the object) and `PB` (our protobuf, base64); an answer
//! has `PB` (theirs), `FromJSON` and `FromPB` (JSON as text, made from either), `Err` and `Strict`.
//!
//! The program is not needed for the tests: the digests of the protobuf that it wrote for every kind are committed in
//! `recorded.tsv`. Run it for all that the digests do not cover, and to record them anew:
//! `SKIFF_GO_CODEC=PROGRAM cargo test -p skiff-api --test encodings -- --ignored`.

use std::io::Write as _;
use std::process::{Command, Stdio};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use skiff_apimachinery::json;
use skiff_apimachinery::schema::{Scalar, SchemaRef, Type};
use skiff_apimachinery::value;
use skiff_apimachinery::value::Value;

use super::{Kind, text};

/// What the program made of one object.
pub(crate) struct Answer {
    /// Protobuf made from our JSON.
    pub protobuf: Vec<u8>,
    /// JSON made from our JSON, and from our protobuf.
    pub json: [Value; 2],
    /// Complaints.
    pub errors: String,
}

/// Asks the program about objects.
pub(crate) fn ask(program: &str, objects: &[(Kind, bool, Value)]) -> Vec<Answer> {
    let mut child = Command::new(program)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("{program}: {error}"));
    let mut stdin = child.stdin.take().expect("piped");
    let lines: Vec<String> = objects.iter().map(|(kind, _, object)| question(*kind, object)).collect();
    let writer = std::thread::spawn(move || lines.iter().try_for_each(|line| stdin.write_all(line.as_bytes())));
    let output = child.wait_with_output().expect("its output");
    writer.join().expect("a writer").expect("the program reads all");
    let answers: Vec<_> = output.stdout.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).collect();
    assert_eq!(answers.len(), objects.len());
    answers.into_iter().map(answer).collect()
}

fn question(kind: Kind, object: &Value) -> String {
    let question = value!({
        "Group": (kind.group),
        "Version": (kind.version),
        "Kind": (kind.kind),
        "JSON": (object.clone()),
        "PB": (STANDARD.encode(kind.to_protobuf(object)))
    });
    text(&question) + "\n"
}

fn answer(line: &[u8]) -> Answer {
    let answer = json::parse(line).expect("an answer");
    let field = |name: &str| answer.str_at(&[name]).unwrap_or("");
    let json = |name| json::parse(field(name).as_bytes()).unwrap_or_default();
    Answer {
        protobuf: STANDARD.decode(field("PB")).expect("base64"),
        json: [json("FromJSON"), json("FromPB")],
        errors: format!("{}{}", field("Err"), field("Strict")),
    }
}

/// Go's JSON with what its types cannot leave out taken away: nulls, empty lists and maps, and structs without content.
pub(crate) fn without_emptiness(value: &Value, schema: SchemaRef<'_>) -> Value {
    match value {
        Value::Object(object) => {
            let members = object.iter().filter_map(|(name, value)| {
                let value = match schema.member(name) {
                    Some(member) => without_emptiness(value, member),
                    None => value.clone(),
                };
                let kept = match schema.field_def(name) {
                    None => true,
                    Some(field) => !value.is_null() && (field.wire.pointer || !is_empty(&value, &field.ty)),
                };
                kept.then(|| (name.to_owned(), value))
            });
            Value::Object(members.collect())
        }
        Value::Array(items) => match schema.item() {
            Some(item) => Value::Array(items.iter().map(|value| without_emptiness(value, item)).collect()),
            None => value.clone(),
        },
        _ => value.clone(),
    }
}

/// Whether Go writes the value for a field that was not set: because the type is a struct there, or a nil list.
fn is_empty(value: &Value, ty: &Type) -> bool {
    match value {
        Value::Array(items) => items.is_empty(),
        Value::Object(object) => object.is_empty() && *ty != Type::Any,
        Value::Int(number) => *number == 0 && *ty == Type::Scalar(Scalar::IntOrString),
        Value::String(text) => text == "0" && *ty == Type::Scalar(Scalar::Quantity),
        _ => false,
    }
}
