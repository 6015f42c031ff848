//! Which thresholds are passed, for how long, and which conditions follow (upstream: `eviction_manager.go`, synchronize).
//! Pure: observations and times in, decisions out.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use k8s_openapi::api::core::v1::{Pod, Toleration};
use tokio::time::Instant;

use super::thresholds::{Condition, Signal, Threshold};
use crate::pod::PodExt;
use crate::spec::qos::{Qos, is_critical};

/// How much there is of something.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Observation {
    pub(crate) available: u64,
    pub(crate) capacity: u64,
}

/// All that could be observed.
pub(crate) type Observations = BTreeMap<Signal, Observation>;

/// What is remembered between looks.
#[derive(Default)]
pub(crate) struct Watch {
    /// Thresholds that are passed, and since when; indices into the list of all.
    passed: BTreeMap<usize, Instant>,
    /// When each condition was last seen.
    seen: BTreeMap<Condition, Instant>,
}

impl Watch {
    /// Takes note of a look. Answers the node's conditions and the thresholds for which something has to be done, in the
    /// order in which they are dealt with.
    pub(crate) fn look(
        &mut self,
        thresholds: &[Threshold],
        observed: &Observations,
        transition: Duration,
        now: Instant,
    ) -> (BTreeSet<Condition>, Vec<Threshold>) {
        let passed = thresholds.iter().enumerate().filter(|(index, threshold)| {
            // Once something was short a little more than the threshold has to be free.
            is_passed(threshold, observed, self.passed.contains_key(index))
        });
        self.passed = passed.map(|(index, _)| (index, self.passed.get(&index).copied().unwrap_or(now))).collect();
        for index in self.passed.keys() {
            self.seen.insert(thresholds[*index].signal.condition(), now);
        }
        self.seen.retain(|_, at| *at == now || now.saturating_duration_since(*at) < transition);
        let due = self.passed.iter().filter(|(index, since)| now - **since >= thresholds[**index].grace);
        (self.seen.keys().copied().collect(), due.map(|(index, _)| thresholds[*index]).collect())
    }
}

/// Whether less is left than a threshold asks for.
pub(crate) fn is_passed(threshold: &Threshold, observed: &Observations, with_reclaim: bool) -> bool {
    observed.get(&threshold.signal).is_some_and(|seen| {
        let reclaim = threshold.reclaim.filter(|_| with_reclaim).map_or(0, |amount| amount.of(seen.capacity));
        seen.available < threshold.value.of(seen.capacity).saturating_add(reclaim)
    })
}

/// Why a node with these conditions does not take a pod.
pub(crate) fn refusal(pod: &Pod, conditions: &BTreeSet<Condition>) -> Option<String> {
    if conditions.is_empty() || is_critical(pod) {
        return None;
    }
    if conditions.iter().all(|condition| *condition == Condition::MemoryPressure)
        && (Qos::of(pod) != Qos::BestEffort
            || pod.pod_spec().tolerations.iter().flatten().any(tolerates_memory_pressure))
    {
        return None;
    }
    let names: Vec<&str> = conditions.iter().map(|condition| condition.as_str()).collect();
    Some(format!("The node had condition: [{}]. ", names.join(" ")))
}

