//! `metadata.managedFields`: who owns which fields, and since when.

use std::cmp::Ordering;
use std::sync::Arc;

use compact_str::CompactString;

use super::ManagerInfo;
use super::fields_v1;
use super::path::write_scalar;
use super::set::Set;
use crate::value::{Object, Value};

/// How many managers by update an object keeps; the oldest beyond are merged into [`ANCIENT_CHANGES`].
const MAX_UPDATE_MANAGERS: usize = 10;

/// The manager that the oldest updates are merged into.
const ANCIENT_CHANGES: &str = "ancient-changes";

/// What a manager did.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Operation {
    Apply,
    Update,
}

impl Operation {
    fn as_str(self) -> &'static str {
        match self {
            Operation::Apply => "Apply",
            Operation::Update => "Update",
        }
    }
}

/// One manager and its fields.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) manager: CompactString,
    pub(super) operation: Operation,
    pub(super) api_version: CompactString,
    pub(super) subresource: CompactString,
    /// RFC 3339 in UTC, so that text order is time order.
    pub(super) time: Option<CompactString>,
    set: Arc<Set>,
    /// The set's text, while it is as it was read.
    text: Option<Box<str>>,
}

impl Entry {
    /// An entry of this manager, without a time.
    pub(super) fn new(info: &ManagerInfo<'_>, operation: Operation, set: Set) -> Self {
        Self {
            manager: if info.name.is_empty() { "unknown".into() } else { info.name.into() },
            operation,
            api_version: info.api_version.into(),
            subresource: info.subresource.into(),
            time: None,
            set: Arc::new(set),
            text: None,
        }
    }

    pub(super) fn set(&self) -> &Set {
        &self.set
    }

    pub(super) fn replace_set(&mut self, set: Set) {
        self.set = Arc::new(set);
        self.text = None;
    }

    /// Whether two entries are one manager: an applier is one in all versions, an updater is one per version.
    pub(super) fn is_same_manager(&self, other: &Entry) -> bool {
        self.operation == other.operation
            && self.manager == other.manager
            && self.subresource == other.subresource
            && (self.operation == Operation::Apply || self.api_version == other.api_version)
    }

    fn compare(&self, other: &Entry) -> Ordering {
        self.operation
            .cmp(&other.operation)
            .then_with(|| self.time.cmp(&other.time))
            .then_with(|| self.manager.cmp(&other.manager))
            .then_with(|| self.api_version.cmp(&other.api_version))
            .then_with(|| self.subresource.cmp(&other.subresource))
    }

    fn decode(value: &Value) -> Result<Self, String> {
        let text = |field: &str| value.get(field).and_then(Value::as_str).unwrap_or("");
        let operation = match text("operation") {
            "Apply" => Operation::Apply,
            "Update" => Operation::Update,
            _ => return Err("operation must be `Apply` or `Update`".into()),
        };
        if text("apiVersion").is_empty() {
            return Err("apiVersion must not be empty".into());
        }
        match text("fieldsType") {
            "FieldsV1" => {}
            "" => return Err("missing fieldsType in managed fields entry".into()),
            other => return Err(format!("invalid fieldsType {other:?} in managed fields entry")),
        }
        let fields: Option<Box<str>> = match value.get("fieldsV1") {
            None | Some(Value::Null) => None,
            Some(Value::Raw(text)) => Some(text.clone()),
            Some(tree) => {
                let mut text = String::new();
                write_scalar(tree, &mut text);
                Some(text.into())
            }
        };
        let set = fields.as_deref().map_or(Ok(Arc::default()), fields_v1::shared);
        Ok(Self {
            manager: text("manager").into(),
            operation,
            api_version: text("apiVersion").into(),
            subresource: text("subresource").into(),
            time: value.get("time").and_then(Value::as_str).map(CompactString::from),
            set: set.map_err(|error| format!("error decoding set: {error}"))?,
            text: fields,
        })
    }

    fn encode(self) -> Value {
        let text = self.text.unwrap_or_else(|| fields_v1::write(&self.set).into());
        let (operation, time) = (self.operation, self.time.as_deref());
        encode(&self.manager, operation, &self.api_version, &self.subresource, time, text)
    }
}

/// One entry as it stands in the object.
pub(super) fn encode(
    manager: &str,
    operation: Operation,
    api_version: &str,
    subresource: &str,
    time: Option<&str>,
    fields: Box<str>,
) -> Value {
    let mut object = Object::with_capacity(7);
    object.insert("apiVersion", api_version);
    object.insert(CompactString::const_new("fieldsType"), CompactString::const_new("FieldsV1"));
    object.insert(CompactString::const_new("fieldsV1"), Value::Raw(fields));
    if !manager.is_empty() {
        object.insert("manager", manager);
    }
    object.insert("operation", operation.as_str());
    if !subresource.is_empty() {
        object.insert("subresource", subresource);
    }
    if let Some(time) = time {
        object.insert("time", time);
    }
    Value::Object(object)
}

/// All managers of an object.
#[derive(Clone, Debug, Default)]
pub(super) struct Managed {
    pub(super) entries: Vec<Entry>,
}

impl Managed {
    /// Reads `metadata.managedFields`; absent is nobody.
    pub(super) fn decode(object: &Value) -> Result<Self, String> {
        let mut managed = Self::default();
        for value in object.array_at(&["metadata", "managedFields"]) {
            let entry = Entry::decode(value)?;
            managed.entries.retain(|known| !known.is_same_manager(&entry));
            managed.entries.push(entry);
        }
        Ok(managed)
    }

    /// Writes `metadata.managedFields`, sorted; of nobody the field is removed.
    pub(super) fn encode_into(mut self, object: &mut Value) {
        if self.entries.is_empty() {
            object.remove_at(&["metadata", "managedFields"]);
            return;
        }
        self.entries.sort_by(Entry::compare);
        let entries: Vec<Value> = self.entries.into_iter().map(Entry::encode).collect();
        object.set_at(&["metadata", "managedFields"], Value::Array(entries));
    }

    /// The place of a manager.
    pub(super) fn position(&self, entry: &Entry) -> Option<usize> {
        self.entries.iter().position(|known| known.is_same_manager(entry))
    }

    /// Merges the oldest updaters until no more than [`MAX_UPDATE_MANAGERS`] are left, per version.
    pub(super) fn cap_updaters(&mut self) {
        let mut updaters: Vec<Entry> = Vec::new();
        let count = self.entries.iter().filter(|entry| entry.operation == Operation::Update).count();
        let mut excess = count.saturating_sub(MAX_UPDATE_MANAGERS);
        if excess == 0 {
            return;
        }
        let (updates, mut others): (Vec<Entry>, Vec<Entry>) =
            std::mem::take(&mut self.entries).into_iter().partition(|entry| entry.operation == Operation::Update);
        let mut oldest_first = updates;
        oldest_first.sort_by(Entry::compare);
        for entry in oldest_first {
            // The first of a version waits until a second one comes: only then is there something to merge.
            let bucket = match excess {
                0 => None,
                _ => updaters.iter_mut().find(|known| known.api_version == entry.api_version),
            };
            match bucket {
                Some(bucket) => {
                    let union = bucket.set.union(&entry.set);
                    bucket.replace_set(union);
                    bucket.manager = ANCIENT_CHANGES.into();
                    bucket.subresource = CompactString::default();
                    // The entry that is merged is the younger one.
                    bucket.time = entry.time;
                    excess -= 1;
                }
                None => updaters.push(entry),
            }
        }
        others.append(&mut updaters);
        self.entries = others;
    }
}
