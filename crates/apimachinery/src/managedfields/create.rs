//! The managedFields of a new object, written straight from its walk.
//!
//! Every create passes here, so no set is built: the text of the one entry is written while the object is walked. The
//! result is what [`update`](super::update::update) would give.

use std::cmp::Ordering;

use super::ManagerInfo;
use super::entries::{Operation, encode};
use super::path::{compare_keys, compare_values, escape, write_scalar};
use super::shape::{Shape, absent, item_of, key_value, member_of, shape_of};
use super::update::{UNOWNED_METADATA, is_reset, update};
use crate::schema::{ListKind, ListType, SchemaRef};
use crate::value::{Object, Value};

/// Sets the managedFields of an object that is being created.
///
/// Those that the client sent are taken into account as [`update`] does it.
pub fn on_create(new: &mut Value, schema: SchemaRef<'_>, manager: &ManagerInfo<'_>) {
    match new.at(&["metadata", "managedFields"]) {
        None => {}
        Some(sent) if is_reset(sent) && manager.subresource.is_empty() => {
            new.remove_at(&["metadata", "managedFields"]);
        }
        Some(_) => return update(None, new, schema, manager),
    }
    let Value::Object(object) = &*new else {
        return;
    };
    let mut writer = Writer { out: String::with_capacity(2048), reset: manager.reset };
    if writer.root(schema, object).is_err() {
        return;
    }
    if writer.out.len() > 2 {
        let name = if manager.name.is_empty() { "unknown" } else { manager.name };
        let fields = writer.out.into_boxed_str();
        let entry =
            encode(name, Operation::Update, manager.api_version, manager.subresource, Some(manager.time), fields);
        new.set_at(&["metadata", "managedFields"], Value::Array(vec![entry]));
    }
}

/// An element that has no place in its list; the object then gets no managedFields.
struct NoPlace;

struct Writer<'a> {
    out: String,
    reset: &'a [&'a [&'a str]],
}

/// Where the walk is, as far as fields that nobody owns are concerned.
#[derive(Clone, Copy, PartialEq)]
enum At {
    Root,
    Metadata,
    Below,
}

impl<'a> Writer<'a> {
    fn root(&mut self, schema: SchemaRef<'_>, object: &Object) -> Result<(), NoPlace> {
        self.out.push('{');
        self.members(schema, object, true, At::Root, self.reset)?;
        self.out.push('}');
        Ok(())
    }

    /// Writes what a value that was not there before brings: `{}` for a leaf, else its members, with `.` when the
    /// container itself is new. Returns false, having written nothing, when it brings nothing.
    fn value(
        &mut self,
        schema: SchemaRef<'_>,
        value: &Value,
        before: Option<&Value>,
        at: At,
        reset: &[&[&str]],
    ) -> Result<bool, NoPlace> {
        let start = self.out.len();
        let is_new = before.is_none();
        match (shape_of(schema, value), value) {
            (Shape::Map, Value::Object(object)) if !object.is_empty() => {
                let was_object = matches!(before, Some(Value::Object(_)));
                self.open(is_new && at != At::Metadata);
                let length = self.out.len();
                self.members(schema, object, was_object, at, reset)?;
                self.close(start, length, is_new);
                return Ok(self.out.len() > start);
            }
            (Shape::List(list), Value::Array(items)) if !items.is_empty() => {
                self.open(is_new);
                let length = self.out.len();
                self.elements(schema, list, items)?;
                self.close(start, length, is_new);
                return Ok(self.out.len() > start);
            }
            _ => {}
        }
        // Leaves, and empty containers, which are owned as a whole.
        let owned = before.is_none_or(|before| compare_values(before, value) != Ordering::Equal);
        if owned {
            self.out.push_str("{}");
        }
        Ok(owned)
    }

    fn open(&mut self, is_new: bool) {
        self.out.push_str(if is_new { "{\".\":{}" } else { "{" });
    }

    /// Ends a container; one that was there before and got nothing is taken back.
    fn close(&mut self, start: usize, length: usize, is_new: bool) {
        if self.out.len() > length {
            self.out.push('}');
        } else if is_new && length > start + 1 {
            // Only the container itself is new.
            self.out.truncate(start);
            self.out.push_str("{}");
        } else {
            self.out.truncate(start);
        }
    }

    fn comma(&mut self) {
        if !self.out.ends_with('{') {
            self.out.push(',');
        }
    }

