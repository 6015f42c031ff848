//! flowcontrol.apiserver.k8s.io, and its objects that stand from the start.
//!
//! Follows `pkg/registry/flowcontrol`, `pkg/apis/flowcontrol/{v1/defaults.go,validation}` and, for the objects,
//! `k8s.io/apiserver/pkg/apis/flowcontrol/bootstrap`: data in `manifests/bootstrap/flowcontrol.yaml`.

mod levels;
mod schemas;

use std::collections::HashSet;
use std::sync::LazyLock;

use skiff_apimachinery::field::ErrorList;
use skiff_apimachinery::schema::{SchemaRef, Type, TypeTable};
use skiff_apimachinery::value::{Object, Value};
use skiff_apimachinery::yaml;

pub use self::levels::PriorityLevelStrategy;
pub use self::schemas::FlowSchemaStrategy;
use crate::registry::at::At;

const STANDING: &str = include_str!("../../../../../manifests/bootstrap/flowcontrol.yaml");
/// Of what stands, what nobody may change; it has the same names in both kinds.
pub const MANDATORY: &[&str] = &["catch-all", "exempt"];

static PARSED: LazyLock<Value> = LazyLock::new(|| {
    let decoded = yaml::decode(STANDING.as_bytes(), SchemaRef::new(&TypeTable::default(), &Type::Any));
    decoded.map(|decoded| decoded.value).unwrap_or_default()
});

/// The specs of the PriorityLevelConfigurations that stand, by name.
pub fn standing_levels() -> Option<&'static Object> {
    PARSED.get("levels").and_then(Value::as_object)
}

/// The specs of the FlowSchemas that stand, by name.
pub fn standing_schemas() -> Option<&'static Object> {
    PARSED.get("schemas").and_then(Value::as_object)
}

/// The spec that an object of this name must have.
fn mandatory(name: &str, of: Option<&'static Object>) -> Option<&'static Value> {
    of.filter(|_| MANDATORY.contains(&name)).and_then(|specs| specs.get(name))
}

/// Validates the conditions of either kind.
fn status(status: &At<'_>, errors: &mut ErrorList) {
    let mut types = HashSet::new();
    for condition in status.child("conditions").items() {
        let kind = condition.child("type");
        if !types.insert(kind.text().to_owned()) {
            kind.duplicate(errors);
        }
        kind.require(errors);
    }
}
