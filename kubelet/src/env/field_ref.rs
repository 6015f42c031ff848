//! Values that a container may ask of its pod and node: `fieldRef` and `resourceFieldRef`, for variables and for
//! downward API files (upstream: `pkg/fieldpath`, `pkg/api/v1/resource/helpers.go`).

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Container, Pod, ResourceFieldSelector};

use crate::pod::PodExt;
use crate::quantity::{ResourceList, milli_value, milli_value_of, value, value_of};

/// What is known about the node and the pod's addresses when a value is asked for.
#[derive(Clone, Debug, Default)]
pub(crate) struct Facts {
    /// Addresses of the node, the primary one first.
    pub(crate) host_ips: Vec<String>,
    /// Addresses of the pod, the primary one first.
    pub(crate) pod_ips: Vec<String>,
    /// What the node has for pods; stands in for limits a container does not set.
    pub(crate) allocatable: ResourceList,
}

/// The value of a `fieldRef`. The error is upstream's message.
pub(crate) fn field_value(path: &str, pod: &Pod, facts: &Facts) -> Result<String, String> {
    let text = |value: &Option<String>| value.clone().unwrap_or_default();
    let first = |ips: &[String]| ips.first().cloned().unwrap_or_default();
    match path {
        "spec.nodeName" => return Ok(text(&pod.pod_spec().node_name)),
        "spec.serviceAccountName" => return Ok(text(&pod.pod_spec().service_account_name)),
        "status.hostIP" => return Ok(first(&facts.host_ips)),
        "status.hostIPs" => return Ok(facts.host_ips.join(",")),
        "status.podIP" => return Ok(first(&facts.pod_ips)),
        "status.podIPs" => return Ok(facts.pod_ips.join(",")),
        _ => {}
    }
    metadata_value(path, pod)
}

/// The part of [`field_value`] that files may use too: names, labels and annotations.
pub(crate) fn metadata_value(path: &str, pod: &Pod) -> Result<String, String> {
    if let Some((field, key)) = subscripted(path) {
        let map = match field {
            "metadata.labels" => pod.labels(),
            "metadata.annotations" => pod.annotations(),
            _ => return Err(format!("fieldPath {path:?} does not support subscript")),
        };
        return Ok(map.get(key).cloned().unwrap_or_default());
    }
    match path {
        "metadata.labels" => Ok(format_map(pod.labels())),
        "metadata.annotations" => Ok(format_map(pod.annotations())),
        "metadata.name" => Ok(pod.name().to_owned()),
        "metadata.namespace" => Ok(pod.namespace().to_owned()),
        "metadata.uid" => Ok(pod.uid().to_owned()),
        _ => Err(format!("unsupported fieldPath: {path}")),
    }
}

/// Splits `metadata.labels['key']` into field and key.
fn subscripted(path: &str) -> Option<(&str, &str)> {
    let (field, key) = path.strip_suffix("']")?.split_once("['")?;
    (!field.is_empty()).then_some((field, key))
}

/// `key="value"` lines in order of the keys.
fn format_map(map: &BTreeMap<String, String>) -> String {
    let lines: Vec<String> = map.iter().map(|(key, value)| format!("{key}={}", quote(value))).collect();
    lines.join("\n")
}

