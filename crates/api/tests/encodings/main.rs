//! Encodings: objects of every built-in kind, with every field or with random ones, go through JSON, YAML and protobuf
//! unchanged, and through codecs that others wrote.

mod generate;
mod go;
mod recorded;

use generate::Generator;
use skiff_api::builtin;
use skiff_apimachinery::schema::{SchemaRef, Type};
use skiff_apimachinery::value::Value;
use skiff_apimachinery::{json, protobuf, yaml};

/// Random objects of each kind, and at least so many in all.
const RANDOM_OF_KIND: u64 = 25;
const RANDOM_OBJECTS: usize = 10_000;

/// A kind of the built-in API.
#[derive(Clone, Copy)]
struct Kind {
    group: &'static str,
    version: &'static str,
    kind: &'static str,
    schema: SchemaRef<'static>,
}

impl Kind {
    /// All kinds: objects, lists, options, reviews, Status, Table.
    fn all() -> Vec<Kind> {
        let api = builtin();
        let mut kinds: Vec<Kind> = api
            .registered()
            .map(|(group, version, kind, id)| Kind { group, version, kind, schema: api.schema(id) })
            .collect();
        kinds.sort_by_key(|kind| (kind.group, kind.version, kind.kind));
        kinds
    }

    fn api_version(&self) -> String {
        if self.group.is_empty() { self.version.to_owned() } else { format!("{}/{}", self.group, self.version) }
    }

    /// Whether the type has a protobuf form that anybody uses. Tables have none upstream, and audit events leave a server
    /// as JSON only.
    fn has_protobuf(&self) -> bool {
        if self.group == "audit.k8s.io" {
            return false;
        }
        let Type::Struct(id) = self.schema.ty else { return false };
        let fields = &self.schema.table.def(*id).fields;
        fields.iter().any(|field| !field.wire.proto.numbers().is_empty())
    }

    fn full(&self) -> Value {
        Generator::full(self.schema.table).object(self.schema, &self.api_version(), self.kind)
    }

    fn random(&self, seed: u64) -> Value {
        Generator::random(self.schema.table, seed).object(self.schema, &self.api_version(), self.kind)
    }

    fn to_protobuf(&self, value: &Value) -> Vec<u8> {
        let mut out = Vec::new();
        // Go's envelope is filled from the object itself.
        let named = self.schema.field_def("kind").is_some();
        let (api_version, kind) = if named { (self.api_version(), self.kind) } else { (String::new(), "") };
        protobuf::encode(value, &api_version, kind, self.schema, &mut out)
            .unwrap_or_else(|error| panic!("{}: {error}", self.kind));
        out
    }
}

fn text(value: &Value) -> String {
    let mut out = Vec::new();
    json::write(value, &mut out);
    String::from_utf8(out).expect("JSON is UTF-8")
}

/// Fails where two objects differ, with the first bytes that do.
fn same(what: &str, kind: Kind, got: &Value, want: &Value) {
    if got == want {
        return;
    }
    let (got, want) = (text(got), text(want));
    let at = got.bytes().zip(want.bytes()).take_while(|(a, b)| a == b).count();
    panic!("{} {} {what}:\n got ...{}\nwant ...{}", kind.api_version(), kind.kind, around(&got, at), around(&want, at));
}

/// A text around the place where it differs from another.
fn around(text: &str, at: usize) -> String {
    String::from_utf8_lossy(&text.as_bytes()[at.saturating_sub(80)..text.len().min(at + 80)]).into_owned()
}

