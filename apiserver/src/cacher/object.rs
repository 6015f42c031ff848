//! A cached object, and a change of one: immutable, shared by the snapshot, the history and every watcher.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use bytes::Bytes;
use parking_lot::Mutex;
use skiff_storage::{Entry, Revision, StoredObject};

use super::extract::{Extracted, Labels, SelectableFields};
use super::message::Slot;

/// An object as the store has it, with what selectors need.
#[derive(Debug)]
pub struct CachedObject {
    entry: Entry,
    /// Where the namespace begins in the key, and where the name does.
    namespace_at: u32,
    name_at: u32,
    extracted: Extracted,
    message: Slot,
    /// Who shows the bytes as they are, as far as that has been found out; 0 for nobody.
    shown_by: AtomicU32,
}

/// What a cached object costs beside its JSON: structs, key, labels and fields, roughly.
const OBJECT_OVERHEAD_BYTES: usize = 512;

impl CachedObject {
    /// `prefix_len` bytes of the key are the resource's prefix; then follow `[NAMESPACE/]NAME`.
    pub(super) fn new(entry: Entry, prefix_len: usize, fields: &SelectableFields) -> Self {
        let extracted = fields.extract(&entry.object.json).unwrap_or_else(|error| {
            tracing::error!(key = %entry.key, %error, "an object in the store is not valid JSON; it has no labels here");
            fields.defaults()
        });
        let slash = entry.key[prefix_len..].rfind('/');
        let name_at = slash.map_or(prefix_len, |slash| prefix_len + slash + 1);
        Self {
            entry,
            namespace_at: prefix_len as u32,
            name_at: name_at as u32,
            extracted,
            message: Slot::default(),
            shown_by: AtomicU32::new(0),
        }
    }

    /// The key in the store.
    pub fn key(&self) -> &Arc<str> {
        &self.entry.key
    }

    /// Namespace; empty for cluster scope.
    pub fn namespace(&self) -> &str {
        let end = self.name_at.saturating_sub(1).max(self.namespace_at);
        &self.entry.key[self.namespace_at as usize..end as usize]
    }

    /// Name.
    pub fn name(&self) -> &str {
        &self.entry.key[self.name_at as usize..]
    }

    /// Revision of the last write: the object's resourceVersion.
    pub fn revision(&self) -> Revision {
        self.entry.revision
    }

    /// The JSON with its resourceVersion in place.
    pub fn json(&self) -> &Bytes {
        &self.entry.object.json
    }

    /// The protobuf message of the object as it is stored; `make` makes it if it is not kept.
    pub fn message<E>(&self, make: impl FnOnce(&Bytes) -> Result<Bytes, E>) -> Result<Bytes, E> {
        if let Some(message) = self.message.get() {
            return Ok(message.clone());
        }
        let message = make(self.json())?;
        self.message.put(&message);
        Ok(message)
    }

    /// Whether clients of this version see the stored bytes as they are: somebody found out.
    pub fn is_shown_by(&self, version: Format) -> bool {
        self.shown_by.load(Ordering::Relaxed) == version
    }

    /// Remembers that they do. Of several versions one is remembered: bytes name the version that they are in.
    pub fn set_shown_by(&self, version: Format) {
        self.shown_by.store(version, Ordering::Relaxed);
    }

    /// The entry of the store: what a write needs to compare against.
    pub fn entry(&self) -> &Entry {
        &self.entry
    }

    /// Labels.
    pub fn labels(&self) -> &Labels {
        &self.extracted.labels
    }

    /// A selectable field by its position among the resource's fields.
    pub(super) fn field(&self, index: usize) -> &str {
        self.extracted.fields.get(index).map_or("", |value| value.as_str())
    }
}

/// What a change is for one watcher.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EventKind {
    /// Came into the watcher's sight.
    Added,
    /// Changed within it.
    Modified,
    /// Left it, by deletion or by no longer matching.
    Deleted,
}

impl EventKind {
    /// `ADDED`, `MODIFIED` or `DELETED`.
    pub fn as_str(self) -> &'static str {
        match self {
            EventKind::Added => "ADDED",
            EventKind::Modified => "MODIFIED",
            EventKind::Deleted => "DELETED",
        }
    }
}

/// Names an encoding of an event, e.g. protobuf of one API version or a Table row. The endpoint layer gives out the
/// numbers; [`FORMAT_JSON_FRAME`] is the cache's own.
pub type Format = u32;

