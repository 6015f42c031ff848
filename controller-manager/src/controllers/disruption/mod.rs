//! Disruption: keeps the status of PodDisruptionBudgets, from which evictions are granted, and takes back the
//! condition DisruptionTarget of pods that were to go and stayed.
//!
//! Upstream: `pkg/controller/disruption`.

mod plan;
mod scale;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::json;
use skiff_client::clock::format_time;
use skiff_client::objects::PatchKind;
use skiff_client::types::{Pod, PodDisruptionBudget, PodDisruptionBudgetStatus, condition};
use skiff_client::{Event, EventRecorder, EventType, Informer, ObjectKey, ObjectReference, Objects, Workqueue};

use crate::context::Context;
use crate::control_loop::{self, Next, Reconciler, is_conflict, unless_gone};
use plan::Plan;
use scale::Scales;

const NAME: &str = "disruption-controller";

/// How long a pod may say that it is to be disrupted without being deleted (upstream `stalePodDisruptionTimeout`).
const STALE_CONDITION: Duration = Duration::from_secs(2 * 60);

/// What is looked at.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Key {
    /// The status of a budget.
    Budget(ObjectKey),
    /// The condition of a pod.
    Pod(ObjectKey),
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Key::Budget(key) => write!(f, "poddisruptionbudget {key}"),
            Key::Pod(key) => write!(f, "pod {key}"),
        }
    }
}

struct Controller {
    context: Context,
    budgets: Informer<PodDisruptionBudget>,
    pods: Informer<Pod>,
    scales: Scales,
    recorder: EventRecorder,
}

/// Runs the controller.
pub async fn run(context: Context) -> anyhow::Result<()> {
    let controller = Arc::new(Controller {
        budgets: context.informer(),
        pods: context.informer(),
        scales: Scales::new(context.clone()),
        recorder: context.recorder("controllermanager"),
        context: context.clone(),
    });
    let queue = Workqueue::new();
    let to = queue.clone();
    controller.budgets.add_handler(move |event| to.add(Key::Budget(event.object().metadata.key())));
    let (to, budgets) = (queue.clone(), controller.budgets.clone());
    controller.pods.add_handler(move |event| {
        let pod = event.object();
        // A pod that changes its labels leaves one budget and comes to another.
        let before = if let Event::Updated(old, _) = &event { Some(*old) } else { None };
        for budget in budgets.list_namespace(&pod.metadata.namespace) {
            if selects(&budget, pod) || before.is_some_and(|old| selects(&budget, old)) {
                to.add(Key::Budget(budget.metadata.key()));
            }
        }
        if stale_since(pod).is_some() {
            to.add(Key::Pod(pod.metadata.key()));
        }
    });
    let synced = context.synced(&controller.budgets).await
        && context.synced(&controller.pods).await
        && controller.scales.synced().await;
    if !synced {
        return Ok(());
    }
    control_loop::run(NAME, &context, queue, controller).await
}

/// Whether a budget is about a pod. One without a selector is about none.
fn selects(budget: &PodDisruptionBudget, pod: &Pod) -> bool {
    budget.spec.selector.as_ref().is_some_and(|selector| selector.matches(&pod.metadata.labels))
}

/// Since when a pod says that it is to be disrupted, unless it is going, has ended, or the kubelet says so.
fn stale_since(pod: &Pod) -> Option<Timestamp> {
    if pod.metadata.is_deleting() || pod.is_terminal() {
        return None;
    }
    let target = condition(&pod.status.conditions, "DisruptionTarget")?;
    let ours = target.status == "True" && target.reason != "TerminationByKubelet";
    ours.then_some(target.last_transition_time.unwrap_or(Timestamp::UNIX_EPOCH))
}

#[async_trait::async_trait]
impl Reconciler for Controller {
    type Key = Key;

    async fn reconcile(&self, key: &Key) -> anyhow::Result<Next> {
        match key {
            Key::Budget(key) => match self.budgets.get(key) {
                Some(budget) => self.sync_budget(&budget).await,
                None => Ok(Next::Event),
            },
            Key::Pod(key) => match self.pods.get(key) {
                Some(pod) => self.reset_stale_condition(&pod).await,
                None => Ok(Next::Event),
            },
        }
    }
}

impl Controller {
    async fn sync_budget(&self, budget: &PodDisruptionBudget) -> anyhow::Result<Next> {
        match self.try_sync(budget).await {
            Err(error) if !is_conflict(&error) => {
                // What cannot be known must not let pods go.
                let status = plan::fail_safe(budget, &format!("{error:#}"), self.context.now());
                self.write_status(budget, status).await?;
                Err(error)
            }
            done => done,
        }
    }

