//! Watches with selectors, start versions and company.

use std::time::Duration;

use futures::future::join_all;
use serde_json::{Value, json};
use skiff_tests::rest::{MERGE, Watch};

use crate::scene::Scene;

/// How long a watch must stay silent where nothing may come.
const SILENCE: Duration = Duration::from_millis(500);
/// Writes that concurrent watches see.
const WRITES: usize = 50;

fn labelled(name: &str, label: &str) -> Value {
    json!({"metadata": {"name": name, "labels": {"watch-this-configmap": label}}})
}

fn data(count: usize) -> Value {
    json!({"data": {"mutation": count.to_string()}})
}

async fn selected(scene: &Scene, selector: &str) -> Watch {
    let path = scene.core("configmaps");
    scene.rest.watch(&format!("{path}?labelSelector={selector}")).await
}

pub(crate) async fn with_selectors(scene: Scene) {
    let path = scene.core("configmaps");
    let mut a = selected(&scene, "watch-this-configmap%3Da").await;
    let mut b = selected(&scene, "watch-this-configmap%3Db").await;
    let mut both = selected(&scene, "watch-this-configmap%20in%20(a,b)").await;
    scene.rest.create(&path, &labelled("a", "a")).await;
    for watch in [&mut a, &mut both] {
        watch.until("ADDED", |object| object["metadata"]["name"] == "a").await;
    }
    for count in [1, 2] {
        scene.rest.patch(&format!("{path}/a"), MERGE, &data(count)).await;
        for watch in [&mut a, &mut both] {
            watch.until("MODIFIED", |object| object["data"]["mutation"] == count.to_string()).await;
        }
        scene.stage.done("modified");
    }
    scene.rest.delete(&format!("{path}/a")).await;
    for watch in [&mut a, &mut both] {
        watch.until("DELETED", |object| object["data"]["mutation"] == "2").await;
    }
    scene.rest.create(&path, &labelled("b", "b")).await;
    for watch in [&mut b, &mut both] {
        let (kind, object) = watch.next().await;
        assert_eq!((kind.as_str(), &object["metadata"]["name"]), ("ADDED", &json!("b")), "the first to be seen");
    }
    a.is_quiet_for(SILENCE).await;
    scene.stage.done("selected");
}

pub(crate) async fn from_a_version(scene: Scene) {
    let path = scene.core("configmaps");
    scene.rest.create(&path, &labelled("from", "from")).await;
    let first = scene.rest.patch(&format!("{path}/from"), MERGE, &data(1)).await;
    scene.rest.patch(&format!("{path}/from"), MERGE, &data(2)).await;
    scene.rest.delete(&format!("{path}/from")).await;
    let version = first["metadata"]["resourceVersion"].as_str().expect("a version");
    let query = format!("{path}?labelSelector=watch-this-configmap%3Dfrom&resourceVersion={version}");
    let mut watch = scene.rest.watch(&query).await;
    for (expected, mutation) in [("MODIFIED", "2"), ("DELETED", "2")] {
        let (kind, object) = watch.next().await;
        assert_eq!((kind.as_str(), &object["data"]["mutation"]), (expected, &json!(mutation)));
        scene.stage.done("seen");
    }
}

pub(crate) async fn from_the_last_version(scene: Scene) {
    let path = scene.core("configmaps");
    let mut watch = selected(&scene, "watch-this-configmap%3Dlast").await;
    scene.rest.create(&path, &labelled("last", "last")).await;
    scene.rest.patch(&format!("{path}/last"), MERGE, &data(1)).await;
    watch.until("ADDED", |_| true).await;
    let seen = watch.until("MODIFIED", |_| true).await;
    drop(watch);
    scene.rest.patch(&format!("{path}/last"), MERGE, &data(2)).await;
    scene.rest.delete(&format!("{path}/last")).await;
    let version = seen["metadata"]["resourceVersion"].as_str().expect("a version");
    let query = format!("{path}?labelSelector=watch-this-configmap%3Dlast&resourceVersion={version}");
    let mut again = scene.rest.watch(&query).await;
    for expected in ["MODIFIED", "DELETED"] {
        let (kind, object) = again.next().await;
        assert_eq!((kind.as_str(), &object["data"]["mutation"]), (expected, &json!("2")));
        scene.stage.done("seen");
    }
}

