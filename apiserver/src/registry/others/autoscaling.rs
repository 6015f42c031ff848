//! autoscaling: HorizontalPodAutoscaler, stored as v2 and also shown as v1.

use skiff_apimachinery::field::ErrorList;
use skiff_apimachinery::value;
use skiff_apimachinery::value::{Object, Value};

use crate::registry::at::At;
use crate::registry::conversion::Conversion;
use crate::registry::core::validation::formats;
use crate::registry::defaults::absent;
use crate::registry::strategy::Strategy;

/// HorizontalPodAutoscaler.
pub struct AutoscalerStrategy;

impl Strategy for AutoscalerStrategy {
    fn set_defaults(&self, object: &mut Value) {
        let spec = object.object_at_mut(&["spec"]);
        absent(spec, "minReplicas", 1);
        if spec.get("metrics").and_then(Value::as_array).is_none_or(<[_]>::is_empty) {
            let metric = value!({
                "type": "Resource",
                "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 80}}
            });
            spec.insert("metrics", vec![metric]);
        }
        if let Some(behavior) = spec.get_mut("behavior").and_then(Value::as_object_mut) {
            scaling_rules(behavior.object_mut("scaleUp"), true);
            scaling_rules(behavior.object_mut("scaleDown"), false);
        }
    }

    fn validate(&self, object: &Value) -> ErrorList {
        let mut errors = ErrorList::default();
        let root = At::root(object);
        let spec = root.child("spec");
        let (min, max) = (spec.child("minReplicas"), spec.child("maxReplicas"));
        min.positive(&mut errors);
        if max.int().unwrap_or(0) < 1 {
            max.invalid(&mut errors, "must be greater than 0");
        }
        if min.int().is_some_and(|min| max.int().unwrap_or(0) < min) {
            max.invalid(&mut errors, "must be greater than or equal to `minReplicas`");
        }
        let target = spec.child("scaleTargetRef");
        for field in ["kind", "name"] {
            let at = target.child(field);
            if at.require(&mut errors) && field == "name" {
                formats::subdomain(&at, &mut errors);
            }
        }
        errors
    }
}

fn scaling_rules(rules: &mut Object, up: bool) {
    absent(rules, "selectPolicy", "Max");
    if up {
        absent(rules, "stabilizationWindowSeconds", 0);
    }
    if rules.get("policies").and_then(Value::as_array).is_none_or(<[_]>::is_empty) {
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

/// What v1 cannot say is kept in these annotations.
const METRICS: &str = "autoscaling.alpha.kubernetes.io/metrics";
const BEHAVIOR: &str = "autoscaling.alpha.kubernetes.io/behavior";
const CURRENT_METRICS: &str = "autoscaling.alpha.kubernetes.io/current-metrics";
const CONDITIONS: &str = "autoscaling.alpha.kubernetes.io/conditions";

/// autoscaling/v1.
pub struct AutoscalingV1;

impl Conversion for AutoscalingV1 {
    fn to_stored(&self, mut object: Value) -> Value {
        object.set_at(&["apiVersion"], "autoscaling/v2");
        let cpu = object.remove_at(&["spec", "targetCPUUtilizationPercentage"]);
        let mut metrics = take_json(&mut object, METRICS).and_then(array).unwrap_or_default();
        if let Some(percent) = cpu {
            let metric = value!({
                "type": "Resource",
                "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": percent}}
            });
            metrics.insert(0, metric);
        }
        if !metrics.is_empty() {
            object.set_at(&["spec", "metrics"], metrics);
        }
        if let Some(behavior) = take_json(&mut object, BEHAVIOR) {
            object.set_at(&["spec", "behavior"], behavior);
        }
        let current = object.remove_at(&["status", "currentCPUUtilizationPercentage"]);
        let mut currents = take_json(&mut object, CURRENT_METRICS).and_then(array).unwrap_or_default();
        if let Some(percent) = current {
            let metric = value!({
                "type": "Resource",
                "resource": {"name": "cpu", "current": {"averageUtilization": percent}}
            });
            currents.insert(0, metric);
        }
        if !currents.is_empty() {
            object.set_at(&["status", "currentMetrics"], currents);
        }
        if let Some(conditions) = take_json(&mut object, CONDITIONS) {
            object.set_at(&["status", "conditions"], conditions);
        }
        object
    }

    fn from_stored(&self, mut object: Value) -> Value {
        object.set_at(&["apiVersion"], "autoscaling/v1");
        let is_cpu = |metric: &Value, part: &str| {
            metric.str_at(&["type"]) == Some("Resource")
                && metric.str_at(&["resource", "name"]) == Some("cpu")
                && metric.at(&["resource", part, "averageUtilization"]).is_some()
        };
        for (list, part, field, annotation) in [
            ("spec/metrics", "target", "spec/targetCPUUtilizationPercentage", METRICS),
            ("status/currentMetrics", "current", "status/currentCPUUtilizationPercentage", CURRENT_METRICS),
        ] {
            let path = list.split('/').collect::<Vec<_>>();
            let mut metrics = object.remove_at(&path).and_then(array).unwrap_or_default();
            if let Some(position) = metrics.iter().position(|metric| is_cpu(metric, part)) {
                let cpu = metrics.remove(position);
                if let Some(percent) = cpu.at(&["resource", part, "averageUtilization"]) {
                    object.set_at(&field.split('/').collect::<Vec<_>>(), percent.clone());
                }
            }
            if !metrics.is_empty() {
                put_json(&mut object, annotation, &Value::Array(metrics));
            }
        }
        for (path, annotation) in [(["spec", "behavior"], BEHAVIOR), (["status", "conditions"], CONDITIONS)] {
            if let Some(value) = object.remove_at(&path) {
                put_json(&mut object, annotation, &value);
            }
        }
        object
    }
}

fn array(value: Value) -> Option<Vec<Value>> {
    match value {
        Value::Array(items) => Some(items),
        _ => None,
    }
}

fn take_json(object: &mut Value, annotation: &str) -> Option<Value> {
    let text = object.remove_at(&["metadata", "annotations", annotation])?;
    if object.at(&["metadata", "annotations"]).and_then(Value::as_object).is_some_and(Object::is_empty) {
        object.remove_at(&["metadata", "annotations"]);
    }
    skiff_apimachinery::json::parse(text.as_str()?.as_bytes()).ok()
}

fn put_json(object: &mut Value, annotation: &str, value: &Value) {
    let mut text = Vec::new();
    skiff_apimachinery::json::write(value, &mut text);
    object.set_at(&["metadata", "annotations", annotation], String::from_utf8_lossy(&text).into_owned());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_lost_in_the_older_form() {
        let stored = value!({
            "apiVersion": "autoscaling/v2",
            "metadata": {"name": "a"},
            "spec": {
                "maxReplicas": 3,
                "metrics": [
                    {"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 50}}},
                    {"type": "Pods", "pods": {"metric": {"name": "x"}}}
                ],
                "behavior": {"scaleDown": {"selectPolicy": "Min"}}
            }
        });
        let older = AutoscalingV1.from_stored(stored.clone());
        assert_eq!(older.i64_at(&["spec", "targetCPUUtilizationPercentage"]), Some(50));
        assert!(older.at(&["spec", "metrics"]).is_none());
        assert_eq!(AutoscalingV1.to_stored(older), stored);
    }
}
