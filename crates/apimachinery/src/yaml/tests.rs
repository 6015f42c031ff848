//! YAML in, JSON out, as kube-apiserver v1.36.2 reads it.

use super::*;

fn json_of(text: &str) -> String {
    match load::to_json(text.as_bytes()) {
        Ok(loaded) => String::from_utf8(loaded.json).expect("JSON is UTF-8"),
        Err(error) => error.to_string(),
    }
}

#[test]
fn scalars_are_those_of_yaml_1_1() {
    for (text, want) in [
        ("yes", "true"),
        ("Off", "false"),
        ("y", "true"),
        ("yEs", r#""yEs""#),
        ("~", "null"),
        ("", "null"),
        ("0444", "292"),
        ("0o10", "8"),
        ("0b11", "3"),
        ("0x_1F", "31"),
        ("1_000", "1000"),
        ("-1__0", "-10"),
        ("08", "8"),
        ("+1", "1"),
        (".5", "0.5"),
        ("1_0.5", "10.5"),
        ("12e03", "12000"),
        ("0.", "0"),
        ("1e", r#""1e""#),
        ("1e400", r#""1e400""#),
        ("1:30", r#""1:30""#),
        ("2001-01-01", r#""2001-01-01""#),
        ("18446744073709551615", "18446744073709551615"),
        ("18446744073709551616", "18446744073709552000"),
        ("=", r#""=""#),
        ("'0444'", r#""0444""#),
        ("!!str 5", r#""5""#),
        ("!!int \"5\"", "5"),
        ("!!binary aGk=", r#""hi""#),
        ("!foo 1", r#""1""#),
        ("!!bool yes", "true"),
        (".inf", "json: unsupported value: +Inf"),
        ("!!null x", "yaml: cannot decode !!str `x` as a !!null"),
    ] {
        assert_eq!(json_of(&format!("a: {text}\n")).replace("{\"a\":", "").replace('}', ""), want, "{text}");
    }
}

#[test]
fn keys_become_text() {
    for (text, want) in [
        ("1: v", r#"{"1":"v"}"#),
        ("yes: v", r#"{"true":"v"}"#),
        ("0x10: v", r#"{"16":"v"}"#),
        ("08: v", r#"{"8":"v"}"#),
        ("1.5: v", r#"{"1.5":"v"}"#),
        ("2001-01-01: v", r#"{"2001-01-01":"v"}"#),
    ] {
        assert_eq!(json_of(text), want);
    }
    assert!(json_of("~: v").starts_with("unsupported map key of type"));
    assert!(json_of("[a]: v").contains("invalid map key"));
}

#[test]
fn documents() {
    for (text, want) in [
        ("{a: b, # c\n c: [d,],}", r#"{"a":"b","c":["d"]}"#),
        ("{a: b,\n\tc: d}", r#"{"a":"b","c":"d"}"#),
        ("a: 1\n---\nb: 2\n", r#"{"a":1}"#),
        ("---\n---\na: 1\n", "null"),
        ("a: 1\n...\nfoo", r#"{"a":1}"#),
        ("# nothing\n", "null"),
        ("\u{feff}a: 1", r#"{"a":1}"#),
        ("%YAML 1.1\n---\na: 1", r#"{"a":1}"#),
        ("%YAML 1.2\n---\na: 1", "yaml: found incompatible YAML document"),
        ("a: &v {x: 1}\nb: *v\n", r#"{"a":{"x":1},"b":{"x":1}}"#),
        ("<<: {a: b, c: x}\nc: d\n", r#"{"a":"b","c":"d"}"#),
        ("<<: [{a: 1}, {a: 2, b: 3}]\n", r#"{"a":1,"b":3}"#),
        ("a: \"\\u0001\\x41\\U0001F600\"", "{\"a\":\"\\u0001A😀\"}"),
    ] {
        assert_eq!(json_of(text), want, "{text}");
    }
    let wide: Vec<u8> = "\u{feff}a: é".encode_utf16().flat_map(u16::to_le_bytes).collect();
    assert_eq!(parse(&wide), json::parse(r#"{"a":"é"}"#.as_bytes()));
    for text in ["a: *b", "{\"a\": 1", "a: - b", "a: \"\u{1}\"", "a:\n\tb: c"] {
        assert!(json_of(text).starts_with("yaml: "), "{text}: {}", json_of(text));
    }
}

#[test]
fn the_last_of_equal_keys_counts_and_is_told() {
    let loaded = load::to_json(b"a: 1\nb:\n  c: 1\n  c: 2\na: 2\n").expect("YAML");
    assert_eq!(loaded.json, br#"{"a":2,"b":{"c":2}}"#);
    assert_eq!(
        loaded.repeated_keys,
        [r#"line 4: key "c" already set in map"#, r#"line 5: key "a" already set in map"#]
    );
}

/// Ten lines of aliases would make thousands of millions of nodes.
#[test]
fn aliases_are_bounded() {
    let mut text = "a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n".to_owned();
    for level in 1..10 {
        let before = format!("*a{}", level - 1);
        text += &format!("a{level}: &a{level} [{}]\n", vec![before; 10].join(","));
    }
    assert_eq!(json_of(&text), "yaml: document contains excessive aliasing");
}
