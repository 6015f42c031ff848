//! Fan-out: which watchers a change concerns, without asking all of them.
//!
//! A watcher stands in exactly one bucket, the narrowest that its predicate allows: one object, one value of a
//! selectable field, one namespace, or all. A change looks only into the buckets of its old and new object, so a
//! thousand kubelets that each watch their own `spec.nodeName` cost one look-up per event.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::task::Waker;

use skiff_storage::Revision;

use super::object::{CachedObject, Change};
use super::predicate::{Resolved, Target};
use super::queue::{Queue, WatchEnd};

/// Names a watcher within its cache.
pub(super) type WatcherId = u64;

struct Watcher {
    predicate: Resolved,
    queue: Arc<Queue>,
    /// It has had, or does not want, what happened up to here.
    after: Revision,
}

/// In the order of arrival; thousands may leave at once.
type Bucket = BTreeMap<WatcherId, Watcher>;

#[derive(Clone, Debug, PartialEq, Eq)]
enum Place {
    Object(String, String),
    Field(usize, String),
    Namespace(String),
    All,
}

/// All watchers of a cache.
pub(super) struct Dispatcher {
    namespaced: bool,
    next_id: WatcherId,
    places: HashMap<WatcherId, Place>,
    all: Bucket,
    namespaces: HashMap<String, Bucket>,
    /// By namespace, then name.
    objects: HashMap<String, HashMap<String, Bucket>>,
    /// By field index, then value.
    fields: HashMap<usize, HashMap<String, Bucket>>,
}

impl Dispatcher {
    pub(super) fn new(namespaced: bool) -> Self {
        Self {
            namespaced,
            next_id: 0,
            places: HashMap::new(),
            all: Bucket::new(),
            namespaces: HashMap::new(),
            objects: HashMap::new(),
            fields: HashMap::new(),
        }
    }

    pub(super) fn add(&mut self, predicate: Resolved, queue: Arc<Queue>, after: Revision) -> WatcherId {
        self.next_id += 1;
        let id = self.next_id;
        let place = place_of(&predicate, self.namespaced);
        self.bucket(&place).insert(id, Watcher { predicate, queue, after });
        self.places.insert(id, place);
        id
    }

    pub(super) fn remove(&mut self, id: WatcherId) {
        let Some(place) = self.places.remove(&id) else { return };
        let bucket = self.bucket(&place);
        bucket.remove(&id);
        if bucket.is_empty() {
            self.drop_bucket(&place);
        }
    }

    pub(super) fn len(&self) -> usize {
        self.places.len()
    }

    /// Queues a change for all whom it concerns. Adds whom to wake to `wakers`.
    pub(super) fn dispatch(&mut self, change: &Arc<Change>, wakers: &mut Vec<Waker>) {
        let mut cut_off = Vec::new();
        let (old, new) = (change.old.as_deref(), change.new.as_deref());
        let Some(object) = new.or(old) else { return };
        offer(Some(&self.all), change, wakers, &mut cut_off);
        offer(self.namespaces.get(object.namespace()), change, wakers, &mut cut_off);
        let named = self.objects.get(object.namespace()).and_then(|names| names.get(object.name()));
        offer(named, change, wakers, &mut cut_off);
        for (index, values) in &self.fields {
            let (before, after) = (field(old, *index), field(new, *index));
            if before != after {
                offer(before.and_then(|before| values.get(before)), change, wakers, &mut cut_off);
            }
            offer(after.and_then(|after| values.get(after)), change, wakers, &mut cut_off);
        }
        for id in cut_off {
            self.remove(id);
        }
    }

    /// Ends all watches.
    pub(super) fn close(&mut self, end: WatchEnd) {
        let named = self.objects.values().flat_map(HashMap::values);
        let by_field = self.fields.values().flat_map(HashMap::values);
        for bucket in named.chain(by_field).chain(self.namespaces.values()).chain([&self.all]) {
            for watcher in bucket.values() {
                watcher.queue.close(end);
            }
        }
        *self = Self { next_id: self.next_id, ..Self::new(self.namespaced) };
    }

    fn bucket(&mut self, place: &Place) -> &mut Bucket {
        match place {
            Place::All => &mut self.all,
            Place::Namespace(namespace) => self.namespaces.entry(namespace.clone()).or_default(),
            Place::Object(namespace, name) => {
                self.objects.entry(namespace.clone()).or_default().entry(name.clone()).or_default()
            }
            Place::Field(index, value) => self.fields.entry(*index).or_default().entry(value.clone()).or_default(),
        }
    }

    fn drop_bucket(&mut self, place: &Place) {
        match place {
            Place::All => {}
            Place::Namespace(namespace) => {
                self.namespaces.remove(namespace);
            }
            Place::Object(namespace, name) => {
                if let Some(names) = self.objects.get_mut(namespace) {
                    names.remove(name);
                    if names.is_empty() {
                        self.objects.remove(namespace);
                    }
                }
            }
            Place::Field(index, value) => {
                if let Some(values) = self.fields.get_mut(index) {
                    values.remove(value);
                    if values.is_empty() {
                        self.fields.remove(index);
                    }
                }
            }
        }
    }
}

fn field(object: Option<&CachedObject>, index: usize) -> Option<&str> {
    object.map(|object| object.field(index))
}

fn place_of(predicate: &Resolved, namespaced: bool) -> Place {
    let namespace = if namespaced { predicate.required(Target::Namespace) } else { Some("") };
    match (namespace, predicate.required(Target::Name), predicate.required_field()) {
        (Some(namespace), Some(name), _) => Place::Object(namespace.to_owned(), name.to_owned()),
        (_, _, Some((index, value))) => Place::Field(index, value.to_owned()),
        (Some(namespace), None, None) if namespaced => Place::Namespace(namespace.to_owned()),
        // A name without a namespace may be many objects.
        _ => Place::All,
    }
}

fn offer(bucket: Option<&Bucket>, change: &Arc<Change>, wakers: &mut Vec<Waker>, cut_off: &mut Vec<WatcherId>) {
    for (id, watcher) in bucket.into_iter().flatten() {
        if change.revision <= watcher.after {
            continue;
        }
        let Some(kind) = watcher.predicate.transition(change) else { continue };
        match watcher.queue.push(kind, change) {
            Ok(waker) => wakers.extend(waker),
            Err(end) => {
                watcher.queue.close(end);
                cut_off.push(*id);
            }
        }
    }
}
