//! From etcd's key and value to an entry: the resourceVersion goes in where the stored JSON left it empty.

use etcd_client::KeyValue;

use crate::{Entry, Revision, StorageError, splice};

/// The key after all keys with this prefix.
pub(super) fn range_end(prefix: &str) -> Vec<u8> {
    let mut end = prefix.as_bytes().to_vec();
    while let Some(last) = end.pop() {
        if last < 0xff {
            end.push(last + 1);
            return end;
        }
    }
    // No prefix: all keys.
    vec![0]
}

pub(super) fn entry(kv: &KeyValue) -> Result<Entry, StorageError> {
    let revision = kv.mod_revision() as Revision;
    let key = std::str::from_utf8(kv.key()).map_err(|_| foreign(&String::from_utf8_lossy(kv.key())))?;
    let (at, len) = find_resource_version(kv.value()).ok_or_else(|| foreign(key))?;
    let old_len = u8::try_from(len).map_err(|_| foreign(key))?;
    let at = u32::try_from(at).map_err(|_| foreign(key))?;
    Ok(Entry { key: key.into(), revision, object: splice(kv.value(), at, old_len, revision) })
}

fn foreign(key: &str) -> StorageError {
    StorageError::Corrupt(format!(
        "the key {key} in etcd does not hold an object of Skiff; was it written by another program? Use an etcd, or a \
         prefix (--etcd-prefix), of its own. Nothing was changed."
    ))
}

/// Where the text of `metadata.resourceVersion` begins, and its length, in compact JSON of an object.
///
/// Looks at nesting and member names only: a label of the name `resourceVersion` is not taken for it.
fn find_resource_version(json: &[u8]) -> Option<(usize, usize)> {
    let mut depth = 0usize;
    let mut in_metadata = false;
    let mut at = 0;
    while let Some(byte) = json.get(at) {
        match byte {
            b'{' | b'[' => depth += 1,
            b'}' | b']' => depth = depth.checked_sub(1)?,
            b'"' => {
                let end = string_end(json, at)?;
                let is_member = json.get(end) == Some(&b':');
                let text = &json[at + 1..end - 1];
                if is_member && depth == 1 {
                    in_metadata = text == b"metadata";
                }
                if is_member && depth == 2 && in_metadata && text == b"resourceVersion" {
                    let value = end + 1;
                    let value_end = (json.get(value) == Some(&b'"')).then(|| string_end(json, value))??;
                    return Some((value + 1, value_end - value - 2));
                }
                at = end;
                continue;
            }
            _ => {}
        }
        at += 1;
    }
    None
}

/// The position after the string that begins at `start`.
fn string_end(json: &[u8], start: usize) -> Option<usize> {
    let mut at = start + 1;
    loop {
        match json.get(at)? {
            b'"' => return Some(at + 1),
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_version_and_nothing_else() {
        let check = |json: &str, expected: Option<&str>| {
            let found = find_resource_version(json.as_bytes()).map(|(at, len)| &json[at..at + len]);
            assert_eq!(found, expected, "{json}");
        };
        check(r#"{"metadata":{"resourceVersion":""}}"#, Some(""));
        check(r#"{"metadata":{"name":"a","resourceVersion":"12","uid":"u"}}"#, Some("12"));
        check(
            r#"{"apiVersion":"v1","metadata":{"annotations":{"resourceVersion":"no","x":"\"resourceVersion\":\"no\"}}"},"labels":{"resourceVersion":"no"},"ownerReferences":[{"resourceVersion":"no"}],"resourceVersion":"7"}}"#,
            Some("7"),
        );
        check(r#"{"spec":{"resourceVersion":"no"},"metadata":{"resourceVersion":"8"}}"#, Some("8"));
        check(r#"{"metadata":{"x":"resourceVersion","resourceVersion":"9"}}"#, Some("9"));
        check(r#"{"spec":{"metadata":{"resourceVersion":"no"}}}"#, None);
        check(r#"{"metadata":{"resourceVersion":3}}"#, None);
        check(r#"{"metadata":{"resourceVersion":"#, None);
        check("k8s\0\n\u{c}", None);
        check("", None);
    }

    #[test]
    fn ranges_end_after_the_prefix() {
        assert_eq!(range_end("/registry/"), b"/registry0");
        assert_eq!(range_end(""), [0]);
    }
}
