//! Claims, volumes and classes that are in use are not deleted before that ends.

use serde_json::{Value, json};
use skiff_client::Kind;
use skiff_client::objects::DeleteOptions;
use skiff_client::types::{PersistentVolume, PersistentVolumeClaim, Pod, VolumeAttributesClass};

use crate::cluster::{Cluster, NAMESPACE, eventually};

static CLAIMS: skiff_client::ResourceType = PersistentVolumeClaim::RESOURCE;

fn claim(name: &str, class: &str) -> Value {
    json!({"metadata": {"name": name}, "spec": {"accessModes": ["ReadWriteOnce"], "volumeAttributesClassName": class,
        "resources": {"requests": {"storage": "1Mi"}}}})
}

fn pod(name: &str, volume: Value) -> Value {
    json!({"metadata": {"name": name}, "spec": {"nodeName": "n1", "containers": [{"name": "c", "image": "v1"}],
        "volumes": [volume]}})
}

async fn has_finalizer(cluster: &Cluster, resource: &skiff_client::ResourceType, name: &str) -> bool {
    let namespace = if resource.namespaced { NAMESPACE } else { "" };
    let object = cluster.json(resource, namespace).get_opt(name).await.expect("an answer").unwrap_or_default();
    object["metadata"]["finalizers"].is_array()
}

#[tokio::test]
async fn what_is_in_use_stays_until_it_is_not() {
    let cluster = Cluster::start().await;
    let classes = cluster.json(&VolumeAttributesClass::RESOURCE, "");
    classes
        .create(&json!({"metadata": {"name": "gold"}, "driverName": "d.example.com", "parameters": {"a": "b"}}))
        .await
        .expect("a class");
    cluster.create(&CLAIMS, claim("data", "gold")).await;
    let volume = json!({"name": "v", "persistentVolumeClaim": {"claimName": "data"}});
    cluster.create(&Pod::RESOURCE, pod("user", volume)).await;
    eventually("finalizers", || async {
        has_finalizer(&cluster, &CLAIMS, "data").await
            && has_finalizer(&cluster, &VolumeAttributesClass::RESOURCE, "gold").await
    })
    .await;
    classes.delete("gold", &DeleteOptions::default()).await.expect("deleted");
    cluster.json(&CLAIMS, NAMESPACE).delete("data", &DeleteOptions::default()).await.expect("deleted");
    // Another claim goes at once: by then the first could have gone, too.
    cluster.create(&CLAIMS, claim("other", "")).await;
    eventually("a finalizer", || has_finalizer(&cluster, &CLAIMS, "other")).await;
    cluster.json(&CLAIMS, NAMESPACE).delete("other", &DeleteOptions::default()).await.expect("deleted");
    eventually("the other claim is gone", || async { cluster.get(&CLAIMS, "other").await.is_null() }).await;
    assert!(!cluster.get(&CLAIMS, "data").await.is_null(), "a pod uses it");
    assert!(classes.get_opt("gold").await.expect("an answer").is_some(), "a claim names it");

    let now = DeleteOptions { grace_period_seconds: Some(0), ..DeleteOptions::default() };
    cluster.json(&Pod::RESOURCE, NAMESPACE).delete("user", &now).await.expect("deleted");
    eventually("all are gone", || async {
        cluster.get(&CLAIMS, "data").await.is_null() && classes.get_opt("gold").await.expect("an answer").is_none()
    })
    .await;
}

