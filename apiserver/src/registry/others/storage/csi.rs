//! CSIDriver and CSINode: what storage drivers there are, and where.

use std::collections::HashSet;

use skiff_apimachinery::field::{Error, ErrorList};
use skiff_apimachinery::names;
use skiff_apimachinery::value::Value;

use crate::registry::at::At;
use crate::registry::core::validation::volume_sources;
use crate::registry::defaults::{absent, spec};
use crate::registry::internal;
use crate::registry::strategy::{Strategy, WriteScope};

const GROUP_POLICIES: &[&str] = &["File", "None", "ReadWriteOnceWithFSType"];
const LIFECYCLES: &[&str] = &["Persistent", "Ephemeral"];
/// Seconds that a token lives: at least and at most.
const MIN_EXPIRATION: i64 = 600;
const MAX_EXPIRATION: i64 = 1 << 32;
/// Seconds between two looks at what a node can take, at least.
const MIN_PERIOD: i64 = 10;
/// Bytes of a node's identity.
const MAX_NODE_ID: usize = 256;
const TOKENS_IN_SECRETS: &str = "spec.serviceAccountTokenInSecrets is unset; if supported by this CSI driver, set to true to prevent possible logging of tokens in volume attributes";

/// CSIDriver.
pub struct CsiDriverStrategy;

impl Strategy for CsiDriverStrategy {
    fn set_defaults(&self, object: &mut Value) {
        spec(object, |spec| {
            absent(spec, "attachRequired", true);
            absent(spec, "podInfoOnMount", false);
            absent(spec, "storageCapacity", false);
            absent(spec, "fsGroupPolicy", "ReadWriteOnceWithFSType");
            if spec.get("volumeLifecycleModes").and_then(Value::as_array).is_none_or(<[_]>::is_empty) {
                spec.insert("volumeLifecycleModes", vec!["Persistent"]);
            }
            absent(spec, "requiresRepublish", false);
            absent(spec, "seLinuxMount", false);
        });
    }

    /// Every change counts, beginning with none.
    fn prepare_for_update(&self, _scope: WriteScope<'_>, new: &mut Value, old: &Value) {
        if new.get("spec") != old.get("spec") {
            let generation = old.i64_at(&["metadata", "generation"]).unwrap_or(0);
            new.set_at(&["metadata", "generation"], generation + 1);
        }
    }

    fn validate(&self, object: &Value) -> ErrorList {
        let mut errors = ErrorList::default();
        driver_spec(&At::root(object).child("spec"), &mut errors);
        errors
    }

    fn validate_update(&self, _scope: WriteScope<'_>, new: &Value, old: &Value) -> ErrorList {
        let mut errors = self.validate(new);
        let (new, old) = (At::root(new), At::root(old));
        let (spec, before) = (new.child("spec"), old.child("spec"));
        // The name in the path is upstream's.
        spec.child("attachRequired")
            .renamed("attachedRequired")
            .immutable(&mut errors, &before.child("attachRequired"));
        let modes = spec.child("volumeLifecycleModes");
        modes.or_null().immutable(&mut errors, &before.child("volumeLifecycleModes").or_null());
        errors
    }

    fn warnings(&self, new: &Value, old: Option<&Value>) -> Vec<String> {
        const TOKENS: &[&str] = &["spec", "tokenRequests"];
        let changed = old.is_none_or(|old| old.at(TOKENS) != new.at(TOKENS));
        let told = new.at(&["spec", "serviceAccountTokenInSecrets"]).is_some();
        if changed && !told && !new.array_at(TOKENS).is_empty() {
            vec![TOKENS_IN_SECRETS.to_owned()]
        } else {
            Vec::new()
        }
    }

    fn returns_deleted_object(&self) -> bool {
        true
    }

    fn allow_unconditional_update(&self) -> bool {
        false
    }
}

