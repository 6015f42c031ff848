//! All caches of the server, by group and resource.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use futures::future::BoxFuture;
use parking_lot::RwLock;
use skiff_storage::{HistoryLimits, Storage};
use tokio_util::sync::CancellationToken;

use super::ObjectReader;
use super::cache::{Freshness, ResourceConfig, WatchCache};
use super::list::ListResult;
use super::predicate::Predicate;

struct Running {
    cache: Arc<WatchCache>,
    stop: CancellationToken,
}

/// The caches of all resources: made when a resource appears, ended when it goes.
pub struct Cacher {
    storage: Arc<dyn Storage>,
    limits: HistoryLimits,
    shutdown: CancellationToken,
    /// Group, then resource.
    caches: RwLock<HashMap<String, HashMap<String, Running>>>,
}

impl Cacher {
    /// No caches yet, in front of this store. They stop when `shutdown` is cancelled.
    pub fn new(storage: Arc<dyn Storage>, limits: HistoryLimits, shutdown: CancellationToken) -> Arc<Self> {
        Arc::new(Self { storage, limits, shutdown, caches: RwLock::new(HashMap::new()) })
    }

    /// The store behind the caches.
    pub fn storage(&self) -> &Arc<dyn Storage> {
        &self.storage
    }

    /// Starts the cache of a resource, or returns the one that runs. Must be called within a tokio runtime.
    pub fn add(&self, config: ResourceConfig) -> Arc<WatchCache> {
        let mut caches = self.caches.write();
        let of_group = caches.entry(config.group.clone()).or_default();
        if let Some(running) = of_group.get(&config.resource) {
            return running.cache.clone();
        }
        let resource = config.resource.clone();
        let cache = WatchCache::new(config, self.limits, self.storage.clone());
        let stop = self.shutdown.child_token();
        tokio::spawn(cache.clone().run(stop.clone()));
        of_group.insert(resource, Running { cache: cache.clone(), stop });
        cache
    }

    /// Ends the cache of a resource and its watches: its CustomResourceDefinition is gone or has other fields.
    pub fn remove(&self, group: &str, resource: &str) {
        let running = self.caches.write().get_mut(group).and_then(|of_group| of_group.remove(resource));
        if let Some(running) = running {
            running.stop.cancel();
        }
    }

    /// The cache of a resource.
    pub fn cache(&self, group: &str, resource: &str) -> Option<Arc<WatchCache>> {
        self.caches.read().get(group)?.get(resource).map(|running| running.cache.clone())
    }

    /// All caches.
    pub fn caches(&self) -> Vec<Arc<WatchCache>> {
        self.caches.read().values().flat_map(HashMap::values).map(|running| running.cache.clone()).collect()
    }

    /// Returns once all caches that run now have finished their first list.
    pub async fn ready(&self) {
        for cache in self.caches() {
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
            if let Err(error) = cache.wait_until(Freshness::Latest).await {
                tracing::warn!(%group, %resource, ?error, "a watch cache is behind");
            }
        })
    }
}
