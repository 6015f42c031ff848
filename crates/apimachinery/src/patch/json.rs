//! JSON Patch, RFC 6902.
//!
//! Follows evanphx/json-patch v4, which upstream uses, in its departures from the RFC: array indices may be negative
//! and count from the end, `replace` of a member that is not there adds it, and a member that is null is as good as
//! absent for `test`.

use super::{Document, MAX_DEPTH, decode, depth, does_not_apply};
use crate::status::Status;
use crate::value::{Object, Value};

/// Most operations in one patch; more are answered with 413.
pub const MAX_OPERATIONS: usize = 10_000;

/// How much JSON text, in bytes, all `copy` operations of one patch may add.
pub const MAX_COPY_BYTES: usize = 3 * 1024 * 1024;

/// A patch whose operations have been read.
#[derive(Clone, Debug)]
pub struct Patch(Vec<Object>);

/// Reads a patch.
///
/// Errors: 400 for text that is no patch, 413 for too many operations.
pub fn decode(text: &[u8]) -> Result<Document<Patch>, Status> {
    let Document { patch, strict } = decode::operations(text)?;
    if patch.len() > MAX_OPERATIONS {
        let message = format!(
            "Request entity too large: The allowed maximum operations in a JSON patch is {MAX_OPERATIONS}, got {}",
            patch.len()
        );
        return Err(Status::new(413, "RequestEntityTooLarge", message));
    }
    Ok(Document { patch: Patch(patch), strict })
}

impl Patch {
    /// Applies all operations to `document`; 422 when one does not apply. On an error `document` may have been changed in
    /// part.
    pub fn apply(&self, document: &mut Value) -> Result<(), Status> {
        self.try_apply(document).map_err(|_| does_not_apply())
    }

    /// Whether it changes nothing: it has no operation.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Applies all operations to `document`; the error says why one does not apply.
    pub fn apply_or_explain(&self, document: &mut Value) -> Result<(), String> {
        self.try_apply(document)
    }

    /// The same, with the reason.
    fn try_apply(&self, document: &mut Value) -> Result<(), String> {
        let mut copied_bytes = 0;
        for operation in &self.0 {
            Operation(operation).apply(document, &mut copied_bytes)?;
        }
        match document {
            Value::Object(_) => Ok(()),
            _ => Err("the patched document is not an object".into()),
        }
    }
}

/// Reads a patch and applies it.
pub fn apply(document: &mut Value, text: &[u8]) -> Result<(), Status> {
    decode(text)?.patch.apply(document)
}

/// Upstream's names of what can be wrong, which end its messages.
const MISSING: &str = "missing value";
/// How the error of an operation `test` ends that does not hold.
pub const TEST_FAILED: &str = "test failed";
const INVALID_INDEX: &str = "invalid index referenced";

struct Operation<'a>(&'a Object);

