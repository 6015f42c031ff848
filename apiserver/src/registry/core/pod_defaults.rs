//! Defaults of pods and of everything that has a pod template.
//!
//! Follows `pkg/apis/core/v1/defaults.go`.

use skiff_apimachinery::value::{Object, Value};

use super::image_name;
use crate::registry::defaults::{absent, each, nonzero, text, within};

/// Mode of files in secret, configMap, downwardAPI and projected volumes: 0644.
const FILE_MODE: i64 = 0o644;

const CONTAINER_LISTS: [&str; 3] = ["initContainers", "containers", "ephemeralContainers"];

/// Defaults of a Pod: those of its spec, and those that templates do not get.
pub fn pod(pod: &mut Value) {
    let spec = pod.object_at_mut(&["spec"]);
    pod_spec(spec);
    for list in ["containers", "initContainers"] {
        each(spec, list, |container| {
            requests_from_limits(container);
            within(container, "resources", round_resources);
        });
    }
    pod_level_requests(spec);
    absent(spec, "enableServiceLinks", true);
    if spec.get("hostNetwork").and_then(Value::as_bool) == Some(true) {
        for list in ["containers", "initContainers"] {
            each(spec, list, |container| each(container, "ports", host_port));
        }
    }
}

/// Defaults of a template's `spec` under `template`.
pub fn template(owner_spec: &mut Object) {
    within(owner_spec, "template", |template| pod_spec(template.object_mut("spec")));
}

/// Defaults of a PodSpec.
pub fn pod_spec(spec: &mut Object) {
    each(spec, "volumes", volume);
    for list in CONTAINER_LISTS {
        each(spec, list, container);
    }
    text(spec, "dnsPolicy", "ClusterFirst");
    text(spec, "restartPolicy", "Always");
    absent(spec, "securityContext", Object::new());
    absent(spec, "terminationGracePeriodSeconds", 30);
    text(spec, "schedulerName", "default-scheduler");
    // The older name of the account stands beside the newer one.
    let account = ["serviceAccountName", "serviceAccount"]
        .iter()
        .find_map(|key| spec.get(key).and_then(Value::as_str).filter(|name| !name.is_empty()).map(str::to_owned));
    if let Some(account) = account {
        spec.insert("serviceAccountName", account.as_str());
        spec.insert("serviceAccount", account);
    }
    each(spec, "tolerations", |_| {});
    each(spec, "topologySpreadConstraints", |_| {});
}

/// What is the latest of its name is asked for anew.
fn pull_policy(image: &str) -> &'static str {
    if image_name::is_latest(image) { "Always" } else { "IfNotPresent" }
}

fn container(container: &mut Object) {
    let image = container.get("image").and_then(Value::as_str).unwrap_or("").to_owned();
    text(container, "imagePullPolicy", pull_policy(&image));
    text(container, "terminationMessagePath", "/dev/termination-log");
    text(container, "terminationMessagePolicy", "File");
    absent(container, "resources", Object::new());
    each(container, "ports", |port| text(port, "protocol", "TCP"));
    each(container, "env", |env| {
        within(env, "valueFrom", |from| {
            within(from, "fieldRef", field_ref);
            within(from, "fileKeyRef", |file| absent(file, "optional", false));
        })
    });
    for name in ["livenessProbe", "readinessProbe", "startupProbe"] {
        within(container, name, probe);
    }
    within(container, "lifecycle", |lifecycle| {
        for name in ["postStart", "preStop"] {
            within(lifecycle, name, |handler| within(handler, "httpGet", http_get));
        }
    });
}

fn probe(probe: &mut Object) {
    nonzero(probe, "timeoutSeconds", 1);
    nonzero(probe, "periodSeconds", 10);
    nonzero(probe, "successThreshold", 1);
    nonzero(probe, "failureThreshold", 3);
    within(probe, "httpGet", http_get);
    within(probe, "grpc", |grpc| absent(grpc, "service", ""));
}

fn http_get(action: &mut Object) {
    text(action, "path", "/");
    text(action, "scheme", "HTTP");
}

fn field_ref(selector: &mut Object) {
    text(selector, "apiVersion", "v1");
}

fn downward_items(source: &mut Object) {
    each(source, "items", |item| within(item, "fieldRef", field_ref));
}

fn volume(volume: &mut Object) {
    // Only the name: an empty directory is meant.
    if volume.iter().all(|(key, value)| key == "name" || value.is_null()) {
        volume.insert("emptyDir", Object::new());
    }
    for source in ["secret", "configMap"] {
        within(volume, source, |source| absent(source, "defaultMode", FILE_MODE));
    }
    within(volume, "downwardAPI", |source| {
        absent(source, "defaultMode", FILE_MODE);
        downward_items(source);
    });
    within(volume, "projected", |projected| {
        absent(projected, "defaultMode", FILE_MODE);
        each(projected, "sources", |source| {
            within(source, "serviceAccountToken", |token| absent(token, "expirationSeconds", 3600));
            within(source, "downwardAPI", downward_items);
        });
    });
    within(volume, "hostPath", |source| absent(source, "type", ""));
    within(volume, "image", |source| {
        let reference = source.get("reference").and_then(Value::as_str).unwrap_or("").to_owned();
        text(source, "pullPolicy", pull_policy(&reference));
    });
    within(volume, "ephemeral", |source| {
        within(source, "volumeClaimTemplate", |template| within(template, "spec", claim_spec));
    });
    volume_source(volume);
}