fn tolerates_memory_pressure(toleration: &Toleration) -> bool {
    let key = toleration.key.as_deref().unwrap_or_default();
    let effect = toleration.effect.as_deref().unwrap_or_default();
    let operator = toleration.operator.as_deref().unwrap_or("Equal");
    let has_value = toleration.value.as_deref().is_some_and(|value| !value.is_empty());
    let key_fits = key == "node.kubernetes.io/memory-pressure" || (key.is_empty() && operator == "Exists");
    key_fits
        && (effect.is_empty() || effect == "NoSchedule")
        && (operator == "Exists" || (operator == "Equal" && !has_value))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::eviction::thresholds::Amount;
    use serde_json::{Value, json};

    const MINUTE: Duration = Duration::from_secs(60);

    fn threshold(signal: Signal, units: u64, grace: Duration, reclaim: u64) -> Threshold {
        let reclaim = (reclaim > 0).then_some(Amount::Units(reclaim));
        Threshold { signal, value: Amount::Units(units), grace, reclaim, hard: grace.is_zero() }
    }

    fn observed(memory: u64, disk: u64) -> Observations {
        let seen = |available| Observation { available, capacity: 1000 };
        [(Signal::MemoryAvailable, seen(memory)), (Signal::NodeFsAvailable, seen(disk))].into()
    }

    #[tokio::test]
    async fn conditions_stay_for_a_while_and_more_than_the_threshold_is_reclaimed() {
        let thresholds = [
            threshold(Signal::MemoryAvailable, 100, Duration::ZERO, 50),
            threshold(Signal::NodeFsAvailable, 10, Duration::ZERO, 0),
        ];
        let (mut watch, start) = (Watch::default(), Instant::now());
        let mut at = |minute: u32, memory, disk| {
            let (conditions, due) =
                watch.look(&thresholds, &observed(memory, disk), 5 * MINUTE, start + minute * MINUTE);
            (conditions.into_iter().collect::<Vec<_>>(), due.iter().map(|t| t.signal).collect::<Vec<_>>())
        };
        use Condition::{DiskPressure, MemoryPressure};
        assert_eq!(at(0, 100, 10), (vec![], vec![]));
        assert_eq!(
            at(1, 99, 9),
            (vec![MemoryPressure, DiskPressure], vec![Signal::MemoryAvailable, Signal::NodeFsAvailable])
        );
        assert_eq!(at(2, 149, 10), (vec![MemoryPressure, DiskPressure], vec![Signal::MemoryAvailable]));
        assert_eq!(at(3, 150, 10), (vec![MemoryPressure, DiskPressure], vec![]));
        assert_eq!(at(4, 120, 10).1, vec![], "it is above the threshold");
        assert_eq!(at(6, 150, 10), (vec![MemoryPressure], vec![]));
        assert_eq!(at(7, 150, 10), (vec![], vec![]));
    }

    #[tokio::test]
    async fn soft_thresholds_wait() {
        let thresholds = [threshold(Signal::MemoryAvailable, 100, MINUTE, 0)];
        let (mut watch, start) = (Watch::default(), Instant::now());
        let mut due = |second: u64, memory| {
            let now = start + Duration::from_secs(second);
            watch.look(&thresholds, &observed(memory, 0), Duration::ZERO, now).1.len()
        };
        assert_eq!([due(0, 50), due(59, 50), due(60, 50)], [0, 0, 1]);
        assert_eq!([due(61, 100), due(62, 50), due(121, 50), due(122, 50)], [0, 0, 0, 1], "it starts anew");
    }

    #[test]
    fn a_node_under_pressure_takes_only_some_pods() {
        let refused = |spec: Value, conditions: &[Condition]| {
            let mut spec = spec;
            spec["containers"] = json!([{"name": "c", "resources": spec["resources"]}]);
            spec.as_object_mut().expect("a spec").remove("resources");
            let pod: Pod = serde_json::from_value(json!({"spec": spec})).expect("a pod");
            refusal(&pod, &conditions.iter().copied().collect())
        };
        use Condition::{DiskPressure, MemoryPressure};
        let burstable = || json!({"resources": {"requests": {"cpu": "1"}}});
        assert_eq!(refused(json!({}), &[]), None);
        assert_eq!(
            refused(json!({}), &[MemoryPressure]).as_deref(),
            Some("The node had condition: [MemoryPressure]. ")
        );
        assert_eq!(refused(burstable(), &[MemoryPressure]), None);
        let tolerant = json!({"tolerations": [{"key": "node.kubernetes.io/memory-pressure", "operator": "Exists", "effect": "NoSchedule"}]});
        assert_eq!(refused(tolerant.clone(), &[MemoryPressure]), None);
        assert!(refused(tolerant, &[DiskPressure]).is_some());
        let both = refused(burstable(), &[MemoryPressure, DiskPressure]);
        assert_eq!(both.as_deref(), Some("The node had condition: [MemoryPressure DiskPressure]. "));
        assert_eq!(refused(json!({"priority": 2_000_000_000}), &[DiskPressure]), None);
    }
}
