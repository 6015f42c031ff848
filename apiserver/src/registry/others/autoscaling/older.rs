//! autoscaling/v1: what it cannot say is kept in annotations.
//!
//! Follows `pkg/apis/autoscaling/v1/conversion.go`. The annotations hold what Go writes of its types: metrics and
//! conditions under the names of `k8s.io/api/autoscaling/v1`, behavior under those of the internal type.

use skiff_apimachinery::quantity;
use skiff_apimachinery::value;
use skiff_apimachinery::value::{Object, Value};

use super::{DEFAULT_UTILIZATION, common_defaults, cpu_metric};
use crate::registry::conversion::Conversion;
use crate::registry::internal;
use crate::registry::strategy::Strategy;

const METRICS: &str = "autoscaling.alpha.kubernetes.io/metrics";
const BEHAVIOR: &str = "autoscaling.alpha.kubernetes.io/behavior";
const CURRENT_METRICS: &str = "autoscaling.alpha.kubernetes.io/current-metrics";
const CONDITIONS: &str = "autoscaling.alpha.kubernetes.io/conditions";
/// All that any version ever wrote; clients cannot keep anything of their own in them.
const ANNOTATIONS: &[&str] = &[
    METRICS,
    BEHAVIOR,
    CURRENT_METRICS,
    CONDITIONS,
    "autoscaling.alpha.kubernetes.io/scale-down-tolerance",
    "autoscaling.alpha.kubernetes.io/scale-up-tolerance",
];

/// autoscaling/v1.
pub struct AutoscalingV1;

impl Conversion for AutoscalingV1 {
    fn to_stored(&self, mut object: Value) -> Value {
        object.set_at(&["apiVersion"], "autoscaling/v2");
        let cpu = object.remove_at(&["spec", "targetCPUUtilizationPercentage"]).filter(|percent| !percent.is_null());
        let mut metrics = read_list(&object, METRICS, |metric| to_metric(metric, spec_source)).unwrap_or_default();
        metrics.extend(cpu.map(cpu_metric));
        if metrics.is_empty() {
            // As upstream: what the older version means by none is said where it is converted.
            metrics.push(cpu_metric(DEFAULT_UTILIZATION.into()));
        }
        object.set_at(&["spec", "metrics"], metrics);
        if let Some(behavior) = annotation(&object, BEHAVIOR).and_then(|parsed| to_behavior(&parsed)) {
            object.set_at(&["spec", "behavior"], behavior);
        }
        let current = object.remove_at(&["status", "currentCPUUtilizationPercentage"]);
        let current = current.filter(|percent| !percent.is_null()).map(|percent| {
            value!([{"type": "Resource", "resource": {"name": "cpu", "current": {"averageUtilization": percent}}}])
        });
        let currents = read_list(&object, CURRENT_METRICS, |metric| to_metric(metric, status_source)).map(Value::Array);
        if let Some(currents) = currents.or(current) {
            object.set_at(&["status", "currentMetrics"], currents);
        }
        if let Some(conditions) = read_list(&object, CONDITIONS, to_condition) {
            object.set_at(&["status", "conditions"], conditions);
        }
        drop_annotations(&mut object);
        object
    }

    fn from_stored(&self, mut object: Value) -> Value {
        object.set_at(&["apiVersion"], "autoscaling/v1");
        drop_annotations(&mut object);
        let metrics = list(object.remove_at(&["spec", "metrics"]));
        if let Some(percent) = metrics.iter().find_map(cpu_target) {
            object.set_at(&["spec", "targetCPUUtilizationPercentage"], percent.clone());
        }
        let others = metrics.iter().filter(|metric| cpu_target(metric).is_none());
        let others = others.map(|metric| from_metric(metric, older_spec_source)).collect::<Vec<_>>();
        put(&mut object, METRICS, others, "[v1MetricSpec");
        let current = list(object.remove_at(&["status", "currentMetrics"]));
        if let Some(percent) = current.iter().rev().find_map(cpu_now) {
            object.set_at(&["status", "currentCPUUtilizationPercentage"], percent.clone());
        }
        let current = current.iter().map(|metric| from_metric(metric, older_status_source)).collect::<Vec<_>>();
        put(&mut object, CURRENT_METRICS, current, "[v1MetricStatus");
        if let Some(behavior) = object.remove_at(&["spec", "behavior"]) {
            put_text(&mut object, BEHAVIOR, &behavior, "HorizontalPodAutoscalerBehavior");
        }
        let conditions = list(object.remove_at(&["status", "conditions"]));
        put(&mut object, CONDITIONS, conditions, "[v1HorizontalPodAutoscalerCondition");
        // v1 always says how many there are, v2 only when there are some.
        if let Some(status) = object.get_mut("status").and_then(Value::as_object_mut) {
            status.get_or_insert_with("currentReplicas", || Value::Int(0));
        }
        object
    }

