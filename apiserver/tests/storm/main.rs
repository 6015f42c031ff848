//! Many writers, many watchers, a compaction and a restart: no event is lost, doubled or out of order.
//!
//! Sixteen writers make 50 000 random changes to a few hundred Events, racing for the same ones. Sixty-four watchers
//! follow with different selectors, encodings, group versions and starting points; some fall asleep and come back
//! after the history they need was compacted. Half way the server is stopped and started again on the same store.
//! What each watcher saw is compared, event by event, with what its selector makes of the changes; what it has at the
//! end is compared with a list.
//!
//! `SKIFF_STORM_SEED` repeats a run (as far as the scheduler lets it), `SKIFF_STORM_CHANGES` makes it shorter or longer.

mod proto;
mod selector;
mod truth;
mod watcher;
mod writer;

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::future::join_all;
use skiff_fixture::Api;
use skiff_storage::testing::{DEADLINE, EtcdServer};
use skiff_storage::{HistoryLimits, Storage, embedded, etcd};

use crate::truth::{Changes, Truth};
use crate::watcher::{Watcher, watchers};
use crate::writer::Writer;

const WRITERS: usize = 16;
const CHANGES: usize = 50_000;
/// Longest that watchers may lag behind the last write.
const LAG: Duration = Duration::from_secs(60);

/// Opens the store again after the server is gone.
trait Engine {
    async fn open(&self) -> Arc<dyn Storage>;
}

struct Embedded(tempfile::TempDir);

impl Engine for Embedded {
    async fn open(&self) -> Arc<dyn Storage> {
        let mut config = embedded::Config::new(self.0.path());
        // All of the storm, so that only the compaction forgets.
        config.history = HistoryLimits { bytes: 1 << 30, age: Duration::from_secs(3600) };
        let deadline = Instant::now() + DEADLINE;
        loop {
            // The server before may still be letting go.
            match embedded::open(&config) {
                Ok(store) => return Arc::new(store),
                Err(error) => assert!(Instant::now() < deadline, "{error}"),
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

struct Etcd(EtcdServer);

impl Engine for Etcd {
    async fn open(&self) -> Arc<dyn Storage> {
        Arc::new(etcd::open(&etcd::Config::new(vec![self.0.url.clone()])).await.expect("a store"))
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn embedded() {
    storm(Embedded(tempfile::tempdir().expect("a folder")), number("SKIFF_STORM_CHANGES").unwrap_or(CHANGES)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn etcd() {
    // Several times slower than our own store, so a fifth of it.
    let changes = number("SKIFF_STORM_CHANGES").unwrap_or(CHANGES / 5);
    storm(Etcd(EtcdServer::start()), changes).await;
}

fn number(variable: &str) -> Option<usize> {
    std::env::var(variable).ok()?.parse().ok()
}

async fn storm(engine: impl Engine, changes: usize) {
    let seed = number("SKIFF_STORM_SEED").map_or_else(rand::random, |seed| seed as u64);
    println!("SKIFF_STORM_SEED={seed}");
    let begun = Instant::now();
    let mut writers = (0..WRITERS).map(|number| Writer::new(seed, number)).collect::<Vec<_>>();
    let mut watchers = watchers(seed);
    let mut truth = Truth::default();

    let storage = engine.open().await;
    let api = Arc::new(Api::open_on(storage.clone()).await);
    let first = Changes::follow(&storage, 0).await;
    writer::prepare(&api).await;
    let running = start(&mut watchers, &api).await;
    write(&mut writers, &api, changes / 4).await;
    // Those who fall asleep miss what follows.
    watcher::doze(&running);
    write(&mut writers, &api, changes / 4).await;
    let middle = storage.current_revision().await.expect("the store reads");
    truth.extend(first.until(middle).await);
    settle(&running, &truth).await;
    drop(storage);
    stop(&mut watchers, running, Arc::into_inner(api).expect("nobody else has the server")).await;

    let storage = engine.open().await;
    storage.compact(middle).await.expect("compacted");
    let api = Arc::new(Api::open_on(storage.clone()).await);
    let second = Changes::follow(&storage, middle).await;
    let running = start(&mut watchers, &api).await;
    write(&mut writers, &api, changes / 2).await;
    let last = storage.current_revision().await.expect("the store reads");
    truth.extend(second.until(last).await);
    settle(&running, &truth).await;
    let lists = join_all(watchers.iter().map(|watcher| watcher.spec.list(&api))).await;
    drop(storage);
    stop(&mut watchers, running, Arc::into_inner(api).expect("nobody else has the server")).await;

    truth.holds_every_answer(&writers);
    let mut seen = 0;
    for (watcher, list) in watchers.iter().zip(lists) {
        seen += watcher.verify(&truth, list);
    }
    let expired = watchers.iter().filter(|watcher| watcher.expired).count();
    assert_eq!(expired, watcher::SLEEPERS, "sleepers wake up too late");
    let (writes, unchanged) = writer::totals(&writers);
    println!(
        "{writes} requests, {} changes ({unchanged} writes without a change), {} watchers, {seen} events, {expired} expired, {:?}",
        truth.len(),
        watchers.len(),
        begun.elapsed()
    );
}

async fn write(writers: &mut [Writer], api: &Api, requests: usize) {
    join_all(writers.iter_mut().map(|writer| writer.run(api, requests.div_ceil(WRITERS)))).await;
}

async fn start(watchers: &mut [Watcher], api: &Arc<Api>) -> Vec<watcher::Running> {
    join_all(watchers.iter_mut().map(|watcher| watcher.start(api))).await
}

/// Waits until all have all that they are to have.
async fn settle(running: &[watcher::Running], truth: &Truth) {
    let deadline = Instant::now() + LAG;
    for one in running {
        while !one.has_all(truth) {
            assert!(Instant::now() < deadline, "{} lags:\n{}", one.name(), one.missing(truth));
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

/// Ends the server, and with it all watches: what was still on its way arrives first.
async fn stop(watchers: &mut [Watcher], running: Vec<watcher::Running>, api: Api) {
    drop(api);
    for (watcher, running) in watchers.iter_mut().zip(running) {
        watcher.ended(running.rest().await);
    }
}
