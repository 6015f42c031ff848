//! The past: expiry, resuming across restarts, losing the store.

use std::sync::atomic::{AtomicBool, Ordering};

use skiff_storage::{Head, ListOptions, ListPage, Revision, StorageError, WatchStream};

use super::*;

fn short(age: Duration) -> HistoryLimits {
    HistoryLimits { age, ..HistoryLimits::default() }
}

fn exact(revision: Revision) -> ListRequest {
    ListRequest { revision: ListRevision::Exact(revision), predicate: Predicate::default(), limit: 2, start: None }
}

#[tokio::test]
async fn a_new_cache_resumes_watches_from_the_engines_history() {
    let storage: Arc<dyn Storage> = Arc::new(memory::open(HistoryLimits::default()).unwrap());
    let before = fixture_on(storage.clone(), HistoryLimits::default());
    let a1 = before.create("x/a", "web", "").await;
    let a2 = before.update(&a1, "db", "").await;
    let gone = before.delete(&a2).await;
    let b = before.create("x/b", "web", "").await;

    // As after a restart: the cache begins with a list of what is left.
    let fixture = fixture_on(storage, HistoryLimits::default());
    fixture.pods.ready().await;
    let mut watch = fixture.watch(WatchStart::After(a1.revision), Predicate::default()).await;
    let mut web = fixture.watch(WatchStart::After(a1.revision), app("web")).await;
    let c = fixture.create("x/c", "web", "").await;
    let expected = [
        format!("MODIFIED x/a@{}", a2.revision),
        format!("DELETED x/a@{gone}"),
        format!("ADDED x/b@{}", b.revision),
        format!("ADDED x/c@{}", c.revision),
    ];
    assert_eq!(next_texts(&mut watch, 4).await, expected);
    let expected = [
        format!("DELETED x/a@{}", a2.revision),
        format!("ADDED x/b@{}", b.revision),
        format!("ADDED x/c@{}", c.revision),
    ];
    assert_eq!(next_texts(&mut web, 3).await, expected);
    let page = fixture.pods.list(&exact(a2.revision)).await.unwrap();
    assert_eq!(page.objects[0].json(), &a2.object.json);
}

#[tokio::test]
async fn what_is_truly_gone_is_expired() {
    let fixture = fixture().await;
    let a = fixture.create("x/a", "web", "").await;
    let b = fixture.create("x/b", "web", "").await;
    fixture.storage.compact(b.revision).await.unwrap();
    // The engine has forgotten, but this cache still knows.
    fixture.watch(WatchStart::After(a.revision), Predicate::default()).await;

    let fresh = fixture_on(fixture.storage.clone(), HistoryLimits::default());
    fresh.pods.ready().await;
    let request =
        |after| WatchRequest { start: WatchStart::After(after), predicate: Predicate::default(), bookmarks: false };
    let error = fresh.pods.watch(&request(a.revision)).await.err().expect("an error");
    let status = skiff_apimachinery::status::Status::from(error);
    assert_eq!((status.code, status.reason), (410, "Expired"));
    assert_eq!(status.message, format!("too old resource version: {} ({})", a.revision, b.revision));
    assert!(fresh.pods.watch(&request(b.revision)).await.is_ok());
    let error = fresh.pods.list(&exact(a.revision)).await.unwrap_err();
    assert_eq!(skiff_apimachinery::status::Status::from(error).code, 410);
}