    /// This version leaves behavior as it was written.
    fn set_defaults(&self, object: &mut Value, _of_kind: &dyn Strategy) {
        common_defaults(object.object_at_mut(&["spec"]));
    }
}

/// Takes away the annotations that versions say things in.
pub(super) fn drop_annotations(object: &mut Value) {
    let Some(annotations) = object.get_mut("metadata").and_then(|metadata| metadata.get_mut("annotations")) else {
        return;
    };
    let Some(annotations) = annotations.as_object_mut() else { return };
    annotations.retain(|name, _| !ANNOTATIONS.contains(&name));
    if annotations.is_empty() {
        object.remove_at(&["metadata", "annotations"]);
    }
}

fn list(value: Option<Value>) -> Vec<Value> {
    match value {
        Some(Value::Array(items)) => items,
        _ => Vec::new(),
    }
}

fn put(object: &mut Value, annotation: &str, items: Vec<Value>, ty: &str) {
    if !items.is_empty() {
        put_text(object, annotation, &Value::Array(items), ty);
    }
}

fn put_text(object: &mut Value, annotation: &str, value: &Value, ty: &str) {
    if let Value::Raw(text) = internal::shown(Some(value), ty) {
        object.set_at(&["metadata", "annotations", annotation], &*text);
    }
}

/// What an annotation holds, if that is JSON.
fn annotation(object: &Value, name: &str) -> Option<Value> {
    skiff_apimachinery::json::parse(object.str_at(&["metadata", "annotations", name])?.as_bytes()).ok()
}

/// The items of an annotation; `None` if one of them is not what it should be, as Go then takes nothing.
fn read_list(object: &Value, name: &str, read: impl Fn(&Value) -> Option<Value>) -> Option<Vec<Value>> {
    match annotation(object, name)? {
        Value::Array(items) => items.iter().map(read).collect(),
        Value::Null => Some(Vec::new()),
        _ => None,
    }
}

fn is_cpu(metric: &Value) -> bool {
    metric.str_at(&["type"]) == Some("Resource") && metric.str_at(&["resource", "name"]) == Some("cpu")
}

fn cpu_target(metric: &Value) -> Option<&Value> {
    metric.at(&["resource", "target", "averageUtilization"]).filter(|_| is_cpu(metric))
}

fn cpu_now(metric: &Value) -> Option<&Value> {
    metric.at(&["resource", "current", "averageUtilization"]).filter(|_| is_cpu(metric))
}

/// The members that say what a metric is of.
const SOURCES: &[&str] = &["object", "pods", "resource", "containerResource", "external"];

/// A metric with its source in the older form.
fn from_metric(metric: &Value, source: fn(&str, &Value) -> Value) -> Value {
    let mut older = Value::Object(Object::new());
    older.set_at(&["type"], metric.str_at(&["type"]).unwrap_or(""));
    for kind in SOURCES {
        if let Some(newer) = metric.get(kind).filter(|newer| !newer.is_null()) {
            older.set_at(&[kind], source(kind, newer));
        }
    }
    older
}

/// Copies members under other names: theirs, ours.
fn copied(from: &Value, members: &[(&[&str], &str)]) -> Value {
    let mut to = Value::Object(Object::new());
    for (path, name) in members {
        if let Some(value) = from.at(path).filter(|value| !value.is_null()) {
            to.set_at(&[name], value.clone());
        }
    }
    to
}

