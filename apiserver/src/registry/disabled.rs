//! Fields of features that are off by default in v1.36: what a client writes to them is dropped.
//!
//! Follows the `dropDisabledFields` functions of `pkg/registry` and `pkg/api/*/util.go`, and `pkg/features/kube_features.go`.

use std::collections::HashMap;
use std::sync::LazyLock;

use skiff_apimachinery::schema::TypeId;

/// Types and their fields.
const FIELDS: &[(&str, &[&str])] = &[
    ("apps.v1.RollingUpdateStatefulSetStrategy", &["maxUnavailable"]),
    ("coordination.v1.LeaseSpec", &["preferredHolder", "strategy"]),
    ("core.v1.Lifecycle", &["stopSignal"]),
    ("core.v1.PodSpec", &["schedulingGroup"]),
    ("core.v1.PodStatus", &["nodeAllocatableResourceClaimStatuses"]),
    ("core.v1.VolumeMountStatus", &["volumeStatus"]),
    ("core.v1.VolumeProjection", &["clusterTrustBundle", "podCertificate"]),
    ("storage.v1.CSIDriverSpec", &["preventPodSchedulingIfMissing"]),
];

static DISABLED: LazyLock<HashMap<TypeId, &'static [&'static str]>> = LazyLock::new(|| {
    let types = &skiff_api::builtin().types;
    let id = |name: &str| types.lookup(&format!("io.k8s.api.{name}"));
    FIELDS.iter().filter_map(|(name, fields)| Some((id(name)?, *fields))).collect()
});

/// Whether an object that has nothing but such fields goes with them. Where upstream fills in defaults before it drops the
/// fields, it stays.
pub fn goes_when_empty(id: TypeId) -> bool {
    static STAYS: LazyLock<Option<TypeId>> =
        LazyLock::new(|| skiff_api::builtin().types.lookup("io.k8s.api.apps.v1.RollingUpdateStatefulSetStrategy"));
    Some(id) != *STAYS
}

/// The fields of a type that are dropped.
pub fn fields(id: TypeId) -> &'static [&'static str] {
    DISABLED.get(&id).copied().unwrap_or_default()
}
