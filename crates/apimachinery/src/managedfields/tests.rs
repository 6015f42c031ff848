//! Scenarios of writes by several managers, in a small schema of our own.

use super::*;
use crate::fixture::*;
use crate::schema::{Scalar, Type};
use crate::status::Status;
use crate::value::Value;

/// A kind with every way of being owned. Its name makes it a built-in kind, whose structs are never absent.
fn schema() -> Schema {
    let mut builder = Builder::new(&[
        "io.k8s.Thing",
        "io.k8s.Meta",
        "io.k8s.Spec",
        "io.k8s.Status",
        "io.k8s.Container",
        "io.k8s.Port",
        "io.k8s.Ref",
        "io.k8s.Probe",
    ]);
    let [meta, spec, status, container, port, reference, probe] =
        ["Meta", "Spec", "Status", "Container", "Port", "Ref", "Probe"]
            .map(|name| builder.named(&format!("io.k8s.{name}")));
    let bool = || Type::Scalar(Scalar::Bool);
    let empty = || Value::Object(crate::value::Object::new());
    builder.define(
        "io.k8s.Thing",
        vec![
            field("apiVersion", string()),
            field("kind", string()),
            field("metadata", meta).with_default(empty()),
            field("spec", spec).with_default(empty()),
            field("status", status).with_default(empty()),
        ],
    );
    builder.define(
        "io.k8s.Meta",
        vec![
            field("name", string()),
            field("namespace", string()),
            field("uid", string()),
            field("generation", int()),
            field("resourceVersion", string()),
            field("creationTimestamp", Type::Scalar(Scalar::Time)),
            field("labels", map(string())),
            field("annotations", map(string())),
            field("finalizers", set(string())),
            field("ownerReferences", keyed(reference.clone(), &["uid"])),
            field("managedFields", atomic_list(Type::Any)),
        ],
    );
    let mut required = field("containers", keyed(container, &["name"]));
    required.required = true;
    builder.define(
        "io.k8s.Spec",
        vec![
            field("replicas", int()),
            field("paused", bool()),
            field("args", atomic_list(string())),
            field("selector", atomic_map(string())),
            field("limits", map(Type::Scalar(Scalar::Quantity))),
            field("strategy", probe.clone()).with_default(empty()),
            field("probe", probe),
            field("reference", reference),
            field("numbers", set(int())),
            field("data", Type::Any),
            field("priority", int()).with_default(Value::Int(0)),
            required,
        ],
    );
    builder.define("io.k8s.Status", vec![field("replicas", int())]);
    builder.define(
        "io.k8s.Container",
        vec![
            field("name", string()),
            field("image", string()),
            field("ports", keyed(port, &["port", "protocol"])),
            field("resources", map(string())).with_default(empty()),
        ],
    );
    builder.define(
        "io.k8s.Port",
        vec![
            field("name", string()),
            field("port", int()),
            field("protocol", string()).with_default(Value::from("TCP")),
        ],
    );
    builder
        .define("io.k8s.Ref", vec![field("kind", string()), field("name", string()), field("uid", string())])
        .atomic = true;
    builder.define("io.k8s.Probe", vec![field("type", string()), field("seconds", int())]);
    Schema::new(builder, "io.k8s.Thing")
}

/// What a scenario's object looks like, with the fields that every write carries.
fn thing(spec: &str) -> Value {
    let mut value = json(spec);
    value.set_at(&["apiVersion"], "v1");
    value.set_at(&["kind"], "Thing");
    value.set_at(&["metadata", "name"], "x");
    value
}

struct World {
    schema: Schema,
    live: Option<Value>,
    clock: u32,
}

impl World {
    fn new() -> Self {
        Self { schema: schema(), live: None, clock: 0 }
    }

    /// Performs a write: `create|update|status|apply|force|apply-status MANAGER`.
    fn write(&mut self, verb: &str, object: &str) -> Result<(), Status> {
        self.clock += 1;
        let time = format!("2026-01-01T00:00:{:02}Z", self.clock);
        let (verb, name) = verb.split_once(' ').expect("verb and manager");
        let subresource = if verb.ends_with("status") { "status" } else { "" };
        let manager = ManagerInfo::new(name, "v1", subresource, &time);
        let new = match verb {
            "create" => {
                let mut new = thing(object);
                let mut slow = new.clone();
                on_create(&mut new, self.schema.get(), &manager);
                update(None, &mut slow, self.schema.get(), &manager);
                assert_eq!(new, slow, "the fast way and the slow way agree on {object}");
                new
            }
            "update" | "status" => {
                let mut new = thing(object);
                update(self.live.as_ref(), &mut new, self.schema.get(), &manager);
                new
            }
            "apply" | "force" | "apply-status" => {
                apply(self.live.as_ref(), thing(object), self.schema.get(), &manager, verb == "force")?
            }
            other => panic!("no verb {other}"),
        };
        self.live = Some(new);
        Ok(())
    }

