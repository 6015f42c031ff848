//! The memory engine under the behaviour suite.

use skiff_storage::testing::Fixture;
use skiff_storage::{HistoryLimits, memory};

async fn fixture() -> Fixture {
    Fixture::new(memory::open(HistoryLimits::default()).expect("a store"))
}

skiff_storage::storage_suite!(crate::fixture);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_watcher_is_cut_off() {
    skiff_storage::testing::watches::a_slow_watcher_is_cut_off(&*fixture().await.storage, 17_000).await;
}