fn driver_spec(spec: &At<'_>, errors: &mut ErrorList) {
    spec.child("fsGroupPolicy").if_set_one_of(errors, GROUP_POLICIES);
    let tokens = spec.child("tokenRequests");
    token_requests(&tokens, errors);
    let modes = spec.child("volumeLifecycleModes");
    for mode in modes.items().filter(|mode| !LIFECYCLES.contains(&mode.text())) {
        errors.push(Error::not_supported(&modes.path(), mode.text(), LIFECYCLES));
    }
    let period = spec.child("nodeAllocatableUpdatePeriodSeconds");
    if period.int().is_some_and(|seconds| seconds < MIN_PERIOD) {
        period.invalid(errors, format!("must be greater than or equal to {MIN_PERIOD} seconds"));
    }
    let in_secrets = spec.child("serviceAccountTokenInSecrets");
    if in_secrets.is_set() && tokens.is_empty() {
        in_secrets.invalid(errors, "serviceAccountTokenInSecrets is set but no tokenRequests are specified");
    }
}

fn token_requests(list: &At<'_>, errors: &mut ErrorList) {
    let mut audiences = HashSet::new();
    for request in list.items() {
        let audience = request.child("audience");
        if !audiences.insert(audience.text().to_owned()) {
            errors.push(Error::duplicate(&audience.path(), audience.text()));
            continue;
        }
        let expiration = request.child("expirationSeconds");
        if expiration.int().is_some_and(|seconds| seconds < MIN_EXPIRATION) {
            expiration.invalid(errors, "may not specify a duration less than 10 minutes");
        }
        if expiration.int().is_some_and(|seconds| seconds > MAX_EXPIRATION) {
            expiration.invalid(errors, "may not specify a duration larger than 2^32 seconds");
        }
    }
}

/// CSINode: a node's drivers. What is said of one does not change while it is there.
pub struct CsiNodeStrategy;

impl Strategy for CsiNodeStrategy {
    fn validate(&self, object: &Value) -> ErrorList {
        let mut errors = ErrorList::default();
        let root = At::root(object);
        let spec = root.child("spec");
        let mut names = HashSet::new();
        for driver in spec.child("drivers").items() {
            node_driver(&driver, &mut names, &mut errors);
        }
        errors
    }

    fn validate_update(&self, _scope: WriteScope<'_>, new: &Value, old: &Value) -> ErrorList {
        const DRIVERS: &[&str] = &["spec", "drivers"];
        let mut errors = self.validate(new);
        let lasting = |driver: &Value| {
            let mut driver = driver.clone();
            driver.remove_at(&["allocatable"]);
            driver
        };
        let root = At::root(new);
        let spec = root.child("spec");
        for before in old.array_at(DRIVERS) {
            let same_name = |driver: &&Value| driver.str_at(&["name"]) == before.str_at(&["name"]);
            for driver in new.array_at(DRIVERS).iter().filter(same_name).map(lasting) {
                if driver != lasting(before) {
                    let shown = internal::shown(Some(&driver), "CSINodeDriver");
                    errors.push(Error::invalid(&spec.child("drivers").path(), shown, "field is immutable"));
                }
            }
        }
        errors
    }

    fn returns_deleted_object(&self) -> bool {
        true
    }

    fn allow_unconditional_update(&self) -> bool {
        false
    }
}

fn node_driver(driver: &At<'_>, names_so_far: &mut HashSet<String>, errors: &mut ErrorList) {
    let (name, id) = (driver.child("name"), driver.child("nodeID"));
    if name.require(errors) {
        volume_sources::driver_name(&name, errors);
    }
    id.require(errors);
    if id.text().len() > MAX_NODE_ID {
        id.invalid(errors, format!("must be {MAX_NODE_ID} characters or less"));
    }
    driver.child("allocatable").child("count").not_negative(errors);
    if !names_so_far.insert(name.text().to_owned()) {
        errors.push(Error::duplicate(&name.path(), name.text()));
    }
    let mut keys = HashSet::new();
    for key in driver.child("topologyKeys").items() {
        let path = driver.path();
        if key.is_empty() {
            errors.push(Error::required(&path, ""));
        }
        if !keys.insert(key.text().to_owned()) {
            errors.push(Error::duplicate(&path, key.text()));
        }
        for message in names::qualified_name(key.text()) {
            errors.push(Error::invalid(&path, key.text(), message));
        }
    }
}
