//! Fields that an endpoint does not write, whatever it is sent: nobody comes to own them through it.
//!
//! Follows the `GetResetFields` of upstream's strategies.

use super::Call;

/// Paths of fields.
pub type Paths = &'static [&'static [&'static str]];

const NOTHING: Paths = &[];
const STATUS: Paths = &[&["status"]];
const SPEC: Paths = &[&["spec"]];
/// Of a status that takes no metadata, either.
const ALL_BUT_STATUS: Paths = &[&["metadata"], &["spec"]];

impl Call<'_> {
    /// What this request does not write.
    pub fn reset_fields(&self) -> Paths {
        let info = &self.resource.info;
        match self.cx.info.subresource.as_str() {
            "" if info.plural == "certificatesigningrequests" => &[&["spec"], &["status"]],
            "" if info.plural == "podcertificaterequests" => NOTHING,
            "" if self.resource.custom.is_some() && info.subresource("status").is_none() => NOTHING,
            "" => STATUS,
            "status" if self.resource.custom.is_some() => ALL_BUT_STATUS,
            "status" => of_status(&info.group, &info.plural),
            "approval" => &[&["spec"], &["status", "certificate"]],
            "finalize" => STATUS,
            _ => NOTHING,
        }
    }
}

/// Whether a write to the status of a kind leaves all metadata as it is. That of a CustomResourceDefinition owns none of
/// it, and yet changes it: so does the finalizer go that waits for its objects.
pub fn keeps_metadata(group: &str, plural: &str) -> bool {
    of_status(group, plural) == ALL_BUT_STATUS && plural != "customresourcedefinitions"
}

fn of_status(group: &str, plural: &str) -> Paths {
    match (group, plural) {
        ("", "pods") => &[&["metadata", "deletionTimestamp"], &["metadata", "ownerReferences"], &["spec"]],
        ("apps", "deployments") => &[&["metadata", "labels"], &["spec"]],
        ("certificates.k8s.io", "certificatesigningrequests") => &[&["spec"], &["status", "conditions"]],
        ("admissionregistration.k8s.io", "validatingadmissionpolicies")
        | ("apiextensions.k8s.io", "customresourcedefinitions")
        | ("apiregistration.k8s.io", "apiservices")
        | (
            "flowcontrol.apiserver.k8s.io"
            | "internal.apiserver.k8s.io"
            | "resource.k8s.io"
            | "storagemigration.k8s.io",
            _,
        )
        | ("networking.k8s.io", "servicecidrs")
        | ("scheduling.k8s.io", "podgroups")
        | ("storage.k8s.io", "volumeattachments") => ALL_BUT_STATUS,
        _ => SPEC,
    }
}
