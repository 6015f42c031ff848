//! Cases for strategic merge patch, after the facts in upstream's tables, in a schema of our own.

use super::*;
use crate::fixture::*;

/// An item that holds every kind of field the format distinguishes.
fn schema() -> Schema {
    let mut builder = Builder::new(&["Item", "Union"]);
    let item = || Type::Struct(crate::schema::TypeId(0));
    let keyed_items = |name| field(name, atomic_list(item())).merged_by("name");
    let union = builder.named("Union");
    let mut retained_list = keyed_items("volumes");
    retained_list.patch.retain_keys = true;
    let mut retained = field("strategy", union);
    retained.patch.retain_keys = true;
    builder.define(
        "Item",
        vec![
            field("name", string()),
            field("value", string()),
            field("other", string()),
            keyed_items("containers"),
            field("tolerations", atomic_list(item())),
            field("ports", atomic_list(int())).merged_by(""),
            field("args", atomic_list(int())),
            field("inner", item()),
            field("labels", map(string())),
            field("raw", Type::Any).replaced(),
            field("data", Type::Any),
            field("keyless", atomic_list(item())).merged_by(""),
            retained,
            retained_list,
        ],
    );
    builder.define(
        "Union",
        vec![
            field("name", string()),
            field("value", string()),
            field("labels", map(string())),
            field("ports", atomic_list(int())).merged_by(""),
            keyed_items("containers"),
        ],
    );
    Schema::new(builder, "Item")
}

fn check(name: &str, current: &str, patch: &str, expected: &str) {
    let schema = schema();
    match apply(json(current), &json(patch), schema.get()) {
        Ok(merged) => assert_eq!(merged, json(expected), "{name}"),
        Err(error) => panic!("{name}: {error:?}"),
    }
}

