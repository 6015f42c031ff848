//! How often an update validates `metadata`.
//!
//! The generic part of an update validates it and its change. Most kinds validate the change a second time, and many the
//! whole of it as for a new object; a client sees each complaint as often as it was found.

/// What a kind validates by itself, beside what every update does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum OwnChecks {
    /// Nothing.
    None,
    /// How metadata changed.
    Change,
    /// How metadata changed, and the new metadata as for a new object.
    All,
}

/// What it validates when its status is written.
pub(super) fn own_checks_of_status(group: &str, plural: &str) -> OwnChecks {
    match own_checks(group, plural) {
        _ if (group, plural) == ("batch", "cronjobs") => OwnChecks::None,
        OwnChecks::All if group != "certificates.k8s.io" => OwnChecks::Change,
        checks => checks,
    }
}

/// What the kind stored as this resource validates.
pub(super) fn own_checks(group: &str, plural: &str) -> OwnChecks {
    match (group, plural) {
        ("", "events") | ("policy", "poddisruptionbudgets") | ("internal.apiserver.k8s.io", _) => OwnChecks::None,
        (
            "",
            "configmaps"
            | "endpoints"
            | "namespaces"
            | "nodes"
            | "persistentvolumeclaims"
            | "persistentvolumes"
            | "pods"
            | "secrets"
            | "serviceaccounts",
        )
        | ("apiregistration.k8s.io", _)
        | ("apps", "controllerrevisions")
        | ("batch", "jobs")
        | ("certificates.k8s.io", _)
        | ("networking.k8s.io", "ingressclasses" | "ingresses" | "ipaddresses")
        | ("node.k8s.io", _)
        | ("rbac.authorization.k8s.io", _)
        | ("resource.k8s.io", "deviceclasses" | "resourceclaims" | "resourceclaimtemplates")
        | ("storage.k8s.io", "csistoragecapacities" | "storageclasses" | "volumeattributesclasses") => OwnChecks::All,
        _ => OwnChecks::Change,
    }
}
