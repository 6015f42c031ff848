//! Informers: a local copy of a kind, kept up to date by a watch, with indexes and handlers.
//!
//! ```text
//!   API ── list, watch ──► reflector ──► store + indexes ──► handlers ──► queue of keys ──► workers
//! ```
//!
//! What an [`Informer`] promises:
//!
//! - The store shows states that the server had, per object in the order in which it had them. States between two
//!   may be skipped (after a lost connection, only the newest is seen); the newest one is always delivered in the end.
//! - A handler is called once for each change of the store, after the store has changed, in the order of the changes,
//!   never twice at a time. A handler added late is first told [`Event::Added`] for everything that is already there.
//! - An object deleted while the connection was lost is told as [`Event::Deleted`] with the last state known here,
//!   which may not be the last state it had. An object deleted and made again meanwhile is told as deleted and added.
//! - [`Informer::wait_synced`] returns when the store has shown the whole collection once.
//! - Losing the connection, an expired resource version (410) or an answer that cannot be read never ends an informer:
//!   it resumes or lists again, with back-off, until shutdown.
//!
//! What it does not promise: the store lags behind the server by at least a network hop, so a worker may read a state
//! from before its own last write ([`crate::Expectations`] and resource versions guard against that); different
//! informers are not synchronized with each other.
//!
//! Bounds: memory is that of the objects (use slim types) and one list page; there is no queue between reflector and
//! handlers, because handlers run on the reflector's task. So a handler must only note and return: it must not block,
//! and must not add handlers to the same informer.

mod reflector;
mod registry;
mod store;

use std::collections::BTreeMap;
use std::sync::Arc;

use kube::Client;
use parking_lot::{Mutex, RwLock};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::resource::{Kind, Object, ObjectKey};
use crate::watch::Source;

pub use registry::{Scope, SharedInformers};
use store::Store;

/// A change of the store.
#[derive(Debug)]
pub enum Event<'a, K> {
    /// An object is new here.
    Added(&'a Arc<K>),
    /// An object changed.
    Updated(&'a Arc<K>, &'a Arc<K>),
    /// An object is gone; its last known state.
    Deleted(&'a Arc<K>),
}

impl<'a, K> Event<'a, K> {
    /// The newest state of the object.
    pub fn object(&self) -> &'a Arc<K> {
        match self {
            Event::Added(object) | Event::Updated(_, object) | Event::Deleted(object) => object,
        }
    }
}

