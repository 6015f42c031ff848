//! What containers, pods and claims of a namespace get by default, and how little or much they may ask for.
//!
//! Follows `plugin/pkg/admission/limitranger`.

use std::sync::Arc;

use skiff_apimachinery::quantity::Quantity;
use skiff_apimachinery::status::Status;
use skiff_apimachinery::value::{Object, Value};
use skiff_quota::{Amounts, amounts, pod_amounts};

use super::{Operation, Plugin, Request};
use crate::objects::Objects;

const ANNOTATION: &str = "kubernetes.io/limit-ranger";

pub(super) struct LimitRanger {
    objects: Objects,
}

impl LimitRanger {
    pub(super) fn new(objects: Objects) -> Self {
        Self { objects }
    }

    /// The namespace's limit ranges; none for objects that are on their way out.
    async fn ranges(&self, request: &Request<'_>) -> Vec<Arc<Value>> {
        if request.old().at(&["metadata", "deletionTimestamp"]).is_some() {
            return Vec::new();
        }
        self.objects.reader().caught_up("", "limitranges").await;
        self.objects.list("", "limitranges", request.namespace)
    }
}

#[async_trait::async_trait]
impl Plugin for LimitRanger {
    fn name(&self) -> &'static str {
        "LimitRanger"
    }

    fn handles(&self, operation: Operation, group: &str, resource: &str, subresource: &str) -> bool {
        let is = (group, resource, subresource);
        match operation {
            Operation::Create => matches!(is, ("", "pods" | "persistentvolumeclaims", "")),
            Operation::Update => matches!(is, ("", "pods", "resize") | ("", "persistentvolumeclaims", "")),
            _ => false,
        }
    }

    async fn admit(&self, request: &mut Request<'_>) -> Result<(), Status> {
        if request.resource == "pods" {
            for range in self.ranges(request).await {
                if let Some(pod) = &mut request.object {
                    set_defaults(pod, &range);
                }
            }
        }
        Ok(())
    }

    async fn validate(&self, request: &mut Request<'_>) -> Result<(), Status> {
        for range in self.ranges(request).await {
            let errors = if request.resource == "pods" {
                pod_errors(request.object(), &range)
            } else {
                claim_errors(request.object(), &range)
            };
            let mut distinct: Vec<&str> = Vec::new();
            for error in &errors {
                if !distinct.contains(&error.as_str()) {
                    distinct.push(error);
                }
            }
            let text = match distinct.as_slice() {
                [] => continue,
                [one] => (*one).to_owned(),
                several => format!("[{}]", several.join(", ")),
            };
            return Err(request.forbidden(&text));
        }
        Ok(())
    }
}

fn limits_of<'a>(range: &'a Value, kind: &'a str) -> impl Iterator<Item = &'a Value> {
    range.array_at(&["spec", "limits"]).iter().filter(move |limit| limit.str_at(&["type"]) == Some(kind))
}

/// Fills in what containers leave out, and says so in an annotation.
fn set_defaults(pod: &mut Value, range: &Value) {
    let defaults = |field: &str| {
        let mut all = Object::new();
        for limit in limits_of(range, "Container") {
            for (name, amount) in limit.get(field).and_then(Value::as_object).into_iter().flat_map(Object::iter) {
                all.insert(name, amount.clone());
            }
        }
        all
    };
    let (requests, limits) = (defaults("defaultRequest"), defaults("default"));
    let mut notes = Vec::new();
    for (list, title) in [("containers", "container"), ("initContainers", "init container")] {
        let containers = pod.get_mut("spec").and_then(|spec| spec.get_mut(list)).and_then(Value::as_array_mut);
        for container in containers.into_iter().flatten() {
            for (field, word, defaults) in [("requests", "request", &requests), ("limits", "limit", &limits)] {
                let set = fill(container, field, defaults);
                if !set.is_empty() {
                    let name = container.str_at(&["name"]).unwrap_or("");
                    notes.push(format!("{} {word} for {title} {name}", set.join(", ")));
                }
            }
        }
    }
    if !notes.is_empty() {
        let text = format!("LimitRanger plugin set: {}", notes.join("; "));
        pod.set_at(&["metadata", "annotations", ANNOTATION], text);
    }
}

/// The names that were missing, sorted.
fn fill(container: &mut Value, field: &str, defaults: &Object) -> Vec<String> {
    let mut set = Vec::new();
    for (name, amount) in defaults.iter() {
        if container.at(&["resources", field, name]).is_none() {
            container.set_at(&["resources", field, name], amount.clone());
            set.push(name.to_owned());
        }
    }
    set
}

