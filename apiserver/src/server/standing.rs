//! What describes the server itself and stands from the start: an APIService for each group version that is served, and
//! the levels of priority and fairness with the schemas that lead to them ([`flow_configuration`](super::flow_configuration)).
//!
//! Follows the post-start hooks of `k8s.io/kube-aggregator/pkg/apiserver` and of `pkg/registry/flowcontrol/rest`.

use futures::future::BoxFuture;
use futures::{StreamExt, TryStreamExt};
use skiff_apimachinery::status::Status;
use skiff_apimachinery::value::Value;
use skiff_apimachinery::{time, value};

use super::ApiServer;
use super::bootstrap::Own;
use super::flow_configuration::{self, GROUP as FLOW_CONTROL_GROUP};
use crate::registry::store::Write;

/// Objects that are written at the same time.
const PARALLEL_WRITES: usize = 64;

/// How groups rank in discovery (`groupPriorityMinimum`), from upstream's table for its own APIServices.
const GROUP_PRIORITIES: &[(&str, i64)] = &[
    ("", 18000),
    ("admissionregistration.k8s.io", 16700),
    ("apiextensions.k8s.io", 16700),
    ("apps", 17800),
    ("authentication.k8s.io", 17700),
    ("authorization.k8s.io", 17600),
    ("autoscaling", 17500),
    ("batch", 17400),
    ("certificates.k8s.io", 17300),
    ("coordination.k8s.io", 16500),
    ("discovery.k8s.io", 16200),
    ("events.k8s.io", 17750),
    ("flowcontrol.apiserver.k8s.io", 16100),
    ("internal.apiserver.k8s.io", 16000),
    ("networking.k8s.io", 17200),
    ("node.k8s.io", 16300),
    ("policy", 17100),
    ("rbac.authorization.k8s.io", 17000),
    ("resource.k8s.io", 16200),
    ("scheduling.k8s.io", 16600),
    ("storage.k8s.io", 16800),
    ("storagemigration.k8s.io", 16800),
];

impl ApiServer {
    /// Makes what is not there.
    pub(super) async fn ensure_standing(&self) -> Result<(), Status> {
        let mut objects = flow_configuration::objects();
        objects.extend(self.api_services());
        let mut writes: Vec<BoxFuture<'_, Result<(), Status>>> = Vec::with_capacity(objects.len());
        for object in &objects {
            writes.push(Box::pin(self.ensure_with_status(object)));
        }
        futures::stream::iter(writes).buffer_unordered(PARALLEL_WRITES).try_collect().await
    }

    pub(super) async fn ensure_with_status(&self, object: &Value) -> Result<(), Status> {
        let (group, resource) = match object.str_at(&["kind"]) {
            Some("FlowSchema") => (FLOW_CONTROL_GROUP, "flowschemas"),
            Some("PriorityLevelConfiguration") => (FLOW_CONTROL_GROUP, "prioritylevelconfigurations"),
            _ => ("apiregistration.k8s.io", "apiservices"),
        };
        if self.registry.store(group, resource).is_none() {
            // Turned off by `--runtime-config`.
            return Ok(());
        }
        self.ensure(group, resource, object.clone()).await?;
        match object.get("status") {
            Some(status) => self.write_status(group, resource, object, status).await,
            None => Ok(()),
        }
    }

    /// Completes an object that nobody has judged yet.
    async fn write_status(&self, group: &str, resource: &str, object: &Value, status: &Value) -> Result<(), Status> {
        let own = Own::new(object);
        let transform = |current: Option<&Value>| {
            let mut new = current.unwrap_or(object).clone();
            if new.array_at(&["status", "conditions"]).is_empty() {
                new.set_at(&["status"], status.clone());
            }
            Ok(new)
        };
        let write = Write { subresource: "status", ..own.write() };
        self.store(group, resource)?.update(&write, &transform).await.map(drop)
    }

    /// One for each built-in group version that is served.
    fn api_services(&self) -> Vec<Value> {
        let now = time::format(jiff::Timestamp::now());
        let served = self.registry.served();
        let mut services = Vec::new();
        for (group, priority) in GROUP_PRIORITIES {
            let Some(found) = served.group(group) else { continue };
            for version in found.versions.iter().map(|version| version.name.as_str()) {
                services.push(api_service(group, version, *priority, version_priority(group, version), &now));
            }
        }
        services
    }
}

/// How a version ranks within its group.
fn version_priority(group: &str, version: &str) -> i64 {
    match (group, version) {
        ("", _) => 1,
        ("autoscaling", "v2") => 30,
        ("flowcontrol.apiserver.k8s.io" | "resource.k8s.io", "v1") => 21,
        (_, version) if version.contains("alpha") => 9,
        (_, version) if version.contains("beta") => 12,
        _ => 15,
    }
}

fn api_service(group: &str, version: &str, group_priority: i64, version_priority: i64, now: &str) -> Value {
    let mut service = value!({
        "apiVersion": "apiregistration.k8s.io/v1",
        "kind": "APIService",
        "metadata": {
            "name": (format!("{version}.{group}")),
            "labels": {"kube-aggregator.kubernetes.io/automanaged": "onstart"}
        },
        "spec": {
            "version": version,
            "groupPriorityMinimum": group_priority,
            "versionPriority": version_priority
        },
        "status": {"conditions": [{
            "type": "Available",
            "status": "True",
            "lastTransitionTime": now,
            "reason": "Local",
            "message": "Local APIServices are always available"
        }]}
    });
    if !group.is_empty() {
        service.set_at(&["spec", "group"], group);
    }
    service
}
