//! Validation of a HorizontalPodAutoscaler.
//!
//! Follows `pkg/apis/autoscaling/validation`.

use skiff_apimachinery::field::ErrorList;
use skiff_apimachinery::names;
use skiff_apimachinery::value::Value;

use crate::registry::at::At;
use crate::registry::core::validation::{formats, resources};

/// Longest period of a scaling policy, in seconds.
const MAX_PERIOD: i64 = 1800;
/// Longest stabilization window, in seconds.
const MAX_WINDOW: i64 = 3600;

const METRIC_TYPES: &[&str] = &["ContainerResource", "External", "Object", "Pods", "Resource"];
const POLICY_TYPES: &[&str] = &["Percent", "Pods"];
const SELECT_POLICIES: &[&str] = &["Disabled", "Max", "Min"];

/// Which API versions a reference may name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Versions {
    /// Those of a named group.
    InGroup,
    /// Also those of the core group.
    Any,
    /// Whatever is written: it was so before.
    Unchecked,
}

/// What a write may do that is not allowed in general.
#[derive(Clone, Copy, Debug)]
pub(super) struct Allowed {
    least_replicas: i64,
    target: Versions,
    described: Versions,
}

impl Allowed {
    /// What is allowed to an object that is new or was `old` before.
    pub(super) fn of_change(new: &Value, old: Option<&Value>) -> Self {
        const MIN: &[&str] = &["spec", "minReplicas"];
        let target = |object: &Value, field: &str| object.str_at(&["spec", "scaleTargetRef", field]).map(str::to_owned);
        let same_target =
            old.is_some_and(|old| ["apiVersion", "kind"].iter().all(|field| target(old, field) == target(new, field)));
        let was_wrong = old.is_some_and(|old| {
            let described =
                |metric: &Value| metric.str_at(&["object", "describedObject", "apiVersion"]).map(str::to_owned);
            let mut metrics = old.array_at(&["spec", "metrics"]).iter().filter_map(described);
            metrics.any(|version| version_problem(&version, Versions::Any).is_some())
        });
        Self {
            least_replicas: if old.is_some_and(|old| old.i64_at(MIN) == Some(0)) { 0 } else { 1 },
            target: if same_target {
                Versions::Unchecked
            } else if target(new, "kind").as_deref() == Some("ReplicationController") {
                Versions::Any
            } else {
                Versions::InGroup
            },
            described: if was_wrong { Versions::Unchecked } else { Versions::Any },
        }
    }
}

/// Validates `spec`.
pub(super) fn spec(spec: &At<'_>, allowed: Allowed, errors: &mut ErrorList) {
    let (min, max) = (spec.child("minReplicas"), spec.child("maxReplicas"));
    if min.int().is_some_and(|min| min < allowed.least_replicas) {
        min.invalid(errors, format!("must be greater than or equal to {}", allowed.least_replicas));
    }
    let most = max.int().unwrap_or(0);
    if most == 0 {
        max.required(errors, "must be set and greater than 0");
    } else if most < 0 {
        max.invalid(errors, "must be greater than or equal to 1");
    }
    if min.int().is_some_and(|min| most < min) {
        max.or_zero().invalid(errors, "must be greater than or equal to `minReplicas`");
    }
    reference(&spec.child("scaleTargetRef"), allowed.target, errors);
    let metrics = spec.child("metrics");
    for metric in metrics.items() {
        metric_spec(&metric, allowed.described, errors);
    }
    let from_outside = |metric: At<'_>| matches!(metric.child("type").text(), "Object" | "External");
    if min.int() == Some(0) && !metrics.items().any(from_outside) {
        metrics.forbidden(
            errors,
            "must specify at least one Object or External metric to support scaling to zero replicas",
        );
    }
    let behavior = spec.child("behavior");
    for direction in ["scaleUp", "scaleDown"] {
        scaling_rules(&behavior.child(direction), errors);
    }
}

fn reference(at: &At<'_>, versions: Versions, errors: &mut ErrorList) {
    for field in ["kind", "name"] {
        let part = at.child(field);
        if part.require(errors) {
            part.messages(errors, names::path_segment(part.text()));
        }
    }
    let version = at.child("apiVersion");
    if let Some(problem) = version_problem(version.text(), versions) {
        version.invalid(errors, problem);
    }
}

fn version_problem(version: &str, versions: Versions) -> Option<String> {
    match version.split_once('/') {
        _ if versions == Versions::Unchecked => None,
        Some((_, rest)) if rest.contains('/') => Some(format!("unexpected GroupVersion string: {version}")),
        Some((group, _)) if !group.is_empty() => None,
        _ if versions == Versions::InGroup => Some("apiVersion must specify API group".to_owned()),
        _ => None,
    }
}

/// The sources of a metric in upstream's order, with the type that each belongs to.
const SOURCES: &[(&str, &str)] = &[
    ("object", "Object"),
    ("external", "External"),
    ("pods", "Pods"),
    ("resource", "Resource"),
    ("containerResource", "ContainerResource"),
];

