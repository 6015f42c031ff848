//! What a pod's runtime costs, and where it can run.
//!
//! Follows `plugin/pkg/admission/runtimeclass`.

use std::sync::Arc;

use skiff_apimachinery::status::Status;
use skiff_apimachinery::value::{Object, Value};

use super::{Operation, Plugin, Request};
use crate::objects::Objects;

pub(super) struct RuntimeClass {
    objects: Objects,
}

impl RuntimeClass {
    pub(super) fn new(objects: Objects) -> Self {
        Self { objects }
    }

    async fn class_of(&self, request: &Request<'_>) -> Result<Option<Arc<Value>>, Status> {
        let Some(name) = request.object().str_at(&["spec", "runtimeClassName"]) else { return Ok(None) };
        match self.objects.find("node.k8s.io", "runtimeclasses", "", name).await? {
            Some(class) => Ok(Some(class)),
            None => Err(request.forbidden(&format!("pod rejected: RuntimeClass {name:?} not found"))),
        }
    }
}

const MISMATCH: &str = "pod rejected: Pod's Overhead doesn't match RuntimeClass's defined Overhead";

fn is_empty(object: Option<&Value>) -> bool {
    object.and_then(Value::as_object).is_none_or(Object::is_empty)
}

/// What a class says about overhead: `None` nothing, else the amounts, perhaps none.
fn overhead(class: Option<&Value>) -> Option<Value> {
    let overhead = class?.get("overhead")?;
    Some(overhead.get("podFixed").cloned().unwrap_or_default())
}

fn same(a: &Value, b: Option<&Value>) -> bool {
    Some(a) == b || (is_empty(Some(a)) && is_empty(b))
}

#[async_trait::async_trait]
impl Plugin for RuntimeClass {
    fn name(&self) -> &'static str {
        "RuntimeClass"
    }

    fn handles(&self, operation: Operation, group: &str, resource: &str, subresource: &str) -> bool {
        (operation, group, resource, subresource) == (Operation::Create, "", "pods", "")
    }

    async fn admit(&self, request: &mut Request<'_>) -> Result<(), Status> {
        let class = self.class_of(request).await?;
        if let Some(fixed) = overhead(class.as_deref()) {
            let given = request.object().at(&["spec", "overhead"]);
            if !is_empty(given) && !same(&fixed, given) {
                return Err(request.forbidden(MISMATCH));
            }
            if let (false, Some(pod)) = (is_empty(Some(&fixed)), &mut request.object) {
                pod.set_at(&["spec", "overhead"], fixed);
            }
        }
        let Some(scheduling) = class.as_ref().and_then(|class| class.get("scheduling")) else { return Ok(()) };
        let selector = scheduling.get("nodeSelector").and_then(Value::as_object);
        for (key, wanted) in selector.into_iter().flat_map(Object::iter) {
            let given = request.object().at(&["spec", "nodeSelector", key]);
            if let Some(given) = given.filter(|given| *given != wanted) {
                let (wanted, given) = (wanted.as_str().unwrap_or(""), given.as_str().unwrap_or(""));
                return Err(request.forbidden(&format!(
                    "conflict: runtimeClass.scheduling.nodeSelector[{key}] = {wanted}; pod.spec.nodeSelector[{key}] = {given}"
                )));
            }
        }
        let Some(pod) = &mut request.object else { return Ok(()) };
        for (key, wanted) in selector.into_iter().flat_map(Object::iter) {
            pod.set_at(&["spec", "nodeSelector", key], wanted.clone());
        }
        let added = scheduling.array_at(&["tolerations"]);
        if !added.is_empty() {
            let mut tolerations = pod.array_at(&["spec", "tolerations"]).to_vec();
            for toleration in added {
                if !tolerations.contains(toleration) {
                    tolerations.push(toleration.clone());
                }
            }
            pod.set_at(&["spec", "tolerations"], tolerations);
        }
        Ok(())
    }

    async fn validate(&self, request: &mut Request<'_>) -> Result<(), Status> {
        let class = self.class_of(request).await?;
        let given = request.object().at(&["spec", "overhead"]);
        match overhead(class.as_deref()) {
            Some(fixed) if !same(&fixed, given) => Err(request.forbidden(MISMATCH)),
            None if given.is_some() => {
                Err(request
                    .forbidden("pod rejected: Pod Overhead set without corresponding RuntimeClass defined Overhead"))
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use skiff_apimachinery::value;

    use super::super::testing::{Case, Fixture};
    use super::*;

    fn fixture() -> (Fixture, RuntimeClass) {
        let fixture = Fixture::new();
        fixture.put(
            "node.k8s.io",
            "runtimeclasses",
            value!({
                "metadata": {"name": "vm"},
                "overhead": {"podFixed": {"memory": "64Mi"}},
                "scheduling": {"nodeSelector": {"kvm": "yes"}, "tolerations": [{"key": "kvm"}]}
            }),
        );
        fixture.put("node.k8s.io", "runtimeclasses", value!({"metadata": {"name": "plain"}}));
        let plugin = RuntimeClass::new(fixture.objects());
        (fixture, plugin)
    }

    async fn spec(plugin: &RuntimeClass, spec: Value) -> Result<Value, String> {
        let pod = value!({"metadata": {"name": "p"}, "spec": spec});
        match Case::create("", "pods", "demo", pod).admit(plugin).await {
            Ok(pod) => Ok(pod.get("spec").cloned().unwrap_or_default()),
            Err((_, text)) => Err(text.replace("pods \"p\" is forbidden: ", "")),
        }
    }

    #[tokio::test]
    async fn classes_bring_overhead_and_scheduling() {
        let (_fixture, plugin) = fixture();
        let expected = value!({
            "runtimeClassName": "vm", "overhead": {"memory": "64Mi"}, "nodeSelector": {"a": "b", "kvm": "yes"},
            "tolerations": [{"key": "own"}, {"key": "kvm"}]
        });
        let given = value!({"runtimeClassName": "vm", "nodeSelector": {"a": "b"}, "tolerations": [{"key": "own"}]});
        assert_eq!(spec(&plugin, given).await, Ok(expected.clone()));
        assert_eq!(spec(&plugin, expected.clone()).await, Ok(expected));
        let plain = value!({"runtimeClassName": "plain"});
        assert_eq!(spec(&plugin, plain.clone()).await, Ok(plain));
        assert_eq!(spec(&plugin, value!({})).await, Ok(value!({})));
    }

    #[tokio::test]
    async fn what_does_not_fit_is_refused() {
        let (_fixture, plugin) = fixture();
        for (given, text) in [
            (value!({"runtimeClassName": "none"}), "pod rejected: RuntimeClass \"none\" not found"),
            (value!({"runtimeClassName": "vm", "overhead": {"memory": "1Mi"}}), MISMATCH),
            (
                value!({"runtimeClassName": "vm", "nodeSelector": {"kvm": "no"}}),
                "conflict: runtimeClass.scheduling.nodeSelector[kvm] = yes; pod.spec.nodeSelector[kvm] = no",
            ),
            (
                value!({"runtimeClassName": "plain", "overhead": {"memory": "1Mi"}}),
                "pod rejected: Pod Overhead set without corresponding RuntimeClass defined Overhead",
            ),
            (
                value!({"overhead": {"memory": "1Mi"}}),
                "pod rejected: Pod Overhead set without corresponding RuntimeClass defined Overhead",
            ),
        ] {
            assert_eq!(spec(&plugin, given).await, Err(text.into()));
        }
    }
}