fn pod_errors(pod: &Value, range: &Value) -> Vec<String> {
    let mut errors = Vec::new();
    for limit in range.array_at(&["spec", "limits"]) {
        match limit.str_at(&["type"]) {
            Some("Container") => {
                for list in ["containers", "initContainers"] {
                    for container in pod.array_at(&["spec", list]) {
                        let of = |field: &str| amounts(container.at(&["resources", field]));
                        check("Container", limit, &of("requests"), &of("limits"), &mut errors);
                    }
                }
            }
            Some("Pod") => {
                check("Pod", limit, &pod_amounts(pod, "requests"), &pod_amounts(pod, "limits"), &mut errors);
            }
            _ => {}
        }
    }
    errors
}

/// Checks one range's `min`, `max` and `maxLimitRequestRatio`.
fn check(kind: &str, limit: &Value, requests: &Amounts, limits: &Amounts, errors: &mut Vec<String>) {
    for (name, least) in amounts(limit.get("min")) {
        let below = |amount: &&Quantity| **amount < least;
        let intro = format!("minimum {name} usage per {kind} is {least}");
        match (requests.get(&name), limits.get(&name)) {
            (None, _) => errors.push(format!("{intro}.  No request is specified")),
            (Some(request), _) if below(&request) => errors.push(format!("{intro}, but request is {request}")),
            (_, Some(limit)) if below(&limit) => errors.push(format!("{intro}, but limit is {limit}")),
            _ => {}
        }
    }
    for (name, most) in amounts(limit.get("max")) {
        let above = |amount: &&Quantity| **amount > most;
        let intro = format!("maximum {name} usage per {kind} is {most}");
        match (limits.get(&name), requests.get(&name)) {
            (None, _) => errors.push(format!("{intro}.  No limit is specified")),
            (Some(limit), _) if above(&limit) => errors.push(format!("{intro}, but limit is {limit}")),
            (_, Some(request)) if above(&request) => errors.push(format!("{intro}, but request is {request}")),
            _ => {}
        }
    }
    for (name, ratio) in amounts(limit.get("maxLimitRequestRatio")) {
        let given = |amounts: &Amounts| amounts.get(&name).copied().filter(|amount| !amount.is_zero());
        let intro = format!("{name} max limit to request ratio per {kind} is {ratio}");
        match (given(requests), given(limits)) {
            (None, _) => errors.push(format!("{intro}, but no request is specified or request is 0")),
            (_, None) => errors.push(format!("{intro}, but no limit is specified or limit is 0")),
            (Some(request), Some(limit)) => {
                let given = limit.milli_value() as f64 / request.milli_value() as f64;
                if given * 1000.0 > ratio.milli_value() as f64 {
                    errors.push(format!("{intro}, but provided ratio is {given:.6}"));
                }
            }
        }
    }
}

/// Of a claim only what it requests counts.
fn claim_errors(claim: &Value, range: &Value) -> Vec<String> {
    const KIND: &str = "PersistentVolumeClaim";
    let requests = amounts(claim.at(&["spec", "resources", "requests"]));
    let mut errors = Vec::new();
    for limit in limits_of(range, KIND) {
        for (name, least) in amounts(limit.get("min")) {
            let intro = format!("minimum {name} usage per {KIND} is {least}");
            match requests.get(&name) {
                None => errors.push(format!("{intro}.  No request is specified")),
                Some(request) if *request < least => errors.push(format!("{intro}, but request is {request}")),
                _ => {}
            }
        }
        for (name, most) in amounts(limit.get("max")) {
            let intro = format!("maximum {name} usage per {KIND} is {most}");
            match requests.get(&name) {
                None => errors.push(format!("{intro}.  No request is specified")),
                Some(request) if *request > most => errors.push(format!("{intro}, but request is {request}")),
                _ => {}
            }
        }
    }
    errors
}

#[cfg(test)]
mod tests {
    use skiff_apimachinery::value;

    use super::super::testing::{Case, Fixture};
    use super::*;

    fn fixture(limits: Value) -> (Fixture, LimitRanger) {
        let fixture = Fixture::new();
        let range = value!({"metadata": {"name": "r", "namespace": "demo"}, "spec": {"limits": limits}});
        fixture.put("", "limitranges", range);
        let plugin = LimitRanger::new(fixture.objects());
        (fixture, plugin)
    }

    fn pod(resources: Value) -> Case {
        let container = value!({"name": "a", "resources": resources});
        Case::create("", "pods", "demo", value!({"metadata": {"name": "p"}, "spec": {"containers": [container]}}))
    }