    /// The object's spec as text, and its managers, each as `manager Operation time: fields`.
    fn managers(&self) -> Vec<String> {
        let live = self.live.as_ref().expect("an object");
        let text = |entry: &Value, field: &str| entry.get(field).and_then(Value::as_str).unwrap_or("").to_owned();
        live.array_at(&["metadata", "managedFields"])
            .iter()
            .map(|entry| {
                let Some(Value::Raw(fields)) = entry.get("fieldsV1") else { panic!("fieldsV1 is text") };
                let mut subresource = text(entry, "subresource");
                if !subresource.is_empty() {
                    subresource.insert(0, '/');
                }
                let time = text(entry, "time");
                let second = time.get(17..19).unwrap_or("-").trim_start_matches('0').to_owned();
                format!("{}{subresource} {} {second}: {fields}", text(entry, "manager"), text(entry, "operation"))
            })
            .collect()
    }
}

/// Runs writes and compares the managers, and the object if one is expected.
fn check(name: &str, writes: &[(&str, &str)], object: &str, managers: &[&str]) {
    let mut world = World::new();
    for (verb, object) in writes {
        world.write(verb, object).unwrap_or_else(|error| panic!("{name}: {verb}: {}", error.message));
    }
    assert_eq!(world.managers(), managers, "{name}");
    if !object.is_empty() {
        let mut live = world.live.take().expect("an object");
        live.remove_at(&["metadata", "managedFields"]);
        assert_eq!(live, thing(object), "{name}");
    }
}

