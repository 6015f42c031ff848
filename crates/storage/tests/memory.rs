//! The memory engine under the behaviour suite.

use skiff_storage::testing::memory_fixture;

skiff_storage::storage_suite!(skiff_storage::testing::memory_fixture);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_watcher_is_cut_off() {
    skiff_storage::testing::watches::a_slow_watcher_is_cut_off(&*memory_fixture().await.storage, 17_000).await;
}
