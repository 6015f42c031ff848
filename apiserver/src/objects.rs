//! Cached objects as trees, and what is derived from them: how authenticators, authorizers and admission plugins read.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;
use quick_cache::sync::Cache;
use skiff_apimachinery::status::{self, Status};
use skiff_apimachinery::value::Value;
use skiff_storage::Storage;

use crate::cacher::{ObjectReader, SharedReader};

/// Objects whose trees are kept: every write asks for a few of always the same namespaces and service accounts.
const KEPT_TREES: usize = 1024;
/// Bytes up to which an object's tree is kept.
const KEPT_BYTES: usize = 8 * 1024;

/// Reads of single objects: from the cache, and where being a commit behind would be wrong, from the store.
#[derive(Clone)]
pub struct Objects {
    reader: SharedReader,
    storage: Arc<dyn Storage>,
    /// Trees by address of the bytes. The bytes are kept, so that an address means the same object.
    trees: Arc<Cache<usize, (Bytes, Arc<Value>)>>,
}

impl Objects {
    /// Reads from these.
    pub fn new(reader: SharedReader, storage: Arc<dyn Storage>) -> Self {
        Self { reader, storage, trees: Arc::new(Cache::new(KEPT_TREES)) }
    }

    /// The cache.
    pub fn reader(&self) -> &SharedReader {
        &self.reader
    }

    /// An object as the cache has it.
    pub fn cached(&self, group: &str, resource: &str, namespace: &str, name: &str) -> Option<Arc<Value>> {
        self.reader.get(group, resource, namespace, name).and_then(|json| self.tree(json))
    }

    /// An object as the store has it now.
    pub async fn live(
        &self,
        group: &str,
        resource: &str,
        namespace: &str,
        name: &str,
    ) -> Result<Option<Arc<Value>>, Status> {
        if name.is_empty() {
            return Ok(None);
        }
        match self.storage.get(&storage_key(group, resource, namespace, name)).await {
            Ok((entry, _)) => Ok(entry.and_then(|entry| self.tree(entry.object.json))),
            Err(error) => Err(status::internal_error(error)),
        }
    }

    /// An object from the cache or, when it is not there (yet), from the store.
    pub async fn find(
        &self,
        group: &str,
        resource: &str,
        namespace: &str,
        name: &str,
    ) -> Result<Option<Arc<Value>>, Status> {
        match self.cached(group, resource, namespace, name) {
            Some(object) => Ok(Some(object)),
            None => self.live(group, resource, namespace, name).await,
        }
    }

    /// The objects of a resource, in one namespace or (empty) in all, as the cache has them.
    pub fn list(&self, group: &str, resource: &str, namespace: &str) -> Vec<Arc<Value>> {
        self.reader.list(group, resource, namespace).into_iter().filter_map(|json| self.tree(json)).collect()
    }

    /// The tree of a stored object, parsed once.
    pub fn tree(&self, json: Bytes) -> Option<Arc<Value>> {
        let address = json.as_ptr() as usize;
        if let Some((_, tree)) = self.trees.get(&address).filter(|(kept, _)| kept.len() == json.len()) {
            return Some(tree);
        }
        let tree = Arc::new(parse(&json)?);
        if json.len() <= KEPT_BYTES {
            self.trees.insert(address, (json, tree.clone()));
        }
        Some(tree)
    }
}

/// Where an object lives in the store.
fn storage_key(group: &str, resource: &str, namespace: &str, name: &str) -> String {
    let mut key = String::from("/registry");
    for part in [group, resource, namespace, name] {
        if !part.is_empty() {
            key.push('/');
            key.push_str(part);
        }
    }
    key
}

/// The tree of a stored object; `None` for what is not JSON, which the store does not hold.
pub fn parse(json: &[u8]) -> Option<Value> {
    match skiff_apimachinery::json::parse(json) {
        Ok(tree) => Some(tree),
        Err(error) => {
            tracing::error!(%error, "a stored object is not JSON");
            None
        }
    }
}

/// What is extracted from every object of one resource, kept while the objects stay the same.
///
/// An object is looked at again only when its bytes are others than before, so that following a resource with frequent
/// changes costs a walk over pointers, not a parse of everything.
pub struct Extracts<T> {
    group: &'static str,
    resource: &'static str,
    extract: fn(&Value) -> Option<T>,
    state: Mutex<State<T>>,
}

struct State<T> {
    generation: Option<u64>,
    /// By address of the bytes. The bytes are kept, so that an address means the same object.
    known: HashMap<usize, (Bytes, Option<Arc<T>>)>,
    all: Arc<Vec<Arc<T>>>,
}

impl<T> Extracts<T> {
    /// Follows this resource.
    pub fn new(group: &'static str, resource: &'static str, extract: fn(&Value) -> Option<T>) -> Self {
        let state = State { generation: None, known: HashMap::new(), all: Arc::new(Vec::new()) };
        Self { group, resource, extract, state: Mutex::new(state) }
    }

    /// The resource's generation: what was derived from [`Extracts::get`] at the same number still holds.
    pub fn generation(&self, reader: &dyn ObjectReader) -> u64 {
        reader.generation(self.group, self.resource)
    }

    /// The extracts of all objects, in the reader's order.
    pub fn get(&self, reader: &dyn ObjectReader) -> Arc<Vec<Arc<T>>> {
        // Before the list: what changes in between is looked at again the next time.
        let generation = self.generation(reader);
        let mut state = self.state.lock();
        if state.generation == Some(generation) {
            return state.all.clone();
        }
        let mut before = std::mem::take(&mut state.known);
        let mut all = Vec::new();
        for json in reader.list(self.group, self.resource, "") {
            let address = json.as_ptr() as usize;
            let entry = match before.remove(&address) {
                Some(entry) if entry.0.len() == json.len() => entry,
                _ => {
                    let extract = parse(&json).and_then(|object| (self.extract)(&object)).map(Arc::new);
                    (json, extract)
                }
            };
            all.extend(entry.1.clone());
            state.known.insert(address, entry);
        }
        state.generation = Some(generation);
        state.all = Arc::new(all);
        state.all.clone()
    }
}

