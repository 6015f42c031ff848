//! ResourcePoolStatusRequest: a question about the state of pools, answered once.
//!
//! Upstream declares the rules at the types (`pkg/apis/resource/v1alpha3/zz_generated.validations.go`).

use skiff_apimachinery::field::{Error, ErrorList};
use skiff_apimachinery::names;
use skiff_apimachinery::value::Value;

use crate::registry::at::At;
use crate::registry::core::validation::conditions;
use crate::registry::defaults::{absent, spec};
use crate::registry::internal;
use crate::registry::strategy::{Strategy, WriteScope};

const DEFAULT_LIMIT: i64 = 100;
const MAX_LIMIT: i64 = 1000;
const MAX_POOLS: usize = 1000;
const MAX_CONDITIONS: usize = 10;
/// Bytes of a pool's name and of what is wrong with a pool.
const MAX_NAME: usize = 253;
const MAX_ERROR: usize = 256;

/// ResourcePoolStatusRequest.
pub struct PoolStatusRequestStrategy;

impl Strategy for PoolStatusRequestStrategy {
    fn set_defaults(&self, object: &mut Value) {
        spec(object, |spec| absent(spec, "limit", DEFAULT_LIMIT));
    }

    fn validate(&self, object: &Value) -> ErrorList {
        let mut errors = ErrorList::default();
        let root = At::root(object);
        let spec = root.child("spec");
        driver(&spec.child("driver"), &mut errors);
        pool(&spec.child("poolName"), &mut errors);
        let limit = spec.child("limit");
        at_least(&limit, 1, &mut errors);
        if limit.int().is_some_and(|number| number > MAX_LIMIT) {
            limit.invalid(&mut errors, format!("must be less than or equal to {MAX_LIMIT}"));
        }
        errors
    }

    fn validate_update(&self, _scope: WriteScope<'_>, new: &Value, old: &Value) -> ErrorList {
        let mut errors = ErrorList::default();
        let (new, old) = (At::root(new), At::root(old));
        let (spec, before) = (new.child("spec"), old.child("spec"));
        if spec.value() != before.value() {
            errors.push(Error::invalid(&spec.path(), Value::Null, "field is immutable"));
        }
        errors
    }

    fn validate_status_update(&self, new: &Value, old: &Value) -> ErrorList {
        let mut errors = ErrorList::default();
        let (new, old) = (At::root(new), At::root(old));
        let (status, before) = (new.child("status"), old.child("status"));
        if before.is_set() {
            status.immutable_as("*ResourcePoolStatusRequestStatus", &mut errors, &before);
            return errors;
        }
        if status.is_set() {
            validate_status(&status, &mut errors);
        }
        errors
    }

    fn allow_unconditional_update(&self) -> bool {
        false
    }

    fn returns_deleted_object(&self) -> bool {
        true
    }
}

fn validate_status(status: &At<'_>, errors: &mut ErrorList) {
    let list = status.child("conditions");
    conditions::validate(&list, errors);
    let count = status.child("poolCount");
    if count.is_set() {
        at_least(&count, 0, errors);
    } else {
        count.required(errors, "");
    }
    let pools = status.child("pools");
    if pools.len() > MAX_POOLS {
        pools.too_many(errors, MAX_POOLS);
    } else {
        pools.items().for_each(|pool| pool_status(&pool, errors));
    }
    if list.len() > MAX_CONDITIONS {
        return list.too_many(errors, MAX_CONDITIONS);
    }
    for (index, condition) in list.items().enumerate() {
        let kind = condition.child("type");
        if list.items().take(index).any(|other| other.child("type").text() == kind.text()) {
            errors.push(Error::duplicate(&condition.path(), internal::shown(condition.value(), "Condition")));
        }
    }
}

fn pool_status(at: &At<'_>, errors: &mut ErrorList) {
    driver(&at.child("driver"), errors);
    let name = at.child("poolName");
    if name.require(errors) {
        pool(&name, errors);
    }
    let generation = at.child("generation");
    // Zero is as good as absent: it is no pointer in Go.
    match generation.int() {
        None | Some(0) => generation.required(errors, ""),
        Some(_) => at_least(&generation, 0, errors),
    }
    at_least(&at.child("resourceSliceCount"), 1, errors);
    for field in ["totalDevices", "allocatedDevices", "availableDevices", "unavailableDevices"] {
        at_least(&at.child(field), 0, errors);
    }
    let (node, error) = (at.child("nodeName"), at.child("validationError"));
    if node.is_set() {
        node.messages(errors, names::long_name(node.text()));
    }
    if error.text().len() > MAX_ERROR {
        error.too_long(errors, MAX_ERROR);
    }
}

fn driver(at: &At<'_>, errors: &mut ErrorList) {
    if at.require(errors) {
        at.messages(errors, names::long_name_caseless(at.text()));
    }
}

/// A pool's name, if there is one: subdomains with slashes between.
fn pool(at: &At<'_>, errors: &mut ErrorList) {
    if !at.is_set() {
        return;
    }
    if at.text().len() > MAX_NAME {
        at.too_long(errors, MAX_NAME);
    }
    for (index, part) in at.text().split('/').enumerate() {
        if part.is_empty() {
            at.invalid(errors, format!("segment {index}: must not be empty"));
            continue;
        }
        for message in names::long_name(part) {
            errors.push(Error::invalid(&at.path(), part, format!("segment {index}: {message}")));
        }
    }
}

/// Checks that a number, if there is one, is not below this one.
fn at_least(at: &At<'_>, least: i64, errors: &mut ErrorList) {
    if at.int().is_some_and(|number| number < least) {
        at.invalid(errors, format!("must be greater than or equal to {least}"));
    }
}
