//! policy, coordination.k8s.io and scheduling.k8s.io.

use skiff_apimachinery::field::{Error, ErrorList, Path};
use skiff_apimachinery::value::Value;

use crate::registry::at::At;
use crate::registry::core::validation::{conditions, label_selector};
use crate::registry::defaults::absent;
use crate::registry::strategy::{NameRule, Strategy, WriteScope, path_segment};
use crate::registry::workloads::{at_most_100_percent, int_or_percent};

/// PodDisruptionBudget.
pub struct DisruptionBudgetStrategy;

impl Strategy for DisruptionBudgetStrategy {
    fn validate(&self, object: &Value) -> ErrorList {
        let mut errors = ErrorList::default();
        let root = At::root(object);
        let spec = root.child("spec");
        let (min, max) = (spec.child("minAvailable"), spec.child("maxUnavailable"));
        if min.is_set() && max.is_set() {
            spec.invalid_as(
                "PodDisruptionBudgetSpec",
                &mut errors,
                "minAvailable and maxUnavailable cannot be both set",
            );
        }
        for at in [&min, &max] {
            int_or_percent(at, &mut errors);
            at_most_100_percent(at, &mut errors);
        }
        label_selector::validate(&spec.child("selector"), &mut errors);
        spec.child("unhealthyPodEvictionPolicy").if_set_one_of(&mut errors, &["AlwaysAllow", "IfHealthyBudget"]);
        errors
    }

    fn validate_status_update(&self, new: &Value, _old: &Value) -> ErrorList {
        let mut errors = ErrorList::default();
        let root = At::root(new);
        let status = root.child("status");
        conditions::validate(&status.child("conditions"), &mut errors);
        for field in ["disruptionsAllowed", "currentHealthy", "desiredHealthy", "expectedPods"] {
            status.child(field).not_negative(&mut errors);
        }
        errors
    }

    /// Upstream has no rule of its own for these.
    fn name_rule(&self) -> NameRule {
        path_segment
    }

    fn counts_generation(&self) -> bool {
        true
    }

    fn allow_unconditional_update(&self) -> bool {
        false
    }
}

/// Lease.
pub struct LeaseStrategy;

impl Strategy for LeaseStrategy {
    fn validate(&self, object: &Value) -> ErrorList {
        let mut errors = ErrorList::default();
        let root = At::root(object);
        let spec = root.child("spec");
        spec.child("leaseDurationSeconds").positive(&mut errors);
        spec.child("leaseTransitions").not_negative(&mut errors);
        let (strategy, preferred) = (spec.child("strategy"), spec.child("preferredHolder"));
        if !preferred.is_empty() && strategy.is_empty() {
            preferred.forbidden(&mut errors, "may only be specified if `strategy` is defined");
        }
        errors
    }

    fn allow_create_on_update(&self) -> bool {
        true
    }

    fn allow_unconditional_update(&self) -> bool {
        false
    }
}

/// Names that only the system's own classes have begin with this.
const SYSTEM_PREFIX: &str = "system-";
/// Highest value of a class that users make.
const HIGHEST_USER_PRIORITY: i64 = 1_000_000_000;
/// The system's own classes with their values.
pub const SYSTEM_CLASSES: &[(&str, i64)] =
    &[("system-node-critical", 2_000_001_000), ("system-cluster-critical", 2_000_000_000)];

/// PriorityClass.
pub struct PriorityClassStrategy;

impl Strategy for PriorityClassStrategy {
    fn set_defaults(&self, object: &mut Value) {
        let class = object.object_at_mut(&[]);
        absent(class, "preemptionPolicy", "PreemptLowerPriority");
        absent(class, "value", 0);
    }

    fn validate(&self, object: &Value) -> ErrorList {
        let mut errors = ErrorList::default();
        let root = At::root(object);
        let metadata = root.child("metadata");
        let (name, value) = (metadata.child("name"), root.child("value"));
        if name.text().starts_with(SYSTEM_PREFIX) {
            if !SYSTEM_CLASSES.contains(&(name.text(), value.int().unwrap_or(0))) {
                let message = format!(
                    "priority class names with '{SYSTEM_PREFIX}' prefix are reserved for system use only. error: {} is not a known system priority class",
                    name.text()
                );
                errors.push(Error::forbidden(&name.path(), message));
            }
        } else if value.int().unwrap_or(0) > HIGHEST_USER_PRIORITY {
            let message = format!("maximum allowed value of a user defined priority is {HIGHEST_USER_PRIORITY}");
            errors.push(Error::forbidden(&Path::new("value"), message));
        }
        root.child("preemptionPolicy").if_set_one_of(&mut errors, &["PreemptLowerPriority", "Never"]);
        errors
    }

    fn validate_update(&self, _scope: WriteScope<'_>, new: &Value, old: &Value) -> ErrorList {
        let mut errors = ErrorList::default();
        if new.get("value") != old.get("value") {
            errors.push(Error::forbidden(&Path::new("value"), "may not be changed in an update."));
        }
        let (root, old) = (At::root(new), At::root(old));
        root.child("preemptionPolicy").immutable(&mut errors, &old.child("preemptionPolicy"));
        errors
    }

    fn counts_generation(&self) -> bool {
        true
    }

    fn generation_changed(&self, _new: &Value, _old: &Value) -> bool {
        false
    }
}
