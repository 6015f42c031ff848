//! The read and watch half of the storage suite, run on the cache: writes go to the engine, reads and watches come
//! from the cache.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use parking_lot::Mutex;
use skiff_storage::testing::Fixture;
use skiff_storage::{
    Draft, Entry, Head, HistoryLimits, ListOptions, ListPage, Revision, Storage, StorageError, WatchEvent, WatchStream,
};
use tokio_util::sync::CancellationToken;

use super::super::*;

/// A store whose reads are the caches'.
struct Cached {
    storage: Arc<dyn Storage>,
    caches: Mutex<HashMap<String, Arc<WatchCache>>>,
    cacher: Arc<Cacher>,
}

impl Cached {
    /// The cache for a prefix like `/registry/pods/` or `/registry/pods/a/`, and the namespace.
    fn cache(&self, prefix: &str) -> (Arc<WatchCache>, String) {
        let rest = prefix.strip_prefix("/registry/").expect("a key of the registry");
        let (resource, namespace) = rest.split_once('/').expect("a resource");
        let mut caches = self.caches.lock();
        let cache = caches
            .entry(resource.to_owned())
            .or_insert_with(|| self.cacher.add(ResourceConfig::new("", resource, true, SelectableFields::new(vec![]))));
        (cache.clone(), namespace.trim_end_matches('/').to_owned())
    }
}

fn storage_error(error: CacheError) -> StorageError {
    match error {
        CacheError::TooLarge { asked, current } => StorageError::Future { asked, current },
        CacheError::Expired { oldest, .. } => StorageError::Compacted { oldest },
        CacheError::Storage(error) => error,
        other => StorageError::Unavailable(other.to_string()),
    }
}

#[async_trait::async_trait]
impl Storage for Cached {
    async fn get(&self, key: &str) -> Result<(Option<Entry>, Revision), StorageError> {
        let (cache, _) = self.cache(key);
        let Some((namespace, name)) = key[cache.config().prefix.len()..].split_once('/') else {
            return Ok((None, cache.revision()));
        };
        let object = cache.get_fresh(namespace, name, Freshness::Latest).await.map_err(storage_error)?;
        Ok((object.map(|object| object.entry().clone()), cache.revision()))
    }

    async fn list(&self, prefix: &str, options: ListOptions) -> Result<ListPage, StorageError> {
        let (cache, namespace) = self.cache(prefix);
        let own_prefix = &cache.config().prefix;
        let start = match options.start {
            // A start outside of the resource cannot be said to the cache.
            Some(start) if !start.starts_with(own_prefix) && *start > **own_prefix => Some("\u{10ffff}".to_owned()),
            start => start.and_then(|start| start.strip_prefix(own_prefix).map(str::to_owned)),
        };
        let request = ListRequest {
            revision: options.revision.map_or(ListRevision::Fresh(Freshness::Latest), ListRevision::Exact),
            predicate: Predicate { namespace, ..Predicate::default() },
            limit: options.limit,
            start,
        };
        let result = cache.list(&request).await.map_err(storage_error)?;
        assert_eq!(result.next.is_some(), result.remaining.is_some());
        let entries = result.objects.iter().map(|object| object.entry().clone()).collect();
        Ok(ListPage { entries, revision: result.revision, remaining: result.remaining.unwrap_or(0) })
    }

    async fn create(&self, key: &str, draft: Draft, ttl: Option<Duration>) -> Result<Entry, StorageError> {
        self.storage.create(key, draft, ttl).await
    }

    async fn update(
        &self,
        key: &str,
        expected: Revision,
        draft: Draft,
        ttl: Option<Duration>,
    ) -> Result<Entry, StorageError> {
        self.storage.update(key, expected, draft, ttl).await
    }

    async fn delete(&self, key: &str, expected: Revision) -> Result<(Entry, Revision), StorageError> {
        self.storage.delete(key, expected).await
    }

    async fn watch(&self, prefix: &str, from: Revision) -> Result<WatchStream, StorageError> {
        let current = self.storage.current_revision().await?;
        if from > current {
            return Err(StorageError::Future { asked: from, current });
        }
        let (cache, namespace) = self.cache(prefix);
        let predicate = Predicate { namespace, ..Predicate::default() };
        let request = WatchRequest { start: WatchStart::After(from), predicate, bookmarks: false };
        let watch = cache.watch(&request).await.map_err(storage_error)?;
        // The cache sends bookmarks by the minute: ask for one whenever the test waits.
        let stream = futures::stream::unfold(watch, |mut watch| async {
            let event = loop {
                let wait = tokio::time::timeout(Duration::from_millis(20), watch.next());
                match wait.await {
                    Ok(None) => return None,
                    Ok(Some(WatchItem::Change { change, .. })) => break change_event(&change),
                    Ok(Some(_)) => {}
                    Err(_) => {
                        if let Some(revision) = watch.bookmark() {
                            break WatchEvent::Progress { revision };
                        }
                    }
                }
            };
            Some((Ok(event), watch))
        });
        Ok(stream.boxed())
    }

    async fn compact(&self, revision: Revision) -> Result<(), StorageError> {
        self.storage.compact(revision).await
    }

    async fn head(&self, prefix: &str) -> Result<Head, StorageError> {
        self.storage.head(prefix).await
    }

    async fn healthy(&self) -> Result<(), StorageError> {
        self.storage.healthy().await
    }
}

fn change_event(change: &Change) -> WatchEvent {
    let entry = |object: &Arc<CachedObject>| object.entry().clone();
    match (change.new_object(), change.old()) {
        (Some(new), old) => WatchEvent::Put { entry: entry(new), previous: old.map(entry) },
        (None, Some(old)) => WatchEvent::Delete { previous: entry(old), revision: change.revision() },
        (None, None) => panic!("a change of nothing"),
    }
}

async fn in_front_of(engine: Fixture) -> Fixture {
    let storage = engine.storage.clone();
    let shutdown = CancellationToken::new();
    let cacher = Cacher::new(storage.clone(), HistoryLimits::default(), shutdown.clone());
    let cached = Cached { storage, caches: Mutex::default(), cacher };
    // Filled before the test writes, as in a server that runs, or by the first read, as after a restart: the first
    // resource one way, all others the other.
    cached.cache("/registry/pods/").0.ready().await;
    Fixture::with(cached, (shutdown.drop_guard(), engine))
}

mod memory {
    async fn fixture() -> skiff_storage::testing::Fixture {
        super::in_front_of(skiff_storage::testing::memory_fixture().await).await
    }
    skiff_storage::storage_suite!(@reads_and_watches super::fixture);
}

mod embedded {
    async fn fixture() -> skiff_storage::testing::Fixture {
        super::in_front_of(skiff_storage::testing::embedded_fixture().await).await
    }
    skiff_storage::storage_suite!(@reads_and_watches super::fixture);
}

mod etcd {
    async fn fixture() -> skiff_storage::testing::Fixture {
        super::in_front_of(skiff_storage::testing::etcd_fixture().await).await
    }
    skiff_storage::storage_suite!(@reads_and_watches super::fixture);
}
