//! An API object in flight: a compact, name-keyed tree.
//!
//! Objects keep their entries sorted by key, so equal trees are equal bytes, a lookup is a binary search, and a merge
//! is a walk of two sorted lists. Keys of known fields come from the schema tables and are at most 24 bytes or static,
//! so they cost no allocation. See `docs/adr/0001-object-in-flight.md`.

use std::cmp::Ordering;

use compact_str::CompactString;

use crate::order::{Key, order};

/// One JSON value of an object in flight.
#[derive(Clone, Debug, PartialEq, Default)]
pub enum Value {
    /// JSON `null`. Decoding drops null fields of structs; it survives only in patches and preserved data.
    #[default]
    Null,
    /// JSON `true` or `false`.
    Bool(bool),
    /// Any JSON number without fraction or exponent that fits 64 bits, as all Kubernetes integers do.
    Int(i64),
    /// Any other JSON number.
    Float(f64),
    /// A JSON string.
    String(CompactString),
    /// A JSON array.
    Array(Vec<Value>),
    /// A JSON object.
    Object(Object),
    /// A subtree kept as the JSON text it came in (compact, valid, no surrounding space). Used for `fieldsV1`, which is
    /// moved around far more often than it is read.
    Raw(Box<str>),
}

/// A JSON object whose entries are sorted by key and unique.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Object {
    entries: Vec<(CompactString, Value)>,
}

impl Object {
    /// An empty object.
    pub const fn new() -> Self {
        Self { entries: Vec::new() }
    }

    /// An empty object with room for `capacity` entries.
    pub fn with_capacity(capacity: usize) -> Self {
        Self { entries: Vec::with_capacity(capacity) }
    }

    /// Number of entries.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is no entry.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    fn position(&self, key: &str) -> Result<usize, usize> {
        let key = Key::new(key);
        self.entries.binary_search_by(|(k, _)| key.order_of(k))
    }

    /// Whether `key` is present, null included.
    pub fn contains_key(&self, key: &str) -> bool {
        self.position(key).is_ok()
    }

    /// The value under `key`.
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.position(key).ok().map(|i| &self.entries[i].1)
    }

    /// The value under `key`, to change.
    pub fn get_mut(&mut self, key: &str) -> Option<&mut Value> {
        match self.position(key) {
            Ok(i) => Some(&mut self.entries[i].1),
            Err(_) => None,
        }
    }

    /// Sets `key`, returning what was there. Appending keys in sorted order costs no search beyond one comparison.
    pub fn insert(&mut self, key: impl Into<CompactString>, value: impl Into<Value>) -> Option<Value> {
        let (key, value) = (key.into(), value.into());
        if self.entries.last().is_none_or(|(last, _)| order(last, &key) == Ordering::Less) {
            self.entries.push((key, value));
            return None;
        }
        match self.position(&key) {
            Ok(i) => Some(std::mem::replace(&mut self.entries[i].1, value)),
            Err(i) => {
                self.entries.insert(i, (key, value));
                None
            }
        }
    }

    /// Appends an entry in any order; [`Self::settle`] must follow. For decoders: inserting many keys that come in
    /// descending order would move all of them each time.
    pub(crate) fn append(&mut self, key: CompactString, value: Value) {
        self.entries.push((key, value));
    }

    /// Sorts what [`Self::append`] added; the last of equal keys counts.
    pub(crate) fn settle(&mut self) {
        *self = Self::from_unsorted(std::mem::take(&mut self.entries)).0;
    }

    /// Removes `key`.
    pub fn remove(&mut self, key: &str) -> Option<Value> {
        self.position(key).ok().map(|i| self.entries.remove(i).1)
    }

    /// The value under `key`; when absent, the one `make` returns is put there first.
    pub fn get_or_insert_with(&mut self, key: &str, make: impl FnOnce() -> Value) -> &mut Value {
        let i = match self.position(key) {
            Ok(i) => i,
            Err(i) => {
                self.entries.insert(i, (CompactString::from(key), make()));
                i
            }
        };
        &mut self.entries[i].1
    }

    /// The object under `key`, created (also in place of a null or a scalar) when it is not there.
    pub fn object_mut(&mut self, key: &str) -> &mut Object {
        let value = self.get_or_insert_with(key, || Value::Object(Object::new()));
        if !matches!(value, Value::Object(_)) {
            *value = Value::Object(Object::new());
        }
        match value {
            Value::Object(object) => object,
            _ => unreachable!("made an object just above"),
        }
    }

    /// Entries in key order.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = (&str, &Value)> + ExactSizeIterator {
        self.entries.iter().map(|(k, v)| (k.as_str(), v))
    }

    /// Entries in key order, values to change.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = (&str, &mut Value)> {
        self.entries.iter_mut().map(|(k, v)| (k.as_str(), v))
    }

    /// Keys in order.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.entries.iter().map(|(k, _)| k.as_str())
    }

    /// Keeps the entries for which `keep` holds.
    pub fn retain(&mut self, mut keep: impl FnMut(&str, &mut Value) -> bool) {
        self.entries.retain_mut(|(k, v)| keep(k, v));
    }

    /// Builds an object from entries in any order; of equal keys the last wins. Returns whether a key was repeated.
    pub fn from_unsorted(mut entries: Vec<(CompactString, Value)>) -> (Self, bool) {
        if entries.is_sorted_by(|a, b| order(&a.0, &b.0) == Ordering::Less) {
            return (Self { entries }, false);
        }
        entries.sort_by(|a, b| order(&a.0, &b.0));
        let before = entries.len();
        let mut unique: Vec<(CompactString, Value)> = Vec::with_capacity(before);
        for entry in entries {
            match unique.last_mut() {
                Some(last) if last.0 == entry.0 => *last = entry,
                _ => unique.push(entry),
            }
        }
        let repeated = unique.len() != before;
        (Self { entries: unique }, repeated)
    }
}

