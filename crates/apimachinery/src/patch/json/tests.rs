//! Cases for JSON Patch: the RFC's appendix, upstream's departures from it, limits and messages.

use super::*;
use crate::value;

fn parse(text: &str) -> Value {
    crate::json::parse(text.as_bytes()).expect("test data is JSON")
}

fn check(document: &str, patch: &str, expected: &str) {
    let mut value = parse(document);
    apply(&mut value, patch.as_bytes()).unwrap_or_else(|error| panic!("{document} + {patch}: {error:?}"));
    assert_eq!(value, parse(expected), "{document} + {patch}");
}

#[test]
fn applies() {
    // document, patch, expected
    let cases = [
        // RFC 6902, appendix A.
        (r#"{"foo":"bar"}"#, r#"[{"op":"add","path":"/baz","value":"qux"}]"#, r#"{"baz":"qux","foo":"bar"}"#),
        (r#"{"foo":["a","b"]}"#, r#"[{"op":"add","path":"/foo/1","value":"q"}]"#, r#"{"foo":["a","q","b"]}"#),
        (r#"{"baz":1,"foo":2}"#, r#"[{"op":"remove","path":"/baz"}]"#, r#"{"foo":2}"#),
        (r#"{"foo":["a","b","c"]}"#, r#"[{"op":"remove","path":"/foo/1"}]"#, r#"{"foo":["a","c"]}"#),
        (r#"{"baz":1}"#, r#"[{"op":"replace","path":"/baz","value":"boo"}]"#, r#"{"baz":"boo"}"#),
        (
            r#"{"foo":{"bar":"baz","waldo":"fred"},"qux":{"corge":"grault"}}"#,
            r#"[{"op":"move","from":"/foo/waldo","path":"/qux/thud"}]"#,
            r#"{"foo":{"bar":"baz"},"qux":{"corge":"grault","thud":"fred"}}"#,
        ),
        (r#"{"foo":[1,2,3,4]}"#, r#"[{"op":"move","from":"/foo/1","path":"/foo/3"}]"#, r#"{"foo":[1,3,4,2]}"#),
        (
            r#"{"a":1,"b":["x",2]}"#,
            r#"[{"op":"test","path":"/a","value":1},{"op":"test","path":"/b/1","value":2}]"#,
            r#"{"a":1,"b":["x",2]}"#,
        ),
        (r#"{"foo":"bar"}"#, r#"[{"op":"add","path":"/child","value":{"g":{}}}]"#, r#"{"child":{"g":{}},"foo":"bar"}"#),
        (r#"{"foo":"bar"}"#, r#"[{"op":"add","path":"/baz","value":1,"xyz":123}]"#, r#"{"baz":1,"foo":"bar"}"#),
        (
            r#"{"/":9,"~1":10}"#,
            r#"[{"op":"test","path":"/~01","value":10},{"op":"remove","path":"/~1"}]"#,
            r#"{"~1":10}"#,
        ),
        (
            r#"{"foo":["bar"]}"#,
            r#"[{"op":"add","path":"/foo/-","value":["abc","def"]}]"#,
            r#"{"foo":["bar",["abc","def"]]}"#,
        ),
        // Labels with a slash in their name, as kubectl users write them.
        (
            r#"{"metadata":{"labels":{"a.io/b":"1"}}}"#,
            r#"[{"op":"replace","path":"/metadata/labels/a.io~1b","value":"2"}]"#,
            r#"{"metadata":{"labels":{"a.io/b":"2"}}}"#,
        ),
        // Upstream: indices count from the end, replace adds, null members.
        (r#"{"l":[1,2,3]}"#, r#"[{"op":"remove","path":"/l/-1"}]"#, r#"{"l":[1,2]}"#),
        (r#"{"l":[1,2,3]}"#, r#"[{"op":"add","path":"/l/-1","value":4}]"#, r#"{"l":[1,2,3,4]}"#),
        (r#"{"l":[1,2,3]}"#, r#"[{"op":"add","path":"/l/-4","value":0}]"#, r#"{"l":[0,1,2,3]}"#),
        (r#"{"l":[1,2,3]}"#, r#"[{"op":"replace","path":"/l/-3","value":9}]"#, r#"{"l":[9,2,3]}"#),
        (r#"{"l":[1]}"#, r#"[{"op":"add","path":"/l/1","value":2}]"#, r#"{"l":[1,2]}"#),
        (r#"{"l":[{"a":1}]}"#, r#"[{"op":"add","path":"/l/-1/b","value":2}]"#, r#"{"l":[{"a":1,"b":2}]}"#),
        (r#"{}"#, r#"[{"op":"replace","path":"/new","value":1}]"#, r#"{"new":1}"#),
        (r#"{}"#, r#"[{"op":"test","path":"/none","value":null}]"#, r#"{}"#),
        (r#"{}"#, r#"[{"op":"test","path":"/none"}]"#, r#"{}"#),
        (r#"{"a":null}"#, r#"[{"op":"test","path":"/a","value":null}]"#, r#"{"a":null}"#),
        (r#"{"a":null}"#, r#"[{"op":"remove","path":"/a"}]"#, r#"{}"#),
        (r#"{}"#, r#"[{"op":"add","path":"/a"}]"#, r#"{"a":null}"#),
        (
            r#"{"a":{"b":1}}"#,
            r#"[{"op":"copy","from":"/a","path":"/c"},{"op":"replace","path":"/c/b","value":2}]"#,
            r#"{"a":{"b":1},"c":{"b":2}}"#,
        ),
        (r#"{"a":1}"#, r#"[{"op":"replace","path":"","value":{"b":2}}]"#, r#"{"b":2}"#),
        (r#"{"a":1}"#, r#"[{"op":"test","path":"","value":{"a":1}}]"#, r#"{"a":1}"#),
        (r#"{"a":1}"#, r#"[]"#, r#"{"a":1}"#),
        (r#"{"":1}"#, r#"[{"op":"replace","path":"/","value":2}]"#, r#"{"":2}"#),
    ];
    for (document, patch, expected) in cases {
        check(document, patch, expected);
    }
}

/// Why a patch does not apply, which clients are not told.
fn failure(mut document: Value, patch: &str) -> String {
    decode(patch.as_bytes()).expect("a patch").patch.try_apply(&mut document).expect_err(patch)
}

#[test]
fn refuses_what_does_not_apply() {
    // document, patch, the cause's message
    let cases = [
        (r#"{"a":1}"#, r#"[{"op":"test","path":"/a","value":2}]"#, "testing value /a failed: test failed"),
        (r#"{"a":1}"#, r#"[{"op":"test","path":"/a","value":"1"}]"#, "testing value /a failed: test failed"),
        (r#"{"a":1}"#, r#"[{"op":"test","path":"/b","value":1}]"#, "testing value /b failed: test failed"),
        (r#"{"a":[1]}"#, r#"[{"op":"test","path":"/a","value":[1,2]}]"#, "testing value /a failed: test failed"),
        (
            r#"{"a":1}"#,
            r#"[{"op":"test","path":"/b/c","value":1}]"#,
            "test operation does not apply: is missing path: /b/c: missing value",
        ),
        (
            r#"{}"#,
            r#"[{"op":"remove","path":"/a"}]"#,
            "error in remove for path: '/a': Unable to remove nonexistent key: a: missing value",
        ),
        (
            r#"{}"#,
            r#"[{"op":"remove","path":"/a/b"}]"#,
            "remove operation does not apply: doc is missing path: \"/a/b\": missing value",
        ),
        (
            r#"{}"#,
            r#"[{"op":"add","path":"/a/b","value":1}]"#,
            "add operation does not apply: doc is missing path: \"/a/b\": missing value",
        ),
        (
            r#"{}"#,
            r#"[{"op":"add","path":"","value":1}]"#,
            "add operation does not apply: doc is missing path: \"\": missing value",
        ),
        (
            r#"{"a":"s"}"#,
            r#"[{"op":"add","path":"/a/b","value":1}]"#,
            "add operation does not apply: doc is missing path: \"/a/b\": missing value",
        ),
        (
            r#"{"l":[1]}"#,
            r#"[{"op":"add","path":"/l/2","value":1}]"#,
            "error in add for path: '/l/2': Unable to access invalid index: 2: invalid index referenced",
        ),
        (
            r#"{"l":[1]}"#,
            r#"[{"op":"add","path":"/l/-3","value":1}]"#,
            "error in add for path: '/l/-3': Unable to access invalid index: -3: invalid index referenced",
        ),
        (
            r#"{"l":[1]}"#,
            r#"[{"op":"add","path":"/l/x","value":1}]"#,
            "error in add for path: '/l/x': value was not a proper array index: 'x': strconv.Atoi: parsing \"x\": invalid syntax",
        ),
        (
            r#"{"l":[1]}"#,
            r#"[{"op":"remove","path":"/l/1"}]"#,
            "error in remove for path: '/l/1': Unable to access invalid index: 1: invalid index referenced",
        ),
        (
            r#"{"l":[1]}"#,
            r#"[{"op":"replace","path":"/l/1","value":1}]"#,
            "replace operation does not apply: doc is missing key: /l/1: missing value",
        ),
        (
            r#"{}"#,
            r#"[{"op":"move","from":"/a","path":"/b"}]"#,
            "error in move for path: 'a': Unable to remove nonexistent key: a: missing value",
        ),
        (
            r#"{"a":{}}"#,
            r#"[{"op":"move","from":"/a","path":"/a/b"}]"#,
            "move operation does not apply: doc is missing destination path: /a/b: missing value",
        ),
        (
            r#"{}"#,
            r#"[{"op":"copy","from":"/a/b","path":"/c"}]"#,
            "copy operation does not apply: doc is missing from path: /a/b: missing value",
        ),
        (r#"{}"#, r#"[{"op":"copy","path":"/c"}]"#, "copy operation failed to decode from: missing value"),
        (r#"{}"#, r#"[{"op":"remove"}]"#, "remove operation failed to decode path: missing value"),
        (r#"{}"#, r#"[{"op":"merge","path":"/a"}]"#, "Unexpected kind: merge"),
        (r#"{}"#, r#"[{"path":"/a"}]"#, "Unexpected kind: unknown"),
        (r#"{}"#, r#"[null]"#, "Unexpected kind: unknown"),
        (r#"{}"#, r#"[{"op":"replace","path":"","value":[]}]"#, "the patched document is not an object"),
        (r#"{}"#, r#"[{"op":"replace","path":"","value":1}]"#, "replace operation value must be object or array"),
    ];
    for (document, patch, message) in cases {
        let status = apply(&mut parse(document), patch.as_bytes()).expect_err(patch);
        assert_eq!((status.code, status.reason), (422, "Invalid"), "{patch}");
        assert_eq!(status.message, "the server rejected our request due to an error in our request");
        assert_eq!(failure(parse(document), patch), message, "{patch}");
    }
}

#[test]
fn refuses_what_is_no_patch() {
    for text in ["", "{", "{}", "[1]", "\"x\"", "[{]"] {
        let status = apply(&mut value!({}), text.as_bytes()).expect_err(text);
        assert_eq!((status.code, status.reason), (400, "BadRequest"), "{text}");
    }
}

#[test]
fn limits_operations() {
    let patch = |n: usize| format!("[{}]", vec![r#"{"op":"add","path":"/a","value":1}"#; n].join(","));
    check("{}", &patch(MAX_OPERATIONS), r#"{"a":1}"#);
    let status = apply(&mut value!({}), patch(MAX_OPERATIONS + 1).as_bytes()).expect_err("too many");
    assert_eq!((status.code, status.reason), (413, "RequestEntityTooLarge"));
    assert_eq!(
        status.message,
        "Request entity too large: The allowed maximum operations in a JSON patch is 10000, got 10001"
    );
}

#[test]
fn limits_what_copies_add() {
    let mut document = value!({ "a": ("x".repeat(1024 * 1024)) });
    let copy = r#"{"op":"copy","from":"/a","path":"/b"}"#;
    apply(&mut document, format!("[{copy},{copy}]").as_bytes()).expect("two copies are below the limit");
    assert_eq!(
        failure(document, &format!("[{copy},{copy},{copy}]")),
        "Unable to complete the copy, the accumulated size increase of copy is 3145734, exceeding the limit 3145728"
    );
}

#[test]
fn limits_depth() {
    // Every copy puts the document into its own deepest place and so doubles its depth.
    let mut levels = 1;
    let mut operations = vec![r#"{"op":"add","path":"/a","value":{}}"#.to_owned()];
    for _ in 0..16 {
        operations.push(format!(r#"{{"op":"copy","from":"/a","path":"{}"}}"#, "/a".repeat(levels + 1)));
        levels *= 2;
    }
    let patch = format!("[{}]", operations.join(","));
    assert_eq!(failure(value!({}), &patch), "the patched document would nest deeper than 512 levels");
}
