//! Lists in pages.

use std::time::Duration;

use futures::StreamExt;
use serde_json::json;
use skiff_tests::eventually_within;
use skiff_tests::rest::MERGE;

use crate::scene::Scene;

/// How many objects there are to list.
const OBJECTS: usize = 400;
/// How many requests make them at a time.
const WRITERS: usize = 20;
/// Objects in a page.
const PAGE: usize = 17;
/// How long it may take until the past is forgotten: it is bounded in time and in bytes, and here bytes are spent.
const COMPACTED_WITHIN: Duration = Duration::from_secs(120);
/// Its name, after those of the others.
const LARGE: &str = "the-large-one";
/// Size of an object whose former values fill the history.
const LARGE_BYTES: usize = 700_000;

async fn fill(scene: &Scene) -> String {
    let path = scene.core("podtemplates");
    let template = |number: usize| {
        json!({"apiVersion": "v1", "kind": "PodTemplate", "metadata": {"name": format!("template-{number:04}")},
            "template": {"metadata": {"labels": {"foo": "bar"}},
                "spec": {"containers": [{"name": "test", "image": "test2"}]}}})
    };
    let writes = futures::stream::iter(0..OBJECTS).map(|number| {
        let (rest, path, object) = (scene.rest.clone(), path.clone(), template(number));
        async move { rest.create(&path, &object).await }
    });
    writes.buffer_unordered(WRITERS).collect::<Vec<_>>().await;
    scene.stage.done("filled");
    path
}

pub(crate) async fn pages_are_exact(scene: Scene) {
    let path = fill(&scene).await;
    for size in [1 + OBJECTS / 3, PAGE, OBJECTS] {
        let (mut next, mut version, mut seen) = (String::new(), None, 0);
        loop {
            let page = scene.rest.get(&format!("{path}?limit={size}&continue={next}")).await;
            let meta = &page["metadata"];
            let items = page["items"].as_array().expect("items");
            assert!(items.len() <= size);
            for item in items {
                assert_eq!(item["metadata"]["name"], format!("template-{seen:04}").as_str());
                seen += 1;
            }
            let taken = version.get_or_insert_with(|| meta["resourceVersion"].clone());
            assert_eq!(*taken, meta["resourceVersion"], "a page of another version");
            let remaining = meta["remainingItemCount"].as_u64().unwrap_or_default();
            assert_eq!(remaining as usize, OBJECTS - seen);
            match meta["continue"].as_str().filter(|token| !token.is_empty()) {
                Some(token) => next = token.to_owned(),
                None => break,
            }
        }
        assert_eq!(seen, OBJECTS);
        scene.stage.done("listed in pages");
    }
    let whole = scene.rest.items(&path).await;
    assert_eq!(whole.len(), OBJECTS);
}

/// A token whose version is compacted says so, and brings another for the rest as it is now.
pub(crate) async fn continues_after_compaction(scene: Scene) {
    let path = fill(&scene).await;
    let filling = json!([{"name": "FILLING", "value": "x".repeat(LARGE_BYTES)}]);
    let large = json!({"metadata": {"name": LARGE}, "template": {"spec": {"containers": [
        {"name": "test", "image": "test2", "env": filling}]}}});
    scene.rest.create(&path, &large).await;
    let first = scene.rest.get(&format!("{path}?limit={PAGE}")).await;
    let token = first["metadata"]["continue"].as_str().expect("a token").to_owned();
    let version = first["metadata"]["resourceVersion"].clone();
    let mut writes = 0;
    let gone = eventually_within(COMPACTED_WITHIN, "an expired token", async || {
        writes += 1;
        let patch = json!({"metadata": {"annotations": {"write": writes.to_string()}}});
        scene.rest.patch(&format!("{path}/{LARGE}"), MERGE, &patch).await;
        let answer = scene.rest.try_get(&format!("{path}?limit={PAGE}&continue={token}")).await;
        if answer.code == 410 { Ok(answer.body) } else { Err(answer.code) }
    })
    .await;
    assert_eq!(gone["reason"], "Expired");
    let inconsistent = gone["metadata"]["continue"].as_str().expect("another token").to_owned();
    assert!(!inconsistent.is_empty() && inconsistent != token);
    scene.stage.done("expired");
    let second = scene.rest.get(&format!("{path}?limit={PAGE}&continue={inconsistent}")).await;
    assert_ne!(second["metadata"]["resourceVersion"], version, "the rest is of now");
    assert_eq!(second["items"][0]["metadata"]["name"], format!("template-{PAGE:04}").as_str());
    let (mut seen, mut page) = (PAGE, second);
    loop {
        seen += page["items"].as_array().map_or(0, Vec::len);
        let Some(token) = page["metadata"]["continue"].as_str().filter(|token| !token.is_empty()) else { break };
        page = scene.rest.get(&format!("{path}?limit={PAGE}&continue={token}")).await;
    }
    assert_eq!(seen, OBJECTS + 1);
    scene.stage.done("continued");
}
