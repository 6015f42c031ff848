//! The history that the cells ask about, on each engine: made once and shared by all tests that only read.
//!
//! | revision | what happened | what was there after it |
//! |---|---|---|
//! | `past` | `z` and `a` to `e` were created | `PAST` |
//! | | `z` was deleted | |
//! | `page` | `b` was changed; two were listed, of which `token` continues | `PAGE` |
//! | | `c` was deleted, `f` created | `NOW` |

use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use serde_json::{Value, json};
use skiff_fixture::{Answer, Api};
use skiff_storage::Storage;
use skiff_storage::testing::{Fixture, embedded_fixture, etcd_fixture};

/// How long anything may take that has to happen.
pub(crate) const DEADLINE: Duration = Duration::from_secs(30);
/// The objects' collection.
pub(crate) const MAPS: &str = "/api/v1/namespaces/matrix/configmaps";

/// What there was, as `NAME=VALUE`.
pub(crate) const PAST: &str = "a=1 b=1 c=1 d=1 e=1 z=1";
/// See the module.
pub(crate) const PAGE: &str = "a=1 b=2 c=1 d=1 e=1";
/// See the module.
pub(crate) const NOW: &str = "a=1 b=2 d=1 e=1 f=1";

/// Where objects are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Engine {
    /// SQLite.
    Embedded,
    /// A real etcd.
    Etcd,
}

impl Engine {
    /// An empty store.
    pub(crate) async fn store(self) -> Fixture {
        match self {
            Engine::Embedded => embedded_fixture().await,
            Engine::Etcd => etcd_fixture().await,
        }
    }
}

/// A server with the history.
pub(crate) struct History {
    pub(crate) api: Api,
    past: u64,
    page: u64,
    now: u64,
    token: String,
    runtime: Option<tokio::runtime::Runtime>,
    storage: Arc<dyn Storage>,
    /// The engine's process or folder.
    _keep: Mutex<Box<dyn std::any::Any + Send>>,
}

static EMBEDDED: Mutex<Weak<History>> = Mutex::new(Weak::new());
static ETCD: Mutex<Weak<History>> = Mutex::new(Weak::new());

impl History {
    /// The engine's history, made by the first test that asks; it goes with the last.
    pub(crate) fn shared(engine: Engine) -> Arc<Self> {
        let cell = match engine {
            Engine::Embedded => &EMBEDDED,
            Engine::Etcd => &ETCD,
        };
        let mut cell = cell.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        cell.upgrade().unwrap_or_else(|| {
            let made = Arc::new(Self::make(engine));
            *cell = Arc::downgrade(&made);
            made
        })
    }

    /// A history of a test's own.
    pub(crate) fn make(engine: Engine) -> Self {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
        let (api, store, past, page, now, token) = runtime.block_on(async {
            let store = engine.store().await;
            let api = Api::open_on(store.storage.clone()).await;
            let namespace = |name: &str| json!({"metadata": {"name": name}});
            api.post("/api/v1/namespaces", namespace("matrix")).await.expect(201);
            api.post("/api/v1/namespaces", namespace("sentinels")).await.expect(201);
            let mut past = 0;
            for name in ["z", "a", "b", "c", "d", "e"] {
                past = version(&api.post(MAPS, map(name, "1")).await.expect(201).json());
            }
            api.delete(&format!("{MAPS}/z"), None).await.expect(200);
            let page = version(&api.put(&format!("{MAPS}/b"), map("b", "2")).await.expect(200).json());
            let first = api.get(&format!("{MAPS}?limit=2")).await.expect(200).json();
            assert_eq!((version(&first), names(&first).as_str()), (page, "a=1 b=2"));
            let token = first["metadata"]["continue"].as_str().expect("a token").to_owned();
            api.delete(&format!("{MAPS}/c"), None).await.expect(200);
            let now = version(&api.post(MAPS, map("f", "1")).await.expect(201).json());
            // A read of whatever there is (version 0) must not be from before all that.
            api.get(MAPS).await.expect(200);
            (api, store, past, page, now, token)
        });
        Self {
            api,
            past,
            page,
            now,
            token,
            runtime: Some(runtime),
            storage: store.storage,
            _keep: Mutex::new(store.keep),
        }
    }

    /// A query with `{past}`, `{page}`, `{future}` and `{token}` filled in.
    pub(crate) fn query(&self, query: &str) -> String {
        query
            .replace("{past}", &self.past.to_string())
            .replace("{page}", &self.page.to_string())
            .replace("{now}", &self.now.to_string())
            .replace("{future}", &(self.now + 1_000_000).to_string())
            .replace("{token}", &self.token)
    }

    /// A revision by its name.
    pub(crate) fn revision(&self, name: &str) -> u64 {
        self.query(name).parse().expect("a revision")
    }

    /// Waits for something of the server.
    pub(crate) fn wait<T>(&self, what: impl Future<Output = T>) -> T {
        let runtime = self.runtime.as_ref().expect("it lives");
        runtime.block_on(async { tokio::time::timeout(DEADLINE, what).await.expect("within the deadline") })
    }

    /// GET of the collection.
    pub(crate) fn list(&self, query: &str) -> Answer {
        self.wait(self.api.get(&format!("{MAPS}?{}", self.query(query))))
    }

    /// A new server over the same store, in the old one's place.
    pub(crate) fn restarted(mut self) -> Self {
        self.api = self.wait(Api::open_on(self.storage.clone()));
        self
    }

    /// Makes the engine forget what was before `now`.
    pub(crate) fn compact(&self) {
        self.wait(self.storage.compact(self.now)).expect("compacted");
    }
}

impl Drop for History {
    fn drop(&mut self) {
        // Not from within: a test may end on any thread.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// A ConfigMap.
pub(crate) fn map(name: &str, value: &str) -> Value {
    json!({"metadata": {"name": name}, "data": {"v": value}})
}

/// `metadata.resourceVersion` as a number.
pub(crate) fn version(object: &Value) -> u64 {
    object["metadata"]["resourceVersion"].as_str().and_then(|text| text.parse().ok()).expect("a version")
}

/// The items of a list as `NAME=VALUE`.
pub(crate) fn names(list: &Value) -> String {
    let items = list["items"].as_array().expect("items").iter();
    items.map(name).collect::<Vec<_>>().join(" ")
}

/// An object as `NAME=VALUE`.
pub(crate) fn name(object: &Value) -> String {
    let text = |value: &Value| value.as_str().unwrap_or("").to_owned();
    format!("{}={}", text(&object["metadata"]["name"]), text(&object["data"]["v"]))
}