impl IntoIterator for Object {
    type Item = (CompactString, Value);
    type IntoIter = std::vec::IntoIter<Self::Item>;
    fn into_iter(self) -> Self::IntoIter {
        self.entries.into_iter()
    }
}

impl<K: Into<CompactString>, V: Into<Value>> FromIterator<(K, V)> for Object {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(iter: I) -> Self {
        Self::from_unsorted(iter.into_iter().map(|(k, v)| (k.into(), v.into())).collect()).0
    }
}

impl Value {
    /// The member `key` of an object; `None` for anything else.
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.as_object()?.get(key)
    }

    /// The member `key` of an object, to change.
    pub fn get_mut(&mut self, key: &str) -> Option<&mut Value> {
        self.as_object_mut()?.get_mut(key)
    }

    /// The value at a path of object members, e.g. `["spec", "replicas"]`.
    pub fn at(&self, path: &[&str]) -> Option<&Value> {
        path.iter().try_fold(self, |value, key| value.get(key))
    }

    /// The string at a path of object members.
    pub fn str_at(&self, path: &[&str]) -> Option<&str> {
        self.at(path)?.as_str()
    }

    /// The integer at a path of object members.
    pub fn i64_at(&self, path: &[&str]) -> Option<i64> {
        self.at(path)?.as_i64()
    }

    /// The boolean at a path of object members.
    pub fn bool_at(&self, path: &[&str]) -> Option<bool> {
        self.at(path)?.as_bool()
    }

    /// The elements at a path of object members; empty when absent.
    pub fn array_at(&self, path: &[&str]) -> &[Value] {
        self.at(path).and_then(Value::as_array).unwrap_or(&[])
    }

    /// The object at a path, created with its parents where absent.
    pub fn object_at_mut(&mut self, path: &[&str]) -> &mut Object {
        if !matches!(self, Value::Object(_)) {
            *self = Value::Object(Object::new());
        }
        let mut object = match self {
            Value::Object(object) => object,
            _ => unreachable!("made an object just above"),
        };
        for key in path {
            object = object.object_mut(key);
        }
        object
    }

    /// Sets the value at a path, creating parents where absent. The path must not be empty.
    pub fn set_at(&mut self, path: &[&str], value: impl Into<Value>) {
        if let Some((last, parents)) = path.split_last() {
            self.object_at_mut(parents).insert(*last, value);
        }
    }

    /// Removes the value at a path; parents stay.
    pub fn remove_at(&mut self, path: &[&str]) -> Option<Value> {
        let (last, parents) = path.split_last()?;
        let mut value = self;
        for key in parents {
            value = value.get_mut(key)?;
        }
        value.as_object_mut()?.remove(last)
    }

    /// Whether this is JSON null.
    pub fn is_null(&self) -> bool {
        matches!(self, Value::Null)
    }

    /// The string, if it is one.
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Value::String(s) => Some(s),
            _ => None,
        }
    }

    /// The integer, if it is one.
    pub fn as_i64(&self) -> Option<i64> {
        match self {
            Value::Int(n) => Some(*n),
            _ => None,
        }
    }

    /// The boolean, if it is one.
    pub fn as_bool(&self) -> Option<bool> {
        match self {
            Value::Bool(b) => Some(*b),
            _ => None,
        }
    }

    /// The elements, if it is an array.
    pub fn as_array(&self) -> Option<&[Value]> {
        match self {
            Value::Array(items) => Some(items),
            _ => None,
        }
    }

    /// The elements, if it is an array, to change.
    pub fn as_array_mut(&mut self) -> Option<&mut Vec<Value>> {
        match self {
            Value::Array(items) => Some(items),
            _ => None,
        }
    }

    /// The object, if it is one.
    pub fn as_object(&self) -> Option<&Object> {
        match self {
            Value::Object(object) => Some(object),
            _ => None,
        }
    }

    /// The object, if it is one, to change.
    pub fn as_object_mut(&mut self) -> Option<&mut Object> {
        match self {
            Value::Object(object) => Some(object),
            _ => None,
        }
    }
}