fn older_spec_source(kind: &str, newer: &Value) -> Value {
    let members: &[(&[&str], &str)] = match kind {
        "object" => &[
            (&["describedObject"], "target"),
            (&["metric", "name"], "metricName"),
            (&["target", "value"], "targetValue"),
            (&["metric", "selector"], "selector"),
            (&["target", "averageValue"], "averageValue"),
        ],
        "pods" => &[
            (&["metric", "name"], "metricName"),
            (&["target", "averageValue"], "targetAverageValue"),
            (&["metric", "selector"], "selector"),
        ],
        "external" => &[
            (&["metric", "name"], "metricName"),
            (&["metric", "selector"], "metricSelector"),
            (&["target", "value"], "targetValue"),
            (&["target", "averageValue"], "targetAverageValue"),
        ],
        _ => &[
            (&["name"], "name"),
            (&["container"], "container"),
            (&["target", "averageUtilization"], "targetAverageUtilization"),
            (&["target", "averageValue"], "targetAverageValue"),
        ],
    };
    copied(newer, members)
}

fn older_status_source(kind: &str, newer: &Value) -> Value {
    let members: &[(&[&str], &str)] = match kind {
        "object" => &[
            (&["describedObject"], "target"),
            (&["metric", "name"], "metricName"),
            (&["current", "value"], "currentValue"),
            (&["metric", "selector"], "selector"),
            (&["current", "averageValue"], "averageValue"),
        ],
        "pods" => &[
            (&["metric", "name"], "metricName"),
            (&["current", "averageValue"], "currentAverageValue"),
            (&["metric", "selector"], "selector"),
        ],
        "external" => &[
            (&["metric", "name"], "metricName"),
            (&["metric", "selector"], "metricSelector"),
            (&["current", "value"], "currentValue"),
            (&["current", "averageValue"], "currentAverageValue"),
        ],
        _ => &[
            (&["name"], "name"),
            (&["container"], "container"),
            (&["current", "averageUtilization"], "currentAverageUtilization"),
            (&["current", "averageValue"], "currentAverageValue"),
        ],
    };
    copied(newer, members)
}

/// A metric of an annotation in the newer form.
fn to_metric(older: &Value, source: fn(&str, &Source<'_>) -> Option<Value>) -> Option<Value> {
    let older = Source(older.as_object()?);
    let ty = older.text("type")?;
    let mut metric = value!({"type": ty});
    for kind in SOURCES {
        match older.get(kind) {
            None => {}
            Some(Value::Object(inner)) => metric.set_at(&[kind], source(kind, &Source(inner))?),
            Some(_) => return None,
        }
    }
    Some(metric)
}

/// An object of an annotation. Names are found whatever their case; each read fails on a value of another type.
struct Source<'a>(&'a Object);

impl Source<'_> {
    fn get(&self, name: &str) -> Option<&Value> {
        let found = self.0.iter().find(|(key, _)| key.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value).filter(|value| !value.is_null())
    }

    fn text(&self, name: &str) -> Option<String> {
        self.get(name).map_or(Some(String::new()), |value| value.as_str().map(str::to_owned))
    }

    /// Puts a quantity into a member of `into`; one that is no pointer in Go is always there.
    fn quantity(&self, name: &str, always: bool, into: &mut Value, member: &str) -> Option<()> {
        let text = match self.get(name) {
            Some(Value::Int(number)) => number.to_string(),
            Some(value) => value.as_str()?.to_owned(),
            None if always => "0".to_owned(),
            None => return Some(()),
        };
        into.set_at(&[member], quantity::canonical(&text).ok()?);
        Some(())
    }

    fn number(&self, name: &str, into: &mut Value, member: &str) -> Option<()> {
        if let Some(value) = self.get(name) {
            into.set_at(&[member], value.as_i64()?);
        }
        Some(())
    }

    fn object(&self, name: &str, into: &mut Value, member: &str) -> Option<()> {
        if let Some(value) = self.get(name) {
            into.set_at(&[member], value.as_object()?.clone());
        }
        Some(())
    }

    /// The name of a metric and its selector.
    fn identifier(&self, selector: &str) -> Option<Value> {
        let name = self.text("metricName")?;
        let mut metric = value!({"name": name});
        self.object(selector, &mut metric, "selector")?;
        Some(metric)
    }

    /// The object that a metric is of.
    fn described(&self) -> Option<Value> {
        let Some(target) = self.get("target") else { return Some(value!({"kind": "", "name": ""})) };
        let target = Source(target.as_object()?);
        let (kind, name) = (target.text("kind")?, target.text("name")?);
        let mut described = value!({"kind": kind, "name": name});
        let version = target.text("apiVersion")?;
        if !version.is_empty() {
            described.set_at(&["apiVersion"], version);
        }
        Some(described)
    }
}