#[test]
fn creates() {
    // object, the fields of its creator
    let cases = [
        ("{}", ""),
        (r#"{"spec":{"replicas":1}}"#, r#"{"f:spec":{"f:replicas":{}}}"#),
        (r#"{"metadata":{"labels":{"b":"1","a":"2"}}}"#, r#"{"f:metadata":{"f:labels":{".":{},"f:a":{},"f:b":{}}}}"#),
        (r#"{"metadata":{"labels":{}}}"#, r#"{"f:metadata":{"f:labels":{}}}"#),
        (r#"{"metadata":{"labels":{"a\"b\\c":"1"}}}"#, r#"{"f:metadata":{"f:labels":{".":{},"f:a\"b\\c":{}}}}"#),
        (
            r#"{"metadata":{"namespace":"n","uid":"u","generation":1,"resourceVersion":"1","creationTimestamp":"2026-01-01T00:00:00Z"}}"#,
            "",
        ),
        (
            r#"{"metadata":{"finalizers":["b","a"]}}"#,
            r#"{"f:metadata":{"f:finalizers":{".":{},"v:\"a\"":{},"v:\"b\"":{}}}}"#,
        ),
        (
            r#"{"metadata":{"ownerReferences":[{"uid":"1","kind":"K"}]}}"#,
            r#"{"f:metadata":{"f:ownerReferences":{".":{},"k:{\"uid\":\"1\"}":{}}}}"#,
        ),
        // The list is required, so it is always there; its elements are new, and so are the structs in them.
        (
            r#"{"spec":{"containers":[{"name":"b","image":"i"},{"name":"a","resources":{}}]}}"#,
            r#"{"f:spec":{"f:containers":{"k:{\"name\":\"a\"}":{".":{},"f:name":{},"f:resources":{}},"k:{\"name\":\"b\"}":{".":{},"f:image":{},"f:name":{}}}}}"#,
        ),
        // A key's default is part of the key.
        (
            r#"{"spec":{"containers":[{"name":"a","ports":[{"port":443},{"port":53,"protocol":"UDP"},{"port":53}]}]}}"#,
            r#"{"f:spec":{"f:containers":{"k:{\"name\":\"a\"}":{".":{},"f:name":{},"f:ports":{".":{},"k:{\"port\":53,\"protocol\":\"TCP\"}":{".":{},"f:port":{}},"k:{\"port\":53,\"protocol\":\"UDP\"}":{".":{},"f:port":{},"f:protocol":{}},"k:{\"port\":443,\"protocol\":\"TCP\"}":{".":{},"f:port":{}}}}}}}"#,
        ),
        // Atomic things are owned as a whole.
        (
            r#"{"spec":{"args":["x"],"selector":{"a":"b"},"reference":{"kind":"K"},"limits":{"cpu":"1"}}}"#,
            r#"{"f:spec":{"f:args":{},"f:limits":{".":{},"f:cpu":{}},"f:reference":{},"f:selector":{}}}"#,
        ),
        // A struct by value is always there, one by pointer is not; neither is an empty one by pointer.
        (
            r#"{"spec":{"strategy":{"type":"x"},"probe":{"type":"x"}}}"#,
            r#"{"f:spec":{"f:probe":{".":{},"f:type":{}},"f:strategy":{"f:type":{}}}}"#,
        ),
        (r#"{"spec":{"strategy":{},"probe":{}}}"#, r#"{"f:spec":{"f:probe":{}}}"#),
        // So is a scalar that is never omitted: setting it to zero changes nothing.
        (r#"{"spec":{"priority":0,"replicas":0}}"#, r#"{"f:spec":{"f:replicas":{}}}"#),
        (r#"{"spec":{"priority":1}}"#, r#"{"f:spec":{"f:priority":{}}}"#),
        (r#"{"spec":{"numbers":[3,10,1]}}"#, r#"{"f:spec":{"f:numbers":{".":{},"v:1":{},"v:3":{},"v:10":{}}}}"#),
        (r#"{"spec":{"numbers":[]}}"#, r#"{"f:spec":{"f:numbers":{}}}"#),
        // Duplicates leave their key alone.
        (r#"{"spec":{"numbers":[1,2,1]}}"#, r#"{"f:spec":{"f:numbers":{".":{},"v:1":{},"v:2":{}}}}"#),
        (
            r#"{"spec":{"containers":[{"name":"a","image":"1"},{"name":"a","image":"2"}]}}"#,
            r#"{"f:spec":{"f:containers":{"k:{\"name\":\"a\"}":{}}}}"#,
        ),
        // Untyped data: objects by member, lists as a whole.
        (
            r#"{"spec":{"data":{"b":{"c":1},"l":[{"x":1}],"e":{},"n":null}}}"#,
            r#"{"f:spec":{"f:data":{".":{},"f:b":{".":{},"f:c":{}},"f:e":{},"f:l":{},"f:n":{}}}}"#,
        ),
        // The status belongs to its own endpoint.
        (r#"{"status":{"replicas":1}}"#, ""),
        // An element without a place takes all managedFields with it.
        (r#"{"spec":{"replicas":1,"containers":[{"image":"x"}]}}"#, ""),
        (r#"{"spec":{"replicas":1,"containers":[null]}}"#, ""),
        (r#"{"spec":{"replicas":1,"numbers":[null]}}"#, ""),
    ];
    for (object, fields) in cases {
        let managers = match fields {
            "" => vec![],
            fields => vec![format!("m Update 1: {fields}")],
        };
        let managers: Vec<&str> = managers.iter().map(String::as_str).collect();
        check(object, &[("create m", object)], object, &managers);
    }
}

#[test]
fn updates() {
    check(
        "a change moves a field, with its time",
        &[
            ("create a", r#"{"spec":{"replicas":1,"paused":true}}"#),
            ("update b", r#"{"spec":{"replicas":2,"paused":true}}"#),
        ],
        r#"{"spec":{"replicas":2,"paused":true}}"#,
        &[r#"a Update 1: {"f:spec":{"f:paused":{}}}"#, r#"b Update 2: {"f:spec":{"f:replicas":{}}}"#],
    );
    check(
        "no change, no trace",
        &[("create a", r#"{"spec":{"replicas":1}}"#), ("update b", r#"{"spec":{"replicas":1}}"#)],
        "",
        &[r#"a Update 1: {"f:spec":{"f:replicas":{}}}"#],
    );
    check(
        "the same manager's fields add up",
        &[("create a", r#"{"spec":{"replicas":1}}"#), ("update a", r#"{"spec":{"replicas":1,"paused":true}}"#)],
        "",
        &[r#"a Update 2: {"f:spec":{"f:paused":{},"f:replicas":{}}}"#],
    );
    check(
        "a removed field has no owner, and that is no change of time",
        &[("create a", r#"{"spec":{"replicas":1,"paused":true}}"#), ("update b", r#"{"spec":{"replicas":1}}"#)],
        "",
        &[r#"a Update 1: {"f:spec":{"f:replicas":{}}}"#],
    );
    check(
        "a manager who lost everything is gone",
        &[("create a", r#"{"spec":{"replicas":1}}"#), ("update b", r#"{"spec":{"replicas":2}}"#)],
        "",
        &[r#"b Update 2: {"f:spec":{"f:replicas":{}}}"#],
    );
    check(
        "the status endpoint has entries of its own and cannot change the spec",
        &[
            ("create a", r#"{"spec":{"replicas":1}}"#),
            ("status a", r#"{"spec":{"replicas":1},"status":{"replicas":1}}"#),
        ],
        "",
        &[r#"a Update 1: {"f:spec":{"f:replicas":{}}}"#, r#"a/status Update 2: {"f:status":{"f:replicas":{}}}"#],
    );
    check(
        "elements of lists move one by one",
        &[
            ("create a", r#"{"spec":{"containers":[{"name":"x","image":"1"},{"name":"y","image":"1"}]}}"#),
            ("update b", r#"{"spec":{"containers":[{"name":"y","image":"2"},{"name":"x","image":"1"},{"name":"z"}]}}"#),
        ],
        "",
        &[
            r#"a Update 1: {"f:spec":{"f:containers":{"k:{\"name\":\"x\"}":{".":{},"f:image":{},"f:name":{}},"k:{\"name\":\"y\"}":{".":{},"f:name":{}}}}}"#,
            r#"b Update 2: {"f:spec":{"f:containers":{"k:{\"name\":\"y\"}":{"f:image":{}},"k:{\"name\":\"z\"}":{".":{},"f:name":{}}}}}"#,
        ],
    );
    check(
        "a removed element takes its fields along",
        &[
            ("create a", r#"{"spec":{"containers":[{"name":"x","image":"1"},{"name":"y"}]}}"#),
            ("update b", r#"{"spec":{"containers":[{"name":"y"}]}}"#),
        ],
        "",
        &[r#"a Update 1: {"f:spec":{"f:containers":{"k:{\"name\":\"y\"}":{".":{},"f:name":{}}}}}"#],
    );
    check(
        "atomic lists and maps move as a whole",
        &[
            ("create a", r#"{"spec":{"args":["1"],"selector":{"a":"1"}}}"#),
            ("update b", r#"{"spec":{"args":["1","2"],"selector":{"a":"1","b":"2"}}}"#),
        ],
        "",
        &[r#"b Update 2: {"f:spec":{"f:args":{},"f:selector":{}}}"#],
    );
    check(
        "duplicates that appear and vanish",
        &[
            ("create a", r#"{"spec":{"containers":[{"name":"x","image":"1"}]}}"#),
            ("update b", r#"{"spec":{"containers":[{"name":"x","image":"1"},{"name":"x","image":"2"}]}}"#),
            ("update c", r#"{"spec":{"containers":[{"name":"x","image":"1"}]}}"#),
        ],
        "",
        &[r#"c Update 3: {"f:spec":{"f:containers":{"k:{\"name\":\"x\"}":{".":{},"f:image":{},"f:name":{}}}}}"#],
    );
    check(
        "untyped data that changes its kind",
        &[("create a", r#"{"spec":{"data":{"v":1}}}"#), ("update b", r#"{"spec":{"data":{"v":{"x":1}}}}"#)],
        "",
        &[r#"a Update 1: {"f:spec":{"f:data":{}}}"#, r#"b Update 2: {"f:spec":{"f:data":{"f:v":{".":{},"f:x":{}}}}}"#],
    );
}

#[test]
fn managed_fields_in_updates() {
    // The managedFields that an update carries (null: the field is left out), the managers after it.
    let own = r#"[{"manager":"own","operation":"Update","apiVersion":"v1","fieldsType":"FieldsV1","fieldsV1":{"f:spec":{"f:paused":{}}}}]"#;
    let kept = &[r#"a Update 1: {"f:spec":{"f:paused":{}}}"#, r#"b Update 2: {"f:spec":{"f:replicas":{}}}"#][..];
    let cases: &[(&str, &[&str])] = &[
        ("null", kept),
        ("[]", &[]),
        ("[{}]", &[]),
        (own, &[r#"own Update -: {"f:spec":{"f:paused":{}}}"#, r#"b Update 2: {"f:spec":{"f:replicas":{}}}"#]),
        (r#"[{"manager":"bad","operation":"Delete","apiVersion":"v1","fieldsType":"FieldsV1"}]"#, kept),
        (r#"[{"manager":"bad","operation":"Update","fieldsType":"FieldsV1"}]"#, kept),
        (r#"[{"manager":"bad","operation":"Update","apiVersion":"v1"}]"#, kept),
        (r#"[{"manager":"bad","operation":"Update","apiVersion":"v1","fieldsType":"FieldsV2"}]"#, kept),
        (
            r#"[{"manager":"bad","operation":"Update","apiVersion":"v1","fieldsType":"FieldsV1","fieldsV1":{"spec":{}}}]"#,
            kept,
        ),
    ];
    for (fields, managers) in cases {
        let mut world = World::new();
        world.write("create a", r#"{"spec":{"replicas":1,"paused":true}}"#).expect("created");
        let mut object = json(r#"{"spec":{"replicas":2,"paused":true}}"#);
        object.set_at(&["metadata", "managedFields"], json(fields));
        let mut text = String::new();
        path::write_scalar(&object, &mut text);
        world.write("update b", &text).expect("updated");
        assert_eq!(world.managers(), *managers, "{fields}");
    }
}

#[test]
fn untracked_objects_stay_untracked_until_applied() {
    let mut world = World::new();
    world.live = Some(thing(r#"{"spec":{"replicas":1,"paused":true}}"#));
    world.write("update a", r#"{"spec":{"replicas":2,"paused":true}}"#).expect("updated");
    assert_eq!(world.managers(), Vec::<String>::new());
    let error = world.write("apply b", r#"{"spec":{"replicas":3}}"#).expect_err("conflict");
    assert_eq!(
        error.message,
        r#"Apply failed with 1 conflict: conflict with "before-first-apply" using v1: .spec.replicas"#
    );
    world.write("force b", r#"{"spec":{"replicas":3}}"#).expect("applied");
    assert_eq!(
        world.managers(),
        [r#"b Apply 3: {"f:spec":{"f:replicas":{}}}"#, r#"before-first-apply Update 3: {"f:spec":{"f:paused":{}}}"#]
    );
}

#[test]
fn old_updaters_are_merged() {
    let mut world = World::new();
    world.write("create m0", r#"{"metadata":{"labels":{"l0":"x"}}}"#).expect("created");
    for i in 1..=11 {
        let labels: Vec<String> = (0..=i).map(|n| format!(r#""l{n}":"x""#)).collect();
        let object = format!(r#"{{"metadata":{{"labels":{{{}}}}}}}"#, labels.join(","));
        world.write(&format!("update m{i}"), &object).expect("updated");
    }
    let managers = world.managers();
    assert_eq!(managers.len(), 10);
    assert_eq!(
        managers[0],
        r#"ancient-changes Update 3: {"f:metadata":{"f:labels":{".":{},"f:l0":{},"f:l1":{},"f:l2":{}}}}"#
    );
    assert_eq!(managers[1], r#"m3 Update 4: {"f:metadata":{"f:labels":{"f:l3":{}}}}"#);
    assert_eq!(managers[9], r#"m11 Update 12: {"f:metadata":{"f:labels":{"f:l11":{}}}}"#);
}

#[test]
fn applies() {
    check(
        "an apply creates",
        &[("apply a", r#"{"metadata":{"labels":{"x":"1"}},"spec":{"replicas":1,"containers":[{"name":"c"}]}}"#)],
        r#"{"metadata":{"labels":{"x":"1"}},"spec":{"replicas":1,"containers":[{"name":"c"}]}}"#,
        &[
            r#"a Apply 1: {"f:metadata":{"f:labels":{"f:x":{}}},"f:spec":{"f:containers":{"k:{\"name\":\"c\"}":{".":{},"f:name":{}}},"f:replicas":{}}}"#,
        ],
    );
    check(
        "applying the same again is no write",
        &[("apply a", r#"{"spec":{"replicas":1}}"#), ("apply a", r#"{"spec":{"replicas":1}}"#)],
        "",
        &[r#"a Apply 1: {"f:spec":{"f:replicas":{}}}"#],
    );
    check(
        "applying something else moves the time",
        &[("apply a", r#"{"spec":{"replicas":1}}"#), ("apply a", r#"{"spec":{"replicas":2}}"#)],
        r#"{"spec":{"replicas":2}}"#,
        &[r#"a Apply 2: {"f:spec":{"f:replicas":{}}}"#],
    );
    check(
        "equal values are shared; the object has not changed, so there is no time",
        &[("apply a", r#"{"spec":{"replicas":1}}"#), ("apply b", r#"{"spec":{"replicas":1}}"#)],
        r#"{"spec":{"replicas":1}}"#,
        &[r#"b Apply -: {"f:spec":{"f:replicas":{}}}"#, r#"a Apply 1: {"f:spec":{"f:replicas":{}}}"#],
    );
    check(
        "what is no longer applied is removed",
        &[("apply a", r#"{"spec":{"replicas":1,"paused":true}}"#), ("apply a", r#"{"spec":{"replicas":1}}"#)],
        r#"{"spec":{"replicas":1}}"#,
        &[r#"a Apply 2: {"f:spec":{"f:replicas":{}}}"#],
    );
    check(
        "but not when another applier has it too",
        &[
            ("apply a", r#"{"spec":{"replicas":1,"paused":true}}"#),
            ("apply b", r#"{"spec":{"paused":true}}"#),
            ("apply a", r#"{"spec":{"replicas":1}}"#),
        ],
        r#"{"spec":{"replicas":1,"paused":true}}"#,
        &[r#"b Apply -: {"f:spec":{"f:paused":{}}}"#, r#"a Apply 1: {"f:spec":{"f:replicas":{}}}"#],
    );
    check(
        "nor when an updater took it over",
        &[
            ("apply a", r#"{"spec":{"replicas":1,"paused":true}}"#),
            ("update b", r#"{"spec":{"replicas":5,"paused":true}}"#),
            ("apply a", r#"{"spec":{"paused":true}}"#),
        ],
        r#"{"spec":{"replicas":5,"paused":true}}"#,
        &[r#"a Apply 1: {"f:spec":{"f:paused":{}}}"#, r#"b Update 2: {"f:spec":{"f:replicas":{}}}"#],
    );
    check(
        "an element goes with its last owner",
        &[
            ("apply a", r#"{"spec":{"containers":[{"name":"x","image":"1"},{"name":"y"}]}}"#),
            ("apply a", r#"{"spec":{"containers":[{"name":"y"}]}}"#),
        ],
        r#"{"spec":{"containers":[{"name":"y"}]}}"#,
        &[r#"a Apply 2: {"f:spec":{"f:containers":{"k:{\"name\":\"y\"}":{".":{},"f:name":{}}}}}"#],
    );
    check(
        "an element that another manager added a field to stays",
        &[
            ("apply a", r#"{"spec":{"containers":[{"name":"x"}]}}"#),
            ("apply b", r#"{"spec":{"containers":[{"name":"x","image":"1"}]}}"#),
            ("apply a", r#"{"spec":{"replicas":1}}"#),
        ],
        r#"{"spec":{"containers":[{"name":"x","image":"1"}],"replicas":1}}"#,
        &[
            r#"b Apply 2: {"f:spec":{"f:containers":{"k:{\"name\":\"x\"}":{".":{},"f:image":{},"f:name":{}}}}}"#,
            r#"a Apply 3: {"f:spec":{"f:replicas":{}}}"#,
        ],
    );
    check(
        "a map key goes, the others stay",
        &[
            ("apply a", r#"{"metadata":{"labels":{"x":"1","y":"1"}}}"#),
            ("update b", r#"{"metadata":{"labels":{"x":"1","y":"1","z":"1"}}}"#),
            ("apply a", r#"{"metadata":{"labels":{"y":"1"}}}"#),
        ],
        r#"{"metadata":{"labels":{"y":"1","z":"1"}}}"#,
        &[
            r#"a Apply 3: {"f:metadata":{"f:labels":{"f:y":{}}}}"#,
            r#"b Update 2: {"f:metadata":{"f:labels":{"f:z":{}}}}"#,
        ],
    );
    check(
        "elements of sets",
        &[
            ("apply a", r#"{"metadata":{"finalizers":["x","y"]}}"#),
            ("apply b", r#"{"metadata":{"finalizers":["z"]}}"#),
            ("apply a", r#"{"metadata":{"finalizers":["y"]}}"#),
        ],
        r#"{"metadata":{"finalizers":["y","z"]}}"#,
        &[
            r#"b Apply 2: {"f:metadata":{"f:finalizers":{"v:\"z\"":{}}}}"#,
            r#"a Apply 3: {"f:metadata":{"f:finalizers":{"v:\"y\"":{}}}}"#,
        ],
    );
    check(
        "an atomic list is replaced",
        &[("apply a", r#"{"spec":{"args":["x","y"]}}"#), ("apply a", r#"{"spec":{"args":["z"]}}"#)],
        r#"{"spec":{"args":["z"]}}"#,
        &[r#"a Apply 2: {"f:spec":{"f:args":{}}}"#],
    );
    check(
        "the applied order wins, live elements keep their places",
        &[
            ("create u", r#"{"spec":{"containers":[{"name":"a"},{"name":"s"},{"name":"b"}]}}"#),
            ("apply a", r#"{"spec":{"containers":[{"name":"b"},{"name":"n"},{"name":"a"}]}}"#),
        ],
        r#"{"spec":{"containers":[{"name":"s"},{"name":"b"},{"name":"n"},{"name":"a"}]}}"#,
        &[
            r#"a Apply 2: {"f:spec":{"f:containers":{"k:{\"name\":\"a\"}":{".":{},"f:name":{}},"k:{\"name\":\"b\"}":{".":{},"f:name":{}},"k:{\"name\":\"n\"}":{".":{},"f:name":{}}}}}"#,
            r#"u Update 1: {"f:spec":{"f:containers":{"k:{\"name\":\"a\"}":{".":{},"f:name":{}},"k:{\"name\":\"b\"}":{".":{},"f:name":{}},"k:{\"name\":\"s\"}":{".":{},"f:name":{}}}}}"#,
        ],
    );
    check(
        "the status endpoint owns only the status",
        &[
            ("apply a", r#"{"spec":{"replicas":1},"status":{"replicas":9}}"#),
            ("apply-status a", r#"{"spec":{"replicas":1},"status":{"replicas":9}}"#),
        ],
        "",
        &[r#"a/status Apply -: {"f:status":{"f:replicas":{}}}"#, r#"a Apply 1: {"f:spec":{"f:replicas":{}}}"#],
    );
    check(
        "an apply of nothing gives everything up",
        &[("apply a", r#"{"spec":{"replicas":1}}"#), ("apply a", "{}")],
        "{}",
        &[],
    );
    check(
        "nulls are claimed, not stored",
        &[("apply a", r#"{"metadata":{"creationTimestamp":null},"spec":{"replicas":1,"paused":null}}"#)],
        r#"{"spec":{"replicas":1}}"#,
        &[r#"a Apply 1: {"f:spec":{"f:paused":{},"f:replicas":{}}}"#],
    );
}

#[test]
fn conflicts() {
    // writes, the refused apply, its message
    type Case = (&'static [(&'static str, &'static str)], &'static str, &'static str);
    let cases: &[Case] = &[
        (
            &[("create m", r#"{"spec":{"replicas":1}}"#)],
            r#"{"spec":{"replicas":3}}"#,
            r#"Apply failed with 1 conflict: conflict with "m" using v1: .spec.replicas"#,
        ),
        (
            &[("apply m", r#"{"spec":{"replicas":1}}"#)],
            r#"{"spec":{"replicas":3}}"#,
            r#"Apply failed with 1 conflict: conflict with "m": .spec.replicas"#,
        ),
        (
            &[
                ("create m", "{}"),
                ("status m", r#"{"status":{"replicas":1}}"#),
                ("apply-status n", r#"{"status":{"replicas":1}}"#),
            ],
            r#"{"spec":{"replicas":1},"status":{"replicas":3}}"#,
            "",
        ),
        (
            &[
                ("create m", r#"{"spec":{"replicas":1,"containers":[{"name":"c","image":"1"}]}}"#),
                ("apply n", r#"{"spec":{"paused":true}}"#),
            ],
            r#"{"spec":{"replicas":3,"paused":false,"containers":[{"name":"c","image":"2"}]}}"#,
            "Apply failed with 3 conflicts: conflicts with \"m\" using v1:\n- .spec.replicas\n- .spec.containers[name=\"c\"].image\nconflicts with \"n\":\n- .spec.paused",
        ),
        (
            &[("create m", r#"{"spec":{"containers":[{"name":"c","ports":[{"port":80,"name":"x"}]}]}}"#)],
            r#"{"spec":{"containers":[{"name":"c","ports":[{"port":80,"name":"y"}]}]}}"#,
            r#"Apply failed with 1 conflict: conflict with "m" using v1: .spec.containers[name="c"].ports[port=80,protocol="TCP"].name"#,
        ),
        (
            &[("create m", r#"{"spec":{"args":["a"]}}"#)],
            r#"{"spec":{"args":["a","b"]}}"#,
            r#"Apply failed with 1 conflict: conflict with "m" using v1: .spec.args"#,
        ),
        // Null takes a value away, which is a change.
        (
            &[("create m", r#"{"spec":{"replicas":1}}"#)],
            r#"{"spec":{"replicas":null}}"#,
            r#"Apply failed with 1 conflict: conflict with "m" using v1: .spec.replicas"#,
        ),
    ];
    for (writes, applied, message) in cases {
        let mut world = World::new();
        for (verb, object) in *writes {
            world.write(verb, object).expect("set up");
        }
        let before = world.live.clone();
        let result = world.write("apply a", applied);
        if message.is_empty() {
            result.expect("no conflict");
            continue;
        }
        let error = result.expect_err("conflict");
        assert_eq!((error.code, error.reason, error.message.as_str()), (409, "Conflict", *message));
        assert!(error.details.causes.iter().all(|cause| cause.reason == "FieldManagerConflict"));
        assert!(error.details.causes.iter().all(|cause| cause.message.starts_with("conflict with \"")));
        assert_eq!(world.live, before, "nothing changed");
        world.write("force a", applied).expect("forced");
    }
}

#[test]
fn force_takes_the_fields() {
    check(
        "forced",
        &[("create m", r#"{"spec":{"replicas":1,"paused":true}}"#), ("force a", r#"{"spec":{"replicas":3}}"#)],
        r#"{"spec":{"replicas":3,"paused":true}}"#,
        &[r#"a Apply 2: {"f:spec":{"f:replicas":{}}}"#, r#"m Update 1: {"f:spec":{"f:paused":{}}}"#],
    );
}

#[test]
fn refuses_bad_configurations() {
    let prefix = "failed to create typed patch object (/x; /v1, Kind=Thing): ";
    let cases = [
        (r#"{"spec":{"nothing":1}}"#, ".spec.nothing: field not declared in schema"),
        (r#"{"spec":{"replicas":"x"}}"#, ".spec.replicas: expected numeric (int or float), got string"),
        (r#"{"spec":{"paused":"x"}}"#, ".spec.paused: expected boolean, got &{x}"),
        (r#"{"spec":{"args":"x"}}"#, ".spec.args: expected list, got &{x}"),
        (r#"{"spec":"x"}"#, ".spec: expected map, got &{x}"),
        (
            r#"{"metadata":{"labels":{"a":1}}}"#,
            ".metadata.labels.a: expected string, got &value.valueUnstructured{Value:1}",
        ),
        (
            r#"{"spec":{"containers":[{"image":"x"}]}}"#,
            ".spec.containers: element 0: associative list with keys has an element that omits all key fields [\"name\"] (and doesn't have default values for any key fields)",
        ),
        (
            r#"{"spec":{"containers":[null]}}"#,
            ".spec.containers: element 0: associative list with keys may not have a null element",
        ),
        (
            r#"{"spec":{"containers":["x"]}}"#,
            ".spec.containers: element 0: associative list with keys may not have non-map elements",
        ),
        (
            r#"{"spec":{"numbers":[{}]}}"#,
            ".spec.numbers: element 0: associative list without keys has an element that's a map type",
        ),
        (r#"{"spec":{"numbers":[1,1]}}"#, ".spec.numbers: duplicate entries for key [=1]"),
        (
            r#"{"spec":{"containers":[{"name":"a"},{"name":"a"}]}}"#,
            ".spec.containers: duplicate entries for key [name=\"a\"]",
        ),
        (
            r#"{"spec":{"containers":[{"name":"a","ports":[{"port":1},{"port":1,"protocol":"TCP"}]}]}}"#,
            ".spec.containers[name=\"a\"].ports: duplicate entries for key [port=1,protocol=\"TCP\"]",
        ),
        (
            r#"{"metadata":{"x":1},"spec":{"y":1}}"#,
            "errors:\n  .metadata.x: field not declared in schema\n  .spec.y: field not declared in schema",
        ),
    ];
    for (object, message) in cases {
        let error = World::new().write("apply a", object).expect_err(object);
        assert_eq!((error.code, error.message), (500, format!("{prefix}{message}")), "{object}");
    }
    for fields in ["[]", "[{}]"] {
        let object = format!(r#"{{"metadata":{{"managedFields":{fields}}}}}"#);
        let error = World::new().write("apply a", &object).expect_err(fields);
        assert_eq!((error.code, error.message.as_str()), (400, "metadata.managedFields must be nil"));
    }
    let manager = ManagerInfo::new("a", "v2", "", "2026-01-01T00:00:00Z");
    let error = apply(None, thing("{}"), schema().get(), &manager, false).expect_err("another version");
    assert_eq!(
        (error.code, error.message.as_str()),
        (400, "Incorrect version specified in apply patch. Specified patch version: v1, expected: v2")
    );
}

#[test]
fn kubectl_moves_from_client_side_apply() {
    let annotation = |text: &str| {
        let mut object = json(r#"{"spec":{"replicas":1,"paused":true}}"#);
        object.set_at(&["metadata", "annotations", "kubectl.kubernetes.io/last-applied-configuration"], text);
        let mut text = String::new();
        path::write_scalar(&object, &mut text);
        text
    };
    let created = annotation(r#"{"apiVersion":"v1","kind":"Thing","spec":{"replicas":1}}"#);
    let mut world = World::new();
    world.write("create kubectl-client-side-apply", &created).expect("created");
    // Another name is told of the conflict, kubectl is not: the field is as its annotation says.
    world.write("apply other", r#"{"spec":{"replicas":2}}"#).expect_err("conflict");
    world.write("apply kubectl", r#"{"spec":{"replicas":2}}"#).expect("taken over");
    let live = world.live.as_ref().expect("an object");
    assert_eq!(live.i64_at(&["spec", "replicas"]), Some(2));
    assert_eq!(
        live.str_at(&["metadata", "annotations", "kubectl.kubernetes.io/last-applied-configuration"]),
        Some("{\"apiVersion\":\"v1\",\"kind\":\"Thing\",\"metadata\":{\"name\":\"x\"},\"spec\":{\"replicas\":2}}\n")
    );
    // A field that the annotation does not explain is a conflict, and only that one is listed.
    let error = world.write("apply kubectl", r#"{"spec":{"replicas":3,"paused":false}}"#).expect_err("conflict");
    assert_eq!(
        error.message,
        r#"Apply failed with 1 conflict: conflict with "kubectl-client-side-apply" using v1: .spec.paused"#
    );
}

#[test]
fn times_stay_when_nothing_else_changes() {
    let mut world = World::new();
    world.write("create a", r#"{"spec":{"replicas":1}}"#).expect("created");
    let live = world.live.clone().expect("an object");
    let mut new = live.clone();
    if let Some(Value::Array(entries)) = new.get_mut("metadata").and_then(|metadata| metadata.get_mut("managedFields"))
    {
        entries[0].set_at(&["time"], "2030-01-01T00:00:00Z");
    }
    let mut only_time = new.clone();
    keep_times(&live, &mut only_time);
    assert_eq!(only_time, live);
    new.set_at(&["spec", "replicas"], 2);
    let mut more = new.clone();
    keep_times(&live, &mut more);
    assert_eq!(more, new);
}

#[test]
fn custom_resources_are_compared_as_they_are() {
    let mut builder = Builder::new(&["com.example.Thing", "com.example.Spec"]);
    let spec = builder.named("com.example.Spec");
    builder.define("com.example.Thing", vec![field("apiVersion", string()), field("spec", spec)]);
    builder.define("com.example.Spec", vec![field("a", int())]).preserve_unknown = true;
    let schema = Schema::new(builder, "com.example.Thing");
    let mut new = json(r#"{"apiVersion":"v1","spec":{"a":1,"unknown":{"b":[1]}}}"#);
    on_create(&mut new, schema.get(), &ManagerInfo::new("m", "v1", "", "2026-01-01T00:00:00Z"));
    let entry = &new.array_at(&["metadata", "managedFields"])[0];
    assert_eq!(
        entry.get("fieldsV1"),
        Some(&Value::Raw(r#"{"f:spec":{".":{},"f:a":{},"f:unknown":{".":{},"f:b":{}}}}"#.into()))
    );
}

#[test]
fn granular_fields_that_became_atomic() {
    let outdated =
        fields_v1::parse(r#"{"f:spec":{"f:args":{"v:\"x\"":{}},"f:replicas":{},"f:selector":{".":{},"f:a":{}}}}"#);
    let set = outdated.expect("a set").reconciled(schema().get()).expect("changes");
    assert_eq!(fields_v1::write(&set), r#"{"f:spec":{"f:args":{},"f:replicas":{},"f:selector":{}}}"#);
    assert_eq!(set.reconciled(schema().get()), None);
}
