//! What a Job's podFailurePolicy says about a failed pod (upstream `matchPodFailurePolicy`).

use skiff_client::types::{OnExitCodes, OnPodCondition, Pod, PodFailurePolicy};

/// What follows from a failure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Action {
    /// It counts, as without a policy.
    Count,
    /// It does not count.
    Ignore,
    /// The index fails for good.
    FailIndex,
    /// The job fails, for this reason.
    FailJob(String),
}

/// The action of the first rule that matches.
pub(super) fn action(policy: &PodFailurePolicy, pod: &Pod) -> Action {
    for (index, rule) in policy.rules.iter().enumerate() {
        let matched = match &rule.on_exit_codes {
            Some(codes) => on_exit_codes(codes, pod, index, &rule.action),
            None => on_conditions(&rule.on_pod_conditions, pod, index, &rule.action),
        };
        let Some(message) = matched else { continue };
        return match rule.action.as_str() {
            "Ignore" => Action::Ignore,
            "FailIndex" => Action::FailIndex,
            "FailJob" => Action::FailJob(message),
            _ => Action::Count,
        };
    }
    Action::Count
}

fn on_exit_codes(codes: &OnExitCodes, pod: &Pod, index: usize, action: &str) -> Option<String> {
    let statuses = pod.status.container_statuses.iter().chain(&pod.status.init_container_statuses);
    for status in statuses {
        let named = codes.container_name.as_ref().is_none_or(|name| *name == status.name);
        let Some(ended) = status.state.terminated.as_ref().filter(|ended| named && ended.exit_code != 0) else {
            continue;
        };
        let listed = codes.values.contains(&ended.exit_code);
        let hit = if codes.operator == "In" { listed } else { codes.operator == "NotIn" && !listed };
        if hit {
            let (name, meta, code) = (&status.name, &pod.metadata, ended.exit_code);
            let (namespace, pod) = (&meta.namespace, &meta.name);
            return Some(format!(
                "Container {name} for pod {namespace}/{pod} failed with exit code {code} matching {action} rule at \
                 index {index}"
            ));
        }
    }
    None
}

fn on_conditions(patterns: &[OnPodCondition], pod: &Pod, index: usize, action: &str) -> Option<String> {
    let hit = patterns.iter().find(|pattern| {
        let wanted = if pattern.status.is_empty() { "True" } else { &pattern.status };
        pod.status.conditions.iter().any(|found| found.type_ == pattern.type_ && found.status == wanted)
    })?;
    let meta = &pod.metadata;
    Some(format!(
        "Pod {}/{} has condition {} matching {action} rule at index {index}",
        meta.namespace, meta.name, hit.type_
    ))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn check(code: i32, expected: Action) {
        let policy: PodFailurePolicy = serde_json::from_value(json!({"rules": [
            {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget"}]},
            {"action": "FailJob", "onExitCodes": {"containerName": "main", "operator": "In", "values": [3, 4]}},
            {"action": "FailIndex", "onExitCodes": {"operator": "In", "values": [5]}},
            {"action": "Ignore", "onExitCodes": {"operator": "NotIn", "values": [1, 6]}}]}))
        .expect("a policy");
        let conditions = if code < 0 { json!([{"type": "DisruptionTarget", "status": "True"}]) } else { json!([]) };
        let pod: Pod = serde_json::from_value(json!({"metadata": {"name": "p", "namespace": "n"}, "status": {
            "conditions": conditions,
            "containerStatuses": [{"name": "main", "state": {"terminated": {"exitCode": code}}}]}}))
        .expect("a pod");
        assert_eq!(action(&policy, &pod), expected, "{code}");
    }

    #[test]
    fn the_first_rule_that_matches_counts() {
        check(-1, Action::Ignore);
        let message = "Container main for pod n/p failed with exit code 3 matching FailJob rule at index 1";
        check(3, Action::FailJob(message.into()));
        check(5, Action::FailIndex);
        check(1, Action::Count);
        check(9, Action::Ignore);
        check(0, Action::Count);
    }
}
