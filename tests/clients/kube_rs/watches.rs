//! Watchers of the client's runtime, which list first or ask for the list as a stream.

use std::collections::BTreeMap;
use std::time::Duration;

use futures::{Stream, StreamExt, TryStreamExt};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams, VersionMatch, WatchEvent, WatchParams};
use kube::core::PartialObjectMeta;
use kube::runtime::watcher::{self, Config, Event};
use kube::runtime::{WatchStreamExt, predicates, reflector};
use kube::{Api, ResourceExt};
use serde_json::json;
use skiff_tests::eventually;

use super::errors::code;
use super::typed::config_map;
use skiff_tests::stage::Stage;

/// How long an event may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// Objects that are there before anybody watches.
const BEFORE: usize = 12;

pub(super) async fn listing(stage: Stage) {
    replays(&stage, Config::default().labels("kind=settings").page_size(5)).await;
    raw(&stage).await;
}

pub(super) async fn streaming(stage: Stage) {
    replays(&stage, Config::default().labels("kind=settings").streaming_lists()).await;
    reflects(&stage).await;
}

/// The next event.
async fn next<T>(events: &mut (impl Stream<Item = watcher::Result<T>> + Unpin)) -> T {
    let event = tokio::time::timeout(PATIENCE, events.next()).await.expect("an event in time");
    event.expect("an event").expect("no error")
}

/// A watcher sees what was there, then every change, as its selector has it.
async fn replays(stage: &Stage, config: Config) {
    let maps: Api<ConfigMap> = stage.api();
    let mut last = String::new();
    for number in 0..BEFORE {
        let map = config_map(&format!("map-{number:02}"), "blue");
        let map = maps.create(&PostParams::default(), &map).await.expect("created");
        last = map.resource_version().expect("a version");
    }
    // A streamed list starts from version 0, which is whatever the server's cache has: let that be all.
    let known = ListParams::default().at(&last).matching(VersionMatch::NotOlderThan);
    maps.list(&known).await.expect("a list");
    let mut events = std::pin::pin!(watcher::watcher(maps.clone(), config.clone()));
    assert!(matches!(next(&mut events).await, Event::Init));
    let mut seen = BTreeMap::new();
    loop {
        match next(&mut events).await {
            Event::InitApply(map) => seen.insert(map.name_any(), map),
            Event::InitDone => break,
            other => panic!("{other:?}"),
        };
    }
    assert_eq!(seen.len(), BEFORE);
    stage.done("what was there");

    maps.create(&PostParams::default(), &config_map("new", "red")).await.expect("created");
    let Event::Apply(map) = next(&mut events).await else { panic!("not created") };
    assert_eq!(map.name_any(), "new");
    let patch = |patch| Patch::Merge(patch);
    maps.patch("new", &PatchParams::default(), &patch(json!({"data": {"a": "1"}}))).await.expect("patched");
    let Event::Apply(map) = next(&mut events).await else { panic!("not changed") };
    assert_eq!(map.data.as_ref().expect("data")["a"], "1");
    // Out of the selector and back again.
    maps.patch("new", &PatchParams::default(), &patch(json!({"metadata": {"labels": {"kind": "other"}}})))
        .await
        .expect("patched");
    assert!(matches!(next(&mut events).await, Event::Delete(map) if map.name_any() == "new"));
    maps.patch("new", &PatchParams::default(), &patch(json!({"metadata": {"labels": {"kind": "settings"}}})))
        .await
        .expect("patched");
    assert!(matches!(next(&mut events).await, Event::Apply(map) if map.name_any() == "new"));
    maps.delete("new", &DeleteParams::default()).await.expect("deleted");
    let Event::Delete(gone) = next(&mut events).await else { panic!("not deleted") };
    assert_ne!(gone.resource_version(), map.resource_version(), "the version of its deletion");
    stage.done("every change");

    let metadata: Api<PartialObjectMeta<ConfigMap>> = stage.api();
    let mut events = std::pin::pin!(watcher::watcher(metadata, config).applied_objects());
    let metadata = next(&mut events).await;
    assert!(metadata.metadata.uid.is_some());
    stage.done("metadata only");
    let mut one = std::pin::pin!(watcher::watch_object(maps.clone(), "single"));
    assert!(next(&mut one).await.is_none());
    maps.create(&PostParams::default(), &config_map("single", "red")).await.expect("created");
    assert!(next(&mut one).await.is_some());
    maps.delete("single", &DeleteParams::default()).await.expect("deleted");
    assert!(next(&mut one).await.is_none());
    stage.done("one object");
}

/// The watch itself: versions, bookmarks, its end, and versions that are gone.
async fn raw(stage: &Stage) {
    let maps: Api<ConfigMap> = stage.api();
    let list = maps.list(&ListParams::default()).await.expect("a list");
    let version = list.metadata.resource_version.expect("a version");
    maps.create(&PostParams::default(), &config_map("later", "red")).await.expect("created");
    let params = WatchParams::default().timeout(2).fields("metadata.name=later");
    let events: Vec<_> =
        maps.watch(&params, &version).await.expect("a watch").try_collect().await.expect("an orderly end");
    assert!(matches!(&events[0], WatchEvent::Added(map) if map.name_any() == "later"), "{events:?}");
    stage.done("from a version to the time asked for");

    let again: Vec<_> =
        maps.watch(&params, &version).await.expect("a watch").try_collect().await.expect("an orderly end");
    let versions = |events: &[WatchEvent<ConfigMap>]| {
        let versions = events.iter().map(|event| match event {
            WatchEvent::Added(map) | WatchEvent::Modified(map) | WatchEvent::Deleted(map) => map.resource_version(),
            WatchEvent::Bookmark(_) | WatchEvent::Error(_) => None,
        });
        versions.flatten().collect::<Vec<_>>()
    };
    assert_eq!(versions(&events), versions(&again), "the past is the same for everybody");
    stage.done("again from the same version");
    let bad = maps.watch(&WatchParams::default().labels("a b"), "0").await;
    assert_eq!(code(bad.map(|_| ())), 400);
    stage.done("bad selector");
}

/// A store that follows, also through a change of everything.
async fn reflects(stage: &Stage) {
    let maps: Api<ConfigMap> = stage.api();
    let (reader, writer) = reflector::store();
    let stream = watcher::watcher(maps.clone(), Config::default().labels("kind=settings").streaming_lists());
    let stream = reflector(writer, stream.default_backoff()).applied_objects();
    let stream = stream.predicate_filter(predicates::resource_version, Default::default());
    let following = tokio::spawn(async move {
        let mut stream = std::pin::pin!(stream);
        while stream.next().await.is_some() {}
    });
    tokio::time::timeout(PATIENCE, reader.wait_until_ready()).await.expect("in time").expect("ready");
    assert_eq!(reader.len(), BEFORE);
    for number in 0..BEFORE {
        let patch = Patch::Merge(json!({"data": {"color": "green"}}));
        maps.patch(&format!("map-{number:02}"), &PatchParams::default(), &patch).await.expect("patched");
    }
    eventually("the store has followed", async || {
        let green = |map: &ConfigMap| map.data.as_ref().is_some_and(|data| data["color"] == "green");
        let behind = reader.state().iter().filter(|map| !green(map)).count();
        if behind == 0 { Ok(()) } else { Err(behind) }
    })
    .await;
    stage.done("a store follows");
    maps.delete_collection(&DeleteParams::default(), &ListParams::default().labels("kind=settings"))
        .await
        .expect("deleted");
    eventually("the store is empty", async || if reader.is_empty() { Ok(()) } else { Err(reader.len()) }).await;
    stage.done("a store forgets");
    following.abort();
}
