//! Which taints a node's state calls for. Pure.

use jiff::Timestamp;
use skiff_client::types::{Node, Taint, condition};

use super::health::Evictions;

const NO_SCHEDULE: &str = "NoSchedule";
const NO_EXECUTE: &str = "NoExecute";
const NOT_READY: &str = "node.kubernetes.io/not-ready";
const UNREACHABLE: &str = "node.kubernetes.io/unreachable";
const UNSCHEDULABLE: &str = "node.kubernetes.io/unschedulable";

/// Condition, its status, and the key of the taint that goes with it (upstream `nodeConditionToTaintKeyStatusMap`).
const BY_CONDITION: [(&str, &str, &str); 6] = [
    ("Ready", "False", NOT_READY),
    ("Ready", "Unknown", UNREACHABLE),
    ("MemoryPressure", "True", "node.kubernetes.io/memory-pressure"),
    ("DiskPressure", "True", "node.kubernetes.io/disk-pressure"),
    ("NetworkUnavailable", "True", "node.kubernetes.io/network-unavailable"),
    ("PIDPressure", "True", "node.kubernetes.io/pid-pressure"),
];

/// What is to be written.
#[derive(Debug, PartialEq)]
pub(super) struct Plan {
    /// All taints of the node as they should be; `None` if they are.
    pub(super) taints: Option<Vec<Taint>>,
    /// A NoExecute taint should come, and has to wait for its turn.
    pub(super) waiting: bool,
}

/// Plans a node's taints. `may_evict` is asked once, if pods are to be moved away.
pub(super) fn plan(node: &Node, evictions: Evictions, may_evict: impl FnOnce() -> bool, now: Timestamp) -> Plan {
    let status_of = |type_: &str| condition(&node.status.conditions, type_).map(|found| found.status.as_str());
    let mut wanted: Vec<Taint> = Vec::new();
    for (type_, status, key) in BY_CONDITION {
        if status_of(type_) == Some(status) {
            wanted.push(taint(key, NO_SCHEDULE, None));
        }
    }
    if node.spec.unschedulable {
        wanted.push(taint(UNSCHEDULABLE, NO_SCHEDULE, None));
    }
    let executed = match status_of("Ready") {
        Some("True") => None,
        Some("False") => Some(NOT_READY),
        _ => Some(UNREACHABLE),
    };
    let mut waiting = false;
    if let Some(key) = executed.filter(|_| evictions != Evictions::Lifted) {
        let marked = node.spec.taints.iter().any(|there| is_ours(there) && there.effect == NO_EXECUTE);
        let may = marked || (evictions != Evictions::Halted && may_evict());
        if may {
            wanted.push(taint(key, NO_EXECUTE, Some(now)));
        }
        waiting = !may;
    }
    let kept = node.spec.taints.iter().filter(|there| !is_ours(there) || wanted.iter().any(|new| new.matches(there)));
    let mut taints: Vec<Taint> = kept.cloned().collect();
    for new in wanted {
        if !taints.iter().any(|there| there.matches(&new)) {
            taints.push(new);
        }
    }
    let changed = taints != node.spec.taints;
    Plan { taints: changed.then_some(taints), waiting }
}

/// Whether we put it there, and may take it away.
fn is_ours(taint: &Taint) -> bool {
    match taint.effect.as_str() {
        NO_SCHEDULE => taint.key == UNSCHEDULABLE || BY_CONDITION.iter().any(|(_, _, key)| *key == taint.key),
        NO_EXECUTE => taint.key == NOT_READY || taint.key == UNREACHABLE,
        _ => false,
    }
}

fn taint(key: &str, effect: &str, time_added: Option<Timestamp>) -> Taint {
    Taint { key: key.into(), effect: effect.into(), value: String::new(), time_added }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    /// The taints as `key:effect`, or `same`.
    fn check(node: Value, evictions: Evictions, may: bool, expected: &str) {
        let node: Node = serde_json::from_value(node).expect("a node");
        let plan = plan(&node, evictions, || may, Timestamp::UNIX_EPOCH);
        let found = plan.taints.map_or("same".to_owned(), |taints| {
            let short =
                |taint: &Taint| format!("{}:{}", taint.key.rsplit('/').next().unwrap_or_default(), taint.effect);
            taints.iter().map(short).collect::<Vec<_>>().join(" ")
        });
        assert_eq!(format!("{found}{}", if plan.waiting { " waiting" } else { "" }), expected);
    }

    fn node(ready: &str, taints: Value) -> Value {
        json!({"spec": {"taints": taints}, "status": {"conditions": [{"type": "Ready", "status": ready}]}})
    }

    #[test]
    fn taints_follow_conditions() {
        let not_ready = json!([{"key": "node.kubernetes.io/not-ready", "effect": "NoSchedule"}]);
        let rate = Evictions::Rate(0.1);
        check(node("True", not_ready.clone()), rate, true, "");
        check(node("True", json!([])), rate, true, "same");
        check(node("False", not_ready.clone()), rate, true, "not-ready:NoSchedule not-ready:NoExecute");
        check(node("False", not_ready.clone()), rate, false, "same waiting");
        check(node("Unknown", not_ready.clone()), rate, true, "unreachable:NoSchedule unreachable:NoExecute");
        check(node("Unknown", not_ready.clone()), Evictions::Halted, true, "unreachable:NoSchedule waiting");
        check(node("Unknown", not_ready), Evictions::Lifted, true, "unreachable:NoSchedule");
        check(json!({"spec": {"unschedulable": true}}), Evictions::Lifted, true, "unschedulable:NoSchedule");
        // One that has not yet said how it is has no taint but that which it was made with.
        check(json!({}), Evictions::Halted, true, "same waiting");
    }

    #[test]
    fn what_others_put_there_stays() {
        let taints = json!([{"key": "gpu", "effect": "NoSchedule"}, {"key": "gpu", "effect": "NoExecute"},
            {"key": "node.kubernetes.io/unreachable", "effect": "NoExecute", "timeAdded": "2026-01-01T00:00:00Z"}]);
        check(node("True", taints.clone()), Evictions::Rate(0.1), true, "gpu:NoSchedule gpu:NoExecute");
        // Marked once, it stays marked without another turn.
        let expected = "gpu:NoSchedule gpu:NoExecute unreachable:NoExecute unreachable:NoSchedule";
        check(node("Unknown", taints), Evictions::Rate(0.1), false, expected);
    }
}
