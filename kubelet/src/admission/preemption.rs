//! Which pods make room for a critical one (upstream: `pkg/kubelet/preemption/preemption.go`). Pure.
//!
//! As few pods as possible, the least cherished class of service first, and of those the ones that ask for least.

use std::sync::Arc;

use k8s_openapi::api::core::v1::Pod;

use super::resources::{Kind, Shortage, amount_of};
use crate::pod::PodExt;
use crate::spec::qos::{Qos, is_critical};
use crate::spec::resources::PodTotals;

/// What still has to be freed.
type Needs = Vec<(Kind, i64)>;

/// Whether one pod may push another from the node.
fn may_preempt(preemptor: &Pod, other: &Pod) -> bool {
    if is_critical(preemptor) && !is_critical(other) {
        return true;
    }
    match (preemptor.pod_spec().priority, other.pod_spec().priority) {
        (Some(own), Some(other)) => own > other,
        _ => false,
    }
}

/// The pods that have to end so that what is short is free. `ending` are pods that make room already.
pub(super) fn victims(
    preemptor: &Pod,
    others: &[Arc<Pod>],
    ending: &[Arc<Pod>],
    short: &[Shortage],
) -> Result<Vec<Arc<Pod>>, String> {
    let needs: Needs = short.iter().map(|short| (short.kind, short.missing())).collect();
    let needs = without(&needs, ending);
    let of_class = |class: Qos| -> Vec<Arc<Pod>> {
        let fitting = others.iter().filter(|other| may_preempt(preemptor, other) && Qos::of(other) == class);
        fitting.cloned().collect()
    };
    let (best_effort, burstable, guaranteed) =
        (of_class(Qos::BestEffort), of_class(Qos::Burstable), of_class(Qos::Guaranteed));
    let joined = |a: &[Arc<Pod>], b: &[Arc<Pod>]| [a, b].concat();
    let left = without(&needs, &joined(&joined(&best_effort, &burstable), &guaranteed));
    if !left.is_empty() {
        return Err(nothing_to_reclaim(&left));
    }
    let from_guaranteed = closest(&guaranteed, without(&needs, &joined(&best_effort, &burstable)))?;
    let from_burstable = closest(&burstable, without(&needs, &joined(&best_effort, &from_guaranteed)))?;
    let from_best_effort = closest(&best_effort, without(&needs, &joined(&from_burstable, &from_guaranteed)))?;
    Ok([from_best_effort, from_burstable, from_guaranteed].concat())
}

fn nothing_to_reclaim(needs: &Needs) -> String {
    let list: String = needs.iter().map(|(kind, amount)| format!("(res: {}, q: {amount}), ", kind.name())).collect();
    format!("no set of running pods found to reclaim resources: [{list}]")
}

/// What is still needed once some pods are gone.
fn without(needs: &Needs, gone: &[Arc<Pod>]) -> Needs {
    let freed = |kind: Kind| gone.iter().map(|pod| amount_of(&PodTotals::of(pod), kind)).sum::<i64>();
    needs.iter().map(|(kind, amount)| (*kind, amount - freed(*kind))).filter(|(_, amount)| *amount > 0).collect()
}

/// Takes the pods that come closest to the needs, one after the other.
fn closest(pods: &[Arc<Pod>], mut needs: Needs) -> Result<Vec<Arc<Pod>>, String> {
    let mut left = pods.to_vec();
    let mut taken = Vec::new();
    while !needs.is_empty() {
        let order = |pod: &Arc<Pod>| {
            let totals = PodTotals::of(pod);
            (distance(&needs, &totals), totals.memory_request, totals.cpu_request.unwrap_or(0))
        };
        let by = |a: &(f64, i64, i64), b: &(f64, i64, i64)| a.0.total_cmp(&b.0).then((a.1, a.2).cmp(&(b.1, b.2)));
        let best = left.iter().enumerate().min_by(|a, b| by(&order(a.1), &order(b.1))).map(|(index, _)| index);
        let Some(best) = best else { return Err(nothing_to_reclaim(&needs)) };
        let pod = left.swap_remove(best);
        needs = without(&needs, std::slice::from_ref(&pod));
        taken.push(pod);
    }
    Ok(taken)
}

/// How much of the needs a pod would leave: each resource counts the same, whatever its unit.
#[allow(clippy::cast_precision_loss, reason = "only compared")]
fn distance(needs: &Needs, totals: &PodTotals) -> f64 {
    let left = needs.iter().map(|(kind, amount)| {
        let rest = (amount - amount_of(totals, *kind)).max(0);
        (rest as f64 / *amount as f64).powi(2)
    });
    left.sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn pod(name: &str, priority: i32, requests: &[(&str, &str)], guaranteed: bool) -> Arc<Pod> {
        let list: serde_json::Map<String, serde_json::Value> =
            requests.iter().map(|(name, amount)| ((*name).to_owned(), json!(amount))).collect();
        let limits = if guaranteed { list.clone() } else { serde_json::Map::new() };
        Arc::new(
            serde_json::from_value(json!({"metadata": {"name": name, "uid": name}, "spec": {"priority": priority,
                "containers": [{"name": "c", "resources": {"requests": list, "limits": limits}}]}}))
            .expect("a pod"),
        )
    }

    fn critical() -> Arc<Pod> {
        pod("critical", 2_000_001_000, &[], false)
    }

    fn chosen(others: &[Arc<Pod>], short: &[Shortage]) -> Result<Vec<String>, String> {
        victims(&critical(), others, &[], short).map(|pods| pods.iter().map(|pod| pod.name().to_owned()).collect())
    }

    fn short(kind: Kind, missing: i64) -> Shortage {
        Shortage { kind, requested: missing, used: 10, capacity: 10 }
    }

    #[test]
    fn the_least_cherished_and_the_fewest_go() {
        let others = [
            pod("best-effort", 0, &[], false),
            pod("small", 0, &[("cpu", "100m")], false),
            pod("large", 0, &[("cpu", "1")], false),
            pod("guaranteed", 0, &[("cpu", "500m"), ("memory", "1Gi")], true),
            pod("more-critical", 2_000_002_000, &[("cpu", "4")], false),
        ];
        let of = |kind, missing| chosen(&others, &[short(kind, missing)]).expect("victims");
        assert_eq!(of(Kind::Cpu, 50), ["small"], "the one that asks for least");
        assert_eq!(of(Kind::Cpu, 150), ["large"], "one is better than two");
        assert_eq!(of(Kind::Pods, 1), ["best-effort"]);
        assert_eq!(of(Kind::Memory, 1 << 20), ["guaranteed"], "nothing else has memory");
        assert_eq!(of(Kind::Cpu, 1500), ["large", "guaranteed"]);
    }

    #[test]
    fn only_less_important_pods_go() {
        let others =
            [pod("higher", 2_000_002_000, &[("cpu", "4")], false), pod("lower", 2_000_000_000, &[("cpu", "1")], false)];
        assert_eq!(chosen(&others, &[short(Kind::Cpu, 1000)]).expect("victims"), ["lower"]);
        assert_eq!(
            chosen(&others, &[short(Kind::Cpu, 1001)]).expect_err("none"),
            "no set of running pods found to reclaim resources: [(res: cpu, q: 1), ]"
        );
    }

    #[test]
    fn pods_that_end_already_count() {
        let others = [pod("a", 0, &[("cpu", "1")], false)];
        let ending = [pod("b", 0, &[("cpu", "1")], false)];
        let chosen = victims(&critical(), &others, &ending, &[short(Kind::Cpu, 1000)]).expect("victims");
        assert!(chosen.is_empty());
    }
}
