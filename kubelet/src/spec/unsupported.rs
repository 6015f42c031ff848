//! What a pod may ask for and this kubelet does not do yet. Nothing accepted is silently without effect: such a
//! container is not started, and its status names the field.

use k8s_openapi::api::core::v1::{Container, Pod};

use crate::pod::PodExt;

/// The first field that is not honoured, as the message of CreateContainerConfigError.
pub(crate) fn unsupported_field(pod: &Pod, container: &Container) -> Option<String> {
    let spec = pod.pod_spec();
    let set = |list: Option<usize>| list.is_some_and(|length| length > 0);
    let resources = container.resources.as_ref();
    let env = container.env.iter().flatten();
    let rules = container.restart_policy_rules.iter().flatten();
    let hooks = container.lifecycle.as_ref();
    let tcp_hook =
        hooks.into_iter().flat_map(|l| [&l.post_start, &l.pre_stop]).flatten().any(|h| h.tcp_socket.is_some());
    let checks = [
        (spec.host_users == Some(false), "spec.hostUsers"),
        (set(spec.resource_claims.as_ref().map(Vec::len)), "spec.resourceClaims"),
        (set(container.volume_devices.as_ref().map(Vec::len)), "volumeDevices"),
        (set(resources.and_then(|r| r.claims.as_ref()).map(Vec::len)), "resources.claims"),
        (env.filter_map(|e| e.value_from.as_ref()).any(|v| v.file_key_ref.is_some()), "env.valueFrom.fileKeyRef"),
        (
            rules.clone().any(|rule| rule.action == "RestartAllContainers"),
            "restartPolicyRules.action: RestartAllContainers",
        ),
        (tcp_hook, "lifecycle.tcpSocket"),
    ];
    let (_, field) = checks.into_iter().find(|(asked, _)| *asked)?;
    Some(format!("{field} is not supported by this kubelet"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn check(spec: Value, expected: Option<&str>) {
        let pod: Pod = serde_json::from_value(json!({"spec": spec})).expect("a pod");
        let found = unsupported_field(&pod, &pod.regular_containers()[0]);
        assert_eq!(found.as_deref(), expected);
    }

    #[test]
    fn unsupported_fields_are_named() {
        check(json!({"containers": [{"name": "c", "stdin": true, "volumeDevices": []}]}), None);
        check(
            json!({"hostUsers": false, "containers": [{"name": "c"}]}),
            Some("spec.hostUsers is not supported by this kubelet"),
        );
        check(
            json!({"containers": [{"name": "c", "volumeDevices": [{"name": "v", "devicePath": "/dev/x"}]}]}),
            Some("volumeDevices is not supported by this kubelet"),
        );
        check(
            json!({"containers": [{"name": "c", "lifecycle": {"preStop": {"tcpSocket": {"port": 1}}}}]}),
            Some("lifecycle.tcpSocket is not supported by this kubelet"),
        );
    }
}
