//! JSON in and out.

use super::*;
use crate::schema::{FieldDef, ListKind, ListType, MapType, Scalar, TypeDef, TypeId};
use crate::value::Object;

/// A body of maximal size once took minutes: every key was compared with all before it.
#[test]
fn objects_of_many_keys_are_read_in_bounded_time() {
    let members = (0..200_000).map(|n| format!("\"{n}\":{n}")).collect::<Vec<_>>().join(",");
    let text = format!("{{{members},\"7\":-1}}");
    let started = std::time::Instant::now();
    static ANY: Type = Type::Any;
    let table = TypeTable::default();
    let decoded = decode(text.as_bytes(), SchemaRef::new(&table, &ANY)).expect("JSON");
    assert!(started.elapsed() < std::time::Duration::from_secs(10), "{:?}", started.elapsed());
    assert_eq!(decoded.duplicate, ["7"]);
    assert_eq!(decoded.value.as_object().map(Object::len), Some(200_000));
    assert_eq!(decoded.value.i64_at(&["7"]), Some(-1));
}

#[test]
fn numbers_are_read_and_written_as_go_does() {
    for (text, want) in [
        ("0", "0"),
        ("-0", "0"),
        ("9223372036854775808", "9223372036854776000"),
        ("1.50", "1.5"),
        ("1e2", "100"),
        ("1e21", "1e+21"),
        ("-1E-7", "-1e-7"),
        ("0.000001", "0.000001"),
        ("1.7976931348623157e308", "1.7976931348623157e+308"),
        ("5e-324", "5e-324"),
    ] {
        let mut out = Vec::new();
        write(&parse(text.as_bytes()).expect(text), &mut out);
        assert_eq!(String::from_utf8_lossy(&out), want, "{text}");
    }
    for text in ["-", "01", "1.", ".5", "1e", "1e+", "+1", "1e400", "--1", "1-1"] {
        assert!(parse(text.as_bytes()).is_err(), "{text}");
    }
}

#[test]
fn a_repeated_field_that_ends_up_empty_is_absent() {
    let fields =
        vec![FieldDef::new("a", Type::Scalar(Scalar::String)), FieldDef::new("b", Type::Scalar(Scalar::String))];
    let def = TypeDef { name: "Root".into(), fields, atomic: false, preserve_unknown: false };
    let table = TypeTable::new(vec![def]);
    let repeated = "\"b\":\"y\",".repeat(FEW_MEMBERS + 1);
    for (text, want) in [
        (r#"{"a":"x","a":"","b":"y"}"#.to_owned(), r#"{"b":"y"}"#),
        (r#"{"a":"x","a":null,"a":"z","b":"y"}"#.to_owned(), r#"{"a":"z","b":"y"}"#),
        (format!(r#"{{"a":"x",{repeated}"a":""}}"#), r#"{"b":"y"}"#),
    ] {
        let decoded = decode(text.as_bytes(), table.schema(TypeId(0))).expect("JSON");
        let mut out = Vec::new();
        write(&decoded.value, &mut out);
        assert_eq!(String::from_utf8(out).expect("UTF-8"), want, "{text}");
        assert!(decoded.duplicate.contains(&"a".to_owned()), "{text}");
    }
}

/// What kube-apiserver v1.36.2 answers.
#[test]
fn errors_are_those_of_go() {
    for (text, want) in [
        (r#"{"a":1,}"#, "invalid character '}' looking for beginning of object key string"),
        (r#"{"a":1} x"#, "invalid character 'x' after top-level value"),
        (r#"{"a" 1}"#, "invalid character '1' after object key"),
        ("{\"a\":\"\t\"}", "invalid character '\\t' in string literal"),
        (r#""\x""#, "invalid character 'x' in string escape code"),
        (r#""\u12g4""#, "invalid character 'g' in \\u hexadecimal character escape"),
        ("\u{feff}{}", "invalid character 'ï' looking for beginning of value"),
        ("tru]", "invalid character ']' in literal true (expecting 'e')"),
        ("01", "invalid character '1' after top-level value"),
        ("[1.]", "invalid character ']' after decimal point in numeric literal"),
        ("1e", "unexpected end of JSON input"),
        ("", "unexpected end of JSON input"),
    ] {
        assert_eq!(parse(text.as_bytes()), Err(DecodeError(want.into())), "{text}");
    }
}

#[test]
fn what_is_no_text_is_replaced() {
    for (text, want) in [
        (&br#""\ud800""#[..], "\u{fffd}"),
        (br#""\ud83d\ude00""#, "😀"),
        (br#""\ud800\ud800x""#, "\u{fffd}\u{fffd}x"),
        (br#""\uD83D\u0041\/""#, "\u{fffd}A/"),
        (b"\"a\xff\xed\xa0\x80\"", "a\u{fffd}\u{fffd}\u{fffd}\u{fffd}"),
        (b"\"\\n\xe2\x82\"", "\n\u{fffd}\u{fffd}"),
    ] {
        assert_eq!(parse(text), Ok(Value::from(want)));
    }
}

#[test]
fn null_elements_are_zero_values() {
    let string = || Type::Scalar(Scalar::String);
    let list =
        |item| Type::List(Box::new(ListType { item, kind: ListKind::Atomic, map_keys: vec![], patch_merge_key: None }));
    let map = Type::Map(Box::new(MapType { value: string(), atomic: false }));
    let fields = vec![
        FieldDef::new("map", map),
        FieldDef::new("strings", list(string())),
        FieldDef::new("structs", list(Type::Struct(TypeId(0)))),
    ];
    let def = TypeDef { name: "Root".into(), fields, atomic: false, preserve_unknown: false };
    let table = TypeTable::new(vec![def]);
    let text = br#"{"map":{"a":null},"strings":["x",null],"structs":[null]}"#;
    let decoded = decode(text, table.schema(TypeId(0))).expect("JSON");
    assert_eq!(decoded.value, crate::value!({"map": {"a": ""}, "strings": ["x", ""], "structs": [{}]}));
}

#[test]
fn fields_v1_is_kept_as_its_text() {
    let def = TypeDef {
        name: "Root".into(),
        fields: vec![FieldDef::new("f", Type::Scalar(Scalar::FieldsV1))],
        atomic: false,
        preserve_unknown: false,
    };
    let table = TypeTable::new(vec![def]);
    let read = |text: &str| {
        let decoded = decode(format!("{{\"f\":{text}}}").as_bytes(), table.schema(TypeId(0)))?;
        Ok::<_, DecodeError>(match decoded.value.get("f") {
            Some(Value::Raw(text)) => text.to_string(),
            other => format!("{other:?}"),
        })
    };
    for text in ["{}", r#"{"f:a":{},"k:{\"n\":\"x\"}":{".":{},"f:é\u0041":{}}}"#, r#"{"b":{"c":{}},"a":{}}"#] {
        assert_eq!(read(text).as_deref(), Ok(text));
    }
    for (text, want) in [("{ \"a\" : {} }", r#"{"a":{}}"#), (r#"{"a":[1, 2]}"#, r#"{"a":[1,2]}"#)] {
        assert_eq!(read(text).as_deref(), Ok(want));
    }
    for text in ["{", r#"{"a"}"#, r#"{"a":{}"#, r#"{"a":{},}"#, r#"{"\x":{}}"#, "{{}}", r#"{"a":{}}}"#] {
        assert!(read(text).is_err(), "{text}");
    }
}
