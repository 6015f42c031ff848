//! Reading a Pod: short names for what every part of the kubelet asks of it. Absent and empty are one here.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::LazyLock;

use k8s_openapi::api::core::v1::{
    Container, EphemeralContainer, Pod, PodSecurityContext, PodSpec, PodStatus, SecurityContext, Volume,
};
use skiff_client::ObjectReference;

static EMPTY_SPEC: LazyLock<PodSpec> = LazyLock::new(PodSpec::default);
static EMPTY_STATUS: LazyLock<PodStatus> = LazyLock::new(PodStatus::default);
static EMPTY_SECURITY: LazyLock<SecurityContext> = LazyLock::new(SecurityContext::default);
static EMPTY_POD_SECURITY: LazyLock<PodSecurityContext> = LazyLock::new(PodSecurityContext::default);
static EMPTY_MAP: BTreeMap<String, String> = BTreeMap::new();

/// Grace period of a pod that has none, in seconds.
const DEFAULT_GRACE_SECONDS: i64 = 30;

/// Which list of the pod's spec a container stands in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ContainerKind {
    /// `spec.initContainers`, sidecars among them.
    Init,
    /// `spec.containers`.
    Regular,
    /// `spec.ephemeralContainers`.
    Ephemeral,
}

impl ContainerKind {
    /// Name of the list in field paths.
    pub(crate) fn field(self) -> &'static str {
        match self {
            ContainerKind::Init => "initContainers",
            ContainerKind::Regular => "containers",
            ContainerKind::Ephemeral => "ephemeralContainers",
        }
    }
}

/// When a pod or a container is started again after it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RestartPolicy {
    Always,
    OnFailure,
    Never,
}

impl RestartPolicy {
    fn parse(text: Option<&str>) -> Option<Self> {
        match text {
            Some("Always") => Some(Self::Always),
            Some("OnFailure") => Some(Self::OnFailure),
            Some("Never") => Some(Self::Never),
            _ => None,
        }
    }

    fn restarts(self, exit_code: i32) -> bool {
        match self {
            Self::Always => true,
            Self::OnFailure => exit_code != 0,
            Self::Never => false,
        }
    }
}

/// Reading access to a Pod.
pub(crate) trait PodExt {
    fn pod(&self) -> &Pod;