fn metric_spec(metric: &At<'_>, versions: Versions, errors: &mut ErrorList) {
    let kind = metric.child("type");
    if kind.is_empty() {
        kind.required(errors, "must specify a metric source type");
    }
    if !METRIC_TYPES.contains(&kind.text()) {
        kind.not_supported(errors, METRIC_TYPES);
    }
    let given = SOURCES.iter().map(|(field, _)| *field).filter(|field| metric.child(field).is_set());
    let given = given.collect::<Vec<_>>();
    if let Some(first) = given.first() {
        source(first, &metric.child(first), versions, errors);
    }
    let expected = SOURCES.iter().find(|(_, ty)| *ty == kind.text()).map(|(field, _)| *field);
    match expected {
        Some(field) if !given.contains(&field) => {
            metric.child(field).required(errors, "must populate information for the given metric source");
        }
        Some(_) => {}
        None => kind.not_supported(errors, METRIC_TYPES),
    }
    if given.len() > 1 {
        for field in given.into_iter().filter(|field| Some(*field) != expected) {
            metric.child(field).forbidden(errors, "must populate the given metric source only");
        }
    }
}

fn source(kind: &str, at: &At<'_>, versions: Versions, errors: &mut ErrorList) {
    let target = at.child("target");
    let (value, average) = (target.child("value"), target.child("averageValue"));
    match kind {
        "object" => {
            reference(&at.child("describedObject"), versions, errors);
            metric_name(at, errors);
            metric_target(&target, errors);
            if !value.is_set() && !average.is_set() {
                average.required(errors, "must set either a target value or averageValue");
            }
        }
        "external" => {
            metric_name(at, errors);
            metric_target(&target, errors);
            if !value.is_set() && !average.is_set() {
                average.required(errors, "must set either a target value for metric or a per-pod target");
            }
            if value.is_set() && average.is_set() {
                value.forbidden(errors, "may not set both a target value for metric and a per-pod target");
            }
        }
        "pods" => {
            metric_name(at, errors);
            metric_target(&target, errors);
            if !average.is_set() {
                average.required(errors, "must specify a positive target averageValue");
            }
        }
        _ => resource_source(kind, at, errors),
    }
}

fn resource_source(kind: &str, at: &At<'_>, errors: &mut ErrorList) {
    let name = at.child("name");
    if name.is_empty() {
        name.required(errors, "must specify a resource name");
    }
    if kind == "containerResource" {
        if !name.is_empty() {
            resources::resource_name(name.text(), &name, errors);
        }
        let container = at.child("container");
        if container.is_empty() {
            container.required(errors, "must specify a container");
        } else {
            formats::label(&container, errors);
        }
    }
    let target = at.child("target");
    metric_target(&target, errors);
    let (utilization, average) = (target.child("averageUtilization"), target.child("averageValue"));
    match (utilization.is_set(), average.is_set()) {
        (false, false) => utilization.required(errors, "must set either a target raw value or a target utilization"),
        (true, true) => average.forbidden(errors, "may not set both a target raw value and a target utilization"),
        _ => {}
    }
}

fn metric_name(at: &At<'_>, errors: &mut ErrorList) {
    let metric = at.child("metric");
    let name = metric.child("name");
    if name.is_empty() {
        name.required(errors, "must specify a metric name");
    } else {
        name.messages(errors, names::path_segment(name.text()));
    }
}

fn metric_target(target: &At<'_>, errors: &mut ErrorList) {
    let kind = target.child("type");
    if kind.is_empty() {
        kind.required(errors, "must specify a metric target type");
    }
    if !matches!(kind.text(), "Utilization" | "Value" | "AverageValue") {
        kind.invalid(errors, "must be either Utilization, Value, or AverageValue");
    }
    for field in ["value", "averageValue"] {
        let amount = target.child(field);
        if resources::quantity(&amount).is_some_and(|amount| amount.is_negative() || amount.is_zero()) {
            amount.invalid(errors, "must be positive");
        }
    }
    let utilization = target.child("averageUtilization");
    if utilization.int().is_some_and(|percent| percent < 1) {
        utilization.invalid(errors, "must be greater than 0");
    }
}

fn scaling_rules(rules: &At<'_>, errors: &mut ErrorList) {
    if !rules.is_set() {
        return;
    }
    let window = rules.child("stabilizationWindowSeconds");
    if window.int().is_some_and(|seconds| seconds < 0) {
        window.invalid(errors, "must be greater than or equal to zero");
    }
    if window.int().is_some_and(|seconds| seconds > MAX_WINDOW) {
        window.invalid(errors, format!("must be less than or equal to {MAX_WINDOW}"));
    }
    rules.child("selectPolicy").if_set_one_of(errors, SELECT_POLICIES);
    let policies = rules.child("policies");
    if policies.is_empty() {
        policies.required(errors, "must specify at least one Policy");
    }
    for policy in policies.items() {
        let (kind, value, period) = (policy.child("type"), policy.child("value"), policy.child("periodSeconds"));
        if !POLICY_TYPES.contains(&kind.text()) {
            kind.not_supported(errors, POLICY_TYPES);
        }
        for number in [value, period] {
            if number.int().unwrap_or(0) <= 0 {
                number.or_zero().invalid(errors, "must be greater than zero");
            }
        }
        if period.int().is_some_and(|seconds| seconds > MAX_PERIOD) {
            period.invalid(errors, format!("must be less than or equal to {MAX_PERIOD}"));
        }
    }
    resources::not_negative(&rules.child("tolerance"), errors);
}
