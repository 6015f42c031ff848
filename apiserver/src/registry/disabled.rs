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
    ("core.v1.VolumeProjection", &["clusterTrustBundle", "podCertificate"]),
];

static DISABLED: LazyLock<HashMap<TypeId, &'static [&'static str]>> = LazyLock::new(|| {
    let types = &skiff_api::builtin().types;
    let id = |name: &str| types.lookup(&format!("io.k8s.api.{name}"));
    FIELDS.iter().filter_map(|(name, fields)| Some((id(name)?, *fields))).collect()
});

/// The fields of a type that are dropped.
pub fn fields(id: TypeId) -> &'static [&'static str] {
    DISABLED.get(&id).copied().unwrap_or_default()
}