impl From<bool> for Value {
    fn from(b: bool) -> Self {
        Value::Bool(b)
    }
}
impl From<i64> for Value {
    fn from(n: i64) -> Self {
        Value::Int(n)
    }
}
impl From<i32> for Value {
    fn from(n: i32) -> Self {
        Value::Int(n.into())
    }
}
impl From<u16> for Value {
    fn from(n: u16) -> Self {
        Value::Int(n.into())
    }
}
impl From<&str> for Value {
    fn from(s: &str) -> Self {
        Value::String(s.into())
    }
}
impl From<String> for Value {
    fn from(s: String) -> Self {
        Value::String(s.into())
    }
}
impl From<CompactString> for Value {
    fn from(s: CompactString) -> Self {
        Value::String(s)
    }
}
impl From<Object> for Value {
    fn from(object: Object) -> Self {
        Value::Object(object)
    }
}
impl<T: Into<Value>> From<Vec<T>> for Value {
    fn from(items: Vec<T>) -> Self {
        Value::Array(items.into_iter().map(Into::into).collect())
    }
}

/// Writes a [`Value`] as JSON looks: `value!({"spec": {"replicas": 3}, "items": [1, "a", expr]})`.
#[macro_export]
macro_rules! value {
    (null) => { $crate::value::Value::Null };
    ([ $($item:tt),* $(,)? ]) => { $crate::value::Value::Array(vec![$($crate::value!($item)),*]) };
    ({ $($key:literal : $val:tt),* $(,)? }) => {
        $crate::value::Value::Object(<$crate::value::Object as FromIterator<(&str, $crate::value::Value)>>::from_iter([
            $(($key, $crate::value!($val))),*
        ]))
    };
    ($other:expr) => { $crate::value::Value::from($other) };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_stay_sorted_and_unique() {
        let mut object = Object::new();
        object.insert("b", 1);
        object.insert("a", 2);
        object.insert("b", 3);
        assert_eq!(object.keys().collect::<Vec<_>>(), ["a", "b"]);
        assert_eq!(object.get("b"), Some(&Value::Int(3)));
    }

    #[test]
    fn paths_create_parents() {
        let mut value = Value::Null;
        value.set_at(&["spec", "template", "name"], "x");
        assert_eq!(value, value!({"spec": {"template": {"name": "x"}}}));
        assert_eq!(value.str_at(&["spec", "template", "name"]), Some("x"));
    }
}
