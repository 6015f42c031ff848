//! From the object in flight to the bytes the store keeps: serialised once, with a place for the resourceVersion.

use skiff_apimachinery::json;
use skiff_apimachinery::value::{Object, Value};
use skiff_storage::Draft;

/// Serialises an object whose resourceVersion the store will fill in.
pub fn draft(object: &Value) -> Draft {
    // Objects of 1-10 KB are the rule.
    let mut out = Vec::with_capacity(4096);
    let mut rv_at = 0;
    let empty = Object::new();
    out.push(b'{');
    let mut first = true;
    for (key, value) in object.as_object().unwrap_or(&empty).iter() {
        separate(&mut out, &mut first);
        write_key(&mut out, key);
        if key == "metadata" {
            rv_at = write_metadata(&mut out, value.as_object().unwrap_or(&empty));
        } else {
            json::write(value, &mut out);
        }
    }
    out.push(b'}');
    // Bodies are limited to 3 MiB, far below 4 GiB.
    Draft { json: out, rv_at: rv_at as u32 }
}

/// Writes metadata with an empty resourceVersion in its sorted place; returns the offset between its quotes.
fn write_metadata(out: &mut Vec<u8>, metadata: &Object) -> usize {
    const KEY: &str = "resourceVersion";
    let mut rv_at = None;
    let mut first = true;
    out.push(b'{');
    for (key, value) in metadata.iter() {
        if rv_at.is_none() && key >= KEY {
            separate(out, &mut first);
            rv_at = Some(write_empty_version(out));
        }
        if key != KEY {
            separate(out, &mut first);
            write_key(out, key);
            json::write(value, out);
        }
    }
    let rv_at = rv_at.unwrap_or_else(|| {
        separate(out, &mut first);
        write_empty_version(out)
    });
    out.push(b'}');
    rv_at
}

fn write_empty_version(out: &mut Vec<u8>) -> usize {
    out.extend_from_slice(br#""resourceVersion":""#);
    let at = out.len();
    out.push(b'"');
    at
}

fn write_key(out: &mut Vec<u8>, key: &str) {
    json::write(&Value::from(key), out);
    out.push(b':');
}

fn separate(out: &mut Vec<u8>, first: &mut bool) {
    if !std::mem::take(first) {
        out.push(b',');
    }
}

#[cfg(test)]
mod tests {
    use skiff_apimachinery::value;

    use super::*;

    fn spliced(object: &Value, revision: u64) -> String {
        let stored = draft(object).splice(revision);
        let text = std::str::from_utf8(&stored.json).expect("utf-8").to_owned();
        let at = stored.rv_at as usize;
        assert_eq!(&text[at..at + stored.rv_len as usize], revision.to_string());
        text
    }

    #[test]
    fn the_version_goes_to_metadata_and_nowhere_else() {
        let object = value!({
            "apiVersion": "v1",
            "data": {"resourceVersion": ""},
            "kind": "ConfigMap",
            "metadata": {"name": "a", "uid": "u", "resourceVersion": "5"}
        });
        assert_eq!(
            spliced(&object, 1234),
            r#"{"apiVersion":"v1","data":{"resourceVersion":""},"kind":"ConfigMap","metadata":{"name":"a","resourceVersion":"1234","uid":"u"}}"#
        );
    }

    #[test]
    fn the_version_may_be_first_or_last() {
        assert_eq!(
            spliced(&value!({"metadata": {"name": "a"}}), 1),
            r#"{"metadata":{"name":"a","resourceVersion":"1"}}"#
        );
        assert_eq!(spliced(&value!({"metadata": {}}), 7), r#"{"metadata":{"resourceVersion":"7"}}"#);
        assert_eq!(
            spliced(&value!({"metadata": {"uid": "u"}}), 7),
            r#"{"metadata":{"resourceVersion":"7","uid":"u"}}"#
        );
    }
}
