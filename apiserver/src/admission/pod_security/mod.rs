//! The Pod Security Standards, as a namespace's labels ask for them.
//!
//! Follows `k8s.io/pod-security-admission/admission` and `plugin/pkg/admission/security/podsecurity`. Pods are refused,
//! workloads whose pods would be refused are warned about, and so are namespaces whose pods violate a new level.

mod checks;
mod policy;
mod restricted;

use std::collections::BTreeMap;

use skiff_apimachinery::field;
use skiff_apimachinery::status::{self, Status};
use skiff_apimachinery::value::Value;

use self::checks::{PodView, Violation, violations};
use self::policy::{Level, LevelVersion, Policy};
use super::{Operation, Plugin, Request};
use crate::objects::Objects;

/// Pods of a namespace that are looked at when its level changes.
const MAX_PODS_CHECKED: usize = 3000;

pub(super) struct PodSecurity {
    objects: Objects,
}

impl PodSecurity {
    pub(super) fn new(objects: Objects) -> Self {
        Self { objects }
    }

    async fn policy(&self, request: &Request<'_>) -> Result<Option<Policy>, Status> {
        // A level that somebody has just set holds from then on.
        self.objects.reader().caught_up("", "namespaces").await;
        Ok(self.objects.find("", "namespaces", "", request.namespace).await?.map(|namespace| Policy::of(&namespace)))
    }

    async fn pod(&self, request: &mut Request<'_>) -> Result<(), Status> {
        let matters = request.operation != Operation::Update || is_significant(request.object(), request.old());
        if !matters && request.record().is_none() {
            return Ok(());
        }
        let Some(policy) = self.policy(request).await? else {
            return Err(status::internal_error(format!("failed to lookup namespace {:?}", request.namespace)));
        };
        if policy.errors.is_empty() && policy.is_privileged() {
            // The version that counts when nothing is to be violated, whatever the namespace says.
            annotate(request, "enforce-policy", "privileged:latest");
            return Ok(());
        }
        if !matters {
            return Ok(());
        }
        let object = request.object();
        let pod = PodView { metadata: member(object, "metadata"), spec: member(object, "spec") };
        let violated = violations(pod, policy.enforce);
        annotate(request, "enforce-policy", &policy.enforce.to_string());
        audit(request, pod_of, &policy);
        if !violated.is_empty() {
            let text = format!("violates PodSecurity \"{}\": {}", policy.enforce, details(&violated));
            return Err(request.forbidden(&text));
        }
        warn(request, pod_of, policy.warn);
        Ok(())
    }

    async fn workload(&self, request: &mut Request<'_>) -> Result<(), Status> {
        if let Some(policy) = self.policy(request).await? {
            audit(request, template_of, &policy);
            warn(request, template_of, policy.warn);
        }
        Ok(())
    }

    fn namespace(&self, request: &mut Request<'_>) -> Result<(), Status> {
        let new = Policy::of(request.object());
        let old = request.old_object.map(Policy::of);
        let errors_are_new = old.as_ref().is_none_or(|old| old.errors != new.errors);
        if !new.errors.is_empty() && errors_are_new {
            return Err(status::invalid("", "Namespace", request.name, new.errors));
        }
        let Some(old) = old else { return Ok(()) };
        let relaxed = new.enforce.version == old.enforce.version && new.enforce.level <= old.enforce.level;
        if new.enforce == old.enforce || new.enforce.level == Level::Privileged || relaxed {
            return Ok(());
        }
        let name = request.name.to_owned();
        request.warnings.extend(self.violated_by_pods(&name, new.enforce));
        Ok(())
    }

    /// Warnings about pods that are there already: one per kind of violation, with the first pod's name.
    fn violated_by_pods(&self, namespace: &str, policy: LevelVersion) -> Vec<String> {
        let pods = self.objects.list("", "pods", namespace);
        let mut found: BTreeMap<String, (String, usize)> = BTreeMap::new();
        for object in pods.iter().take(MAX_PODS_CHECKED) {
            let Some(pod) = pod_of(object) else { continue };
            let violated = violations(pod, policy);
            if violated.is_empty() {
                continue;
            }
            let reasons = violated.iter().map(|violation| violation.reason).collect::<Vec<_>>().join(", ");
            let name = object.str_at(&["metadata", "name"]).unwrap_or("").to_owned();
            let entry = found.entry(reasons).or_insert_with(|| (name.clone(), 0));
            entry.0 = std::cmp::min(name, std::mem::take(&mut entry.0));
            entry.1 += 1;
        }
        let mut warnings = Vec::new();
        if pods.len() > MAX_PODS_CHECKED {
            warnings.push(format!(
                "new PodSecurity enforce level only checked against the first {MAX_PODS_CHECKED} of {} existing pods",
                pods.len()
            ));
        }
        if !found.is_empty() {
            warnings.push(format!(
                "existing pods in namespace {namespace:?} violate the new PodSecurity enforce level \"{policy}\""
            ));
        }
        let mut lines = found.into_iter().map(|(reasons, (name, count))| match count {
            1 => format!("{name}: {reasons}"),
            2 => format!("{name} (and 1 other pod): {reasons}"),
            _ => format!("{name} (and {} other pods): {reasons}", count - 1),
        });
        let mut lines = lines.by_ref().collect::<Vec<_>>();
        lines.sort_unstable();
        warnings.extend(lines);
        warnings
    }
}