    fn members(
        &mut self,
        schema: SchemaRef<'_>,
        object: &Object,
        was_object: bool,
        at: At,
        reset: &[&[&str]],
    ) -> Result<(), NoPlace> {
        let def = schema.struct_def();
        for (key, value) in object.iter() {
            let unowned = match at {
                At::Root => key == "apiVersion" || key == "kind",
                At::Metadata => UNOWNED_METADATA.binary_search(&key).is_ok(),
                At::Below => false,
            };
            if unowned || reset.iter().any(|path| *path == [key]) {
                continue;
            }
            let deeper: Vec<&[&str]> = match reset.iter().any(|path| path.first() == Some(&key)) {
                true => reset.iter().filter(|path| path.first() == Some(&key)).map(|path| &path[1..]).collect(),
                false => Vec::new(),
            };
            let before = match def {
                Some(def) if was_object => absent(def, key),
                _ => None,
            };
            let start = self.out.len();
            self.comma();
            self.out.push_str("\"f:");
            escape(key, &mut self.out);
            self.out.push_str("\":");
            let below = if at == At::Root && key == "metadata" { At::Metadata } else { At::Below };
            if !self.value(member_of(schema, key), value, before, below, &deeper)? {
                self.out.truncate(start);
            }
        }
        Ok(())
    }

    fn elements(&mut self, schema: SchemaRef<'_>, list: &ListType, items: &[Value]) -> Result<(), NoPlace> {
        let mut keys: Vec<&str> = list.map_keys.iter().map(|key| key.as_str()).collect();
        keys.sort_unstable();
        let mut elements = Vec::with_capacity(items.len());
        for item in items {
            elements.push(Element::new(schema, list, &keys, item).ok_or(NoPlace)?);
        }
        elements.sort_by(Element::compare);
        let mut rest = elements.as_slice();
        while let Some((element, others)) = rest.split_first() {
            let duplicates = others.iter().take_while(|other| element.compare(other).is_eq()).count();
            rest = &others[duplicates..];
            self.comma();
            element.write(&mut self.out);
            match duplicates {
                0 => drop(self.value(item_of(schema), element.item, None, At::Below, &[])?),
                // Of duplicates only their key is owned.
                _ => self.out.push_str("{}"),
            }
        }
        Ok(())
    }
}

/// An element of a set or keyed list with the key fields it is sorted by.
struct Element<'a> {
    item: &'a Value,
    keys: Vec<(&'a str, &'a Value)>,
}

impl<'a> Element<'a> {
    fn new(schema: SchemaRef<'a>, list: &'a ListType, keys: &[&'a str], item: &'a Value) -> Option<Self> {
        if list.kind == ListKind::Set {
            let scalar = !matches!(item, Value::Null | Value::Array(_) | Value::Object(_) | Value::Raw(_));
            return scalar.then_some(Self { item, keys: Vec::new() });
        }
        let object = item.as_object()?;
        let keys: Vec<_> =
            keys.iter().filter_map(|key| Some((*key, key_value(schema.table, list, object, key)?))).collect();
        (!keys.is_empty()).then_some(Self { item, keys })
    }

    fn compare(&self, other: &Self) -> Ordering {
        if self.keys.is_empty() {
            return compare_values(self.item, other.item);
        }
        compare_keys(self.keys.iter().copied(), other.keys.iter().copied())
    }

    /// Writes the step as a JSON key with its colon.
    fn write(&self, out: &mut String) {
        if self.keys.is_empty() {
            out.push_str("\"v:");
            write_quoted(self.item, out);
            out.push_str("\":");
            return;
        }
        out.push_str("\"k:{");
        for (i, (name, value)) in self.keys.iter().enumerate() {
            out.push_str(if i > 0 { ",\\\"" } else { "\\\"" });
            out.push_str(name);
            out.push_str("\\\":");
            write_quoted(value, out);
        }
        out.push_str("}\":");
    }
}

/// Writes a value's JSON into a JSON string.
fn write_quoted(value: &Value, out: &mut String) {
    match value {
        Value::String(text) if !text.bytes().any(|b| b < 0x20 || b == b'"' || b == b'\\') => {
            out.push_str("\\\"");
            out.push_str(text);
            out.push_str("\\\"");
        }
        Value::Int(n) => {
            use std::fmt::Write as _;
            // Writing to a String cannot fail.
            let _ = write!(out, "{n}");
        }
        other => {
            let mut text = String::new();
            write_scalar(other, &mut text);
            escape(&text, out);
        }
    }
}