/// A string as Go's `strconv.Quote` writes it.
fn quote(text: &str) -> String {
    let mut quoted = String::from("\"");
    for c in text.chars() {
        match c {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            '\u{7}' => quoted.push_str("\\a"),
            '\u{8}' => quoted.push_str("\\b"),
            '\u{c}' => quoted.push_str("\\f"),
            '\n' => quoted.push_str("\\n"),
            '\r' => quoted.push_str("\\r"),
            '\t' => quoted.push_str("\\t"),
            '\u{b}' => quoted.push_str("\\v"),
            c if (c as u32) < 0x20 || c as u32 == 0x7f => {
                quoted.push_str(&format!("\\x{:02x}", c as u32));
            }
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

/// The value of a `resourceFieldRef`: in units of the divisor, rounded up. Limits that the container does not set are
/// the pod's, else what the node has for pods.
pub(crate) fn resource_value(
    selector: &ResourceFieldSelector,
    pod: &Pod,
    own: &Container,
    allocatable: &ResourceList,
) -> Result<String, String> {
    let name = selector.container_name.as_deref().unwrap_or_default();
    let found = if name.is_empty() || name == own.name { None } else { pod.find_container(name) };
    let container = match &found {
        Some((_, container)) => container.as_ref(),
        None if name.is_empty() || name == own.name => own,
        None => return Err(format!("container {name} not found")),
    };
    let resources = container.resources.clone().unwrap_or_default();
    let unsupported = || format!("unsupported container resource : {}", selector.resource);
    let (list, resource) = selector.resource.split_once('.').ok_or_else(unsupported)?;
    let amounts = match list {
        "limits" => with_default_limits(resources.limits, pod, allocatable),
        "requests" => resources.requests.unwrap_or_default(),
        _ => return Err(unsupported()),
    };
    let divisor = selector.divisor.as_ref();
    let parts = match resource {
        "cpu" => {
            let divisor = divisor.map_or(0, milli_value);
            div_ceil(milli_value_of(Some(&amounts), "cpu"), if divisor == 0 { 1000 } else { divisor })
        }
        "memory" | "ephemeral-storage" => {
            let divisor = divisor.map_or(0, value);
            div_ceil(value_of(Some(&amounts), resource), divisor.max(1))
        }
        huge if huge.starts_with("hugepages-") => {
            let divisor = divisor.map_or(0, value);
            div_ceil(value_of(Some(&amounts), huge), divisor.max(1))
        }
        _ => return Err(unsupported()),
    };
    Ok(parts.to_string())
}

fn with_default_limits(own: Option<ResourceList>, pod: &Pod, allocatable: &ResourceList) -> ResourceList {
    let mut limits = own.unwrap_or_default();
    let pod_limits = pod.pod_spec().resources.as_ref().and_then(|r| r.limits.as_ref());
    for name in ["cpu", "memory", "ephemeral-storage"] {
        if milli_value_of(Some(&limits), name) != 0 {
            continue;
        }
        let of_pod = pod_limits.and_then(|list| list.get(name)).filter(|q| milli_value(q) != 0);
        if let Some(amount) = of_pod.or_else(|| allocatable.get(name)) {
            limits.insert(name.to_owned(), amount.clone());
        }
    }
    limits
}

fn div_ceil(amount: i64, divisor: i64) -> i64 {
    amount / divisor + i64::from(amount % divisor > 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
    use serde_json::json;

    fn pod() -> Pod {
        serde_json::from_value(json!({
            "metadata": {"name": "p", "namespace": "n", "uid": "u",
                "labels": {"b": "2", "a": "x\"y\nz"}, "annotations": {"k": "v"}},
            "spec": {"nodeName": "node", "serviceAccountName": "sa", "containers": [
                {"name": "c", "resources": {"requests": {"cpu": "250m", "memory": "32Mi"},
                    "limits": {"memory": "64Mi"}}},
                {"name": "d", "resources": {"limits": {"cpu": "2"}}}]}}))
        .expect("a pod")
    }

    #[test]
    fn fields() {
        let facts = Facts {
            host_ips: vec!["10.0.0.1".into(), "fd00::1".into()],
            pod_ips: vec!["10.244.0.5".into()],
            ..Default::default()
        };
        for (path, expected) in [
            ("metadata.name", "p"),
            ("metadata.namespace", "n"),
            ("metadata.uid", "u"),
            ("metadata.labels['b']", "2"),
            ("metadata.labels['none']", ""),
            ("metadata.annotations['k']", "v"),
            ("metadata.labels", "a=\"x\\\"y\\nz\"\nb=\"2\""),
            ("spec.nodeName", "node"),
            ("spec.serviceAccountName", "sa"),
            ("status.hostIP", "10.0.0.1"),
            ("status.hostIPs", "10.0.0.1,fd00::1"),
            ("status.podIP", "10.244.0.5"),
            ("status.podIPs", "10.244.0.5"),
        ] {
            assert_eq!(field_value(path, &pod(), &facts).as_deref(), Ok(expected), "{path}");
        }
        assert_eq!(field_value("spec.hostname", &pod(), &facts), Err("unsupported fieldPath: spec.hostname".into()));
        assert!(metadata_value("status.podIP", &pod()).is_err());
        assert!(field_value("spec.x['a']", &pod(), &facts).is_err());
    }

    #[test]
    fn resources_are_divided_and_rounded_up() {
        let pod = pod();
        let allocatable: ResourceList =
            [("cpu", "4"), ("memory", "1Gi")].map(|(name, amount)| (name.to_owned(), Quantity(amount.into()))).into();
        let get = |container: &str, resource: &str, divisor: &str| {
            let selector = ResourceFieldSelector {
                container_name: (!container.is_empty()).then(|| container.to_owned()),
                divisor: Some(Quantity(divisor.into())),
                resource: resource.into(),
            };
            resource_value(&selector, &pod, &pod.regular_containers()[0], &allocatable)
        };
        assert_eq!(get("", "requests.cpu", "0").as_deref(), Ok("1"));
        assert_eq!(get("", "requests.cpu", "1m").as_deref(), Ok("250"));
        assert_eq!(get("", "limits.cpu", "1").as_deref(), Ok("4"));
        assert_eq!(get("d", "limits.cpu", "1").as_deref(), Ok("2"));
        assert_eq!(get("", "limits.memory", "1Mi").as_deref(), Ok("64"));
        assert_eq!(get("d", "limits.memory", "1Gi").as_deref(), Ok("1"));
        assert_eq!(get("", "requests.ephemeral-storage", "1").as_deref(), Ok("0"));
        assert_eq!(get("x", "limits.cpu", "1"), Err("container x not found".into()));
        assert!(get("", "limits.gpu", "1").is_err());
        assert!(get("", "cpu", "1").is_err());
    }
}
