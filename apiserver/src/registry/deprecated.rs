//! Kinds that upstream has deprecated: whoever asks for one is told so.
//!
//! Follows `APILifecycleDeprecated` of the types in `k8s.io/api` and `k8s.io/apiserver/pkg/endpoints/deprecation`.

/// What to tell a client that asks for this resource.
pub fn warning(group: &str, version: &str, plural: &str) -> Option<&'static str> {
    match (group, version, plural) {
        ("", "v1", "componentstatuses") => Some("v1 ComponentStatus is deprecated in v1.19+"),
        ("", "v1", "endpoints") => Some("v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice"),
        _ => None,
    }
}