impl Operation<'_> {
    fn apply(&self, document: &mut Value, copied_bytes: &mut usize) -> Result<(), String> {
        match self.0.get("op").and_then(Value::as_str).unwrap_or("unknown") {
            "add" => self.add(document),
            "remove" => self.remove(document),
            "replace" => self.replace(document),
            "move" => self.move_value(document),
            "test" => self.test(document),
            "copy" => self.copy(document, copied_bytes),
            other => Err(format!("Unexpected kind: {other}")),
        }
    }

    fn pointer(&self, field: &str, operation: &str) -> Result<&str, String> {
        self.0
            .get(field)
            .and_then(Value::as_str)
            .ok_or_else(|| format!("{operation} operation failed to decode {field}: {MISSING}"))
    }

    /// The operation's value; absent counts as null, as upstream has it.
    fn value(&self) -> Value {
        self.0.get("value").cloned().unwrap_or_default()
    }

    fn add(&self, document: &mut Value) -> Result<(), String> {
        let path = self.pointer("path", "add")?;
        let value = self.value();
        check_depth(path, &value)?;
        let (mut container, key) = find(document, path)
            .ok_or_else(|| format!("add operation does not apply: doc is missing path: \"{path}\": {MISSING}"))?;
        container.add(&key, value).map_err(|error| format!("error in add for path: '{path}': {error}"))
    }

    fn remove(&self, document: &mut Value) -> Result<(), String> {
        let path = self.pointer("path", "remove")?;
        let (mut container, key) = find(document, path)
            .ok_or_else(|| format!("remove operation does not apply: doc is missing path: \"{path}\": {MISSING}"))?;
        container.remove(&key).map(drop).map_err(|error| format!("error in remove for path: '{path}': {error}"))
    }

    fn replace(&self, document: &mut Value) -> Result<(), String> {
        let path = self.pointer("path", "replace")?;
        let value = self.value();
        check_depth(path, &value)?;
        if path.is_empty() {
            if !matches!(value, Value::Object(_) | Value::Array(_)) {
                return Err("replace operation value must be object or array".into());
            }
            *document = value;
            return Ok(());
        }
        let (mut container, key) = find(document, path)
            .ok_or_else(|| format!("replace operation does not apply: doc is missing path: {path}: {MISSING}"))?;
        container
            .set(&key, value)
            .map_err(|_| format!("replace operation does not apply: doc is missing key: {path}: {MISSING}"))
    }

    fn move_value(&self, document: &mut Value) -> Result<(), String> {
        let from = self.pointer("from", "move")?;
        let path = self.pointer("path", "move")?;
        let (mut container, key) = find(document, from)
            .ok_or_else(|| format!("move operation does not apply: doc is missing from path: {from}: {MISSING}"))?;
        let value = container.remove(&key).map_err(|error| format!("error in move for path: '{key}': {error}"))?;
        check_depth(path, &value)?;
        let (mut container, key) = find(document, path).ok_or_else(|| {
            format!("move operation does not apply: doc is missing destination path: {path}: {MISSING}")
        })?;
        container.add(&key, value).map_err(|error| format!("error in move for path: '{path}': {error}"))
    }

    fn test(&self, document: &mut Value) -> Result<(), String> {
        let path = self.pointer("path", "test")?;
        let expected = self.0.get("value").unwrap_or(&Value::Null);
        let failed = || format!("testing value {path} failed: {TEST_FAILED}");
        if path.is_empty() {
            return if document == expected { Ok(()) } else { Err(failed()) };
        }
        let (container, key) = find(document, path)
            .ok_or_else(|| format!("test operation does not apply: is missing path: {path}: {MISSING}"))?;
        let found = container.get(&key).map_err(|error| format!("error in test for path: '{path}': {error}"))?;
        if found.unwrap_or(&Value::Null) == expected { Ok(()) } else { Err(failed()) }
    }

    fn copy(&self, document: &mut Value, copied_bytes: &mut usize) -> Result<(), String> {
        let from = self.pointer("from", "copy")?;
        let path = self.pointer("path", "copy")?;
        let (container, key) = find(document, from)
            .ok_or_else(|| format!("copy operation does not apply: doc is missing from path: {from}: {MISSING}"))?;
        let found = container.get(&key).map_err(|error| format!("error in copy for from: '{from}': {error}"))?;
        // The size is added up before the copy is made, so that the limit bounds memory too.
        *copied_bytes += found.map_or(0, text_len);
        if *copied_bytes > MAX_COPY_BYTES {
            return Err(format!(
                "Unable to complete the copy, the accumulated size increase of copy is {copied_bytes}, exceeding the \
                 limit {MAX_COPY_BYTES}"
            ));
        }
        let value = found.cloned().unwrap_or_default();
        check_depth(path, &value)?;
        let (mut container, key) = find(document, path).ok_or_else(|| {
            format!("copy operation does not apply: doc is missing destination path: {path}: {MISSING}")
        })?;
        container.add(&key, value).map_err(|error| format!("error while adding value during copy: {error}"))
    }
}

