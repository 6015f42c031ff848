//! Conditions of a status: setting them as upstream does, and writing them.

use jiff::Timestamp;
use serde_json::{Map, Value, json};
use skiff_client::clock::format_time;
use skiff_client::types::Condition;

/// A condition as of now.
pub fn new(type_: &str, status: &str, reason: &str, message: impl Into<String>, now: Timestamp) -> Condition {
    Condition {
        type_: type_.into(),
        status: status.into(),
        reason: reason.into(),
        message: message.into(),
        last_transition_time: Some(now),
        last_update_time: Some(now),
        observed_generation: 0,
    }
}

/// Sets a condition, unless one of that type with the same status and reason is there. The transition time is kept if
/// the status stays. A condition that changes moves to the end (upstream `SetDeploymentCondition`).
pub fn set(conditions: &mut Vec<Condition>, mut condition: Condition) {
    if let Some(current) = skiff_client::types::condition(conditions, &condition.type_)
        && current.status == condition.status
    {
        if current.reason == condition.reason {
            return;
        }
        condition.last_transition_time = current.last_transition_time;
    }
    remove(conditions, &condition.type_);
    conditions.push(condition);
}

/// Removes the condition of a type.
pub fn remove(conditions: &mut Vec<Condition>, type_: &str) {
    conditions.retain(|condition| condition.type_ != type_);
}

/// Which of a condition's second time and generation a kind has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// Transition time only.
    Plain,
    /// Also `lastUpdateTime` (Deployments).
    WithUpdate,
    /// Also `lastProbeTime` (Jobs).
    WithProbe,
    /// `metav1.Condition`: also `observedGeneration`, and no field is optional.
    Standard,
}

/// Conditions as JSON.
pub fn to_json(conditions: &[Condition], form: Form) -> Value {
    conditions.iter().map(|condition| one_to_json(condition, form)).collect()
}

fn one_to_json(condition: &Condition, form: Form) -> Value {
    let mut fields = Map::new();
    fields.insert("type".into(), json!(condition.type_));
    fields.insert("status".into(), json!(condition.status));
    for (name, text) in [("reason", &condition.reason), ("message", &condition.message)] {
        if !text.is_empty() || form == Form::Standard {
            fields.insert(name.into(), json!(text));
        }
    }
    let mut time = |name: &str, at: Option<Timestamp>| {
        if let Some(at) = at {
            fields.insert(name.into(), json!(format_time(at)));
        }
    };
    time("lastTransitionTime", condition.last_transition_time);
    match form {
        Form::WithUpdate => time("lastUpdateTime", condition.last_update_time),
        Form::WithProbe => time("lastProbeTime", condition.last_update_time),
        Form::Plain | Form::Standard => {}
    }
    if form == Form::Standard && condition.observed_generation != 0 {
        fields.insert("observedGeneration".into(), json!(condition.observed_generation));
    }
    Value::Object(fields)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_condition_changes_only_with_status_or_reason() {
        let at = |second| Timestamp::from_second(second).expect("a time");
        let mut conditions = vec![new("A", "True", "R", "m", at(1)), new("B", "True", "R", "m", at(1))];
        set(&mut conditions, new("A", "True", "R", "other", at(2)));
        assert_eq!(conditions[0].message, "m");
        set(&mut conditions, new("A", "True", "S", "other", at(3)));
        let changed = conditions.last().expect("moved to the end");
        assert_eq!((changed.last_transition_time, changed.last_update_time), (Some(at(1)), Some(at(3))));
        set(&mut conditions, new("A", "False", "S", "other", at(4)));
        assert_eq!(conditions.last().expect("there").last_transition_time, Some(at(4)));
        remove(&mut conditions, "A");
        assert_eq!(conditions.len(), 1);
    }
}