    fn uid(&self) -> &str {
        self.pod().metadata.uid.as_deref().unwrap_or_default()
    }
    fn name(&self) -> &str {
        self.pod().metadata.name.as_deref().unwrap_or_default()
    }
    fn namespace(&self) -> &str {
        self.pod().metadata.namespace.as_deref().unwrap_or_default()
    }
    fn labels(&self) -> &BTreeMap<String, String> {
        self.pod().metadata.labels.as_ref().unwrap_or(&EMPTY_MAP)
    }
    fn annotations(&self) -> &BTreeMap<String, String> {
        self.pod().metadata.annotations.as_ref().unwrap_or(&EMPTY_MAP)
    }
    fn generation(&self) -> Option<i64> {
        self.pod().metadata.generation
    }
    fn is_deleted(&self) -> bool {
        self.pod().metadata.deletion_timestamp.is_some()
    }
    fn pod_spec(&self) -> &PodSpec {
        self.pod().spec.as_ref().unwrap_or(&EMPTY_SPEC)
    }
    fn pod_status(&self) -> &PodStatus {
        self.pod().status.as_ref().unwrap_or(&EMPTY_STATUS)
    }
    fn phase(&self) -> &str {
        self.pod_status().phase.as_deref().unwrap_or_default()
    }
    fn init_containers(&self) -> &[Container] {
        self.pod_spec().init_containers.as_deref().unwrap_or(&[])
    }
    fn regular_containers(&self) -> &[Container] {
        &self.pod_spec().containers
    }
    fn ephemeral_containers(&self) -> &[EphemeralContainer] {
        self.pod_spec().ephemeral_containers.as_deref().unwrap_or(&[])
    }
    fn pod_volumes(&self) -> &[Volume] {
        self.pod_spec().volumes.as_deref().unwrap_or(&[])
    }
    fn pod_security(&self) -> &PodSecurityContext {
        self.pod_spec().security_context.as_ref().unwrap_or(&EMPTY_POD_SECURITY)
    }
    fn is_host_network(&self) -> bool {
        self.pod_spec().host_network == Some(true)
    }
    fn restart_policy(&self) -> RestartPolicy {
        RestartPolicy::parse(self.pod_spec().restart_policy.as_deref()).unwrap_or(RestartPolicy::Always)
    }
    /// Grace of a deletion in progress, else of the spec, in seconds.
    fn grace_seconds(&self) -> i64 {
        let meta = &self.pod().metadata;
        meta.deletion_grace_period_seconds
            .or(self.pod_spec().termination_grace_period_seconds)
            .unwrap_or(DEFAULT_GRACE_SECONDS)
    }
    /// A pod from a file on the node, not from the API.
    fn is_static(&self) -> bool {
        self.annotations().get(CONFIG_SOURCE).is_some_and(|source| source != "api")
    }
    /// The API's image of a static pod.
    fn is_mirror(&self) -> bool {
        self.annotations().contains_key(CONFIG_MIRROR)
    }
    /// Finds a container of any kind by name. Ephemeral ones are shown as ordinary containers.
    fn find_container(&self, name: &str) -> Option<(ContainerKind, Cow<'_, Container>)> {
        let named = |containers: &'_ [Container]| containers.iter().position(|c| c.name == name);
        if let Some(index) = named(self.regular_containers()) {
            return Some((ContainerKind::Regular, Cow::Borrowed(&self.regular_containers()[index])));
        }
        if let Some(index) = named(self.init_containers()) {
            return Some((ContainerKind::Init, Cow::Borrowed(&self.init_containers()[index])));
        }
        let ephemeral = self.ephemeral_containers().iter().find(|c| c.name == name)?;
        Some((ContainerKind::Ephemeral, Cow::Owned(as_container(ephemeral))))
    }
    /// `name_namespace(uid)`, as upstream writes pods in messages.
    fn display(&self) -> String {
        format!("{}_{}({})", self.name(), self.namespace(), self.uid())
    }
    /// The object reference of events about the pod.
    fn reference(&self) -> ObjectReference {
        ObjectReference {
            api_version: "v1".into(),
            kind: "Pod".into(),
            namespace: self.namespace().into(),
            name: self.name().into(),
            uid: self.uid().into(),
            resource_version: self.pod().metadata.resource_version.clone().unwrap_or_default(),
            field_path: String::new(),
        }
    }
    /// The object reference of events about one container.
    fn container_reference(&self, name: &str) -> ObjectReference {
        let field = self.find_container(name).map_or("containers", |(kind, _)| kind.field());
        self.reference().with_field_path(format!("spec.{field}{{{name}}}"))
    }
}

impl PodExt for Pod {
    fn pod(&self) -> &Pod {
        self
    }
}

/// Annotation that says where a pod came from (`api` or `file`).
pub(crate) const CONFIG_SOURCE: &str = "kubernetes.io/config.source";
/// Annotation of mirror pods: the hash of the static pod they show.
pub(crate) const CONFIG_MIRROR: &str = "kubernetes.io/config.mirror";

/// A container's security settings; all absent if it has none.
pub(crate) fn security(container: &Container) -> &SecurityContext {
    container.security_context.as_ref().unwrap_or(&EMPTY_SECURITY)
}

/// Whether an init container is a sidecar: started in order, then kept running beside the regular containers.
pub(crate) fn is_sidecar(container: &Container) -> bool {
    container.restart_policy.as_deref() == Some("Always")
}

/// Whether a container is to be started again after it exited with `exit_code`. The container's rules come first,
/// then its own policy, then the pod's (upstream: `pkg/api/v1/pod/util.go`, ContainerShouldRestart).
pub(crate) fn restarts_after(container: &Container, pod: &Pod, exit_code: i32) -> bool {
    let own = RestartPolicy::parse(container.restart_policy.as_deref());
    if own.is_some() && matching_rule(container, exit_code).is_some() {
        // Both known actions, Restart and RestartAllContainers, restart this container.
        return true;
    }
    own.unwrap_or(pod.restart_policy()).restarts(exit_code)
}