fn member<'a>(object: &'a Value, name: &str) -> &'a Value {
    static NOTHING: Value = Value::Null;
    object.get(name).unwrap_or(&NOTHING)
}

fn pod_of(object: &Value) -> Option<PodView<'_>> {
    Some(PodView { metadata: member(object, "metadata"), spec: object.get("spec")? })
}

/// The pods that a workload makes.
fn template_of(object: &Value) -> Option<PodView<'_>> {
    const TEMPLATES: [&[&str]; 3] =
        [&["spec", "jobTemplate", "spec", "template"], &["spec", "template"], &["template"]];
    TEMPLATES.iter().find_map(|path| pod_of(object.at(path)?))
}

fn details(violated: &[Violation]) -> String {
    let text = |violation: &Violation| match violation.detail.as_str() {
        "" => violation.reason.to_owned(),
        detail => format!("{} ({detail})", violation.reason),
    };
    violated.iter().map(text).collect::<Vec<_>>().join(", ")
}

fn warn(request: &mut Request<'_>, pod_of: fn(&Value) -> Option<PodView<'_>>, policy: LevelVersion) {
    let Some(pod) = pod_of(request.object()) else { return };
    let violated = violations(pod, policy);
    if !violated.is_empty() {
        request.warnings.push(format!("would violate PodSecurity \"{policy}\": {}", details(&violated)));
    }
}

/// Has the audit log say what `audit` says of a pod, and what is wrong with the namespace's labels.
fn audit(request: &Request<'_>, pod_of: fn(&Value) -> Option<PodView<'_>>, policy: &Policy) {
    if request.record().is_none() {
        return;
    }
    let Some(pod) = pod_of(request.object()) else { return };
    if !policy.errors.is_empty() {
        annotate(request, "error", &format!("Failed to parse policy: {}", field::aggregate(&policy.errors)));
    }
    let violated = violations(pod, policy.audit);
    if !violated.is_empty() {
        let text = format!("would violate PodSecurity \"{}\": {}", policy.audit, details(&violated));
        annotate(request, "audit-violations", &text);
    }
}

fn annotate(request: &Request<'_>, name: &str, text: &str) {
    if let Some(record) = request.record() {
        record.annotate(&format!("pod-security.kubernetes.io/{name}"), text);
    }
}

/// Whether an update changes what may run: only images, and ephemeral containers that are added.
fn is_significant(new: &Value, old: &Value) -> bool {
    let image = |container: &Value| container.get("image").cloned();
    let images = |pod: &Value, list: &str| pod.array_at(&["spec", list]).iter().map(image).collect::<Vec<_>>();
    let ephemeral = |pod: &Value, name: &Value| {
        let list = pod.array_at(&["spec", "ephemeralContainers"]);
        list.iter().find(|container| container.get("name") == Some(name)).map(image)
    };
    let added = || {
        new.array_at(&["spec", "ephemeralContainers"])
            .iter()
            .any(|container| container.get("name").is_none_or(|name| ephemeral(old, name) != Some(image(container))))
    };
    images(new, "containers") != images(old, "containers")
        || images(new, "initContainers") != images(old, "initContainers")
        || added()
}

#[async_trait::async_trait]
impl Plugin for PodSecurity {
    fn name(&self) -> &'static str {
        "PodSecurity"
    }

    fn handles(&self, operation: Operation, group: &str, resource: &str, subresource: &str) -> bool {
        if !matches!(operation, Operation::Create | Operation::Update) {
            return false;
        }
        match (group, resource) {
            // An unknown subresource may change a pod.
            ("", "pods") => !matches!(
                subresource,
                "exec" | "attach" | "binding" | "eviction" | "log" | "portforward" | "proxy" | "status"
            ),
            ("", "namespaces" | "replicationcontrollers" | "podtemplates")
            | ("apps", "replicasets" | "deployments" | "statefulsets" | "daemonsets")
            | ("batch", "jobs" | "cronjobs") => subresource.is_empty(),
            _ => false,
        }
    }

    async fn validate(&self, request: &mut Request<'_>) -> Result<(), Status> {
        match request.resource {
            "pods" => self.pod(request).await,
            "namespaces" => {
                self.objects.reader().caught_up("", "pods").await;
                self.namespace(request)
            }
            _ => self.workload(request).await,
        }
    }
}

#[cfg(test)]
mod tests;
