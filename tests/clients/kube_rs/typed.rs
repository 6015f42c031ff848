//! Objects of the client's own types: made, read, replaced, deleted.

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Secret, Service};
use kube::api::{DeleteParams, ListParams, PostParams, Preconditions, PropagationPolicy};
use kube::{Api, Resource, ResourceExt};
use serde_json::json;
use skiff_tests::eventually;

use super::errors::code;
use skiff_tests::stage::Stage;

/// A ConfigMap with one entry.
pub(super) fn config_map(name: &str, color: &str) -> ConfigMap {
    serde_json::from_value(json!({
        "metadata": {"name": name, "labels": {"kind": "settings", "color": color}},
        "data": {"color": color},
    }))
    .expect("a ConfigMap")
}

/// A Deployment without pods.
pub(super) fn deployment(name: &str, replicas: i32) -> Deployment {
    serde_json::from_value(json!({
        "metadata": {"name": name, "labels": {"app": name}},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": name}},
            "template": {
                "metadata": {"labels": {"app": name}},
                "spec": {"nodeSelector": {"nowhere": "here"}, "containers": [{"name": "web", "image": "skiff.local/echo:v1"}]},
            },
        },
    }))
    .expect("a Deployment")
}

pub(super) async fn objects(stage: Stage) {
    let maps: Api<ConfigMap> = stage.api();
    let create = PostParams { field_manager: Some("typed".to_owned()), ..PostParams::default() };
    let made = maps.create(&create, &config_map("one", "blue")).await.expect("created");
    assert!(made.uid().is_some() && made.resource_version().is_some() && made.creation_timestamp().is_some());
    assert_eq!(made.managed_fields()[0].manager.as_deref(), Some("typed"));
    stage.done("create");

    let dry = PostParams { dry_run: true, ..PostParams::default() };
    maps.create(&dry, &config_map("dry", "blue")).await.expect("created in a dry run");
    assert!(maps.get_opt("dry").await.expect("an answer").is_none());
    stage.done("dry run");

    let generated = ConfigMap {
        metadata: kube::api::ObjectMeta { generate_name: Some("some-".to_owned()), ..Default::default() },
        ..Default::default()
    };
    let generated = maps.create(&create, &generated).await.expect("created with a name of the server");
    assert!(generated.name_any().len() == "some-".len() + 5);
    stage.done("generated name");

    for color in ["red", "green"] {
        maps.create(&create, &config_map(color, color)).await.expect("created");
    }
    let labelled = maps.list(&ListParams::default().labels("kind=settings,color!=red")).await.expect("a list");
    assert_eq!(labelled.iter().map(ResourceExt::name_any).collect::<Vec<_>>(), ["green", "one"]);
    let named = maps.list(&ListParams::default().fields("metadata.name=red")).await.expect("a list");
    assert_eq!(named.items.len(), 1);
    stage.done("list by label and field");

    let metadata = maps.get_metadata("one").await.expect("metadata");
    assert_eq!((metadata.name_any(), metadata.uid()), ("one".to_owned(), made.uid()));
    let metadata = maps.list_metadata(&ListParams::default().labels("kind")).await.expect("a list of metadata");
    assert_eq!(metadata.items.len(), 3);
    stage.done("metadata only");

    let mut changed = maps.get("one").await.expect("read");
    changed.data.get_or_insert_default().insert("size".to_owned(), "3".to_owned());
    let replaced = maps.replace("one", &create, &changed).await.expect("replaced");
    assert_ne!(replaced.resource_version(), made.resource_version());
    let same = maps.replace("one", &create, &replaced).await.expect("replaced by the same");
    assert_eq!(same.resource_version(), replaced.resource_version(), "nothing changed");
    assert_eq!(code(maps.replace("one", &create, &changed).await), 409, "a stale version");
    stage.done("replace");

    let mut entry = maps.entry("two").await.expect("an entry").or_insert(|| config_map("two", "white"));
    entry.commit(&create).await.expect("made by entry");
    let entry = maps.entry("two").await.expect("an entry");
    let mut entry = entry
        .and_modify(|map| {
            map.data.get_or_insert_default().insert("more".into(), "1".into());
        })
        .or_insert(|| unreachable!("it is there"));
    entry.commit(&create).await.expect("changed by entry");
    assert_eq!(maps.get("two").await.expect("read").data.map(|data| data.len()), Some(2));
    stage.done("entry");

    let deleted = maps.delete("two", &DeleteParams::default()).await.expect("deleted");
    assert!(deleted.is_right() && deleted.right().is_some_and(|status| status.is_success()));
    let deleted = maps.delete_collection(&DeleteParams::default(), &ListParams::default().labels("kind")).await;
    assert!(deleted.expect("deleted").is_left());
    eventually("all are gone", async || {
        let left = maps.list(&ListParams::default().labels("kind")).await.expect("a list").items.len();
        if left == 0 { Ok(()) } else { Err(left) }
    })
    .await;
    stage.done("delete");

    let secrets: Api<Secret> = stage.api();
    let secret =
        serde_json::from_value(json!({"metadata": {"name": "s"}, "stringData": {"a": "horse"}})).expect("a Secret");
    let secret = secrets.create(&create, &secret).await.expect("created");
    assert_eq!(secret.data.and_then(|data| data.get("a").map(|value| value.0.clone())), Some(b"horse".to_vec()));
    let services: Api<Service> = stage.api();
    let service = serde_json::from_value(
        json!({"metadata": {"name": "web"}, "spec": {"selector": {"a": "b"}, "ports": [{"port": 80}]}}),
    );
    let service = services.create(&create, &service.expect("a Service")).await.expect("created");
    assert!(service.spec.and_then(|spec| spec.cluster_ip).is_some());
    let namespaces: Api<Namespace> = Api::all(stage.client.clone());
    assert_eq!(
        namespaces.get(&stage.namespace).await.expect("read").labels()["kubernetes.io/metadata.name"],
        stage.namespace
    );
    stage.done("other kinds");
}

