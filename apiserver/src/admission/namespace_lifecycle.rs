//! Objects need a namespace that exists and stays; three namespaces stay for ever.
//!
//! Follows `k8s.io/apiserver/pkg/admission/plugin/namespace/lifecycle`.

use jiff::{SignedDuration, Timestamp};
use quick_cache::sync::Cache;
use skiff_apimachinery::status::{self, Status, StatusCause};
use skiff_apimachinery::value::Value;

use super::{Operation, Plugin, Request};
use crate::objects::Objects;

const IMMORTAL: [&str; 3] = ["default", "kube-system", "kube-public"];
/// How long after a deletion was asked for the cache's word that a namespace is active is not taken,
const DOUBT: SignedDuration = SignedDuration::from_secs(30);
/// and for how many namespaces at a time.
const DOUBTED: usize = 100;

pub(super) struct NamespaceLifecycle {
    objects: Objects,
    deleted: Cache<String, Timestamp>,
}

impl NamespaceLifecycle {
    pub(super) fn new(objects: Objects) -> Self {
        Self { objects, deleted: Cache::new(DOUBTED) }
    }

    /// The namespace's phase; `None` when there is no such namespace. The cache may not have seen its creation or its
    /// deletion yet: then the store is asked.
    async fn phase(&self, name: &str) -> Result<Option<String>, Status> {
        let phase = |namespace: &Value| namespace.str_at(&["status", "phase"]).unwrap_or("").to_owned();
        if let Some(namespace) = self.objects.cached("", "namespaces", "", name) {
            let doubted = || self.deleted.get(name).is_some_and(|at| Timestamp::now().duration_since(at) < DOUBT);
            let phase = phase(&namespace);
            if phase == TERMINATING || !doubted() {
                return Ok(Some(phase));
            }
        }
        Ok(self.objects.live("", "namespaces", "", name).await?.as_deref().map(phase))
    }
}

const TERMINATING: &str = "Terminating";

#[async_trait::async_trait]
impl Plugin for NamespaceLifecycle {
    fn name(&self) -> &'static str {
        "NamespaceLifecycle"
    }

    fn handles(&self, operation: Operation, group: &str, resource: &str, _subresource: &str) -> bool {
        let namespaces = group.is_empty() && resource == "namespaces";
        match operation {
            Operation::Create | Operation::Update => !namespaces,
            Operation::Delete => namespaces,
            Operation::Connect => false,
        }
    }

    async fn admit(&self, request: &mut Request<'_>) -> Result<(), Status> {
        if request.operation == Operation::Delete {
            if IMMORTAL.contains(&request.name) && request.concerns("", "namespaces") {
                return Err(request.forbidden("this namespace may not be deleted"));
            }
            self.deleted.insert(request.name.to_owned(), Timestamp::now());
            return Ok(());
        }
        // Whether a namespace exists is not told to those who only ask what they may do in it.
        if request.namespace.is_empty() || request.concerns("authorization.k8s.io", "localsubjectaccessreviews") {
            return Ok(());
        }
        let Some(phase) = self.phase(request.namespace).await? else {
            return Err(status::not_found("", "namespaces", request.namespace));
        };
        if request.operation == Operation::Create && phase == TERMINATING {
            let namespace = request.namespace;
            let text = format!("unable to create new content in namespace {namespace} because it is being terminated");
            let mut status = request.forbidden(&text);
            status.details.causes.push(StatusCause {
                reason: "NamespaceTerminating".into(),
                message: format!("namespace {namespace} is being terminated"),
                field: "metadata.namespace".into(),
            });
            return Err(status);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use skiff_apimachinery::value;

    use super::super::testing::{Case, Fixture};
    use super::*;

    fn fixture() -> (Fixture, NamespaceLifecycle) {
        let fixture = Fixture::new();
        fixture.put("", "namespaces", value!({"metadata": {"name": "demo"}, "status": {"phase": "Active"}}));
        fixture.put("", "namespaces", value!({"metadata": {"name": "gone"}, "status": {"phase": "Terminating"}}));
        let plugin = NamespaceLifecycle::new(fixture.objects());
        (fixture, plugin)
    }

    #[tokio::test]
    async fn namespaces_must_exist_and_stay() {
        let (_fixture, plugin) = fixture();
        let pod = value!({"metadata": {"name": "p"}});
        let create = |namespace: &str| Case::create("", "pods", namespace, pod.clone());
        assert_eq!(create("demo").admit(&plugin).await, Ok(pod.clone()));
        assert_eq!(create("none").admit(&plugin).await, Err((404, "namespaces \"none\" not found".into())));
        let terminating =
            "pods \"p\" is forbidden: unable to create new content in namespace gone because it is being terminated";
        assert_eq!(create("gone").admit(&plugin).await, Err((403, terminating.into())));
        let status = create("gone").admit_status(&plugin).await.expect_err("terminating");
        assert_eq!(status.details.causes[0].reason, "NamespaceTerminating");
        // What is there may still change and go.
        let update = Case::update("", "pods", "gone", pod.clone(), pod.clone());
        assert_eq!(update.admit(&plugin).await, Ok(pod.clone()));
        assert_eq!(Case::delete("", "pods", "gone", pod.clone()).admit(&plugin).await, Ok(Value::Null));
        // Not told.
        let review = value!({});
        let ask = Case::create("authorization.k8s.io", "localsubjectaccessreviews", "none", review.clone());
        assert_eq!(ask.admit(&plugin).await, Ok(review));
        assert_eq!(Case::create("", "nodes", "", pod.clone()).admit(&plugin).await, Ok(pod));
    }

    #[tokio::test]
    async fn some_namespaces_stay_for_ever() {
        let (_fixture, plugin) = fixture();
        for (name, stays) in [("default", true), ("kube-system", true), ("kube-public", true), ("demo", false)] {
            let delete = Case::delete("", "namespaces", "", value!({"metadata": {"name": name}}));
            let refused = format!("namespaces {name:?} is forbidden: this namespace may not be deleted");
            let expected = if stays { Err((403, refused)) } else { Ok(Value::Null) };
            assert_eq!(delete.admit(&plugin).await, expected);
        }
        // A ConfigMap of that name is only a ConfigMap.
        let delete = Case::delete("", "configmaps", "demo", value!({"metadata": {"name": "default"}}));
        assert_eq!(delete.admit(&plugin).await, Ok(Value::Null));
    }
}
