//! Indents JSON text without parsing it into a tree.

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

#[cfg(test)]
mod tests {
    #[test]
    fn indents() {
        let got = super::indent(br#"{"a":[1,{"b":"x,{\"}"}],"c":{},"d":[]}"#);
        let want = "{\n  \"a\": [\n    1,\n    {\n      \"b\": \"x,{\\\"}\"\n    }\n  ],\n  \"c\": {},\n  \"d\": []\n}";
        assert_eq!(String::from_utf8(got).expect("utf-8"), want);
    }
}
