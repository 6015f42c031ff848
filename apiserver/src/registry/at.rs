//! A place in an object: what validation walks with.
//!
//! An [`At`] is a value (or its absence) and the way there. The path is put together only when an error is reported, so
//! a valid object costs no allocation.

use skiff_apimachinery::field::{Error, ErrorList, Path};
use skiff_apimachinery::value::Value;

use super::internal;

const IMMUTABLE: &str = "field is immutable";

/// One step of the way.
#[derive(Clone, Copy, Debug)]
enum Step<'a> {
    Root,
    Child(&'a str),
    Index(usize),
    Key(&'a str),
}

/// A place in an object.
#[derive(Clone, Copy, Debug)]
pub struct At<'a> {
    value: Option<&'a Value>,
    parent: Option<&'a At<'a>>,
    step: Step<'a>,
}

impl<'a> At<'a> {
    /// The object itself.
    pub fn root(value: &'a Value) -> Self {
        At { value: Some(value), parent: None, step: Step::Root }
    }

    /// A member.
    pub fn child<'b>(&'b self, name: &'b str) -> At<'b>
    where
        'a: 'b,
    {
        At { value: self.get(name), parent: Some(self), step: Step::Child(name) }
    }

    /// An entry of a map.
    pub fn key<'b>(&'b self, name: &'b str) -> At<'b>
    where
        'a: 'b,
    {
        At { value: self.get(name), parent: Some(self), step: Step::Key(name) }
    }