    #[tokio::test]
    async fn defaults_are_filled_in_and_noted() {
        let (_fixture, plugin) = fixture(value!([{
            "type": "Container", "default": {"cpu": "500m", "memory": "1Gi"}, "defaultRequest": {"cpu": "100m"}
        }]));
        let admitted = pod(value!({"limits": {"cpu": "1"}})).admit(&plugin).await.expect("admitted");
        let resources = admitted.array_at(&["spec", "containers"])[0].get("resources");
        let expected = value!({"limits": {"cpu": "1", "memory": "1Gi"}, "requests": {"cpu": "100m"}});
        assert_eq!(resources, Some(&expected));
        let note = admitted.str_at(&["metadata", "annotations", ANNOTATION]);
        assert_eq!(note, Some("LimitRanger plugin set: cpu request for container a; memory limit for container a"));
        let full = pod(expected).admit(&plugin).await.expect("admitted");
        assert_eq!(full.at(&["metadata", "annotations"]), None);
    }

    #[tokio::test]
    async fn amounts_must_be_within_limits() {
        let cases = [
            (
                value!({"min": {"cpu": "100m"}}),
                value!({}),
                "minimum cpu usage per Container is 100m.  No request is specified",
            ),
            (
                value!({"min": {"cpu": "100m"}}),
                value!({"requests": {"cpu": "50m"}}),
                "minimum cpu usage per Container is 100m, but request is 50m",
            ),
            (
                value!({"max": {"memory": "1Gi"}}),
                value!({}),
                "maximum memory usage per Container is 1Gi.  No limit is specified",
            ),
            (
                value!({"max": {"memory": "1Gi"}}),
                value!({"limits": {"memory": "2Gi"}}),
                "maximum memory usage per Container is 1Gi, but limit is 2Gi",
            ),
            (
                value!({"maxLimitRequestRatio": {"cpu": "2"}}),
                value!({"requests": {"cpu": "1"}, "limits": {"cpu": "3"}}),
                "cpu max limit to request ratio per Container is 2, but provided ratio is 3.000000",
            ),
            (
                value!({"maxLimitRequestRatio": {"cpu": "2"}}),
                value!({"limits": {"cpu": "3"}}),
                "cpu max limit to request ratio per Container is 2, but no request is specified or request is 0",
            ),
            (
                value!({"min": {"cpu": "1"}, "max": {"memory": "1Gi"}}),
                value!({}),
                "[minimum cpu usage per Container is 1.  No request is specified, maximum memory usage per Container is 1Gi.  No limit is specified]",
            ),
        ];
        for (mut limit, resources, expected) in cases {
            limit.set_at(&["type"], "Container");
            let (_fixture, plugin) = fixture(value!([limit]));
            let refused = pod(resources).admit(&plugin).await;
            assert_eq!(refused, Err((403, format!("pods \"p\" is forbidden: {expected}"))));
        }
        let (_fixture, plugin) = fixture(value!([{"type": "Container", "min": {"cpu": "100m"}, "max": {"cpu": "1"}}]));
        assert!(pod(value!({"requests": {"cpu": "100m"}, "limits": {"cpu": "1"}})).admit(&plugin).await.is_ok());
        let (_fixture, plugin) = fixture(value!([{"type": "Pod", "max": {"cpu": "1"}}]));
        let refused = pod(value!({"limits": {"cpu": "1500m"}})).admit(&plugin).await;
        assert_eq!(
            refused,
            Err((403, "pods \"p\" is forbidden: maximum cpu usage per Pod is 1, but limit is 1500m".into()))
        );
    }

    #[tokio::test]
    async fn claims_have_a_size() {
        let (_fixture, plugin) = fixture(value!([{
            "type": "PersistentVolumeClaim", "min": {"storage": "1Gi"}, "max": {"storage": "2Gi"}
        }]));
        for (size, refused) in [
            ("1Gi", None),
            ("1Mi", Some("minimum storage usage per PersistentVolumeClaim is 1Gi, but request is 1Mi")),
            ("3Gi", Some("maximum storage usage per PersistentVolumeClaim is 2Gi, but request is 3Gi")),
        ] {
            let claim = value!({"metadata": {"name": "c"}, "spec": {"resources": {"requests": {"storage": size}}}});
            let result = Case::create("", "persistentvolumeclaims", "demo", claim).admit(&plugin).await.map(|_| ());
            let expected =
                refused.map_or(Ok(()), |text| Err((403, format!("persistentvolumeclaims \"c\" is forbidden: {text}"))));
            assert_eq!(result, expected);
        }
    }
}