/// Action of the first restart rule that an exit code matches.
fn matching_rule(container: &Container, exit_code: i32) -> Option<&str> {
    let rules = container.restart_policy_rules.as_deref().unwrap_or(&[]);
    let rule = rules.iter().find(|rule| {
        rule.exit_codes.as_ref().is_some_and(|codes| {
            let listed = codes.values.as_deref().unwrap_or(&[]).contains(&exit_code);
            match codes.operator.as_str() {
                "In" => listed,
                "NotIn" => !listed,
                _ => false,
            }
        })
    })?;
    Some(&rule.action)
}

/// Whether a container can ever be started again, whatever it exits with.
pub(crate) fn may_restart(container: &Container, pod: &Pod) -> bool {
    let own = RestartPolicy::parse(container.restart_policy.as_deref());
    let has_rules = container.restart_policy_rules.as_ref().is_some_and(|rules| !rules.is_empty());
    (own.is_some() && has_rules) || own.unwrap_or(pod.restart_policy()) != RestartPolicy::Never
}

/// An ephemeral container as an ordinary one.
pub(crate) fn as_container(ephemeral: &EphemeralContainer) -> Container {
    let e = ephemeral.clone();
    Container {
        args: e.args,
        command: e.command,
        env: e.env,
        env_from: e.env_from,
        image: e.image,
        image_pull_policy: e.image_pull_policy,
        lifecycle: e.lifecycle,
        liveness_probe: e.liveness_probe,
        name: e.name,
        ports: e.ports,
        readiness_probe: e.readiness_probe,
        resize_policy: e.resize_policy,
        resources: e.resources,
        restart_policy: e.restart_policy,
        restart_policy_rules: e.restart_policy_rules,
        security_context: e.security_context,
        startup_probe: e.startup_probe,
        stdin: e.stdin,
        stdin_once: e.stdin_once,
        termination_message_path: e.termination_message_path,
        termination_message_policy: e.termination_message_policy,
        tty: e.tty,
        volume_devices: e.volume_devices,
        volume_mounts: e.volume_mounts,
        working_dir: e.working_dir,
    }
}

/// Whether a change of a resource restarts a container (upstream: `resizePolicy`; not named means no).
pub(crate) fn restarts_to_resize(container: &Container, resource: &str) -> bool {
    let policies = container.resize_policy.iter().flatten();
    policies.into_iter().any(|policy| policy.resource_name == resource && policy.restart_policy == "RestartContainer")
}

/// Whether a phase is final.
pub(crate) fn is_terminal_phase(phase: &str) -> bool {
    matches!(phase, "Succeeded" | "Failed")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn pod(value: serde_json::Value) -> Pod {
        serde_json::from_value(value).expect("a pod")
    }

    #[test]
    fn restart_rules_come_before_policies() {
        let pod = pod(json!({"spec": {"restartPolicy": "Never", "containers": [
            {"name": "plain"},
            {"name": "own", "restartPolicy": "OnFailure"},
            {"name": "rules", "restartPolicy": "Never", "restartPolicyRules": [
                {"action": "Restart", "exitCodes": {"operator": "In", "values": [42]}}]}
        ]}}));
        let restarts = |index: usize, code| restarts_after(&pod.regular_containers()[index], &pod, code);
        assert_eq!([restarts(0, 0), restarts(0, 1)], [false, false]);
        assert_eq!([restarts(1, 0), restarts(1, 1)], [false, true]);
        assert_eq!([restarts(2, 1), restarts(2, 42)], [false, true]);
        assert!(may_restart(&pod.regular_containers()[2], &pod));
        assert!(!may_restart(&pod.regular_containers()[0], &pod));
    }

    #[test]
    fn containers_are_found_by_name_in_every_list() {
        let pod = pod(json!({"metadata": {"name": "p", "namespace": "n", "uid": "u"}, "spec": {
            "containers": [{"name": "a"}], "initContainers": [{"name": "b"}],
            "ephemeralContainers": [{"name": "c", "image": "i"}]}}));
        let kind = |name| pod.find_container(name).map(|(kind, _)| kind);
        assert_eq!(kind("a"), Some(ContainerKind::Regular));
        assert_eq!(kind("b"), Some(ContainerKind::Init));
        assert_eq!(kind("c"), Some(ContainerKind::Ephemeral));
        assert_eq!(kind("d"), None);
        assert_eq!(pod.container_reference("b").field_path, "spec.initContainers{b}");
        assert_eq!(pod.display(), "p_n(u)");
    }
}
