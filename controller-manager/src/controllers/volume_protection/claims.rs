//! Claims: in use by pods that are on a node.

use serde::Deserialize;
use skiff_client::types::{PersistentVolumeClaim, Pod};
use skiff_client::{Event, Informer, Kind, ObjectKey, Objects, Workqueue};

use super::Use;
use crate::context::Context;

/// Index of pods by the claims that they use.
const BY_CLAIM: &str = "claim";

struct Pods {
    context: Context,
    pods: Informer<Pod>,
}

fn key_of(namespace: &str, claim: &str) -> String {
    format!("{namespace}/{claim}")
}

/// Runs the controller of claims.
pub async fn run(context: Context) -> anyhow::Result<()> {
    let pods: Informer<Pod> = context.informer();
    pods.add_index(BY_CLAIM, |pod| pod.claim_names().map(|name| key_of(&pod.metadata.namespace, &name)).collect());
    let queue = Workqueue::new();
    let to = queue.clone();
    pods.add_handler(move |event| {
        let enqueue = |pod: &Pod| {
            for name in pod.claim_names() {
                to.add(ObjectKey::new(pod.metadata.namespace.as_str(), name));
            }
        };
        match event {
            Event::Deleted(pod) => enqueue(pod),
            // Others can only begin to use a claim.
            _ if event.object().is_terminal() || event.object().spec.node_name.is_empty() => enqueue(event.object()),
            _ => {}
        }
    });
    if !context.synced(&pods).await {
        return Ok(());
    }
    let usage = Pods { context: context.clone(), pods };
    super::run("persistentvolumeclaim-protection-controller", context, queue, usage).await
}

#[async_trait::async_trait]
impl Use for Pods {
    type Guarded = PersistentVolumeClaim;
    const FINALIZER: &'static str = "kubernetes.io/pvc-protection";

    async fn is_used(&self, claim: &PersistentVolumeClaim) -> anyhow::Result<bool> {
        let (namespace, name) = (&claim.metadata.namespace, &claim.metadata.name);
        if self.pods.by_index(BY_CLAIM, &key_of(namespace, name)).iter().any(|pod| uses(pod, claim)) {
            return Ok(true);
        }
        // A pod that is not in the cache yet may use it, and what is lost is lost for good: ask the server.
        let live: PodList = Objects::of(&self.context.client, Pod::RESOURCE, namespace).get("").await?;
        Ok(live.items.iter().any(|pod| uses(pod, claim)))
    }
}

#[derive(Deserialize)]
struct PodList {
    items: Vec<Pod>,
}

/// Whether a pod uses a claim: once it is on a node. No kubelet starts a pod with a claim that is deleted.
fn uses(pod: &Pod, claim: &PersistentVolumeClaim) -> bool {
    // Its kubelet is done with it: only finalizers hold it, and one of them may wait for the claim.
    let is_shut_down = pod.metadata.is_deleting() && pod.metadata.deletion_grace_period_seconds == Some(0);
    !pod.spec.node_name.is_empty()
        && pod.spec.volumes.iter().any(|volume| {
            let named = volume.claim_name(&pod.metadata.name).as_ref() == Some(&claim.metadata.name);
            let made_for_it = claim.metadata.is_controlled_by(&pod.metadata.uid);
            named && (volume.persistent_volume_claim.is_some() || (!is_shut_down && made_for_it))
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    #[test]
    fn pods_on_nodes_use_claims() {
        let claim: PersistentVolumeClaim = serde_json::from_value(json!({"metadata": {"name": "p-data",
            "ownerReferences": [{"apiVersion": "v1", "kind": "Pod", "name": "p", "uid": "u", "controller": true}]}}))
        .expect("a claim");
        let check = |metadata: Value, node: &str, volume: Value, expected: bool| {
            let pod = json!({"metadata": metadata, "spec": {"nodeName": node, "volumes": [volume]}});
            let pod: Pod = serde_json::from_value(pod).expect("a pod");
            assert_eq!(uses(&pod, &claim), expected, "{pod:?}");
        };
        let by_name = json!({"name": "v", "persistentVolumeClaim": {"claimName": "p-data"}});
        let own = json!({"name": "data", "ephemeral": {"volumeClaimTemplate": {}}});
        let shut_down = json!({"name": "p", "uid": "u", "deletionTimestamp": "2026-01-02T03:04:05Z",
            "deletionGracePeriodSeconds": 0});
        check(json!({"name": "x"}), "n1", by_name.clone(), true);
        check(json!({"name": "x"}), "", by_name.clone(), false);
        check(json!({"name": "p", "uid": "u"}), "n1", own.clone(), true);
        check(json!({"name": "p", "uid": "other"}), "n1", own.clone(), false);
        check(shut_down.clone(), "n1", own, false);
        check(shut_down, "n1", by_name, true);
    }
}
