//! What makes a pod number so-and-so of a set: its name, its labels, its host name.

use serde_json::{Value, json};
use skiff_client::Kind;
use skiff_client::types::{Meta, Pod, RawJson, StatefulSet};

use super::claims;
use crate::{ownership, pods, revisions};

/// Label with the pod's name.
const NAME_LABEL: &str = "statefulset.kubernetes.io/pod-name";
/// Label with the pod's number.
const INDEX_LABEL: &str = "apps.kubernetes.io/pod-index";

/// The set's name and the number in a pod's name.
pub(super) fn parent_and_ordinal(pod: &str) -> Option<(&str, i32)> {
    let (parent, number) = pod.rsplit_once('-')?;
    let digits = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| number.parse().ok()).flatten().map(|number| (parent, number))
}

/// A pod's number.
pub(super) fn ordinal(pod: &Meta) -> Option<i32> {
    parent_and_ordinal(&pod.name).map(|(_, ordinal)| ordinal)
}

/// Whether a pod's name makes it one of the set.
pub(super) fn is_member(set: &StatefulSet, pod: &Meta) -> bool {
    // Upstream takes a number too large to read for a member, too, and then ignores the pod.
    pod.name.rsplit_once('-').is_some_and(|(parent, number)| {
        parent == set.metadata.name && !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit())
    })
}

/// The name of a pod.
pub(super) fn name(set: &StatefulSet, ordinal: i32) -> String {
    format!("{}-{ordinal}", set.metadata.name)
}

/// First number of a set.
pub(super) fn start(set: &StatefulSet) -> i32 {
    set.spec.ordinals.as_ref().map_or(0, |ordinals| ordinals.start)
}

/// How many pods a set wants.
pub(super) fn replicas(set: &StatefulSet) -> i32 {
    set.spec.replicas.unwrap_or(1).max(0)
}

/// Whether a number is one of those that the set wants.
pub(super) fn is_wanted(set: &StatefulSet, ordinal: i32) -> bool {
    let from_start = i64::from(ordinal) - i64::from(start(set));
    (0..i64::from(replicas(set))).contains(&from_start)
}

/// Whether a pod has the labels that its number asks for.
pub(super) fn matches(set: &StatefulSet, pod: &Pod) -> bool {
    let meta = &pod.metadata;
    ordinal(meta).is_some_and(|ordinal| meta.name == name(set, ordinal))
        && is_member(set, meta)
        && meta.labels.get(NAME_LABEL) == Some(meta.name.as_str())
}

/// The labels that a number asks for.
pub(super) fn labels(set: &StatefulSet, ordinal: i32) -> Value {
    json!({NAME_LABEL: name(set, ordinal), INDEX_LABEL: ordinal.to_string()})
}

/// A new pod of a revision.
pub(super) fn pod(set: &StatefulSet, template: &RawJson, revision: &str, ordinal: i32) -> Value {
    let owner = ownership::controller_reference(&StatefulSet::RESOURCE, &set.metadata);
    let mut pod = pods::from_template(template, &set.metadata.namespace, &owner);
    let name = name(set, ordinal);
    pod["metadata"]["generateName"] = json!(pods::generate_name(&set.metadata.name));
    pod["metadata"]["labels"][NAME_LABEL] = json!(name);
    pod["metadata"]["labels"][INDEX_LABEL] = json!(ordinal.to_string());
    pod["metadata"]["labels"][revisions::POD_LABEL] = json!(revision);
    pod["spec"]["hostname"] = json!(name);
    pod["spec"]["subdomain"] = json!(set.spec.service_name);
    pod["metadata"]["name"] = json!(name);
    let volumes = claims::volumes(set, ordinal, pod["spec"]["volumes"].take());
    if let Some(spec) = pod["spec"].as_object_mut() {
        spec.remove("volumes");
        if !volumes.is_empty() {
            spec.insert("volumes".into(), Value::Array(volumes));
        }
    }
    pod
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_from_names() {
        let cases = [
            ("web-0", Some(("web", 0))),
            ("a-b-12", Some(("a-b", 12))),
            ("web-", None),
            ("web", None),
            ("web-x1", None),
            ("web-99999999999", None),
        ];
        for (name, expected) in cases {
            assert_eq!(parent_and_ordinal(name), expected, "{name}");
        }
    }

    #[test]
    fn a_new_pod_has_its_identity_and_its_claims() {
        let set: StatefulSet = serde_json::from_value(json!({
            "metadata": {"name": "web", "namespace": "n", "uid": "u"},
            "spec": {"serviceName": "nginx", "selector": {"matchLabels": {"app": "web"}},
                "volumeClaimTemplates": [{"metadata": {"name": "data", "labels": {"x": "y"}}, "spec": {"z": 1}}]},
        }))
        .expect("a set");
        let template = RawJson::of(&json!({"metadata": {"labels": {"app": "web"}},
            "spec": {"containers": [], "volumes": [{"name": "data", "emptyDir": {}}, {"name": "tmp", "emptyDir": {}}]}}));
        let pod = pod(&set, &template, "web-abc", 2);
        assert_eq!(pod["metadata"]["name"], "web-2");
        assert_eq!(pod["metadata"]["generateName"], "web-");
        let labels = json!({"app": "web", NAME_LABEL: "web-2", INDEX_LABEL: "2", revisions::POD_LABEL: "web-abc"});
        assert_eq!(pod["metadata"]["labels"], labels);
        assert_eq!((&pod["spec"]["hostname"], &pod["spec"]["subdomain"]), (&json!("web-2"), &json!("nginx")));
        let volumes = json!([{"name": "data", "persistentVolumeClaim": {"claimName": "data-web-2"}},
            {"name": "tmp", "emptyDir": {}}]);
        assert_eq!(pod["spec"]["volumes"], volumes);
        let claims = claims::bodies(&set, 2);
        assert_eq!(claims[0]["metadata"]["labels"], json!({"x": "y", "app": "web"}));
    }
}