fn spec_source(kind: &str, older: &Source<'_>) -> Option<Value> {
    let mut target = Value::Object(Object::new());
    let mut source = Value::Object(Object::new());
    match kind {
        "object" => {
            older.quantity("averageValue", false, &mut target, "averageValue")?;
            older.quantity("targetValue", true, &mut target, "value")?;
            let averaged = target.get("averageValue").is_some();
            if averaged && target.str_at(&["value"]) == Some("0") {
                // v1 cannot leave it out.
                target.remove_at(&["value"]);
            }
            target.set_at(&["type"], if averaged { "AverageValue" } else { "Value" });
            source.set_at(&["describedObject"], older.described()?);
            source.set_at(&["metric"], older.identifier("selector")?);
        }
        "pods" => {
            older.quantity("targetAverageValue", true, &mut target, "averageValue")?;
            target.set_at(&["type"], "AverageValue");
            source.set_at(&["metric"], older.identifier("selector")?);
        }
        "external" => {
            older.quantity("targetValue", false, &mut target, "value")?;
            older.quantity("targetAverageValue", false, &mut target, "averageValue")?;
            target.set_at(&["type"], if target.get("value").is_some() { "Value" } else { "AverageValue" });
            source.set_at(&["metric"], older.identifier("metricSelector")?);
        }
        _ => {
            older.number("targetAverageUtilization", &mut target, "averageUtilization")?;
            older.quantity("targetAverageValue", false, &mut target, "averageValue")?;
            let of_utilization = target.get("averageUtilization").is_some();
            target.set_at(&["type"], if of_utilization { "Utilization" } else { "AverageValue" });
            source.set_at(&["name"], older.text("name")?);
            if kind == "containerResource" {
                source.set_at(&["container"], older.text("container")?);
            }
        }
    }
    source.set_at(&["target"], target);
    Some(source)
}

fn status_source(kind: &str, older: &Source<'_>) -> Option<Value> {
    let mut current = Value::Object(Object::new());
    let mut source = Value::Object(Object::new());
    match kind {
        "object" => {
            older.quantity("currentValue", true, &mut current, "value")?;
            older.quantity("averageValue", false, &mut current, "averageValue")?;
            source.set_at(&["describedObject"], older.described()?);
            source.set_at(&["metric"], older.identifier("selector")?);
        }
        "pods" => {
            older.quantity("currentAverageValue", true, &mut current, "averageValue")?;
            source.set_at(&["metric"], older.identifier("selector")?);
        }
        "external" => {
            older.quantity("currentValue", true, &mut current, "value")?;
            older.quantity("currentAverageValue", false, &mut current, "averageValue")?;
            source.set_at(&["metric"], older.identifier("metricSelector")?);
        }
        _ => {
            older.number("currentAverageUtilization", &mut current, "averageUtilization")?;
            older.quantity("currentAverageValue", true, &mut current, "averageValue")?;
            source.set_at(&["name"], older.text("name")?);
            if kind == "containerResource" {
                source.set_at(&["container"], older.text("container")?);
            }
        }
    }
    source.set_at(&["current"], current);
    Some(source)
}

fn to_condition(older: &Value) -> Option<Value> {
    let older = Source(older.as_object()?);
    let mut condition = Value::Object(Object::new());
    for field in ["type", "status", "lastTransitionTime", "reason", "message"] {
        condition.set_at(&[field], older.text(field)?);
    }
    if condition.str_at(&["lastTransitionTime"]) == Some("") {
        condition.set_at(&["lastTransitionTime"], Value::Null);
    }
    Some(condition)
}

