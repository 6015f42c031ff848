//! Labels of nodes that have newer names: whoever selects by one is told so.
//!
//! Follows `pkg/api/node/util.go`.

use crate::registry::at::At;

const DEPRECATED: &[(&str, &str)] = &[
    ("app.kubernetes.io/created-by", "deprecated since v1.9"),
    ("beta.kubernetes.io/arch", "deprecated since v1.14; use \"kubernetes.io/arch\" instead"),
    ("beta.kubernetes.io/instance-type", "deprecated since v1.17; use \"node.kubernetes.io/instance-type\" instead"),
    ("beta.kubernetes.io/os", "deprecated since v1.14; use \"kubernetes.io/os\" instead"),
    (
        "failure-domain.beta.kubernetes.io/region",
        "deprecated since v1.17; use \"topology.kubernetes.io/region\" instead",
    ),
    ("failure-domain.beta.kubernetes.io/zone", "deprecated since v1.17; use \"topology.kubernetes.io/zone\" instead"),
    ("node-role.kubernetes.io/master", "use \"node-role.kubernetes.io/control-plane\" instead"),
    ("scheduler.alpha.kubernetes.io/preferAvoidPods", "deprecated since v1.22; use Taints and Tolerations instead"),
];

/// What to tell about a label.
pub fn deprecation(label: &str) -> Option<&'static str> {
    DEPRECATED.iter().find(|(name, _)| *name == label).map(|(_, text)| *text)
}

/// What to tell about the labels of a selector of nodes.
pub fn selector_deprecations(selector: &At<'_>) -> Vec<String> {
    let mut warnings = Vec::new();
    for expression in selector.child("matchExpressions").items() {
        let key = expression.child("key");
        warnings.extend(deprecation(key.text()).map(|text| format!("{}: {} is {text}", key.path(), key.text())));
    }
    let labels = selector.child("matchLabels");
    for (label, _) in labels.entries() {
        warnings.extend(deprecation(label).map(|text| format!("{}.{label}: {text}", labels.path())));
    }
    warnings
}
