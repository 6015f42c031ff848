//! Indents JSON text without parsing it into a tree.

use skiff_apimachinery::value::Value;

/// Indents compact JSON by two spaces, as Go's `json.MarshalIndent` does.
pub fn indent(json: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(json.len() * 3 / 2);
    let mut depth = 0usize;
    let mut in_string = false;
    let mut i = 0;
    while i < json.len() {
        let byte = json[i];
        if in_string {
            out.push(byte);
            match byte {
                b'\\' => {
                    i += 1;
                    out.extend(json.get(i));
                }
                b'"' => in_string = false,
                _ => {}
            }
            i += 1;
            continue;
        }
        match byte {
            b'"' => {
                in_string = true;
                out.push(byte);
            }
            b'{' | b'[' => {
                out.push(byte);
                if matches!(json.get(i + 1), Some(b'}' | b']')) {
                    i += 1;
                    out.push(json[i]);
                } else {
                    depth += 1;
                    new_line(&mut out, depth);
                }
            }
            b'}' | b']' => {
                depth = depth.saturating_sub(1);
                new_line(&mut out, depth);
                out.push(byte);
            }
            b',' => {
                out.push(byte);
                new_line(&mut out, depth);
            }
            b':' => out.extend_from_slice(b": "),
            b' ' | b'\n' | b'\t' | b'\r' => {}
            _ => out.push(byte),
        }
        i += 1;
    }
    out
}

fn new_line(out: &mut Vec<u8>, depth: usize) {
    out.push(b'\n');
    out.resize(out.len() + depth * 2, b' ');
}

/// A tree as Go's `%+v` shows maps: `map[a:1 b:[x y]]`.
pub fn as_go_prints(value: &Value) -> String {
    let mut out = String::new();
    go_value(value, &mut out);
    out
}

fn go_value(value: &Value, out: &mut String) {
    let mut between = "";
    match value {
        Value::Null => out.push_str("<nil>"),
        Value::String(text) => out.push_str(text),
        Value::Array(items) => {
            out.push('[');
            for item in items {
                out.push_str(std::mem::replace(&mut between, " "));
                go_value(item, out);
            }
            out.push(']');
        }
        Value::Object(object) => {
            out.push_str("map[");
            for (key, item) in object.iter() {
                out.push_str(std::mem::replace(&mut between, " "));
                out.push_str(key);
                out.push(':');
                go_value(item, out);
            }
            out.push(']');
        }
        scalar => {
            let mut json = Vec::new();
            skiff_apimachinery::json::write(scalar, &mut json);
            out.push_str(&String::from_utf8_lossy(&json));
        }
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn indents() {
        let got = super::indent(br#"{"a":[1,{"b":"x,{\"}"}],"c":{},"d":[]}"#);
        let want = "{\n  \"a\": [\n    1,\n    {\n      \"b\": \"x,{\\\"}\"\n    }\n  ],\n  \"c\": {},\n  \"d\": []\n}";
        assert_eq!(String::from_utf8(got).expect("utf-8"), want);
    }

    #[test]
    fn maps_look_as_in_go() {
        use skiff_apimachinery::value;

        let patch = value!({"spec": {"replicaz": 4, "paused": true, "x": null}, "list": ["a", {"b": "c d"}]});
        assert_eq!(super::as_go_prints(&patch), "map[list:[a map[b:c d]] spec:map[paused:true replicaz:4 x:<nil>]]");
    }
}