fn round_trips(kind: Kind, value: &Value) {
    let json = text(value);
    let decoded = json::decode(json.as_bytes(), kind.schema).unwrap_or_else(|e| panic!("{}: {e}: {json}", kind.kind));
    assert_eq!((decoded.unknown.len(), decoded.duplicate.len()), (0, 0), "{}: {:?}", kind.kind, decoded.unknown);
    same("from JSON", kind, &decoded.value, value);
    let mut out = Vec::new();
    yaml::write(value, &mut out);
    let decoded = yaml::decode(&out, kind.schema)
        .unwrap_or_else(|e| panic!("{}: {e}: {}", kind.kind, String::from_utf8_lossy(&out)));
    same("from YAML", kind, &decoded.value, value);
    if kind.has_protobuf() {
        let out = kind.to_protobuf(value);
        let decoded = protobuf::decode(&out, kind.schema).unwrap_or_else(|e| panic!("{}: {e}", kind.kind));
        same("from protobuf", kind, &decoded, value);
    }
}

#[test]
fn objects_with_every_field_stay_as_they_are() {
    let kinds = Kind::all();
    for kind in &kinds {
        round_trips(*kind, &kind.full());
    }
    assert!(kinds.len() > 400, "{}", kinds.len());
}

#[test]
fn random_objects_stay_as_they_are() {
    let kinds = Kind::all();
    for kind in &kinds {
        for seed in 0..RANDOM_OF_KIND {
            round_trips(*kind, &kind.random(seed));
        }
    }
    assert!(kinds.len() * RANDOM_OF_KIND as usize >= RANDOM_OBJECTS);
}

/// All objects of the tests above that have a protobuf form, and whether they have every field.
fn objects() -> Vec<(Kind, bool, Value)> {
    let kinds: Vec<Kind> = Kind::all().into_iter().filter(Kind::has_protobuf).collect();
    let full = kinds.iter().map(|kind| (*kind, true, kind.full()));
    let random = kinds.iter().flat_map(|kind| (0..RANDOM_OF_KIND).map(|seed| (*kind, false, kind.random(seed))));
    full.chain(random).collect()
}

#[test]
fn protobuf_is_what_go_types_write() {
    let mut digests = recorded::Digests::default();
    for (kind, full, object) in objects() {
        digests.add(kind, full, &kind.to_protobuf(&object));
    }
    let expected = std::fs::read_to_string(recorded::FILE).expect(recorded::FILE);
    let (digests, expected): (Vec<_>, Vec<_>) =
        (digests.text().lines().map(str::to_owned).collect(), expected.lines().collect());
    let wrong: Vec<_> = digests.iter().filter(|line| !expected.contains(&line.as_str())).collect();
    assert!(wrong.is_empty(), "other than Go's types wrote: {wrong:#?}");
    assert_eq!(digests.len(), expected.len(), "kinds");
}

/// Everything that Go's types make of the objects, and the digests anew if all of it agrees.
#[test]
#[ignore = "needs a program made from upstream's Go types; see the module go"]
fn go_types_agree() {
    let program = std::env::var("SKIFF_GO_CODEC").expect("SKIFF_GO_CODEC names the program");
    let objects = objects();
    let (mut differences, mut digests) = (Vec::new(), recorded::Digests::default());
    for ((kind, full, object), answer) in objects.iter().zip(go::ask(&program, &objects)) {
        let mut note = |what: &str, detail: &str| {
            differences.push(format!("{} {}: {what}: {detail}", kind.api_version(), kind.kind));
        };
        if !answer.errors.is_empty() {
            note("errors", &answer.errors);
        }
        if kind.to_protobuf(object) != answer.protobuf {
            note("protobuf", "other bytes");
        }
        let ours = text(&go::without_emptiness(object, kind.schema));
        for (what, json) in [("JSON", &answer.json[0]), ("JSON of protobuf", &answer.json[1])] {
            let theirs = text(&go::without_emptiness(json, kind.schema));
            if theirs != ours {
                let at = theirs.bytes().zip(ours.bytes()).take_while(|(a, b)| a == b).count();
                note(what, &format!("{} instead of {}", around(&ours, at), around(&theirs, at)));
            }
        }
        digests.add(*kind, *full, &answer.protobuf);
    }
    for difference in &differences {
        eprintln!("{difference}");
    }
    assert!(differences.is_empty(), "{} differences in {} objects", differences.len(), objects.len());
    std::fs::write(recorded::FILE, digests.text()).expect(recorded::FILE);
}
