//! autoscaling: HorizontalPodAutoscaler, stored as v2 and also shown as v1.
//!
//! Follows `pkg/registry/autoscaling/horizontalpodautoscaler` and `pkg/apis/autoscaling/v2/defaults.go`.

mod older;
mod validation;

use skiff_apimachinery::field::ErrorList;
use skiff_apimachinery::value;
use skiff_apimachinery::value::{Object, Value};

pub use self::older::AutoscalingV1;
use crate::registry::at::At;
use crate::registry::defaults::absent;
use crate::registry::strategy::{Strategy, WriteScope};

/// CPU utilization in percent that is aimed at when no metric is named.
const DEFAULT_UTILIZATION: i64 = 80;

/// HorizontalPodAutoscaler.
pub struct AutoscalerStrategy;

impl Strategy for AutoscalerStrategy {
    fn set_defaults(&self, object: &mut Value) {
        // v2 says everything in fields; what another version put into annotations is not for it.
        older::drop_annotations(object);
        let spec = object.object_at_mut(&["spec"]);
        common_defaults(spec);
        if let Some(behavior) = spec.get_mut("behavior").and_then(Value::as_object_mut) {
            scaling_rules(behavior.object_mut("scaleUp"), true);
            scaling_rules(behavior.object_mut("scaleDown"), false);
        }
    }

    fn validate(&self, object: &Value) -> ErrorList {
        let mut errors = ErrorList::default();
        validation::spec(&At::root(object).child("spec"), validation::Allowed::of_change(object, None), &mut errors);
        errors
    }

    fn validate_update(&self, _scope: WriteScope<'_>, new: &Value, old: &Value) -> ErrorList {
        let mut errors = ErrorList::default();
        validation::spec(&At::root(new).child("spec"), validation::Allowed::of_change(new, Some(old)), &mut errors);
        errors
    }

    fn validate_status_update(&self, new: &Value, _old: &Value) -> ErrorList {
        let mut errors = ErrorList::default();
        let root = At::root(new);
        let status = root.child("status");
        for field in ["currentReplicas", "desiredReplicas"] {
            status.child(field).not_negative(&mut errors);
        }
        errors
    }
}

/// The defaults of every version.
fn common_defaults(spec: &mut Object) {
    absent(spec, "minReplicas", 1);
    if spec.get("metrics").and_then(Value::as_array).is_none_or(<[_]>::is_empty) {
        spec.insert("metrics", vec![cpu_metric(DEFAULT_UTILIZATION.into())]);
    }
}

/// The metric that aims at this CPU utilization.
fn cpu_metric(percent: Value) -> Value {
    value!({
        "type": "Resource",
        "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": percent}}
    })
}

/// What clients left out of a direction's rules. An empty list of policies is one, and not valid.
fn scaling_rules(rules: &mut Object, up: bool) {
    absent(rules, "selectPolicy", "Max");
    if up {
        absent(rules, "stabilizationWindowSeconds", 0);
    }
    if rules.get("policies").is_none_or(Value::is_null) {
        let policies = if up {
            value!([
                {"type": "Pods", "value": 4, "periodSeconds": 15},
                {"type": "Percent", "value": 100, "periodSeconds": 15}
            ])
        } else {
            value!([{"type": "Percent", "value": 100, "periodSeconds": 15}])
        };
        rules.insert("policies", policies);
    }
}
