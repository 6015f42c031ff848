//! Kinds that upstream has deprecated: whoever asks for one is told so.
//!
//! Follows `APILifecycleDeprecated` of the types in `k8s.io/api` and `k8s.io/apiserver/pkg/endpoints/deprecation`.

/// What to tell a client that asks for this resource.
pub fn warning(group: &str, version: &str, plural: &str) -> Option<&'static str> {
    match (group, version, plural) {
        ("", "v1", "componentstatuses") => Some("v1 ComponentStatus is deprecated in v1.19+"),
        ("", "v1", "endpoints") => Some("v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice"),
        (_, "v1", _) => None,
        _ => UNSTABLE.iter().find(|row| (row.0, row.1, row.2) == (group, version, plural)).map(|row| row.3),
    }
}

/// Of versions that are not served by default: group, version, resource and text.
const UNSTABLE: &[(&str, &str, &str, &str)] = &[
    (
        "admissionregistration.k8s.io",
        "v1alpha1",
        "mutatingadmissionpolicies",
        "admissionregistration.k8s.io/v1alpha1 MutatingAdmissionPolicy is deprecated in v1.35+, unavailable in v1.38+",
    ),
    (
        "admissionregistration.k8s.io",
        "v1alpha1",
        "mutatingadmissionpolicybindings",
        "admissionregistration.k8s.io/v1alpha1 MutatingAdmissionPolicyBinding is deprecated in v1.35+, unavailable in v1.38+",
    ),
    (
        "certificates.k8s.io",
        "v1alpha1",
        "clustertrustbundles",
        "certificates.k8s.io/v1alpha1 ClusterTrustBundle is deprecated in v1.34+, unavailable in v1.37+",
    ),
    (
        "coordination.k8s.io",
        "v1alpha2",
        "leasecandidates",
        "coordination.k8s.io/v1alpha2 LeaseCandidate is deprecated in v1.35+, unavailable in v1.38+",
    ),
    (
        "coordination.k8s.io",
        "v1beta1",
        "leasecandidates",
        "coordination.k8s.io/v1beta1 LeaseCandidate is deprecated in v1.36+, unavailable in v1.39+",
    ),
    (
        "networking.k8s.io",
        "v1beta1",
        "ipaddresses",
        "networking.k8s.io/v1beta1 IPAddress is deprecated in v1.34+, unavailable in v1.37+",
    ),
    (
        "networking.k8s.io",
        "v1beta1",
        "servicecidrs",
        "networking.k8s.io/v1beta1 ServiceCIDR is deprecated in v1.34+, unavailable in v1.37+",
    ),
    (
        "resource.k8s.io",
        "v1alpha3",
        "devicetaintrules",
        "resource.k8s.io/v1alpha3 DeviceTaintRule is deprecated in v1.36+, unavailable in v1.39+",
    ),
    (
        "resource.k8s.io",
        "v1beta1",
        "deviceclasses",
        "resource.k8s.io/v1beta1 DeviceClass is deprecated in v1.35+, unavailable in v1.38+",
    ),
    (
        "resource.k8s.io",
        "v1beta1",
        "resourceclaims",
        "resource.k8s.io/v1beta1 ResourceClaim is deprecated in v1.35+, unavailable in v1.38+",
    ),
    (
        "resource.k8s.io",
        "v1beta1",
        "resourceclaimtemplates",
        "resource.k8s.io/v1beta1 ResourceClaimTemplate is deprecated in v1.35+, unavailable in v1.38+",
    ),
    (
        "resource.k8s.io",
        "v1beta1",
        "resourceslices",
        "resource.k8s.io/v1beta1 ResourceSlice is deprecated in v1.35+, unavailable in v1.38+",
    ),
    (
        "resource.k8s.io",
        "v1beta2",
        "deviceclasses",
        "resource.k8s.io/v1beta2 DeviceClass is deprecated in v1.36+, unavailable in v1.39+",
    ),
    (
        "resource.k8s.io",
        "v1beta2",
        "resourceclaims",
        "resource.k8s.io/v1beta2 ResourceClaim is deprecated in v1.36+, unavailable in v1.39+",
    ),
    (
        "resource.k8s.io",
        "v1beta2",
        "resourceclaimtemplates",
        "resource.k8s.io/v1beta2 ResourceClaimTemplate is deprecated in v1.36+, unavailable in v1.39+",
    ),
    (
        "resource.k8s.io",
        "v1beta2",
        "resourceslices",
        "resource.k8s.io/v1beta2 ResourceSlice is deprecated in v1.36+, unavailable in v1.39+",
    ),
    (
        "storage.k8s.io",
        "v1beta1",
        "volumeattributesclasses",
        "storage.k8s.io/v1beta1 VolumeAttributesClass is deprecated in v1.34+, unavailable in v1.37+; use storage.k8s.io/v1 VolumeAttributesClass",
    ),
];
