//! status, scale, eviction, tokens, ephemeral containers, approval.

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::authentication::v1::{SelfSubjectReview, TokenRequest};
use k8s_openapi::api::authorization::v1::SelfSubjectAccessReview;
use k8s_openapi::api::core::v1::{Pod, ServiceAccount};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::Api;
use kube::api::{EvictParams, ListParams, Patch, PatchParams, PostParams};
use serde_json::json;
use skiff_tests::eventually;

use super::errors::code;
use super::typed::deployment;
use skiff_tests::stage::Stage;

pub(super) async fn all(stage: Stage) {
    let (deployments, create): (Api<Deployment>, _) = (stage.api(), PostParams::default());
    deployments.create(&create, &deployment("web", 2)).await.expect("created");
    let scale = deployments.get_scale("web").await.expect("a scale");
    assert_eq!(scale.spec.and_then(|spec| spec.replicas), Some(2));
    let one = Patch::Merge(json!({"spec": {"replicas": 1}}));
    let scaled = deployments.patch_scale("web", &PatchParams::default(), &one).await;
    let mut scaled = scaled.expect("scaled");
    assert_eq!(scaled.status.as_ref().and_then(|status| status.selector.as_deref()), Some("app=web"));
    scaled.spec.get_or_insert_default().replicas = Some(2);
    let stale = deployments.replace_scale("web", &create, &scaled).await;
    // The controller may have written meanwhile.
    if stale.is_err() {
        assert_eq!(code(stale), 409);
        let mut scale = deployments.get_scale("web").await.expect("a scale");
        scale.metadata.resource_version = None;
        scale.spec.get_or_insert_default().replicas = Some(2);
        deployments.replace_scale("web", &create, &scale).await.expect("scaled");
    }
    stage.done("scale");

    let conditions = Patch::Strategic(
        json!({"status": {"conditions": [{"type": "Mine", "status": "True"}]}, "spec": {"paused": true}}),
    );
    let shown = deployments.patch_status("web", &PatchParams::default(), &conditions).await.expect("patched");
    assert_eq!(shown.spec.and_then(|spec| spec.paused), None, "a status is no spec");
    let read = deployments.get_status("web").await.expect("read");
    let found = read.status.iter().flat_map(|status| status.conditions.iter().flatten()).any(|one| one.type_ == "Mine");
    assert!(found, "{:?}", read.status);
    stage.done("status");

    let pods: Api<Pod> = stage.api();
    let own = ListParams::default().labels("app=web");
    let pod = eventually("two pods", async || {
        let mut pods = pods.list(&own).await.expect("a list").items;
        if pods.len() == 2 { Ok(pods.swap_remove(0)) } else { Err(pods.len()) }
    })
    .await;
    let name = pod.metadata.name.expect("a name");
    let helper = Patch::Strategic(
        json!({"spec": {"ephemeralContainers": [{"name": "helper", "image": "skiff.local/tools:v1"}]}}),
    );
    let helped = pods.patch_ephemeral_containers(&name, &PatchParams::default(), &helper).await.expect("patched");
    assert_eq!(helped.spec.and_then(|spec| spec.ephemeral_containers).map(|all| all.len()), Some(1));
    assert_eq!(pods.get_ephemeral_containers(&name).await.expect("read").metadata.name, Some(name.clone()));
    stage.done("ephemeral containers");

    let budgets: Api<PodDisruptionBudget> = stage.api();
    let budget =
        json!({"metadata": {"name": "calm"}, "spec": {"minAvailable": 2, "selector": {"matchLabels": {"app": "web"}}}});
    budgets.create(&create, &serde_json::from_value(budget).expect("a budget")).await.expect("created");
    eventually("the budget is counted", async || {
        let budget = budgets.get("calm").await.expect("read");
        budget.status.and_then(|status| status.observed_generation).ok_or("not yet")
    })
    .await;
    // Pods that were never ready may go, whatever the budget: they are pending.
    pods.evict(
        &name,
        &EvictParams { delete_options: None, post_options: PostParams { dry_run: true, ..PostParams::default() } },
    )
    .await
    .expect("evicted in a dry run");
    pods.evict(&name, &EvictParams::default()).await.expect("evicted");
    eventually("the pod is gone", async || match pods.get_opt(&name).await {
        Ok(None) => Ok(()),
        other => Err(format!("{other:?}")),
    })
    .await;
    assert_eq!(code(pods.evict(&name, &EvictParams::default()).await), 404);
    stage.done("eviction");

    let accounts: Api<ServiceAccount> = stage.api();
    let request: TokenRequest =
        serde_json::from_value(json!({"spec": {"audiences": [], "expirationSeconds": 600}})).expect("a request");
    let token = accounts.create_token_request("default", &create, &request).await.expect("a token");
    let token = token.status.and_then(|status| status.token).expect("a token");
    assert_eq!(token.split('.').count(), 3);
    let asked: Api<SelfSubjectReview> = Api::all(stage.client_with_token(&token));
    let me = asked.create(&create, &SelfSubjectReview::default()).await.expect("who I am");
    let name = me.status.and_then(|status| status.user_info).and_then(|user| user.username);
    assert_eq!(name, Some(format!("system:serviceaccount:{}:default", stage.namespace)));
    stage.done("tokens");

    let reviews: Api<SelfSubjectAccessReview> = Api::all(stage.client_with_token(&token));
    let question = |resource: &str, verb: &str| {
        serde_json::from_value(
            json!({"spec": {"resourceAttributes": {"namespace": stage.namespace, "verb": verb, "resource": resource}}}),
        )
        .expect("a question")
    };
    let answer = reviews.create(&create, &question("pods", "list")).await.expect("an answer");
    assert!(!answer.status.expect("a status").allowed);
    let reviews: Api<SelfSubjectAccessReview> = Api::all(stage.client.clone());
    let answer = reviews.create(&create, &question("pods", "list")).await.expect("an answer");
    assert!(answer.status.expect("a status").allowed);
    stage.done("reviews");
}