/// Defaults of the storage that volumes of pods and PersistentVolumes have in common.
pub fn volume_source(volume: &mut Object) {
    within(volume, "hostPath", |source| absent(source, "type", ""));
    within(volume, "iscsi", |source| text(source, "iscsiInterface", "default"));
    within(volume, "rbd", rbd);
    within(volume, "azureDisk", azure_disk);
    within(volume, "scaleIO", scale_io);
}

fn rbd(source: &mut Object) {
    text(source, "pool", "rbd");
    text(source, "user", "admin");
    text(source, "keyring", "/etc/ceph/keyring");
}

fn azure_disk(source: &mut Object) {
    absent(source, "cachingMode", "ReadWrite");
    absent(source, "kind", "Shared");
    absent(source, "fsType", "ext4");
    absent(source, "readOnly", false);
}

fn scale_io(source: &mut Object) {
    text(source, "storageMode", "ThinProvisioned");
    text(source, "fsType", "xfs");
}

/// Defaults of a PersistentVolumeClaimSpec.
pub fn claim_spec(spec: &mut Object) {
    absent(spec, "volumeMode", "Filesystem");
}

/// A limit without a request asks for the limit.
fn requests_from_limits(container: &mut Object) {
    let limits = container.get("resources").and_then(|r| r.get("limits")).and_then(Value::as_object).cloned();
    let Some(limits) = limits.filter(|limits| !limits.is_empty()) else {
        return;
    };
    let requests = container.object_mut("resources").object_mut("requests");
    for (resource, quantity) in limits.iter() {
        absent(requests, resource, quantity.clone());
    }
}

/// Quantities are kept to the thousandth, rounded up.
fn round_resources(resources: &mut Object) {
    for list in ["requests", "limits"] {
        within(resources, list, |list| {
            for (_, value) in list.iter_mut() {
                if let Some(rounded) = value.as_str().and_then(rounded_to_milli) {
                    *value = Value::from(rounded);
                }
            }
        });
    }
}

/// The quantity rounded up to thousandths, if it is finer than that.
fn rounded_to_milli(text: &str) -> Option<String> {
    if !text.ends_with(['n', 'u']) {
        return None;
    }
    let quantity = skiff_apimachinery::quantity::Quantity::parse(text).ok()?;
    Some(skiff_apimachinery::quantity::Quantity::from_milli(quantity.milli_value()).to_string())
}

/// Requests of the pod as a whole follow from those of its containers, else from its limits, when it has limits.
fn pod_level_requests(spec: &mut Object) {
    let limits = spec.get("resources").and_then(|r| r.get("limits")).and_then(Value::as_object).cloned();
    let Some(limits) = limits.filter(|limits| !limits.is_empty()) else {
        return;
    };
    let of_containers = super::pod_resources::requests(spec);
    let requests = spec.object_mut("resources").object_mut("requests");
    for resource in ["cpu", "memory"] {
        if let Some(quantity) = of_containers.get(resource) {
            absent(requests, resource, quantity.to_string());
        }
    }
    for (resource, quantity) in limits.iter() {
        if matches!(resource, "cpu" | "memory") || resource.starts_with("hugepages-") {
            absent(requests, resource, quantity.clone());
        }
    }
}

fn host_port(port: &mut Object) {
    if let Some(number) = port.get("containerPort").and_then(Value::as_i64) {
        nonzero(port, "hostPort", number);
    }
}

#[cfg(test)]
mod tests {
    use skiff_apimachinery::value;

    use super::*;

    #[test]
    fn images_decide_the_pull_policy() {
        let digest = format!("sha256:{}", "a".repeat(64));
        for (image, want) in [
            ("nginx", "Always"),
            ("nginx:latest", "Always"),
            ("nginx:1.27", "IfNotPresent"),
            ("registry:5000/nginx", "Always"),
            ("registry:5000/nginx:1", "IfNotPresent"),
            (&format!("nginx@{digest}"), "IfNotPresent"),
            (&format!("nginx:latest@{digest}"), "Always"),
            ("nginx:latest@sha256:abc", "IfNotPresent"),
        ] {
            assert_eq!(pull_policy(image), want, "{image}");
        }
    }

    #[test]
    fn a_pod_gets_what_it_left_out() {
        let mut object = value!({"spec": {
            "containers": [{
                "name": "a", "image": "a:1",
                "resources": {"limits": {"cpu": "1"}},
                "livenessProbe": {"httpGet": {"port": 80}}
            }],
            "volumes": [{"name": "v"}]
        }});
        pod(&mut object);
        assert_eq!(
            object,
            value!({"spec": {
                "containers": [{
                    "name": "a", "image": "a:1", "imagePullPolicy": "IfNotPresent",
                    "terminationMessagePath": "/dev/termination-log", "terminationMessagePolicy": "File",
                    "resources": {"limits": {"cpu": "1"}, "requests": {"cpu": "1"}},
                    "livenessProbe": {
                        "httpGet": {"port": 80, "path": "/", "scheme": "HTTP"},
                        "timeoutSeconds": 1, "periodSeconds": 10, "successThreshold": 1, "failureThreshold": 3
                    }
                }],
                "volumes": [{"name": "v", "emptyDir": {}}],
                "dnsPolicy": "ClusterFirst", "restartPolicy": "Always", "securityContext": {},
                "terminationGracePeriodSeconds": 30, "schedulerName": "default-scheduler", "enableServiceLinks": true
            }})
        );
    }
}
