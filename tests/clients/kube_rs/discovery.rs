//! What the server has, found out in both ways, and objects of kinds known only from there.

use k8s_openapi::api::core::v1::Namespace;
use kube::api::{ApiResource, DeleteParams, DynamicObject, ListParams, Patch, PatchParams, PostParams};
use kube::core::{GroupVersion, GroupVersionKind};
use kube::discovery::{self, Discovery, Scope, verbs};
use kube::{Api, ResourceExt};
use serde_json::json;

use skiff_tests::stage::Stage;

pub(super) async fn groups(stage: Stage) {
    let legacy = Discovery::new(stage.client.clone()).run().await.expect("discovered");
    let aggregated = Discovery::new(stage.client.clone()).run_aggregated().await.expect("discovered at once");
    let names =
        |found: &Discovery| found.groups_alphabetical().iter().map(|group| group.name().to_owned()).collect::<Vec<_>>();
    assert_eq!(names(&legacy), names(&aggregated));
    let kinds = |found: &Discovery| {
        let groups = found.groups_alphabetical();
        let mut kinds: Vec<_> = groups.iter().flat_map(|group| group.recommended_resources()).collect();
        kinds.sort_by(|one, two| (&one.0.group, &one.0.kind).cmp(&(&two.0.group, &two.0.kind)));
        kinds
            .into_iter()
            .map(|(resource, can)| {
                (
                    resource.api_version,
                    resource.kind,
                    resource.plural,
                    can.scope == Scope::Namespaced,
                    can.supports_operation(verbs::WATCH),
                )
            })
            .collect::<Vec<_>>()
    };
    assert_eq!(kinds(&legacy), kinds(&aggregated));
    assert!(kinds(&legacy).len() > 50, "{}", kinds(&legacy).len());
    stage.done("both ways agree");

    let apps = discovery::group(&stage.client, "apps").await.expect("a group");
    assert_eq!(apps.preferred_version(), Some("v1"));
    let (resource, can) = apps.recommended_kind("Deployment").expect("Deployments");
    assert_eq!((resource.plural.as_str(), can.subresources.len()), ("deployments", 2));
    let version = GroupVersion::gv("autoscaling", "v1");
    let pinned = discovery::pinned_group(&stage.client, &version).await.expect("a version");
    assert!(pinned.recommended_kind("HorizontalPodAutoscaler").is_some());
    let kind = GroupVersionKind::gvk("batch", "v1", "CronJob");
    discovery::pinned_kind(&stage.client, &kind).await.expect("a kind");
    assert!(discovery::group(&stage.client, "example.com").await.is_err());
    stage.done("one group, one version, one kind");

    let version = stage.client.apiserver_version().await.expect("a version");
    assert_eq!((version.major.as_str(), version.minor.parse::<u32>().is_ok()), ("1", true));
    assert_eq!(stage.client.list_core_api_versions().await.expect("versions").versions, ["v1"]);
    let resources = stage.client.list_core_api_resources("v1").await.expect("resources").resources;
    assert!(resources.iter().any(|one| one.name == "pods/eviction" && one.group.as_deref() == Some("policy")));
    stage.done("version and resources");
}

pub(super) async fn dynamic(stage: Stage) {
    // One object of many kinds, through nothing but what discovery says.
    let found = Discovery::new(stage.client.clone()).run_aggregated().await.expect("discovered");
    let objects = [
        json!({"apiVersion": "v1", "kind": "ConfigMap", "data": {"a": "1"}}),
        json!({"apiVersion": "v1", "kind": "Secret", "stringData": {"a": "1"}}),
        json!({"apiVersion": "v1", "kind": "ServiceAccount"}),
        json!({"apiVersion": "v1", "kind": "Service", "spec": {"ports": [{"port": 80}]}}),
        json!({"apiVersion": "v1", "kind": "LimitRange", "spec": {"limits": [{"type": "Container", "default": {"cpu": "1"}}]}}),
        json!({"apiVersion": "v1", "kind": "ResourceQuota", "spec": {"hard": {"pods": "100"}}}),
        json!({"apiVersion": "apps/v1", "kind": "Deployment", "spec": {"replicas": 0, "selector": {"matchLabels": {"a": "b"}}, "template": {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "a", "image": "b"}]}}}}),
        json!({"apiVersion": "apps/v1", "kind": "ControllerRevision", "revision": 1, "data": {"a": "b"}}),
        json!({"apiVersion": "batch/v1", "kind": "Job", "spec": {"suspend": true, "template": {"spec": {"restartPolicy": "Never", "containers": [{"name": "a", "image": "b"}]}}}}),
        json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "rules": []}),
        json!({"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "spec": {"podSelector": {}}}),
        json!({"apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "spec": {"defaultBackend": {"service": {"name": "a", "port": {"number": 80}}}}}),
        json!({"apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "spec": {"minAvailable": 1, "selector": {"matchLabels": {"no": "pod"}}}}),
        json!({"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "spec": {"holderIdentity": "me"}}),
        json!({"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4", "endpoints": []}),
        json!({"apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler", "spec": {"maxReplicas": 3, "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "a"}}}),
    ];
    for object in objects {
        let mut object: DynamicObject = serde_json::from_value(object).expect("an object");
        object.metadata.name = Some("dynamic".to_owned());
        let kind = object.types.clone().expect("a kind").kind;
        let (resource, can) = found.resolve_object(&object).unwrap_or_else(|| panic!("{kind} is discovered"));
        assert_eq!(can.scope, Scope::Namespaced, "{kind}");
        life(&stage, &resource, object).await;
        stage.done("a kind");
    }
    let namespaces: Api<DynamicObject> = Api::all_with(stage.client.clone(), &ApiResource::erase::<Namespace>(&()));
    assert_eq!(namespaces.get(&stage.namespace).await.expect("read").data["status"]["phase"], "Active");
    stage.done("a kind of the cluster");
}

/// An object is made, read, listed, patched, and deleted.
async fn life(stage: &Stage, resource: &ApiResource, object: DynamicObject) {
    let api: Api<DynamicObject> = Api::namespaced_with(stage.client.clone(), &stage.namespace, resource);
    let kind = &resource.kind;
    let made = api.create(&PostParams::default(), &object).await.unwrap_or_else(|error| panic!("{kind}: {error}"));
    let read = api.get("dynamic").await.unwrap_or_else(|error| panic!("{kind}: {error}"));
    assert_eq!((made.uid(), read.types.as_ref().map(|types| &types.kind)), (read.uid(), Some(kind)));
    let listed = api.list(&ListParams::default()).await.unwrap_or_else(|error| panic!("{kind}: {error}"));
    assert!(listed.iter().any(|one| one.name_any() == "dynamic"), "{kind}");
    let label = Patch::Merge(json!({"metadata": {"labels": {"seen": "yes"}}}));
    let patched = api.patch("dynamic", &PatchParams::default(), &label).await;
    assert_eq!(patched.unwrap_or_else(|error| panic!("{kind}: {error}")).labels()["seen"], "yes", "{kind}");
    api.delete("dynamic", &DeleteParams::foreground()).await.unwrap_or_else(|error| panic!("{kind}: {error}"));
    skiff_tests::eventually(kind, async || match api.get_opt("dynamic").await {
        Ok(None) => Ok(()),
        other => Err(format!("{other:?}")),
    })
    .await;
}