    async fn try_sync(&self, budget: &PodDisruptionBudget) -> anyhow::Result<Next> {
        let pods = self.pods.list_namespace(&budget.metadata.namespace);
        let pods: Vec<Arc<Pod>> = pods.into_iter().filter(|pod| selects(budget, pod)).collect();
        let about = ObjectReference::to(budget);
        if pods.is_empty() {
            self.recorder.event(&about, EventType::Normal, "NoPods", "No matching pods found");
        }
        let scale = if plan::needs_scale(&budget.spec) {
            let sum = self.scales.sum(&pods).await.inspect_err(|error| {
                let message = format!("Failed to calculate the number of expected pods: {error:#}");
                self.recorder.event(&about, EventType::Warning, "CalculateExpectedPodCountFailed", message);
            })?;
            if sum.unmanaged {
                self.warn_of_unmanaged_pods(budget);
            }
            sum.pods
        } else {
            0
        };
        let Some(Plan { status, overdue, recheck }) = plan::plan(budget, &pods, scale, self.context.now()) else {
            anyhow::bail!("a percentage of the budget is not one");
        };
        for pod in overdue {
            // Upstream names the namespace twice; the budget's name is what a reader needs.
            let message = format!("Pod was expected by PDB {} to be deleted but it wasn't", budget.metadata.key());
            self.recorder.event(&ObjectReference::to(&*pod), EventType::Warning, "NotDeleted", message);
        }
        self.write_status(budget, status).await?;
        Ok(recheck.map_or(Next::Event, |left| Next::After(left + Duration::from_millis(1))))
    }

    fn warn_of_unmanaged_pods(&self, budget: &PodDisruptionBudget) {
        let selector = budget.spec.selector.as_ref().map(ToString::to_string).unwrap_or_default();
        let message = format!(
            "Pods selected by this PodDisruptionBudget (selector: {selector}) were found to be unmanaged. As a result, \
             the status of the PDB cannot be calculated correctly, which may result in undefined behavior. To account \
             for these pods please set \".spec.minAvailable\" field of the PDB to an integer value."
        );
        self.recorder.event(&ObjectReference::to(budget), EventType::Warning, "UnmanagedPods", message);
    }

    /// Writes the status over the version it was computed from: an eviction granted since then must not be lost.
    async fn write_status(
        &self,
        budget: &PodDisruptionBudget,
        status: Option<PodDisruptionBudgetStatus>,
    ) -> anyhow::Result<()> {
        let Some(status) = status else { return Ok(()) };
        let meta = &budget.metadata;
        let api = Objects::<PodDisruptionBudget>::namespaced(&self.context.client, &meta.namespace);
        let status = plan::status_json(&status, &budget.status);
        unless_gone(api.update_status(&meta.name, Some(&meta.resource_version), &status).await)?;
        Ok(())
    }

    async fn reset_stale_condition(&self, pod: &Pod) -> anyhow::Result<Next> {
        let Some(since) = stale_since(pod) else { return Ok(Next::Event) };
        let (until, now) = (since + STALE_CONDITION, self.context.now());
        if until > now {
            return Ok(Next::After(Duration::try_from(until.duration_since(now)).unwrap_or_default()));
        }
        let meta = &pod.metadata;
        let patch = json!({
            "metadata": {"uid": meta.uid, "resourceVersion": meta.resource_version},
            "status": {"conditions": [{"type": "DisruptionTarget", "status": "False", "reason": null, "message": null,
                "lastTransitionTime": format_time(now)}]},
        });
        let api = Objects::<Pod>::namespaced(&self.context.client, &meta.namespace);
        unless_gone(api.patch(&meta.name, "status", PatchKind::Strategic, &patch).await)?;
        Ok(Next::Event)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_pods_that_stayed_lose_the_condition() {
        let check = |phase: &str, deleting: bool, reason: &str, status: &str, expected: bool| {
            let deleted = deleting.then_some("2026-01-02T03:04:05Z");
            let pod: Pod = serde_json::from_value(json!({
                "metadata": {"deletionTimestamp": deleted},
                "status": {"phase": phase, "conditions": [{"type": "DisruptionTarget", "status": status,
                    "reason": reason, "lastTransitionTime": "2026-01-02T03:04:05Z"}]},
            }))
            .expect("a pod");
            assert_eq!(stale_since(&pod).is_some(), expected, "{phase} {deleting} {reason} {status}");
        };
        check("Running", false, "EvictionByEvictionAPI", "True", true);
        check("Running", false, "EvictionByEvictionAPI", "False", false);
        check("Running", false, "TerminationByKubelet", "True", false);
        check("Running", true, "EvictionByEvictionAPI", "True", false);
        check("Failed", false, "EvictionByEvictionAPI", "True", false);
    }
}
