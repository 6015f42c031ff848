//! Ephemeral volumes: a claim is made for each such volume of a pod, and goes with the pod.
//!
//! Upstream: `pkg/controller/volume/ephemeral`. A claim of that name which is not the pod's own is never used for it.

use std::sync::Arc;

use anyhow::{anyhow, bail};
use serde_json::{Value, json};
use skiff_client::types::{PersistentVolumeClaim, Pod, PodVolume};
use skiff_client::{Event, EventRecorder, EventType, Informer, Kind, ObjectKey, ObjectReference, Objects, Workqueue};

use crate::context::Context;
use crate::control_loop::{self, Next, Reconciler};
use crate::ownership::controller_reference;
use crate::pod_control::describe;

const NAME: &str = "ephemeral-volume-controller";

struct Controller {
    context: Context,
    pods: Informer<Pod>,
    claims: Informer<PersistentVolumeClaim>,
    recorder: EventRecorder,
}

/// Runs the controller.
pub async fn run(context: Context) -> anyhow::Result<()> {
    let controller = Arc::new(Controller {
        pods: context.informer(),
        claims: context.informer(),
        recorder: context.recorder(NAME),
        context: context.clone(),
    });
    let queue = Workqueue::new();
    let to = queue.clone();
    controller.pods.add_handler(move |event| {
        let pod = event.object();
        if !matches!(event, Event::Deleted(_)) && pod.spec.volumes.iter().any(|volume| volume.ephemeral.is_some()) {
            to.add(pod.metadata.key());
        }
    });
    // A claim that is deleted under its pod is made again.
    let (to, pods) = (queue.clone(), controller.pods.clone());
    controller.claims.add_handler(move |event| {
        let Event::Deleted(claim) = event else { return };
        let Some(owner) = claim.metadata.controller_of().filter(|owner| owner.kind == "Pod") else { return };
        if pods.get_by_name(&claim.metadata.namespace, &owner.name).is_some() {
            to.add(ObjectKey::new(claim.metadata.namespace.as_str(), owner.name.as_str()));
        }
    });
    if !(context.synced(&controller.pods).await && context.synced(&controller.claims).await) {
        return Ok(());
    }
    control_loop::run(NAME, &context, queue, controller).await
}

#[async_trait::async_trait]
impl Reconciler for Controller {
    type Key = ObjectKey;

    async fn reconcile(&self, key: &ObjectKey) -> anyhow::Result<Next> {
        let Some(pod) = self.pods.get(key).filter(|pod| !pod.metadata.is_deleting()) else { return Ok(Next::Event) };
        for volume in &pod.spec.volumes {
            let Some(name) = volume.ephemeral.as_ref().and_then(|_| volume.claim_name(&pod.metadata.name)) else {
                continue;
            };
            if let Err(error) = self.ensure(&pod, volume, &name).await {
                let message = format!("ephemeral volume {}: {error}", volume.name);
                self.recorder.event(&ObjectReference::to(&*pod), EventType::Warning, "FailedBinding", message.clone());
                bail!("pod {key}, {message}");
            }
        }
        Ok(Next::Event)
    }
}

impl Controller {
    async fn ensure(&self, pod: &Pod, volume: &PodVolume, name: &str) -> anyhow::Result<()> {
        let namespace = &pod.metadata.namespace;
        match self.claims.get_by_name(namespace, name) {
            Some(claim) if claim.metadata.is_controlled_by(&pod.metadata.uid) => Ok(()),
            Some(_) => bail!(
                "PVC {namespace}/{name} was not created for pod {namespace}/{} (pod is not owner)",
                pod.metadata.name
            ),
            None => {
                let api = Objects::<PersistentVolumeClaim>::namespaced(&self.context.client, namespace);
                let created = api.create(&claim(pod, volume, name)).await;
                created.map(drop).map_err(|error| anyhow!("create PVC {name}: {}", describe(&error)))
            }
        }
    }
}

/// The claim of a volume.
fn claim(pod: &Pod, volume: &PodVolume, name: &str) -> Value {
    let source = volume.ephemeral.as_ref();
    let mut template = source.map_or(Value::Null, |source| source.volume_claim_template.value());
    let mut metadata = json!({"name": name, "ownerReferences": [controller_reference(&Pod::RESOURCE, &pod.metadata)]});
    for field in ["labels", "annotations"] {
        let value = template["metadata"][field].take();
        if value.is_object() {
            metadata[field] = value;
        }
    }
    json!({"metadata": metadata, "spec": template["spec"].take()})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_claim_is_the_templates_and_the_pods() {
        let pod: Pod = serde_json::from_value(json!({"metadata": {"name": "p", "namespace": "n", "uid": "u"},
            "spec": {"volumes": [{"name": "data", "ephemeral": {"volumeClaimTemplate":
                {"metadata": {"labels": {"a": "b"}}, "spec": {"x": 1}}}}]}}))
        .expect("a pod");
        let claim = claim(&pod, &pod.spec.volumes[0], "p-data");
        assert_eq!(claim["metadata"]["labels"], json!({"a": "b"}));
        assert_eq!(claim["metadata"]["ownerReferences"][0]["uid"], "u");
        assert_eq!(claim["spec"], json!({"x": 1}));
    }
}
