//! Labels and annotations that tie what the runtime holds to pods. They are read back after a restart of the kubelet,
//! so nothing about a running pod has to be remembered elsewhere. Names are upstream's
//! (`pkg/kubelet/kuberuntime/labels.go`); crictl and log collectors know them.

use std::collections::HashMap;

use k8s_openapi::api::core::v1::{Container, Pod, ResourceRequirements};

use crate::container_hash::container_hash;
use crate::pod::PodExt;

/// Label: name of the pod.
pub(crate) const POD_NAME: &str = "io.kubernetes.pod.name";
/// Label: namespace of the pod.
pub(crate) const POD_NAMESPACE: &str = "io.kubernetes.pod.namespace";
/// Label: UID of the pod.
pub(crate) const POD_UID: &str = "io.kubernetes.pod.uid";
/// Label: name of the container.
pub(crate) const CONTAINER_NAME: &str = "io.kubernetes.container.name";

const HASH: &str = "io.kubernetes.container.hash";
const RESTART_COUNT: &str = "io.kubernetes.container.restartCount";
const TERMINATION_PATH: &str = "io.kubernetes.container.terminationMessagePath";
const TERMINATION_POLICY: &str = "io.kubernetes.container.terminationMessagePolicy";
const PRE_STOP: &str = "io.kubernetes.container.preStopHandler";
/// Ours: the resources that the container was created with.
const RESOURCES: &str = "io.kubernetes.container.resources";
const PORTS: &str = "io.kubernetes.container.ports";
const DELETION_GRACE: &str = "io.kubernetes.pod.deletionGracePeriod";
const TERMINATION_GRACE: &str = "io.kubernetes.pod.terminationGracePeriod";

/// Labels of a sandbox: the pod's own and the three that identify it.
pub(crate) fn sandbox_labels(pod: &Pod) -> HashMap<String, String> {
    let own = pod.labels().iter();
    let mut labels: HashMap<String, String> = own.map(|(key, value)| (key.clone(), value.clone())).collect();
    labels.extend(identity(pod));
    labels
}

/// Labels of a container.
pub(crate) fn container_labels(pod: &Pod, container: &Container) -> HashMap<String, String> {
    let mut labels: HashMap<String, String> = identity(pod).into();
    labels.insert(CONTAINER_NAME.into(), container.name.clone());
    labels
}

fn identity(pod: &Pod) -> [(String, String); 3] {
    [
        (POD_NAME.into(), pod.name().into()),
        (POD_NAMESPACE.into(), pod.namespace().into()),
        (POD_UID.into(), pod.uid().into()),
    ]
}

/// What is remembered about a container in its annotations.
pub(crate) fn container_annotations(pod: &Pod, container: &Container, restart_count: u32) -> HashMap<String, String> {
    let text = |value: &Option<String>| value.clone().unwrap_or_default();
    let mut annotations = HashMap::from([
        (HASH.to_owned(), format!("{:x}", container_hash(container))),
        (RESTART_COUNT.to_owned(), restart_count.to_string()),
        (TERMINATION_PATH.to_owned(), text(&container.termination_message_path)),
        (TERMINATION_POLICY.to_owned(), text(&container.termination_message_policy)),
    ]);
    let deletion_grace = pod.metadata.deletion_grace_period_seconds;
    if let Some(seconds) = deletion_grace {
        annotations.insert(DELETION_GRACE.to_owned(), seconds.to_string());
    }
    if let Some(seconds) = pod.pod_spec().termination_grace_period_seconds {
        annotations.insert(TERMINATION_GRACE.to_owned(), seconds.to_string());
    }
    let pre_stop = container.lifecycle.as_ref().and_then(|l| l.pre_stop.as_ref());
    if let Some(Ok(json)) = pre_stop.map(serde_json::to_string) {
        annotations.insert(PRE_STOP.to_owned(), json);
    }
    if let Some(Ok(json)) = container.ports.as_ref().map(serde_json::to_string) {
        annotations.insert(PORTS.to_owned(), json);
    }
    let resources = container.resources.clone().unwrap_or_default();
    if let Ok(json) = serde_json::to_string(&resources) {
        annotations.insert(RESOURCES.to_owned(), json);
    }
    annotations
}

/// What [`container_annotations`] remembered and the observer needs.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Remembered<'a> {
    pub(crate) hash: u64,
    pub(crate) restart_count: u32,
    pub(crate) termination_path: &'a str,
    /// `terminationMessagePolicy` is FallbackToLogsOnError.
    pub(crate) fall_back_to_logs: bool,
    /// `None` if an older version created it.
    pub(crate) resources: Option<ResourceRequirements>,
}

/// Reads a container's annotations. What is missing or unreadable is taken as zero or empty.
pub(crate) fn remembered(annotations: &HashMap<String, String>) -> Remembered<'_> {
    let text = |key| annotations.get(key).map(String::as_str).unwrap_or_default();
    Remembered {
        hash: u64::from_str_radix(text(HASH), 16).unwrap_or(0),
        restart_count: text(RESTART_COUNT).parse().unwrap_or(0),
        termination_path: text(TERMINATION_PATH),
        fall_back_to_logs: text(TERMINATION_POLICY) == "FallbackToLogsOnError",
        resources: annotations.get(RESOURCES).and_then(|json| serde_json::from_str(json).ok()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn annotations_survive_the_round_trip() {
        let pod: Pod = serde_json::from_value(json!({
            "metadata": {"name": "p", "namespace": "n", "uid": "u", "labels": {"app": "web"}},
            "spec": {"terminationGracePeriodSeconds": 7, "containers": [{"name": "c", "image": "i",
                "terminationMessagePath": "/dev/termination-log",
                "terminationMessagePolicy": "FallbackToLogsOnError"}]}}))
        .expect("a pod");
        let container = &pod.regular_containers()[0];
        let annotations = container_annotations(&pod, container, 3);
        assert_eq!(annotations[TERMINATION_GRACE], "7");
        let expected = Remembered {
            hash: container_hash(container),
            restart_count: 3,
            termination_path: "/dev/termination-log",
            fall_back_to_logs: true,
            resources: Some(ResourceRequirements::default()),
        };
        assert_eq!(remembered(&annotations), expected);
        assert_eq!(remembered(&HashMap::new()), Remembered::default());
        assert_eq!(sandbox_labels(&pod)["app"], "web");
        let labels = container_labels(&pod, container);
        assert_eq!(labels[CONTAINER_NAME], "c");
        assert!(!labels.contains_key("app"));
    }
}