fn check_depth(path: &str, value: &Value) -> Result<(), String> {
    if path.matches('/').count() + depth(value) > MAX_DEPTH {
        return Err(format!("the patched document would nest deeper than {MAX_DEPTH} levels"));
    }
    Ok(())
}

/// What the last token of a pointer is looked up in.
enum Container<'a> {
    Object(&'a mut Object),
    Array(&'a mut Vec<Value>),
}

/// The container that `pointer` ends in, and its last token. `None` when a part of the way is not there.
fn find<'a>(document: &'a mut Value, pointer: &str) -> Option<(Container<'a>, String)> {
    let mut tokens = pointer.split('/');
    tokens.next();
    let mut tokens = tokens.map(unescape).peekable();
    let mut key = tokens.next()?;
    let mut value = document;
    while tokens.peek().is_some() {
        value = match value {
            Value::Object(object) => object.get_mut(&key)?,
            Value::Array(items) => {
                let i = index(&key, items.len()).ok()?;
                items.get_mut(i)?
            }
            _ => return None,
        };
        key = tokens.next()?;
    }
    match value {
        Value::Object(object) => Some((Container::Object(object), key)),
        Value::Array(items) => Some((Container::Array(items), key)),
        _ => None,
    }
}

fn unescape(token: &str) -> String {
    token.replace("~1", "/").replace("~0", "~")
}

/// The position that an array token names in a list of `len` places.
fn index(token: &str, len: usize) -> Result<usize, String> {
    let n: i64 = token.parse().map_err(|_| format!("strconv.Atoi: parsing {token:?}: invalid syntax"))?;
    let len = len as i64;
    let position = if n < 0 { n.saturating_add(len) } else { n };
    if (0..len).contains(&position) {
        Ok(position as usize)
    } else {
        Err(format!("Unable to access invalid index: {n}: {INVALID_INDEX}"))
    }
}

impl Container<'_> {
    fn get(&self, key: &str) -> Result<Option<&Value>, String> {
        match self {
            Container::Object(object) => Ok(object.get(key)),
            Container::Array(items) => index(key, items.len()).map(|i| items.get(i)),
        }
    }

    fn add(&mut self, key: &str, value: Value) -> Result<(), String> {
        match self {
            Container::Object(object) => drop(object.insert(key, value)),
            Container::Array(items) if key == "-" => items.push(value),
            Container::Array(items) => {
                let position = index(key, items.len() + 1).map_err(|error| match error.starts_with("strconv") {
                    true => format!("value was not a proper array index: '{key}': {error}"),
                    false => error,
                })?;
                items.insert(position, value);
            }
        }
        Ok(())
    }

    fn set(&mut self, key: &str, value: Value) -> Result<(), String> {
        match self {
            Container::Object(object) => drop(object.insert(key, value)),
            Container::Array(items) => {
                let position = index(key, items.len())?;
                items[position] = value;
            }
        }
        Ok(())
    }

    fn remove(&mut self, key: &str) -> Result<Value, String> {
        match self {
            Container::Object(object) => {
                object.remove(key).ok_or_else(|| format!("Unable to remove nonexistent key: {key}: {MISSING}"))
            }
            Container::Array(items) => index(key, items.len()).map(|i| items.remove(i)),
        }
    }
}

/// Length of a value's JSON text in bytes, without counting escapes.
fn text_len(value: &Value) -> usize {
    match value {
        Value::Null | Value::Bool(true) => 4,
        Value::Bool(false) => 5,
        Value::Int(n) => n.checked_ilog10().map_or(2, |digits| digits as usize + 1),
        Value::Float(_) => 8,
        Value::String(s) => s.len() + 2,
        Value::Raw(text) => text.len(),
        Value::Array(items) => 2 + items.iter().map(|item| text_len(item) + 1).sum::<usize>(),
        Value::Object(object) => 2 + object.iter().map(|(key, item)| key.len() + 4 + text_len(item)).sum::<usize>(),
    }
}

#[cfg(test)]
mod tests;