#[test]
fn objects() {
    // case, current, patch, expected
    let cases = [
        ("adds to nothing", r#"{}"#, r#"{"name":"a"}"#, r#"{"name":"a"}"#),
        ("an empty patch changes nothing", r#"{"name":"a"}"#, r#"{}"#, r#"{"name":"a"}"#),
        (
            "sets and keeps",
            r#"{"name":"a","other":"o"}"#,
            r#"{"value":"v"}"#,
            r#"{"name":"a","other":"o","value":"v"}"#,
        ),
        ("null removes", r#"{"name":"a","value":"v"}"#, r#"{"value":null}"#, r#"{"name":"a"}"#),
        ("null for nothing is nothing", r#"{"name":"a"}"#, r#"{"value":null}"#, r#"{"name":"a"}"#),
        (
            "nulls of an added object vanish",
            r#"{}"#,
            r#"{"inner":{"name":null,"value":"v"}}"#,
            r#"{"inner":{"value":"v"}}"#,
        ),
        ("an added object may be empty", r#"{}"#, r#"{"labels":{"a":null}}"#, r#"{"labels":{}}"#),
        (
            "nested objects merge",
            r#"{"inner":{"name":"a","inner":{"value":"v"}}}"#,
            r#"{"inner":{"inner":{"name":"b"}}}"#,
            r#"{"inner":{"name":"a","inner":{"name":"b","value":"v"}}}"#,
        ),
        (
            "maps merge by key",
            r#"{"labels":{"a":"1","b":"2"}}"#,
            r#"{"labels":{"b":null,"c":"3"}}"#,
            r#"{"labels":{"a":"1","c":"3"}}"#,
        ),
        ("maps may lose everything", r#"{"labels":{"a":"1"}}"#, r#"{"labels":null}"#, r#"{}"#),
        (
            "$patch: replace keeps only the patch",
            r#"{"name":"a","value":"v"}"#,
            r#"{"other":"o","$patch":"replace"}"#,
            r#"{"other":"o"}"#,
        ),
        (
            "$patch: replace inside",
            r#"{"inner":{"name":"a","value":"v"},"name":"x"}"#,
            r#"{"inner":{"other":"o","$patch":"replace"}}"#,
            r#"{"inner":{"other":"o"},"name":"x"}"#,
        ),
        (
            "$patch: replace on a map",
            r#"{"labels":{"a":"1"}}"#,
            r#"{"labels":{"b":"2","$patch":"replace"}}"#,
            r#"{"labels":{"b":"2"}}"#,
        ),
        (
            "$patch: delete empties",
            r#"{"inner":{"name":"a"},"value":"v"}"#,
            r#"{"inner":{"$patch":"delete"}}"#,
            r#"{"inner":{},"value":"v"}"#,
        ),
        (
            "$patch in something new adds nothing",
            r#"{"name":"a"}"#,
            r#"{"inner":{"$patch":"delete"}}"#,
            r#"{"name":"a"}"#,
        ),
        (
            "$patch deep in something new adds nothing",
            r#"{}"#,
            r#"{"inner":{"name":"a","inner":{"$patch":"replace","value":"v"}}}"#,
            r#"{"inner":{"name":"a"}}"#,
        ),
        (
            "a field with strategy replace is replaced",
            r#"{"raw":{"a":1,"b":2}}"#,
            r#"{"raw":{"a":3}}"#,
            r#"{"raw":{"a":3}}"#,
        ),
        (
            "untyped data merges",
            r#"{"data":{"a":1,"b":{"c":2}}}"#,
            r#"{"data":{"b":{"d":3}}}"#,
            r#"{"data":{"a":1,"b":{"c":2,"d":3}}}"#,
        ),
        (
            "untyped lists are replaced",
            r#"{"data":{"l":[{"name":"a"}]}}"#,
            r#"{"data":{"l":[{"name":"b"}]}}"#,
            r#"{"data":{"l":[{"name":"b"}]}}"#,
        ),
        (
            "another kind of value replaces",
            r#"{"data":{"a":1}}"#,
            r#"{"data":{"a":{"b":null,"c":1}}}"#,
            r#"{"data":{"a":{"c":1}}}"#,
        ),
        (
            "$retainKeys drops the others",
            r#"{"strategy":{"name":"a","value":"v"}}"#,
            r#"{"strategy":{"$retainKeys":["value","labels"],"labels":{"x":"1"}}}"#,
            r#"{"strategy":{"value":"v","labels":{"x":"1"}}}"#,
        ),
        (
            "$retainKeys of nothing",
            r#"{"strategy":{"name":"a"}}"#,
            r#"{"strategy":{"$retainKeys":[]}}"#,
            r#"{"strategy":{}}"#,
        ),
        (
            "$retainKeys may name what is removed",
            r#"{"strategy":{"name":"a","value":"v"}}"#,
            r#"{"strategy":{"$retainKeys":["name"],"value":null}}"#,
            r#"{"strategy":{"name":"a"}}"#,
        ),
        (
            "$retainKeys beside list directives",
            r#"{"strategy":{"ports":[1,2],"value":"v"}}"#,
            r#"{"strategy":{"$retainKeys":["ports"],"$deleteFromPrimitiveList/ports":[1],"$setElementOrder/ports":[2]}}"#,
            r#"{"strategy":{"ports":[2]}}"#,
        ),
    ];
    for (name, current, patch, expected) in cases {
        check(name, current, patch, expected);
    }
}

#[test]
fn scalar_lists() {
    let cases = [
        ("new elements of a set come first", r#"{"ports":[1,2]}"#, r#"{"ports":[3]}"#, r#"{"ports":[3,1,2]}"#),
        ("a set holds everything once", r#"{"ports":[1,2]}"#, r#"{"ports":[2,3,3]}"#, r#"{"ports":[1,2,3]}"#),
        (
            "the patch's order wins over the live one",
            r#"{"ports":[1,2,3]}"#,
            r#"{"ports":[3,1]}"#,
            r#"{"ports":[2,3,1]}"#,
        ),
        ("an atomic list is replaced", r#"{"args":[1,2]}"#, r#"{"args":[3]}"#, r#"{"args":[3]}"#),
        ("an atomic list may be emptied", r#"{"args":[1,2]}"#, r#"{"args":[]}"#, r#"{"args":[]}"#),
        ("an empty patch of a set does nothing", r#"{"ports":[1]}"#, r#"{"ports":[]}"#, r#"{"ports":[1]}"#),
        ("a set appears", r#"{}"#, r#"{"ports":[2,1]}"#, r#"{"ports":[2,1]}"#),
        (
            "elements are deleted",
            r#"{"ports":[1,2,3]}"#,
            r#"{"$deleteFromPrimitiveList/ports":[1,3,9]}"#,
            r#"{"ports":[2]}"#,
        ),
        (
            "all elements are deleted",
            r#"{"ports":[1]}"#,
            r#"{"$deleteFromPrimitiveList/ports":[1]}"#,
            r#"{"ports":[]}"#,
        ),
        ("deletion from nothing", r#"{}"#, r#"{"$deleteFromPrimitiveList/ports":[1]}"#, r#"{}"#),
        (
            "deletion works on atomic lists too",
            r#"{"args":[1,2]}"#,
            r#"{"$deleteFromPrimitiveList/args":[1]}"#,
            r#"{"args":[2]}"#,
        ),
        (
            "deletion by null removes the list",
            r#"{"ports":[1]}"#,
            r#"{"$deleteFromPrimitiveList/ports":null}"#,
            r#"{}"#,
        ),
        (
            "delete, add and order",
            r#"{"ports":[1,2,3]}"#,
            r#"{"$deleteFromPrimitiveList/ports":[1],"$setElementOrder/ports":[4,3,2],"ports":[4]}"#,
            r#"{"ports":[4,3,2]}"#,
        ),
        ("order alone", r#"{"ports":[1,2,3]}"#, r#"{"$setElementOrder/ports":[3,1]}"#, r#"{"ports":[2,3,1]}"#),
        (
            "order names what is not there",
            r#"{"ports":[1,2]}"#,
            r#"{"$setElementOrder/ports":[9,2,1]}"#,
            r#"{"ports":[2,1]}"#,
        ),
        ("order of nothing is nothing", r#"{}"#, r#"{"$setElementOrder/ports":[1]}"#, r#"{}"#),
        (
            "live elements keep their neighbours",
            r#"{"ports":[1,7,2,8,3]}"#,
            r#"{"$setElementOrder/ports":[3,2,1]}"#,
            r#"{"ports":[7,8,3,2,1]}"#,
        ),
    ];
    for (name, current, patch, expected) in cases {
        check(name, current, patch, expected);
    }
}

#[test]
fn keyed_lists() {
    let cases = [
        (
            "elements merge by key",
            r#"{"containers":[{"name":"a","value":"1"},{"name":"b"}]}"#,
            r#"{"containers":[{"name":"a","other":"o"}]}"#,
            r#"{"containers":[{"name":"a","other":"o","value":"1"},{"name":"b"}]}"#,
        ),
        (
            "new elements come first",
            r#"{"containers":[{"name":"a"}]}"#,
            r#"{"containers":[{"name":"b"}]}"#,
            r#"{"containers":[{"name":"b"},{"name":"a"}]}"#,
        ),
        (
            "a list without merge is replaced",
            r#"{"tolerations":[{"name":"a"}]}"#,
            r#"{"tolerations":[{"name":"b"}]}"#,
            r#"{"tolerations":[{"name":"b"}]}"#,
        ),
        (
            "an element is deleted",
            r#"{"containers":[{"name":"a"},{"name":"b"}]}"#,
            r#"{"containers":[{"$patch":"delete","name":"a"}]}"#,
            r#"{"containers":[{"name":"b"}]}"#,
        ),
        (
            "all elements with a key are deleted",
            r#"{"containers":[{"name":"a"},{"name":"b"},{"name":"a","value":"2"}]}"#,
            r#"{"containers":[{"$patch":"delete","name":"a"}]}"#,
            r#"{"containers":[{"name":"b"}]}"#,
        ),
        (
            "deleting what is not there",
            r#"{"containers":[{"name":"a"}]}"#,
            r#"{"containers":[{"$patch":"delete","name":"z"}]}"#,
            r#"{"containers":[{"name":"a"}]}"#,
        ),
        (
            "the last element may go",
            r#"{"containers":[{"name":"a"}]}"#,
            r#"{"containers":[{"$patch":"delete","name":"a"}]}"#,
            r#"{"containers":[]}"#,
        ),
        (
            "the list is replaced",
            r#"{"containers":[{"name":"a"},{"name":"b"}]}"#,
            r#"{"containers":[{"name":"c"},{"$patch":"replace"}]}"#,
            r#"{"containers":[{"name":"c"}]}"#,
        ),
        (
            "the list is replaced by nothing",
            r#"{"containers":[{"name":"a"}]}"#,
            r#"{"containers":[{"$patch":"replace"}]}"#,
            r#"{"containers":[]}"#,
        ),
        ("the list is removed", r#"{"containers":[{"name":"a"}]}"#, r#"{"containers":null}"#, r#"{}"#),
        (
            "a list appears without its directives",
            r#"{}"#,
            r#"{"containers":[{"name":"a"},{"$patch":"delete","name":"b"}]}"#,
            r#"{"containers":[{"name":"a"}]}"#,
        ),
        (
            "fields of elements are removed",
            r#"{"containers":[{"name":"a","value":"1"}]}"#,
            r#"{"containers":[{"name":"a","value":null}]}"#,
            r#"{"containers":[{"name":"a"}]}"#,
        ),
        (
            "lists in elements merge",
            r#"{"containers":[{"name":"a","ports":[1],"containers":[{"name":"x","value":"1"}]}]}"#,
            r#"{"containers":[{"name":"a","ports":[2],"containers":[{"name":"y"},{"name":"x","value":"2"}]}]}"#,
            r#"{"containers":[{"name":"a","ports":[2,1],"containers":[{"name":"y"},{"name":"x","value":"2"}]}]}"#,
        ),
        (
            "lists in elements of replaced lists do not",
            r#"{"tolerations":[{"name":"a","ports":[1]}]}"#,
            r#"{"tolerations":[{"name":"a","ports":[2]}]}"#,
            r#"{"tolerations":[{"name":"a","ports":[2]}]}"#,
        ),
        (
            "a key given twice merges twice",
            r#"{"containers":[]}"#,
            r#"{"containers":[{"name":"a","value":"1"},{"name":"a","other":"2"}]}"#,
            r#"{"containers":[{"name":"a","value":"1","other":"2"}]}"#,
        ),
        (
            "retained keys of elements",
            r#"{"volumes":[{"name":"a","value":"1","other":"o"}]}"#,
            r#"{"volumes":[{"$retainKeys":["name","inner"],"name":"a","inner":{"name":"x"}}]}"#,
            r#"{"volumes":[{"name":"a","inner":{"name":"x"}}]}"#,
        ),
        (
            "an order is enforced",
            r#"{"containers":[{"name":"a"},{"name":"b"},{"name":"c"}]}"#,
            r#"{"$setElementOrder/containers":[{"name":"c"},{"name":"a"}]}"#,
            r#"{"containers":[{"name":"b"},{"name":"c"},{"name":"a"}]}"#,
        ),
        (
            "an order for merged elements",
            r#"{"containers":[{"name":"a"},{"name":"s"},{"name":"b"}]}"#,
            r#"{"$setElementOrder/containers":[{"name":"b"},{"name":"n"},{"name":"a"}],"containers":[{"name":"n"},{"name":"a","value":"1"}]}"#,
            r#"{"containers":[{"name":"s"},{"name":"b"},{"name":"n"},{"name":"a","value":"1"}]}"#,
        ),
        (
            "an order with deletions",
            r#"{"containers":[{"name":"a"},{"name":"b"},{"name":"c"}]}"#,
            r#"{"$setElementOrder/containers":[{"name":"c"},{"name":"a"}],"containers":[{"$patch":"delete","name":"b"}]}"#,
            r#"{"containers":[{"name":"c"},{"name":"a"}]}"#,
        ),
        (
            "an element added in the place of a deleted one",
            r#"{"containers":[{"name":"a"},{"name":"b"},{"name":"z"}]}"#,
            r#"{"$setElementOrder/containers":[{"name":"b"},{"name":"n"}],"containers":[{"name":"n"},{"$patch":"delete","name":"a"}]}"#,
            r#"{"containers":[{"name":"b"},{"name":"z"},{"name":"n"}]}"#,
        ),
        (
            "an order for a new list",
            r#"{}"#,
            r#"{"$setElementOrder/containers":[{"name":"b"},{"name":"a"}],"containers":[{"name":"b"},{"name":"a"}]}"#,
            r#"{"containers":[{"name":"b"},{"name":"a"}]}"#,
        ),
        (
            "orders inside elements",
            r#"{"containers":[{"name":"a","ports":[1,2]}]}"#,
            r#"{"containers":[{"name":"a","$setElementOrder/ports":[2,1]}]}"#,
            r#"{"containers":[{"name":"a","ports":[2,1]}]}"#,
        ),
    ];
    for (name, current, patch, expected) in cases {
        check(name, current, patch, expected);
    }
}

#[test]
fn refuses() {
    // current, patch, code, message (or the cause's, for 422)
    let cases = [
        (r#"{}"#, r#"[]"#, 400, "invalid JSON document"),
        (r#"{}"#, r#"{"$patch":"merge"}"#, 500, "unknown patch type: merge in map: map[$patch:merge]"),
        (
            r#"{"inner":{}}"#,
            r#"{"inner":{"$patch":1,"name":"a"}}"#,
            500,
            "unknown patch type: %!s(int64=1) in map: map[$patch:1 name:a]",
        ),
        (
            r#"{"containers":[{"name":"a"}]}"#,
            r#"{"containers":[{"$patch":"keep","name":"a"}]}"#,
            500,
            "unknown patch type: keep in map: map[$patch:keep name:a]",
        ),
        (
            r#"{"containers":[{"name":"a"}]}"#,
            r#"{"containers":[{"$patch":"merge","name":"a"}]}"#,
            500,
            "merging lists cannot yet be specified in the patch",
        ),
        (
            r#"{"containers":[{"name":"a"}]}"#,
            r#"{"containers":[{"value":"v"}]}"#,
            500,
            "map: map[value:v] does not contain declared merge key: name",
        ),
        (
            r#"{"containers":[{"name":"a"}]}"#,
            r#"{"containers":[{"$patch":"delete"}]}"#,
            500,
            "map: map[$patch:delete] does not contain declared merge key: name",
        ),
        (
            r#"{"keyless":[{"name":"a"}]}"#,
            r#"{"keyless":[{"name":"a"}]}"#,
            500,
            "cannot merge lists without merge key for struct",
        ),
        (r#"{"ports":[1]}"#, r#"{"ports":["1"]}"#, 500, "list element types are not identical: [[1] [1]]"),
        (
            r#"{"containers":[{"name":"a"}]}"#,
            r#"{"containers":["a"]}"#,
            500,
            "list element types are not identical: [[map[name:a]] [a]]",
        ),
        (r#"{"ports":[1]}"#, r#"{"ports":[null]}"#, 500, "list element types are not identical: [[1] [<nil>]]"),
        (
            r#"{"ports":[[1]]}"#,
            r#"{"ports":[[2]]}"#,
            422,
            "the server rejected our request due to an error in our request",
        ),
        (r#"{"strategy":{}}"#, r#"{"strategy":{"$retainKeys":"name"}}"#, 400, "invalid patch format of retainKeys"),
        (
            r#"{"strategy":{}}"#,
            r#"{"strategy":{"$retainKeys":["name"],"value":"v"}}"#,
            400,
            "invalid patch format of retainKeys",
        ),
        (r#"{"ports":[1]}"#, r#"{"$deleteFromPrimitiveList":[1]}"#, 400, "invalid patch format of primitive list"),
        (
            r#"{"ports":[1]}"#,
            r#"{"$deleteFromPrimitiveListX/ports":[1]}"#,
            400,
            "invalid patch format of primitive list",
        ),
        (r#"{"ports":[1]}"#, r#"{"$setElementOrder":[1]}"#, 400, "invalid patch format of setElementOrder list"),
        (r#"{"ports":[1]}"#, r#"{"$setElementOrder/ports":1}"#, 500, "expected a []interface {}, but received a int64"),
        (
            r#"{"name":"a"}"#,
            r#"{"$setElementOrder/name":["a"]}"#,
            500,
            "expected a []interface {}, but received a string",
        ),
        (
            r#"{}"#,
            r#"{"$setElementOrder/nothing":[1]}"#,
            500,
            "unable to find api field in struct Item for the json field \"nothing\"",
        ),
        (
            r#"{"ports":[1]}"#,
            r#"{"$setElementOrder/ports":[2,3],"ports":[3,2]}"#,
            500,
            "The order in patch list:\n[3 2]\n doesn't match $setElementOrder list:\n[2 3]\n",
        ),
        (
            r#"{"ports":[1]}"#,
            r#"{"$setElementOrder/ports":[1],"ports":[2]}"#,
            500,
            "The order in patch list:\n[2]\n doesn't match $setElementOrder list:\n[1]\n",
        ),
        (
            r#"{"containers":[]}"#,
            r#"{"$setElementOrder/containers":[{"value":"v"}],"containers":[{"name":"a"}]}"#,
            500,
            "map: map[value:v] does not contain declared merge key: name",
        ),
    ];
    let schema = schema();
    for (current, patch, code, message) in cases {
        let status = apply(json(current), &json(patch), schema.get()).expect_err(patch);
        assert_eq!((status.code, status.message.as_str()), (code, message), "{patch}");
    }
}

#[test]
fn long_lists_take_time_in_proportion() {
    let numbers = |range: std::ops::Range<i64>| Value::Array(range.map(Value::Int).collect());
    let current = crate::value!({ "ports": (numbers(0..100_000)) });
    let patch = crate::value!({ "ports": (numbers(50_000..150_000)) });
    let merged = apply(current, &patch, schema().get()).expect("merges");
    assert_eq!(merged.array_at(&["ports"]).len(), 150_000);
}
