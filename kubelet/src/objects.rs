//! ConfigMaps and Secrets that pods on this node refer to: one watch per object, for as long as a pod uses it
//! (upstream: `pkg/kubelet/util/manager/watch_based_manager.go`). The node's identity may only read what its pods name,
//! so there is no watch on a whole kind.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use kube::Client;
use parking_lot::Mutex;
use skiff_client::watch::Source;
use skiff_client::{Informer, Kind, Objects};
use tokio_util::sync::{CancellationToken, DropGuard};

/// How long the first read of an object may take.
const SYNC_TIMEOUT: Duration = Duration::from_secs(10);

/// Called with the UIDs of the pods that use an object that changed.
pub(crate) type Changed = Arc<dyn Fn(&HashSet<String>) + Send + Sync>;

/// Objects of one kind. Cheap to clone.
pub(crate) struct ObjectCache<K> {
    shared: Arc<Shared<K>>,
}

impl<K> Clone for ObjectCache<K> {
    fn clone(&self) -> Self {
        Self { shared: self.shared.clone() }
    }
}

struct Shared<K> {
    client: Client,
    changed: Changed,
    entries: Mutex<HashMap<(String, String), Entry<K>>>,
}

struct Entry<K> {
    informer: Informer<K>,
    users: Arc<Mutex<HashSet<String>>>,
    /// Ends the watch when the entry goes.
    _stop: DropGuard,
}

impl<K: Kind> ObjectCache<K> {
    pub(crate) fn new(client: Client, changed: Changed) -> Self {
        let shared = Shared { client, changed, entries: Mutex::default() };
        Self { shared: Arc::new(shared) }
    }

    /// The object for the pod with this UID; `None` if it does not exist. From then on the pod is told of changes. The
    /// error is upstream's message.
    pub(crate) async fn get(&self, uid: &str, namespace: &str, name: &str) -> Result<Option<Arc<K>>, String> {
        let (informer, shared_with_others) = self.entry(uid, namespace, name);
        let synced = tokio::time::timeout(SYNC_TIMEOUT, informer.wait_synced()).await;
        let what = K::RESOURCE.kind.to_lowercase();
        synced.map_err(|_| format!("failed to sync {what} cache: timed out waiting for the condition"))?;
        if shared_with_others {
            // The watch may lag behind the write that this pod was created after.
            let objects = Objects::<K>::namespaced(&self.shared.client, namespace);
            match objects.get_opt(name).await {
                Ok(Some(object)) => informer.apply(object),
                Ok(None) => return Ok(None),
                Err(error) => return Err(format!("failed to read {what} {namespace}/{name}: {error}")),
            }
        }
        Ok(informer.get_by_name(namespace, name))
    }

    /// The pod no longer uses anything.
    pub(crate) fn release(&self, uid: &str) {
        self.shared.entries.lock().retain(|_, entry| {
            let mut users = entry.users.lock();
            users.remove(uid);
            !users.is_empty()
        });
    }

    /// The informer of an object, and whether this pod is new to one that others use already.
    fn entry(&self, uid: &str, namespace: &str, name: &str) -> (Informer<K>, bool) {
        let mut entries = self.shared.entries.lock();
        let key = (namespace.to_owned(), name.to_owned());
        if let Some(entry) = entries.get(&key) {
            let new = entry.users.lock().insert(uid.to_owned());
            return (entry.informer.clone(), new);
        }
        let stop = CancellationToken::new();
        let mut source = Source::all(K::RESOURCE);
        source.namespace = namespace.to_owned();
        source.field_selector = format!("metadata.name={name}");
        let informer = Informer::spawn(self.shared.client.clone(), source, stop.clone());
        let users = Arc::new(Mutex::new(HashSet::from([uid.to_owned()])));
        let (changed, told) = (self.shared.changed.clone(), users.clone());
        informer.add_handler(move |_| {
            let users = told.lock().clone();
            changed(&users);
        });
        let entry = Entry { informer: informer.clone(), users, _stop: stop.drop_guard() };
        entries.insert(key, entry);
        (informer, false)
    }
}