#[cfg(test)]
pub(crate) mod testing {
    //! A reader over objects that a test puts in.

    use std::collections::BTreeMap;
    use std::time::Duration;

    use skiff_storage::{Draft, Entry, Head, ListOptions, ListPage, Revision, StorageError, StoredObject, WatchStream};

    use super::*;

    type Key = (String, String, String, String);

    /// Objects by group, resource, namespace and name.
    #[derive(Default)]
    pub(crate) struct FakeReader(Mutex<(BTreeMap<Key, Bytes>, u64)>);

    impl FakeReader {
        /// Puts an object where its metadata says.
        pub(crate) fn put(&self, group: &str, resource: &str, object: &Value) {
            let text = |path: &[&str]| object.str_at(path).unwrap_or("").to_owned();
            let key =
                (group.to_owned(), resource.to_owned(), text(&["metadata", "namespace"]), text(&["metadata", "name"]));
            let mut state = self.0.lock();
            state.0.insert(key, Bytes::from(to_json(object)));
            state.1 += 1;
        }

        /// Takes an object away.
        pub(crate) fn remove(&self, group: &str, resource: &str, namespace: &str, name: &str) {
            let mut state = self.0.lock();
            state.0.remove(&(group.to_owned(), resource.to_owned(), namespace.to_owned(), name.to_owned()));
            state.1 += 1;
        }

        /// Reads of these objects; cache and store are the same.
        pub(crate) fn objects(self: &Arc<Self>) -> Objects {
            Objects::new(self.clone(), self.clone())
        }
    }

    #[async_trait::async_trait]
    impl Storage for FakeReader {
        async fn get(&self, key: &str) -> Result<(Option<Entry>, Revision), StorageError> {
            let state = self.0.lock();
            let found = state.0.iter().find(|((g, r, ns, n), _)| storage_key(g, r, ns, n) == key);
            let entry = found.map(|(_, json)| Entry {
                key: key.into(),
                revision: state.1,
                object: StoredObject { json: json.clone(), rv_at: 0, rv_len: 0 },
            });
            Ok((entry, state.1))
        }

        async fn list(&self, _: &str, _: ListOptions) -> Result<ListPage, StorageError> {
            unreachable!("objects are got one by one")
        }
        async fn create(&self, _: &str, _: Draft, _: Option<Duration>) -> Result<Entry, StorageError> {
            unreachable!("objects are only read")
        }
        async fn update(&self, _: &str, _: Revision, _: Draft, _: Option<Duration>) -> Result<Entry, StorageError> {
            unreachable!("objects are only read")
        }
        async fn delete(&self, _: &str, _: Revision) -> Result<(Entry, Revision), StorageError> {
            unreachable!("objects are only read")
        }
        async fn watch(&self, _: &str, _: Revision) -> Result<WatchStream, StorageError> {
            unreachable!("objects are got one by one")
        }
        async fn compact(&self, _: Revision) -> Result<(), StorageError> {
            unreachable!("objects are only read")
        }
        async fn head(&self, _: &str) -> Result<Head, StorageError> {
            unreachable!("objects are got one by one")
        }
        async fn healthy(&self) -> Result<(), StorageError> {
            Ok(())
        }
    }

    impl ObjectReader for FakeReader {
        fn get(&self, group: &str, resource: &str, namespace: &str, name: &str) -> Option<Bytes> {
            let key = (group.to_owned(), resource.to_owned(), namespace.to_owned(), name.to_owned());
            self.0.lock().0.get(&key).cloned()
        }

        fn list(&self, group: &str, resource: &str, namespace: &str) -> Vec<Bytes> {
            let state = self.0.lock();
            let all = state
                .0
                .iter()
                .filter(|((g, r, ns, _), _)| g == group && r == resource && (namespace.is_empty() || ns == namespace));
            all.map(|(_, json)| json.clone()).collect()
        }

        fn generation(&self, _group: &str, _resource: &str) -> u64 {
            self.0.lock().1
        }
    }

    fn to_json(value: &Value) -> Vec<u8> {
        let mut json = Vec::new();
        skiff_apimachinery::json::write(value, &mut json);
        json
    }

    #[test]
    fn only_what_changed_is_extracted_again() {
        use skiff_apimachinery::value;
        use std::sync::atomic::{AtomicUsize, Ordering};
        static LOOKS: AtomicUsize = AtomicUsize::new(0);
        let reader = FakeReader::default();
        let extracts = Extracts::new("", "pods", |pod: &Value| {
            LOOKS.fetch_add(1, Ordering::Relaxed);
            pod.str_at(&["metadata", "name"]).map(str::to_owned)
        });
        for name in ["a", "b", "c"] {
            reader.put("", "pods", &value!({"metadata": {"name": name}}));
        }
        let names =
            |extracts: &Extracts<String>| extracts.get(&reader).iter().map(|n| n.to_string()).collect::<Vec<_>>();
        assert_eq!(names(&extracts), ["a", "b", "c"]);
        reader.put("", "pods", &value!({"metadata": {"name": "b"}, "spec": {}}));
        reader.remove("", "pods", "", "a");
        assert_eq!(names(&extracts), ["b", "c"]);
        assert_eq!(names(&extracts), ["b", "c"]);
        assert_eq!(LOOKS.load(Ordering::Relaxed), 4);
    }
}