type Handler<K> = Box<dyn Fn(Event<'_, K>) + Send + Sync>;

/// A local copy of a kind. Cloning gives another handle on the same copy.
pub struct Informer<K> {
    shared: Arc<Shared<K>>,
}

struct Shared<K> {
    store: RwLock<Store<K>>,
    /// Held while the store changes and handlers are told, so that a new handler sees a consistent cut.
    handlers: Mutex<Vec<Handler<K>>>,
    synced: watch::Sender<bool>,
}

impl<K> Clone for Informer<K> {
    fn clone(&self) -> Self {
        Self { shared: self.shared.clone() }
    }
}

impl<K: Object> Informer<K> {
    /// Starts an informer of its own. Components share one per kind through [`SharedInformers`] instead.
    pub fn spawn(client: Client, source: Source, shutdown: CancellationToken) -> Self {
        let informer = Self::detached();
        let reflector = reflector::Reflector::new(client, source, informer.clone());
        tokio::spawn(async move {
            tokio::select! {
                () = shutdown.cancelled() => {}
                () = reflector.run() => {}
            }
        });
        informer
    }

    /// An informer that nothing feeds but [`Informer::apply`], [`Informer::remove`] and [`Informer::replace`]: for
    /// tests of what reads from it.
    pub fn detached() -> Self {
        let shared = Shared { store: RwLock::default(), handlers: Mutex::default(), synced: watch::Sender::new(false) };
        Self { shared: Arc::new(shared) }
    }

    /// The object of a key.
    pub fn get(&self, key: &ObjectKey) -> Option<Arc<K>> {
        self.shared.store.read().objects.get(key).cloned()
    }

    /// The object of a namespace and a name.
    pub fn get_by_name(&self, namespace: &str, name: &str) -> Option<Arc<K>> {
        self.get(&ObjectKey::new(namespace, name))
    }

    /// All objects, ordered by namespace and name.
    pub fn list(&self) -> Vec<Arc<K>> {
        self.shared.store.read().objects.values().cloned().collect()
    }

    /// The objects of a namespace, ordered by name.
    pub fn list_namespace(&self, namespace: &str) -> Vec<Arc<K>> {
        self.shared.store.read().namespace(namespace).cloned().collect()
    }

    /// Number of objects.
    pub fn len(&self) -> usize {
        self.shared.store.read().objects.len()
    }

    /// Whether there is no object.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Adds an index: `values` says under which values an object is found. An index of that name that is already
    /// there is kept, so components may ask for the same one.
    pub fn add_index(&self, name: &'static str, values: fn(&K) -> Vec<String>) {
        self.shared.store.write().add_index(name, values);
    }

    /// The objects that an index has under a value, ordered by namespace and name. Empty for an unknown index.
    pub fn by_index(&self, name: &'static str, value: &str) -> Vec<Arc<K>> {
        self.shared.store.read().by_index(name, value)
    }

    /// Adds a handler and tells it what is already there. See the module's promises on handlers.
    pub fn add_handler(&self, handler: impl Fn(Event<'_, K>) + Send + Sync + 'static) {
        let mut handlers = self.shared.handlers.lock();
        for object in self.list() {
            handler(Event::Added(&object));
        }
        handlers.push(Box::new(handler));
    }

    /// Whether the whole collection has been seen once.
    pub fn has_synced(&self) -> bool {
        *self.shared.synced.borrow()
    }

    /// Waits until the whole collection has been seen once.
    pub async fn wait_synced(&self) {
        // The sender lives as long as `self`, so the wait cannot fail.
        drop(self.shared.synced.subscribe().wait_for(|synced| *synced).await);
    }

    /// Puts an object into the store and tells the handlers, unless this very version is already there.
    pub fn apply(&self, object: K) {
        let object = Arc::new(object);
        let handlers = self.shared.handlers.lock();
        let old = self.shared.store.write().insert(ObjectKey::of(&*object), object.clone());
        match old {
            None => tell(&handlers, || Event::Added(&object)),
            Some(old) if old.uid() != object.uid() => {
                tell(&handlers, || Event::Deleted(&old));
                tell(&handlers, || Event::Added(&object));
            }
            Some(old) if same_version(&*old, &*object) => {}
            Some(old) => tell(&handlers, || Event::Updated(&old, &object)),
        }
    }

    /// Takes an object out of the store and tells the handlers. `last` is its last state.
    pub fn remove(&self, last: K) {
        let last = Arc::new(last);
        let handlers = self.shared.handlers.lock();
        if self.shared.store.write().remove(&ObjectKey::of(&*last)).is_some() {
            tell(&handlers, || Event::Deleted(&last));
        }
    }

    /// Makes the store show exactly these objects, tells the handlers the difference, and counts as synced.
    pub fn replace(&self, objects: Vec<K>) {
        let fresh: BTreeMap<ObjectKey, K> =
            objects.into_iter().map(|object| (ObjectKey::of(&object), object)).collect();
        let missing: Vec<Arc<K>> = {
            let store = self.shared.store.read();
            store.objects.iter().filter(|(key, _)| !fresh.contains_key(*key)).map(|(_, old)| old.clone()).collect()
        };
        for old in missing {
            let handlers = self.shared.handlers.lock();
            self.shared.store.write().remove(&ObjectKey::of(&*old));
            tell(&handlers, || Event::Deleted(&old));
        }
        for object in fresh.into_values() {
            self.apply(object);
        }
        self.shared.synced.send_replace(true);
    }
}

impl<K: Kind> Informer<K> {
    /// What an informer on all objects of the kind lists and watches.
    pub fn source() -> Source {
        Source::all(K::RESOURCE)
    }
}

fn same_version<K: Object>(old: &K, new: &K) -> bool {
    !new.resource_version().is_empty() && old.resource_version() == new.resource_version()
}

fn tell<'a, K: 'a>(handlers: &[Handler<K>], event: impl Fn() -> Event<'a, K>) {
    for handler in handlers {
        handler(event());
    }
}

#[cfg(test)]
mod tests;
