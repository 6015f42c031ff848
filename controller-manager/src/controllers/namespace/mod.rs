//! Namespaces: when one is deleted, delete everything in it, then let it go.
//!
//! Upstream: `pkg/controller/namespace`. Pods go first, because what they use (secrets, network policies) must outlive
//! them; the rest follows once the last pod is gone. What remains is told in conditions. The last pod's end is seen in
//! the cache and acted on at once; whatever else holds the namespace is looked for again, at growing intervals.

mod content;
mod plan;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use futures::stream::{self, StreamExt};
use parking_lot::Mutex;
use serde_json::json;
use skiff_client::backoff::Exponential;
use skiff_client::types::{Namespace, Pod};
use skiff_client::{Event, Informer, Objects, Workqueue};

use crate::context::Context;
use crate::control_loop::{self, Next, Reconciler, unless_gone};
use crate::discovery::{self, Discovered};
use content::Remaining;
use plan::Report;

const NAME: &str = "namespace-controller";
/// The finalizer that this controller removes.
const FINALIZER: &str = "kubernetes";
/// Pauses between looks at a namespace whose content does not go.
const LOOKS: Exponential = Exponential { base: Duration::from_millis(100), cap: Duration::from_secs(8) };
/// Resources that are emptied at a time.
const PARALLEL: usize = 8;

struct Controller {
    context: Context,
    namespaces: Informer<Namespace>,
    pods: Informer<Pod>,
    /// Looks in a row that found something left, by namespace.
    looks: Mutex<HashMap<String, u32>>,
}

/// Runs the namespace controller.
pub async fn run(context: Context) -> anyhow::Result<()> {
    let controller = Arc::new(Controller {
        namespaces: context.informer(),
        pods: context.informer(),
        looks: Mutex::default(),
        context: context.clone(),
    });
    let queue = Workqueue::new();
    let (to, grace) = (queue.clone(), context.config.namespace_deletion_grace);
    controller.namespaces.add_handler(move |event| {
        let namespace = event.object();
        if matches!(event, Event::Deleted(_)) || namespace.metadata.is_deleting() {
            to.add_after(namespace.metadata.name.clone(), grace);
        }
    });
    let (to, namespaces) = (queue.clone(), controller.namespaces.clone());
    controller.pods.add_handler(move |event| {
        let Event::Deleted(pod) = event else { return };
        let namespace = namespaces.get_by_name("", &pod.metadata.namespace);
        if namespace.is_some_and(|namespace| namespace.metadata.is_deleting()) {
            to.add(pod.metadata.namespace.clone());
        }
    });
    if !(context.synced(&controller.namespaces).await && context.synced(&controller.pods).await) {
        return Ok(());
    }
    control_loop::run(NAME, &context, queue, controller).await
}

#[async_trait::async_trait]
impl Reconciler for Controller {
    type Key = String;

    async fn reconcile(&self, name: &String) -> anyhow::Result<Next> {
        let api = Objects::<Namespace>::cluster(&self.context.client);
        let cached = self.namespaces.get_by_name("", name);
        if cached.is_none_or(|namespace| !namespace.metadata.is_deleting()) {
            self.looks.lock().remove(name);
            return Ok(Next::Event);
        }
        // What follows cannot be taken back, so the cache is not good enough.
        let Some(mut namespace) = api.get_opt(name).await? else { return Ok(Next::Event) };
        if !namespace.metadata.is_deleting() || namespace.spec.finalizers.is_empty() {
            return Ok(Next::Event);
        }
        if namespace.status.phase != "Terminating" {
            let version = namespace.metadata.resource_version.clone();
            namespace = api.update_status(name, Some(&version), &json!({"phase": "Terminating"})).await?;
        }
        let report = self.delete_content(name).await;
        if let Some(conditions) = plan::conditions(&namespace.status.conditions, &report, self.context.now()) {
            let version = namespace.metadata.resource_version.clone();
            let status = json!({"conditions": plan::conditions_json(&conditions)});
            match unless_gone(api.update_status(name, Some(&version), &status).await)? {
                Some(written) => namespace = written,
                None => return Ok(Next::Event),
            }
        }
        if !report.is_empty() {
            return Ok(Next::After(self.next_look(name)));
        }
        self.finalize(&namespace).await?;
        Ok(Next::Event)
    }
}

impl Controller {
    async fn delete_content(&self, name: &str) -> Report {
        let client = &self.context.client;
        let mut report = Report::default();
        let found = match discovery::discover(client).await {
            Ok(found) => found,
            Err(error) => {
                report.discovery_failures.push(error.to_string());
                return report;
            }
        };
        report.discovery_failures = found.failed;
        let deletable = |one: &Discovered| one.resource.namespaced && one.can("delete");
        let (pods, others): (Vec<_>, Vec<_>) = found
            .resources
            .into_iter()
            .filter(deletable)
            .partition(|one| one.resource.group.is_empty() && one.resource.plural == "pods");
        for resources in [pods, others] {
            let emptied = stream::iter(resources).map(|resource| async move {
                let outcome = content::empty(client, &resource, name).await;
                (resource, outcome)
            });
            let mut emptied = emptied.buffer_unordered(PARALLEL);
            while let Some((resource, outcome)) = emptied.next().await {
                match outcome {
                    Ok(Remaining { count: 0, .. }) => {}
                    Ok(remaining) => report.remaining.push((resource.resource, remaining)),
                    Err(error) => report.content_failures.push(format!("{}: {error}", resource.resource)),
                }
            }
            if !report.remaining.is_empty() {
                // Pods that are still there keep the rest.
                break;
            }
        }
        report.sort();
        report
    }

    fn next_look(&self, name: &str) -> Duration {
        let mut looks = self.looks.lock();
        let count = looks.entry(name.to_owned()).or_insert(0);
        let delay = LOOKS.delay(*count);
        *count = count.saturating_add(1);
        delay
    }

    async fn finalize(&self, namespace: &Namespace) -> anyhow::Result<()> {
        let left: Vec<&String> = namespace.spec.finalizers.iter().filter(|one| *one != FINALIZER).collect();
        if left.len() == namespace.spec.finalizers.len() {
            return Ok(());
        }
        let meta = &namespace.metadata;
        let body = json!({
            "apiVersion": "v1",
            "kind": "Namespace",
            "metadata": {"name": meta.name, "uid": meta.uid, "resourceVersion": meta.resource_version},
            "spec": {"finalizers": left},
        });
        let api = Objects::<Namespace>::cluster(&self.context.client);
        unless_gone(api.replace(&meta.name, "finalize", &body).await)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn goldens() {
        crate::golden::check("namespace", super::plan::golden);
    }
}
