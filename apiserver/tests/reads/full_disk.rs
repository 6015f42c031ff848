//! Reads do not need the disk: while the store cannot write, every read is answered at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use skiff_fixture::Api;
use skiff_storage::testing::embedded_fixture;
use skiff_storage::{Draft, Entry, Head, ListOptions, ListPage, Revision, Storage, StorageError, WatchStream};

use crate::history::{MAPS, map, version};

/// A store whose disk can be full.
struct FullDisk {
    store: Arc<dyn Storage>,
    full: Arc<AtomicBool>,
}

impl FullDisk {
    fn room(&self) -> Result<(), StorageError> {
        match self.full.load(Ordering::Relaxed) {
            true => Err(StorageError::Unavailable("database or disk is full".into())),
            false => Ok(()),
        }
    }
}

#[async_trait::async_trait]
impl Storage for FullDisk {
    async fn get(&self, key: &str) -> Result<(Option<Entry>, Revision), StorageError> {
        self.store.get(key).await
    }
    async fn list(&self, prefix: &str, options: ListOptions) -> Result<ListPage, StorageError> {
        self.store.list(prefix, options).await
    }
    async fn create(&self, key: &str, draft: Draft, ttl: Option<Duration>) -> Result<Entry, StorageError> {
        self.room()?;
        self.store.create(key, draft, ttl).await
    }
    async fn update(
        &self,
        key: &str,
        expected: Revision,
        draft: Draft,
        ttl: Option<Duration>,
    ) -> Result<Entry, StorageError> {
        self.room()?;
        self.store.update(key, expected, draft, ttl).await
    }
    async fn delete(&self, key: &str, expected: Revision) -> Result<(Entry, Revision), StorageError> {
        self.room()?;
        self.store.delete(key, expected).await
    }
    async fn watch(&self, prefix: &str, from: Revision) -> Result<WatchStream, StorageError> {
        self.store.watch(prefix, from).await
    }
    async fn compact(&self, revision: Revision) -> Result<(), StorageError> {
        self.store.compact(revision).await
    }
    async fn head(&self, prefix: &str) -> Result<Head, StorageError> {
        self.store.head(prefix).await
    }
    async fn healthy(&self) -> Result<(), StorageError> {
        self.room()
    }
}

#[tokio::test]
async fn reads_go_on_while_the_store_cannot_write() {
    let fixture = embedded_fixture().await;
    let full = Arc::new(AtomicBool::new(false));
    let api = Api::open_on(Arc::new(FullDisk { store: fixture.storage.clone(), full: full.clone() })).await;
    api.post("/api/v1/namespaces", serde_json::json!({"metadata": {"name": "matrix"}})).await.expect(201);
    let revision = version(&api.post(MAPS, map("a", "1")).await.expect(201).json());
    api.get(MAPS).await.expect(200);

    full.store(true, Ordering::Relaxed);
    let refused = api.post(MAPS, map("b", "1")).await.expect(503).json();
    assert!(refused["message"].as_str().is_some_and(|text| text.contains("disk is full")), "{refused}");
    for query in ["", "resourceVersion=0", &format!("resourceVersion={revision}"), "limit=1"] {
        for path in [format!("{MAPS}/a?{query}"), format!("{MAPS}?{query}")] {
            let answer = tokio::time::timeout(Duration::from_secs(1), api.get(&path)).await;
            answer.unwrap_or_else(|_| panic!("{path} waits")).expect(200);
        }
    }
    let mut watch = api.watch(&format!("{MAPS}?watch=true")).await;
    assert_eq!(watch.next().await.expect("an event").0, "ADDED");

    full.store(false, Ordering::Relaxed);
    api.post(MAPS, map("b", "1")).await.expect(201);
    assert_eq!(watch.next().await.expect("an event").1["metadata"]["name"], "b");
}