/// An object that a selector no longer fits is deleted for its watcher, and added when it fits again.
pub(crate) async fn out_of_the_selector(scene: Scene) {
    let path = scene.core("configmaps");
    let mut watch = selected(&scene, "watch-this-configmap%3Dlabel").await;
    scene.rest.create(&path, &labelled("label", "label")).await;
    scene.rest.patch(&format!("{path}/label"), MERGE, &data(1)).await;
    let relabel = |label: &str| json!({"metadata": {"labels": {"watch-this-configmap": label}}});
    scene.rest.patch(&format!("{path}/label"), MERGE, &relabel("other")).await;
    watch.until("ADDED", |_| true).await;
    watch.until("MODIFIED", |_| true).await;
    let (kind, object) = watch.next().await;
    assert_eq!((kind.as_str(), &object["data"]["mutation"]), ("DELETED", &json!("1")));
    scene.rest.patch(&format!("{path}/label"), MERGE, &data(2)).await;
    watch.is_quiet_for(SILENCE).await;
    scene.stage.done("left");
    scene.rest.patch(&format!("{path}/label"), MERGE, &relabel("label")).await;
    let (kind, object) = watch.next().await;
    assert_eq!((kind.as_str(), &object["data"]["mutation"]), ("ADDED", &json!("2")));
    scene.rest.patch(&format!("{path}/label"), MERGE, &data(3)).await;
    watch.until("MODIFIED", |object| object["data"]["mutation"] == "3").await;
    scene.rest.delete(&format!("{path}/label")).await;
    watch.until("DELETED", |_| true).await;
    scene.stage.done("came back");
}

/// Watches that begin at every version on the way see the rest in one order.
pub(crate) async fn in_one_order(scene: Scene) {
    let path = scene.core("configmaps");
    let list = scene.rest.get(&path).await;
    let mut starts = vec![list["metadata"]["resourceVersion"].as_str().expect("a version").to_owned()];
    for number in 0..WRITES {
        let name = format!("cm-{}", number % 7);
        let answer = scene.rest.try_create(&path, &labelled(&name, "order")).await;
        let object = match answer.code {
            201 => answer.body,
            _ if number % 3 == 0 => {
                scene.rest.delete(&format!("{path}/{name}")).await;
                continue;
            }
            _ => scene.rest.patch(&format!("{path}/{name}"), MERGE, &data(number)).await,
        };
        starts.push(object["metadata"]["resourceVersion"].as_str().expect("a version").to_owned());
    }
    let last = starts.last().expect("a version").parse::<u64>().expect("a number");
    let watches = starts.iter().map(|start| {
        let (rest, path) = (scene.rest.clone(), format!("{path}?resourceVersion={start}"));
        async move {
            let (mut watch, mut versions) = (rest.watch(&path).await, Vec::new());
            while versions.last().is_none_or(|version| *version < last) && start.parse::<u64>().is_ok_and(|s| s < last)
            {
                let (_, object) = watch.next().await;
                let version = object["metadata"]["resourceVersion"].as_str().expect("a version");
                versions.push(version.parse::<u64>().expect("a number"));
            }
            versions
        }
    });
    let orders = join_all(watches).await;
    let whole = &orders[0];
    assert!(whole.windows(2).all(|pair| pair[0] < pair[1]), "out of order: {whole:?}");
    for order in &orders {
        assert!(whole.ends_with(order), "{order:?} is not the end of {whole:?}");
        scene.stage.done("the same order");
    }
}
