//! All caches of the server, by group and resource.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use foldhash::fast::FixedState;
use futures::future::BoxFuture;
use parking_lot::RwLock;
use skiff_storage::{HistoryLimits, Storage};
use tokio_util::sync::CancellationToken;

use super::ObjectReader;
use super::cache::{ResourceConfig, WatchCache};
use super::list::ListResult;
use super::predicate::Predicate;

/// Between a resource and its variant, in the names of caches. No resource has it in its name.
const VARIANT: char = '@';

/// Names of resources are the server's own, so that their hashes need no secret.
type ByName<T> = HashMap<String, T, FixedState>;

struct Running {
    cache: Arc<WatchCache>,
    stop: CancellationToken,
    /// Whether it reads the store itself: then its first list is a matter of moments.
    direct: bool,
}

/// The caches of all resources: made when a resource appears, ended when it goes.
pub struct Cacher {
    storage: Arc<dyn Storage>,
    limits: HistoryLimits,
    shutdown: CancellationToken,
    /// Group, then resource.
    caches: RwLock<ByName<ByName<Running>>>,
}

impl Cacher {
    /// No caches yet, in front of this store. They stop when `shutdown` is cancelled.
    pub fn new(storage: Arc<dyn Storage>, limits: HistoryLimits, shutdown: CancellationToken) -> Arc<Self> {
        Arc::new(Self { storage, limits, shutdown, caches: RwLock::default() })
    }

    /// The store behind the caches.
    pub fn storage(&self) -> &Arc<dyn Storage> {
        &self.storage
    }

    /// Starts the cache of a resource, or returns the one that runs. Must be called within a tokio runtime.
    pub fn add(&self, config: ResourceConfig) -> Arc<WatchCache> {
        self.add_over(self.storage.clone(), config)
    }

    /// The same in front of another view of the store.
    pub fn add_over(&self, storage: Arc<dyn Storage>, config: ResourceConfig) -> Arc<WatchCache> {
        let mut caches = self.caches.write();
        let of_group = caches.entry(config.group.clone()).or_default();
        let resource = match config.variant.as_str() {
            "" => config.resource.clone(),
            variant => format!("{}{VARIANT}{variant}", config.resource),
        };
        if let Some(running) = of_group.get(&resource) {
            return running.cache.clone();
        }
        let direct = Arc::ptr_eq(&storage, &self.storage);
        let cache = WatchCache::new(config, self.limits, storage);
        let stop = self.shutdown.child_token();
        tokio::spawn(cache.clone().run(stop.clone()));
        of_group.insert(resource, Running { cache: cache.clone(), stop, direct });
        cache
    }

    /// Ends the caches of a resource and their watches: its CustomResourceDefinition is gone or has other fields.
    pub fn remove(&self, group: &str, resource: &str) {
        let mut caches = self.caches.write();
        let Some(of_group) = caches.get_mut(group) else { return };
        of_group.retain(|name, running| {
            let is_it =
                name == resource || name.strip_prefix(resource).is_some_and(|variant| variant.starts_with(VARIANT));
            if is_it {
                running.stop.cancel();
            }
            !is_it
        });
    }

    /// The cache of a resource.
    pub fn cache(&self, group: &str, resource: &str) -> Option<Arc<WatchCache>> {
        self.caches.read().get(group)?.get(resource).map(|running| running.cache.clone())
    }

    /// All caches.
    pub fn caches(&self) -> Vec<Arc<WatchCache>> {
        self.caches.read().values().flat_map(HashMap::values).map(|running| running.cache.clone()).collect()
    }

    /// Returns once all caches that run now have finished their first list, but for those over a view of the store: such
    /// a view may need somebody who is only reached once this server is ready.
    pub async fn ready(&self) {
        let direct = {
            let caches = self.caches.read();
            let running = caches.values().flat_map(HashMap::values).filter(|running| running.direct);
            running.map(|running| running.cache.clone()).collect::<Vec<_>>()
        };
        for cache in direct {
            cache.ready().await;
        }
    }
}

impl ObjectReader for Cacher {
    fn get(&self, group: &str, resource: &str, namespace: &str, name: &str) -> Option<Bytes> {
        Some(self.cache(group, resource)?.get(namespace, name)?.json().clone())
    }

    fn list(&self, group: &str, resource: &str, namespace: &str) -> Vec<Bytes> {
        let Some(cache) = self.cache(group, resource) else { return Vec::new() };
        let predicate = Predicate { namespace: namespace.to_owned(), ..Predicate::default() };
        let ListResult { objects, .. } = cache.list_cached(&predicate);
        objects.iter().map(|object| object.json().clone()).collect()
    }

    fn generation(&self, group: &str, resource: &str) -> u64 {
        self.cache(group, resource).map_or(0, |cache| cache.generation())
    }

    fn caught_up<'a>(&'a self, group: &'a str, resource: &'a str) -> BoxFuture<'a, ()> {
        Box::pin(async move {
            let Some(cache) = self.cache(group, resource) else { return };
            if let Err(error) = cache.caught_up().await {
                tracing::warn!(%group, %resource, ?error, "a watch cache is behind");
            }
        })
    }
}