#[tokio::test]
async fn a_continued_list_expires_with_the_engine_though_the_resource_is_quiet() {
    let age = Duration::from_millis(300);
    let storage: Arc<dyn Storage> = Arc::new(memory::open(short(age)).unwrap());
    let fixture = fixture_on(storage, short(age));
    for name in ["a", "b", "c"] {
        fixture.create(&format!("x/{name}"), "web", "").await;
    }
    fixture.pods.wait_until(Freshness::Latest).await.unwrap();
    let first = fixture.pods.list(&exact(fixture.pods.revision())).await.unwrap();
    let second = ListRequest { start: first.next.clone(), ..exact(first.revision) };
    assert_eq!(fixture.pods.list(&second).await.unwrap().objects.len(), 1);

    // Only other resources change from now on, as leases do.
    let wait = async {
        for i in 0.. {
            fixture.storage.create(&format!("/registry/nodes/{i}"), pod("n", "", ""), None).await.unwrap();
            match fixture.pods.list(&second).await {
                Ok(page) => assert_eq!(page.objects.len(), 1),
                Err(error) => return error,
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        unreachable!("an endless loop")
    };
    let error = tokio::time::timeout(DEADLINE, wait).await.expect("the continue token never expired");
    assert_eq!(skiff_apimachinery::status::Status::from(error).code, 410);
}

/// A store whose watches can be made to fail.
struct Flaky {
    storage: Arc<dyn Storage>,
    broken: Arc<AtomicBool>,
    cut: tokio::sync::broadcast::Sender<()>,
}

#[async_trait::async_trait]
impl Storage for Flaky {
    async fn get(&self, key: &str) -> Result<(Option<Entry>, Revision), StorageError> {
        self.storage.get(key).await
    }
    async fn list(&self, prefix: &str, options: ListOptions) -> Result<ListPage, StorageError> {
        self.storage.list(prefix, options).await
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
        if self.broken.load(Ordering::SeqCst) {
            return Err(StorageError::Unavailable("cut".into()));
        }
        let mut cut = self.cut.subscribe();
        let end = async move {
            let _ = cut.recv().await;
        };
        let stream = futures::StreamExt::take_until(self.storage.watch(prefix, from).await?, Box::pin(end));
        Ok(Box::pin(stream))
    }
    async fn compact(&self, revision: Revision) -> Result<(), StorageError> {
        self.storage.compact(revision).await
    }
    async fn head(&self, prefix: &str) -> Result<Head, StorageError> {
        // A store that is far away cannot say what changed under a prefix.
        let head = self.storage.head(prefix).await?;
        Ok(Head { changed: head.revision, ..head })
    }
    async fn healthy(&self) -> Result<(), StorageError> {
        self.storage.healthy().await
    }
}

async fn flaky() -> (Fixture, Arc<AtomicBool>, tokio::sync::broadcast::Sender<()>) {
    let broken = Arc::new(AtomicBool::new(false));
    let cut = tokio::sync::broadcast::Sender::new(1);
    let storage = Arc::new(memory::open(HistoryLimits::default()).unwrap());
    let flaky = Flaky { storage, broken: broken.clone(), cut: cut.clone() };
    let fixture = fixture_on(Arc::new(flaky), HistoryLimits::default());
    fixture.pods.ready().await;
    // The watch must stand before it can be cut.
    let a = fixture.create("x/0", "web", "").await;
    fixture.pods.wait_for(a.revision).await.unwrap();
    (fixture, broken, cut)
}

#[tokio::test]
async fn a_lost_watch_is_resumed_without_gap_or_repeat() {
    let (fixture, broken, cut) = flaky().await;
    let mut watch = fixture.watch(WatchStart::Now, Predicate::default()).await;
    let a = fixture.create("x/a", "web", "").await;
    assert_eq!(next_texts(&mut watch, 1).await, [format!("ADDED x/a@{}", a.revision)]);
    broken.store(true, Ordering::SeqCst);
    cut.send(()).unwrap();
    let a2 = fixture.update(&a, "db", "").await;
    let gone = fixture.delete(&a2).await;
    broken.store(false, Ordering::SeqCst);
    let b = fixture.create("x/b", "web", "").await;
    let expected =
        [format!("MODIFIED x/a@{}", a2.revision), format!("DELETED x/a@{gone}"), format!("ADDED x/b@{}", b.revision)];
    assert_eq!(next_texts(&mut watch, 3).await, expected);
}

#[tokio::test]
async fn a_cache_that_lost_its_place_starts_anew_and_says_so() {
    let (fixture, broken, cut) = flaky().await;
    let mut watch = fixture.watch(WatchStart::Now, Predicate::default()).await;
    let generation = fixture.pods.generation();
    broken.store(true, Ordering::SeqCst);
    cut.send(()).unwrap();
    let a = fixture.create("x/a", "web", "").await;
    let gone = fixture.delete(&a).await;
    fixture.storage.compact(gone).await.unwrap();
    broken.store(false, Ordering::SeqCst);
    let end = tokio::time::timeout(DEADLINE, watch.next()).await.expect("the end");
    assert!(end.is_none(), "{end:?}");
    assert_eq!(watch.end(), Some(WatchEnd::Reset));
    fixture.pods.wait_for(gone).await.unwrap();
    assert!(fixture.pods.generation() > generation, "what was derived from the old state is void");
    let request =
        WatchRequest { start: WatchStart::After(a.revision), predicate: Predicate::default(), bookmarks: false };
    assert!(matches!(fixture.pods.watch(&request).await.err(), Some(CacheError::Expired { .. })));
}