/// `{"type":"ADDED","object":{...}}` and a newline, with the object as it is stored.
pub const FORMAT_JSON_FRAME: Format = 0;

/// Encodings kept with one change at most; further ones are made anew each time.
const KEPT_ENCODINGS: usize = 8;

/// One change of one object.
#[derive(Debug)]
pub struct Change {
    pub(super) revision: Revision,
    pub(super) old: Option<Arc<CachedObject>>,
    /// `None` for a deletion.
    pub(super) new: Option<Arc<CachedObject>>,
    pub(super) at: Instant,
    /// The old object with the revision of this change.
    deleted: OnceLock<StoredObject>,
    /// Encodings while the change is fresh; `None` when it is no longer, so that history holds each object once.
    encodings: Mutex<Option<Vec<(Format, EventKind, Bytes)>>>,
}

impl Change {
    pub(super) fn new(
        revision: Revision,
        old: Option<Arc<CachedObject>>,
        new: Option<Arc<CachedObject>>,
        at: Instant,
    ) -> Self {
        Self { revision, old, new, at, deleted: OnceLock::new(), encodings: Mutex::new(Some(Vec::new())) }
    }

    /// The revision of the change.
    pub fn revision(&self) -> Revision {
        self.revision
    }

    /// The object before, if there was one.
    pub fn old(&self) -> Option<&Arc<CachedObject>> {
        self.old.as_ref()
    }

    /// The object after; `None` for a deletion.
    pub fn new_object(&self) -> Option<&Arc<CachedObject>> {
        self.new.as_ref()
    }

    /// The object that an event of this kind is about: for [`EventKind::Deleted`] the one before.
    pub fn subject(&self, kind: EventKind) -> &Arc<CachedObject> {
        let (first, second) = match kind {
            EventKind::Deleted => (&self.old, &self.new),
            EventKind::Added | EventKind::Modified => (&self.new, &self.old),
        };
        first.as_ref().or(second.as_ref()).expect("a change has an object before or after it")
    }

    /// The object's JSON as an event of this kind shows it, with the revision of this change.
    pub fn json(&self, kind: EventKind) -> &Bytes {
        match kind {
            EventKind::Added | EventKind::Modified => self.subject(kind).json(),
            EventKind::Deleted => {
                &self.deleted.get_or_init(|| self.subject(kind).entry.object.with_revision(self.revision)).json
            }
        }
    }

    /// The event as one line of a JSON watch.
    pub fn json_frame(&self, kind: EventKind) -> Bytes {
        self.encoded(FORMAT_JSON_FRAME, kind, || json_frame(kind.as_str(), self.json(kind)))
    }

    /// An encoding of this event, made once for all watchers that ask while the change is fresh.
    pub fn encoded(&self, format: Format, kind: EventKind, encode: impl FnOnce() -> Bytes) -> Bytes {
        let find = |kept: &[(Format, EventKind, Bytes)]| {
            kept.iter().find(|(f, k, _)| (*f, *k) == (format, kind)).map(|(_, _, bytes)| bytes.clone())
        };
        // The lock is held while encoding, so that other watchers wait for the result instead of making it too.
        let mut encodings = self.encodings.lock();
        let Some(kept) = encodings.as_mut() else {
            drop(encodings);
            return encode();
        };
        if let Some(bytes) = find(kept) {
            return bytes;
        }
        let bytes = encode();
        if kept.len() < KEPT_ENCODINGS {
            kept.push((format, kind, bytes.clone()));
        }
        bytes
    }

    /// Forgets encodings: the change is no longer fresh.
    pub(super) fn cool(&self) {
        *self.encodings.lock() = None;
    }

    /// Bytes that this change keeps in memory beyond the current state.
    pub(super) fn cost(&self) -> usize {
        OBJECT_OVERHEAD_BYTES + self.old.as_ref().map_or(0, |old| old.json().len())
    }

    /// Bytes of the larger of its objects.
    pub(super) fn size(&self) -> usize {
        self.new.as_ref().or(self.old.as_ref()).map_or(0, |object| object.json().len())
    }
}

/// One line of a JSON watch.
pub(super) fn json_frame(kind: &str, object: &[u8]) -> Bytes {
    let mut frame = Vec::with_capacity(object.len() + 40);
    frame.extend_from_slice(b"{\"type\":\"");
    frame.extend_from_slice(kind.as_bytes());
    frame.extend_from_slice(b"\",\"object\":");
    frame.extend_from_slice(object);
    frame.extend_from_slice(b"}\n");
    Bytes::from(frame)
}