pub(super) async fn preconditions(stage: Stage) {
    let maps: Api<ConfigMap> = stage.api();
    let create = PostParams::default();
    let made = maps.create(&create, &config_map("one", "blue")).await.expect("created");
    let with = |uid: Option<String>, version: Option<String>| {
        DeleteParams::default().preconditions(Preconditions { uid, resource_version: version })
    };
    assert_eq!(code(maps.delete("one", &with(Some("other".to_owned()), None)).await), 409);
    assert_eq!(code(maps.delete("one", &with(None, Some("1".to_owned()))).await), 409);
    let dry = DeleteParams { dry_run: true, ..DeleteParams::default() };
    maps.delete("one", &dry).await.expect("deleted in a dry run");
    maps.get("one").await.expect("it is still there");
    maps.delete("one", &with(made.uid(), made.resource_version())).await.expect("deleted");
    stage.done("preconditions of deletion");

    let mut held = config_map("held", "blue");
    held.finalizers_mut().push("example.com/hold".to_owned());
    maps.create(&create, &held).await.expect("created");
    let deleting = maps.delete("held", &DeleteParams::default()).await.expect("deleted").left().expect("the object");
    assert!(deleting.meta().deletion_timestamp.is_some());
    let mut released = maps.get("held").await.expect("held");
    released.finalizers_mut().clear();
    maps.replace("held", &create, &released).await.expect("released");
    assert!(maps.get_opt("held").await.expect("an answer").is_none());
    stage.done("finalizers");

    let deployments: Api<Deployment> = stage.api();
    for (policy, name) in [
        (PropagationPolicy::Foreground, "fore"),
        (PropagationPolicy::Background, "back"),
        (PropagationPolicy::Orphan, "orphan"),
    ] {
        deployments.create(&create, &deployment(name, 0)).await.expect("created");
        let sets: Api<k8s_openapi::api::apps::v1::ReplicaSet> = stage.api();
        let own = ListParams::default().labels(&format!("app={name}"));
        eventually("its ReplicaSet", async || {
            let sets = sets.list(&own).await.expect("a list").items;
            if sets.len() == 1 { Ok(()) } else { Err(sets.len()) }
        })
        .await;
        let orphans = policy == PropagationPolicy::Orphan;
        deployments
            .delete(name, &DeleteParams { propagation_policy: Some(policy), ..DeleteParams::default() })
            .await
            .expect("deleted");
        eventually("the Deployment is gone", async || match deployments.get_opt(name).await {
            Ok(None) => Ok(()),
            other => Err(format!("{other:?}")),
        })
        .await;
        eventually("what it owned is gone or free", async || {
            let sets = sets.list(&own).await.expect("a list").items;
            let free = sets.iter().all(|set| set.owner_references().is_empty());
            if sets.len() == usize::from(orphans) && free { Ok(()) } else { Err(format!("{sets:?}")) }
        })
        .await;
        stage.done("propagation");
    }
}