    /// An element of a list.
    pub fn index<'b>(&'b self, index: usize) -> At<'b>
    where
        'a: 'b,
    {
        let value = self.value.and_then(Value::as_array).and_then(|items| items.get(index));
        At { value, parent: Some(self), step: Step::Index(index) }
    }

    /// The elements of a list.
    pub fn items<'b>(&'b self) -> impl Iterator<Item = At<'b>>
    where
        'a: 'b,
    {
        (0..self.len()).map(move |index| self.index(index))
    }

    /// The entries of a map.
    pub fn entries<'b>(&'b self) -> impl Iterator<Item = (&'b str, At<'b>)>
    where
        'a: 'b,
    {
        let object = self.value.and_then(Value::as_object);
        object
            .into_iter()
            .flat_map(|object| object.iter())
            .map(move |(key, value)| (key, At { value: Some(value), parent: Some(self), step: Step::Key(key) }))
    }

    fn get(&self, name: &str) -> Option<&'a Value> {
        self.value.and_then(|value| value.get(name)).filter(|value| !value.is_null())
    }

    /// The value, if there is one.
    pub fn value(&self) -> Option<&'a Value> {
        self.value
    }

    /// Number of elements of a list; 0 for anything else.
    pub fn len(&self) -> usize {
        self.value.and_then(Value::as_array).map_or(0, <[Value]>::len)
    }

    /// Whether there is a value, be it empty.
    pub fn is_set(&self) -> bool {
        self.value.is_some()
    }

    /// Whether there is no value, or an empty string, list or map.
    pub fn is_empty(&self) -> bool {
        match self.value {
            None | Some(Value::Null) => true,
            Some(Value::String(text)) => text.is_empty(),
            Some(Value::Array(items)) => items.is_empty(),
            Some(Value::Object(object)) => object.is_empty(),
            Some(_) => false,
        }
    }

    /// The string; empty for anything else.
    pub fn text(&self) -> &'a str {
        self.value.and_then(Value::as_str).unwrap_or("")
    }

    /// The strings of a list.
    pub fn texts(&self) -> Vec<&'a str> {
        let items = self.value.and_then(Value::as_array).unwrap_or_default();
        items.iter().map(|item| item.as_str().unwrap_or("")).collect()
    }

    /// The integer.
    pub fn int(&self) -> Option<i64> {
        self.value.and_then(Value::as_i64)
    }

    /// The boolean; false for anything else.
    pub fn flag(&self) -> bool {
        self.value.and_then(Value::as_bool).unwrap_or(false)
    }

    /// The path, for errors.
    pub fn path(&self) -> Path {
        match (self.parent, self.step) {
            (Some(parent), Step::Child(name)) if matches!(parent.step, Step::Root) => Path::new(name),
            (Some(parent), Step::Child(name)) => parent.path().child(name),
            (Some(parent), Step::Key(name)) => parent.path().key(name),
            (Some(parent), Step::Index(index)) => parent.path().index(index),
            (_, _) => Path::new(""),
        }
    }

    fn shown(&self) -> Value {
        self.value.cloned().unwrap_or_else(|| Value::from(""))
    }

    /// Reports that a value is needed here.
    pub fn required(&self, errors: &mut ErrorList, detail: &str) {
        errors.push(Error::required(&self.path(), detail));
    }

    /// Reports that a value is needed here, if there is none.
    pub fn require(&self, errors: &mut ErrorList) -> bool {
        let missing = self.is_empty();
        if missing {
            self.required(errors, "");
        }
        !missing
    }

    /// Reports that this value is not valid.
    pub fn invalid(&self, errors: &mut ErrorList, detail: impl Into<String>) {
        errors.push(Error::invalid(&self.path(), self.shown(), detail.into()));
    }

    /// The same value as if it were a member of another name.
    pub fn renamed<'b>(&self, name: &'b str) -> At<'b>
    where
        'a: 'b,
    {
        At { value: self.value, parent: self.parent, step: Step::Child(name) }
    }

    /// The same value as if it were a member of itself: upstream puts some values into a structure before it looks at them.
    pub fn wrapped<'b>(&'b self, name: &'b str) -> At<'b>
    where
        'a: 'b,
    {
        At { value: self.value, parent: Some(self), step: Step::Child(name) }
    }

    /// The same value as if it were at the place that it is a part of: upstream's paths sometimes end early.
    pub fn at_parent(&self) -> At<'a> {
        match self.parent {
            Some(parent) => At { value: self.value, ..*parent },
            None => *self,
        }
    }

    /// The same place, with `null` for a value that is not there: what Go shows of an absent list, map or pointer.
    pub fn or_null(&self) -> Self {
        static NULL: Value = Value::Null;
        At { value: Some(self.value.unwrap_or(&NULL)), ..*self }
    }

    /// The same place, with another value: upstream's names for what a value is part of are sometimes other ones.
    pub fn with_value(&self, value: Option<&'a Value>) -> Self {
        At { value, ..*self }
    }

    /// The same place, with the empty text for one that is not there.
    pub fn or_empty(&self) -> Self {
        static EMPTY: Value = Value::String(compact_str::CompactString::const_new(""));
        At { value: Some(self.value.unwrap_or(&EMPTY)), ..*self }
    }

    /// The same place, with 0 for a number that is not there.
    pub fn or_zero(&self) -> Self {
        static ZERO: Value = Value::Int(0);
        At { value: Some(self.value.unwrap_or(&ZERO)), ..*self }
    }

    /// Reports that this value, which the message does not show, is not valid.
    pub fn invalid_omitted(&self, errors: &mut ErrorList, detail: impl Into<String>) {
        let mut error = Error::invalid(&self.path(), "", detail.into());
        error.value = None;
        errors.push(error);
    }

    /// Reports that this value, shown as one of upstream's internal types, is not valid.
    pub fn invalid_as(&self, ty: &str, errors: &mut ErrorList, detail: impl Into<String>) {
        errors.push(Error::invalid(&self.path(), internal::shown(self.value, ty), detail.into()));
    }

    /// Reports that this value, shown as one of upstream's internal types, is none of the supported ones.
    pub fn not_supported_as(&self, ty: &str, errors: &mut ErrorList, supported: &[&str]) {
        errors.push(Error::not_supported(&self.path(), internal::shown(self.value, ty), supported));
    }

    /// Reports that the list has more items than it may.
    pub fn too_many(&self, errors: &mut ErrorList, limit: usize) {
        errors.push(Error::too_many(&self.path(), self.len(), limit));
    }

    /// Reports that the text has more bytes than it may.
    pub fn too_long(&self, errors: &mut ErrorList, limit: usize) {
        errors.push(Error::too_long(&self.path(), "", limit));
    }

    /// Reports every message against this value.
    pub fn messages(&self, errors: &mut ErrorList, messages: Vec<String>) {
        for message in messages {
            self.invalid(errors, message);
        }
    }

    /// Reports that this may not be set.
    pub fn forbidden(&self, errors: &mut ErrorList, detail: impl Into<String>) {
        errors.push(Error::forbidden(&self.path(), detail.into()));
    }

    /// Reports that this value is there already.
    pub fn duplicate(&self, errors: &mut ErrorList) {
        errors.push(Error::duplicate(&self.path(), self.shown()));
    }

    /// Reports that what this value refers to is not there.
    pub fn not_found(&self, errors: &mut ErrorList) {
        errors.push(Error::not_found(&self.path(), self.shown()));
    }

    /// Reports that this string is none of the supported ones.
    pub fn not_supported(&self, errors: &mut ErrorList, supported: &[&str]) {
        errors.push(Error::not_supported(&self.path(), self.text(), supported));
    }

    /// Checks that the string is one of these; an empty one is reported as missing.
    pub fn one_of(&self, errors: &mut ErrorList, supported: &[&str]) {
        if self.require(errors) && !supported.contains(&self.text()) {
            self.not_supported(errors, supported);
        }
    }

    /// Checks that the string, if there is one, is one of these.
    pub fn if_set_one_of(&self, errors: &mut ErrorList, supported: &[&str]) {
        if self.is_set() && !supported.contains(&self.text()) {
            self.not_supported(errors, supported);
        }
    }

    /// Checks that the number, if there is one, is not negative.
    pub fn not_negative(&self, errors: &mut ErrorList) {
        if self.int().is_some_and(|n| n < 0) {
            self.invalid(errors, "must be greater than or equal to 0");
        }
    }

    /// Checks that the number, if there is one, is above zero.
    pub fn positive(&self, errors: &mut ErrorList) {
        if self.int().is_some_and(|n| n <= 0) {
            self.invalid(errors, "must be greater than 0");
        }
    }

    /// Checks that nothing changed here. An absent text is the empty one.
    pub fn immutable(&self, errors: &mut ErrorList, old: &At<'_>) {
        if self.value != old.value {
            self.invalid(errors, IMMUTABLE);
        }
    }

    /// Checks that nothing changed here; the value is shown as one of upstream's internal types.
    pub fn immutable_as(&self, ty: &str, errors: &mut ErrorList, old: &At<'_>) {
        if self.value != old.value {
            self.invalid_as(ty, errors, IMMUTABLE);
        }
    }
}

#[cfg(test)]
mod tests {
    use skiff_apimachinery::value;

    use super::*;

    #[test]
    fn paths_are_those_of_upstream() {
        let object = value!({"spec": {"list": [{"map": {"a": "x"}}]}});
        let root = At::root(&object);
        let spec = root.child("spec");
        let list = spec.child("list");
        let item = list.index(0);
        let map = item.child("map");
        let paths = map.entries().map(|(_, at)| at.path().to_string()).collect::<Vec<_>>();
        assert_eq!(paths, ["spec.list[0].map[a]"]);
        assert_eq!(item.child("none").path().to_string(), "spec.list[0].none");
        assert!(!item.child("none").is_set());
    }
}