/// Behavior of an annotation; `None` for one that says nothing.
fn to_behavior(older: &Value) -> Option<Value> {
    let older = Source(older.as_object()?);
    let mut behavior = Value::Object(Object::new());
    for direction in ["scaleUp", "scaleDown"] {
        let Some(rules) = older.get(direction) else { continue };
        let rules = Source(rules.as_object()?);
        let mut newer = Value::Object(Object::new());
        rules.number("stabilizationWindowSeconds", &mut newer, "stabilizationWindowSeconds")?;
        rules.quantity("tolerance", false, &mut newer, "tolerance")?;
        if let Some(select) = rules.get("selectPolicy") {
            newer.set_at(&["selectPolicy"], select.as_str()?);
        }
        if let Some(policies) = rules.get("policies") {
            let policies = policies.as_array()?.iter().map(to_policy).collect::<Option<Vec<_>>>()?;
            newer.set_at(&["policies"], policies);
        }
        behavior.set_at(&[direction], newer);
    }
    behavior.as_object().is_some_and(|rules| !rules.is_empty()).then_some(behavior)
}

fn to_policy(older: &Value) -> Option<Value> {
    let older = Source(older.as_object()?);
    let ty = older.text("type")?;
    let mut policy = value!({"type": ty, "value": 0, "periodSeconds": 0});
    older.number("value", &mut policy, "value")?;
    older.number("periodSeconds", &mut policy, "periodSeconds")?;
    Some(policy)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stored() -> Value {
        value!({
            "apiVersion": "autoscaling/v2",
            "metadata": {"name": "a"},
            "spec": {
                "maxReplicas": 3,
                "metrics": [
                    {"type": "Pods", "pods": {"metric": {"name": "x"}, "target": {"type": "AverageValue", "averageValue": "1"}}},
                    {"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 50}}}
                ],
                "behavior": {"scaleDown": {"selectPolicy": "Min"}}
            },
            "status": {
                "currentMetrics": [
                    {"type": "Resource", "resource": {"name": "cpu", "current": {"averageUtilization": 7, "averageValue": "3m"}}}
                ],
                "desiredReplicas": 2,
                "currentReplicas": 1
            }
        })
    }

    #[test]
    fn nothing_is_lost_in_the_older_form() {
        let older = AutoscalingV1.from_stored(stored());
        assert_eq!(older.i64_at(&["spec", "targetCPUUtilizationPercentage"]), Some(50));
        assert!(older.at(&["spec", "metrics"]).is_none());
        assert_eq!(AutoscalingV1.to_stored(older), stored());
    }

    #[test]
    fn annotations_are_what_go_writes() {
        let older = AutoscalingV1.from_stored(stored());
        let annotation = |name| older.str_at(&["metadata", "annotations", name]);
        assert_eq!(
            annotation(METRICS),
            Some(r#"[{"type":"Pods","pods":{"metricName":"x","targetAverageValue":"1"}}]"#)
        );
        assert_eq!(
            annotation(CURRENT_METRICS),
            Some(
                r#"[{"type":"Resource","resource":{"name":"cpu","currentAverageUtilization":7,"currentAverageValue":"3m"}}]"#
            )
        );
        let behavior = r#"{"ScaleUp":null,"ScaleDown":{"StabilizationWindowSeconds":null,"SelectPolicy":"Min","Policies":null,"Tolerance":null}}"#;
        assert_eq!(annotation(BEHAVIOR), Some(behavior));
    }

    #[test]
    fn what_is_not_of_the_type_is_not_taken() {
        let older = value!({
            "metadata": {"name": "a", "annotations": {
                "autoscaling.alpha.kubernetes.io/metrics": "[{\"type\":1}]",
                "autoscaling.alpha.kubernetes.io/behavior": "x",
                "mine": "y"
            }},
            "spec": {"maxReplicas": 1}
        });
        let stored = AutoscalingV1.to_stored(older);
        assert_eq!(stored.at(&["metadata", "annotations"]), Some(&value!({"mine": "y"})));
        assert!(stored.at(&["spec", "behavior"]).is_none());
        assert_eq!(stored.array_at(&["spec", "metrics"]), [cpu_metric(80.into())]);
    }
}
