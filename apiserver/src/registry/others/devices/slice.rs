//! ResourceSlice: the devices that a driver has at a node.

use skiff_apimachinery::field::{Error, ErrorList};
use skiff_apimachinery::value::Value;

use super::{device, formats};
use crate::cacher::FieldSpec;
use crate::registry::at::At;
use crate::registry::core::validation::{formats as core_formats, scheduling};
use crate::registry::strategy::{Strategy, WriteScope};

const MAX_DEVICES: usize = 128;
/// As many where devices have taints or consume counters.
const MAX_ADVANCED_DEVICES: usize = 64;
const MAX_COUNTER_SETS: usize = 8;
const ONE_PLACE: &str = "exactly one of `nodeName`, `nodeSelector`, `allNodes`, `perDeviceNodeSelection` is required";

/// ResourceSlice.
pub struct ResourceSliceStrategy;

impl Strategy for ResourceSliceStrategy {
    fn set_defaults(&self, object: &mut Value) {
        device::set_defaults(object.object_at_mut(&["spec"]));
    }

    fn prepare_for_create(&self, _scope: WriteScope<'_>, object: &mut Value) {
        device::drop_disabled(object, None);
    }

    fn prepare_for_update(&self, _scope: WriteScope<'_>, new: &mut Value, old: &Value) {
        device::drop_disabled(new, Some(old));
    }

    fn validate(&self, object: &Value) -> ErrorList {
        let mut errors = ErrorList::default();
        spec(&At::root(object).child("spec"), None, &mut errors);
        errors
    }

    fn validate_update(&self, _scope: WriteScope<'_>, new: &Value, old: &Value) -> ErrorList {
        let mut errors = ErrorList::default();
        let old = At::root(old);
        spec(&At::root(new).child("spec"), Some(&old.child("spec")), &mut errors);
        errors
    }

    fn warnings(&self, new: &Value, _old: Option<&Value>) -> Vec<String> {
        let driver = new.str_at(&["spec", "driver"]).unwrap_or("");
        if driver == driver.to_lowercase() {
            return Vec::new();
        }
        vec![format!("spec.driver: driver names should be lowercase; {driver:?} contains uppercase characters")]
    }

    fn counts_generation(&self) -> bool {
        true
    }

    fn returns_deleted_object(&self) -> bool {
        true
    }

    fn selectable_fields(&self) -> Vec<FieldSpec> {
        vec![FieldSpec::new("spec.nodeName"), FieldSpec::new("spec.driver")]
    }
}

fn spec(spec: &At<'_>, old: Option<&At<'_>>, errors: &mut ErrorList) {
    let (driver, pool, node) = (spec.child("driver"), spec.child("pool"), spec.child("nodeName"));
    formats::driver(&driver, errors);
    formats::pool(&pool.child("name"), errors);
    let (count, generation) = (pool.child("resourceSliceCount"), pool.child("generation"));
    if count.int().unwrap_or(0) <= 0 {
        count.or_zero().invalid(errors, "must be greater than zero");
    }
    if generation.int().is_some_and(|number| number < 0) {
        generation.invalid(errors, "must be greater than or equal to zero");
    }
    if let Some(old) = old {
        pool.child("name").immutable(errors, &old.child("pool").child("name"));
        driver.immutable(errors, &old.child("driver"));
        node.immutable(errors, &old.child("nodeName"));
    }
    places(spec, errors);
    let (devices, counters) = (spec.child("devices"), spec.child("sharedCounters"));
    if counters.is_set() && devices.is_set() {
        errors.push(Error::invalid(&spec.path(), "", "only one of `sharedCounters` or `devices` is allowed"));
    }
    let advanced = devices.items().any(|one| {
        !one.child("taints").is_empty() || !one.child("consumesCounters").is_empty() || device::has_lists(&one)
    });
    let most = if advanced { MAX_ADVANCED_DEVICES } else { MAX_DEVICES };
    let per_device = spec.child("perDeviceNodeSelection").flag();
    let validate = |one: &At<'_>, errors: &mut ErrorList| device::validate(one, old, per_device, errors);
    formats::each_once(&devices, most, errors, validate, formats::member("name"));
    let counter_set = |set: &At<'_>, errors: &mut ErrorList| device::counters(set, "name", errors);
    formats::each_once(&counters, MAX_COUNTER_SETS, errors, counter_set, formats::member("name"));
}

/// Validates where the devices can be used: in exactly one way.
fn places(spec: &At<'_>, errors: &mut ErrorList) {
    let mut set = Vec::new();
    let (node, selector) = (spec.child("nodeName"), spec.child("nodeSelector"));
    if node.is_set() && node.is_empty() {
        node.invalid(errors, "must be either unset or set to a non-empty string");
    } else if node.is_set() {
        set.push("`nodeName`");
        core_formats::subdomain(&node, errors);
    }
    if selector.is_set() {
        set.push("`nodeSelector`");
        scheduling::node_selector(&selector, errors);
        let terms = selector.child("nodeSelectorTerms");
        if terms.len() != 1 {
            terms.invalid_as("[NodeSelectorTerm", errors, "must have exactly one node selector term");
        }
    }
    for (field, name) in [("allNodes", "`allNodes`"), ("perDeviceNodeSelection", "`perDeviceNodeSelection`")] {
        let at = spec.child(field);
        if at.flag() {
            set.push(name);
        } else if at.is_set() {
            at.invalid(errors, "must be either unset or set to true");
        }
    }
    match set.len() {
        0 => spec.required(errors, ONE_PLACE),
        1 => {}
        _ => {
            let shown = format!("{{{}}}", set.join(", "));
            let message = format!("{ONE_PLACE}, but multiple fields are set");
            errors.push(Error::invalid(&spec.path(), shown, message));
        }
    }
}