#[tokio::test]
async fn an_ephemeral_volume_gets_a_claim_that_goes_with_its_pod() {
    let cluster = Cluster::start().await;
    let volume = json!({"name": "data", "ephemeral": {"volumeClaimTemplate": {"metadata": {"labels": {"a": "b"}},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Mi"}}}}}});
    cluster.create(&Pod::RESOURCE, pod("own", volume)).await;
    eventually("a claim", || async { !cluster.get(&CLAIMS, "own-data").await.is_null() }).await;
    let made = cluster.get(&CLAIMS, "own-data").await;
    assert_eq!(
        (&made["metadata"]["labels"]["a"], &made["spec"]["accessModes"][0]),
        (&json!("b"), &json!("ReadWriteOnce"))
    );
    let now = DeleteOptions { grace_period_seconds: Some(0), ..DeleteOptions::default() };
    cluster.json(&Pod::RESOURCE, NAMESPACE).delete("own", &now).await.expect("deleted");
    eventually("no claim", || async { cluster.get(&CLAIMS, "own-data").await.is_null() }).await;
}

#[tokio::test]
async fn a_claim_is_bound_and_its_volume_released_and_reclaimed() {
    let cluster = Cluster::start().await;
    let volumes = cluster.json(&PersistentVolume::RESOURCE, "");
    let folder = std::env::temp_dir().join(format!("skiff-volume-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a folder");
    for (name, size, policy) in [("small", "1Gi", "Retain"), ("fits", "5Gi", "Delete"), ("large", "20Gi", "Retain")] {
        let volume = json!({"metadata": {"name": name}, "spec": {"capacity": {"storage": size},
            "accessModes": ["ReadWriteOnce"], "persistentVolumeReclaimPolicy": policy,
            "hostPath": {"path": folder.to_str().expect("a path")}}});
        volumes.create(&volume).await.expect("a volume");
    }
    let volume = |name: &'static str| {
        let volumes = volumes.clone();
        async move { volumes.get_opt(name).await.expect("an answer").unwrap_or_default() }
    };
    let is_free = async |name| volume(name).await["status"]["phase"] == "Available";
    // A claim takes the best of those that the binder has seen: it has to have seen all of them.
    eventually("all are free", || async { is_free("small").await && is_free("fits").await && is_free("large").await })
        .await;
    // That it wrote so does not yet mean that its cache shows so; but it does when a volume that came later is free.
    let last = json!({"metadata": {"name": "last"}, "spec": {"capacity": {"storage": "1Mi"},
        "accessModes": ["ReadWriteMany"], "hostPath": {"path": folder.to_str().expect("a path")}}});
    volumes.create(&last).await.expect("a volume");
    eventually("the last is free", || is_free("last")).await;
    let mut wants = claim("data", "");
    wants["spec"]["resources"]["requests"]["storage"] = json!("2Gi");
    wants["spec"]["storageClassName"] = json!("");
    wants["spec"].as_object_mut().expect("a spec").remove("volumeAttributesClassName");
    cluster.create(&CLAIMS, wants).await;
    eventually("both are bound", || async {
        let claim = cluster.get(&CLAIMS, "data").await;
        claim["status"]["phase"] == "Bound" && volume("fits").await["status"]["phase"] == "Bound"
    })
    .await;
    let bound = cluster.get(&CLAIMS, "data").await;
    assert_eq!(
        (&bound["spec"]["volumeName"], &bound["status"]["capacity"]["storage"]),
        (&json!("fits"), &json!("5Gi"))
    );
    assert_eq!(volume("fits").await["spec"]["claimRef"]["uid"], bound["metadata"]["uid"]);
    assert!(is_free("small").await && is_free("large").await, "the others were touched");

    // The volume goes with its claim, and what it held.
    cluster.json(&CLAIMS, NAMESPACE).delete("data", &DeleteOptions::default()).await.expect("deleted");
    eventually("no volume", || async { volume("fits").await.is_null() && !folder.exists() }).await;
}

#[tokio::test]
async fn a_volume_that_its_claim_does_not_name_is_released_with_it() {
    let cluster = Cluster::start().await;
    let mut wants = claim("files", "");
    wants["spec"]["storageClassName"] = json!("");
    wants["spec"].as_object_mut().expect("a spec").remove("volumeAttributesClassName");
    cluster.create(&CLAIMS, wants).await;
    let uid = cluster.get(&CLAIMS, "files").await["metadata"]["uid"].clone();
    let volumes = cluster.json(&PersistentVolume::RESOURCE, "");
    let device = json!({"metadata": {"name": "device"}, "spec": {"capacity": {"storage": "1Gi"}, "volumeMode": "Block",
        "accessModes": ["ReadWriteOnce"], "persistentVolumeReclaimPolicy": "Retain", "hostPath": {"path": "/nowhere"},
        "claimRef": {"namespace": NAMESPACE, "name": "files", "uid": uid}}});
    volumes.create(&device).await.expect("a volume");
    let events = cluster.json(&skiff_client::ResourceType::new("", "v1", "events", "Event", true), NAMESPACE);
    eventually("the two cannot go together", || async {
        let list = events.get("").await.expect("a list");
        list["items"].as_array().is_some_and(|all| all.iter().any(|one| one["reason"] == "VolumeMismatch"))
    })
    .await;
    cluster.json(&CLAIMS, NAMESPACE).delete("files", &DeleteOptions::default()).await.expect("deleted");
    eventually("the volume is released", || async {
        volumes.get("device").await.expect("the volume")["status"]["phase"] == "Released"
    })
    .await;
}
