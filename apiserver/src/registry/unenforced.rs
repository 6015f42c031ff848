//! Kinds that are stored and shown but that nothing acts on yet: a client that writes one is told so.
//!
//! A line goes when what it names is built.

/// What to tell a client that creates or changes an object of this resource.
pub fn warning(group: &str, plural: &str) -> Option<&'static str> {
    Some(match (group, plural) {
        ("autoscaling", "horizontalpodautoscalers") => "this object is stored but nothing scales by it yet",
        ("networking.k8s.io", "networkpolicies") => {
            "this NetworkPolicy is stored but traffic is not restricted by it yet"
        }
        ("networking.k8s.io", "ingresses" | "ingressclasses") => {
            "this object is stored but no ingress controller is built in"
        }
        ("networking.k8s.io", "servicecidrs") => "this object is stored but addresses are not allocated from it yet",
        ("resource.k8s.io", _) => "this object is stored but devices are not allocated yet",
        ("storage.k8s.io", "csidrivers" | "csinodes" | "csistoragecapacities" | "volumeattachments") => {
            "this object is stored but storage drivers are not called yet"
        }
        _ => return None,
    })
}

/// Whether a warning is one of these, for those who compare our answers with upstream's.
pub fn is_ours(warning: &str) -> bool {
    warning.ends_with(" yet") || warning.ends_with("no ingress controller is built in")
}
