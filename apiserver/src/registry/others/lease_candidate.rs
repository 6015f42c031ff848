//! coordination.k8s.io: LeaseCandidate, by which servers of several versions agree on who leads.
//!
//! Follows `pkg/registry/coordination/leasecandidate` and `pkg/apis/coordination/validation`.

use skiff_apimachinery::field::ErrorList;
use skiff_apimachinery::names;
use skiff_apimachinery::value::Value;
use skiff_cel::semver::Semver;

use crate::registry::at::At;
use crate::registry::strategy::{NameRule, Strategy, WriteScope};

/// The one strategy that Kubernetes knows; others have a domain before them.
const OLDEST: &str = "OldestEmulationVersion";
const NOT_A_VERSION: &str = "must be a valid semantic version";

/// LeaseCandidate.
pub struct LeaseCandidateStrategy;

impl Strategy for LeaseCandidateStrategy {
    fn validate(&self, object: &Value) -> ErrorList {
        let mut errors = ErrorList::default();
        let root = At::root(object);
        let spec = root.child("spec");
        spec.child("leaseName").require(&mut errors);
        let emulated = versions(&spec, &mut errors);
        let strategy = spec.child("strategy");
        if strategy.require(&mut errors) {
            if strategy.text() == OLDEST && emulated.cmp(&Semver::default()).is_eq() {
                let message = format!("must be specified when `strategy` is '{OLDEST}'");
                spec.child("emulationVersion").required(&mut errors, &message);
            }
            self::strategy(&strategy, &mut errors);
        }
        errors
    }

    fn validate_update(&self, _scope: WriteScope<'_>, new: &Value, old: &Value) -> ErrorList {
        let mut errors = self.validate(new);
        let (new, old) = (At::root(new), At::root(old));
        let (spec, before) = (new.child("spec"), old.child("spec"));
        spec.child("leaseName").immutable(&mut errors, &before.child("leaseName"));
        errors
    }

    fn name_rule(&self) -> NameRule {
        |name, _prefix| names::config_map_key(name)
    }

    fn allow_create_on_update(&self) -> bool {
        true
    }

    fn allow_unconditional_update(&self) -> bool {
        false
    }
}

/// Validates both versions; returns the emulated one, which is 0.0.0 where it cannot be read.
fn versions(spec: &At<'_>, errors: &mut ErrorList) -> Semver {
    let (emulated, binary) = (spec.child("emulationVersion"), spec.child("binaryVersion"));
    let read = |at: &At<'_>, errors: &mut ErrorList| {
        let version = Semver::parse(at.text());
        if version.is_err() {
            at.invalid(errors, NOT_A_VERSION);
        }
        version.unwrap_or_default()
    };
    let emulated_version = if emulated.is_empty() { Semver::default() } else { read(&emulated, errors) };
    if binary.require(errors) {
        let binary_version = read(&binary, errors);
        if !emulated.is_empty() && binary_version < emulated_version {
            binary.invalid(errors, "must be greater than or equal to `emulationVersion`");
        }
    }
    emulated_version
}

/// Validates the strategy, which upstream reports as a member of itself.
fn strategy(at: &At<'_>, errors: &mut ErrorList) {
    let at = at.wrapped("strategy");
    if at.text().contains('/') {
        at.messages(errors, names::qualified_name(at.text()));
    } else if at.text() != OLDEST {
        at.not_supported(errors, &[OLDEST]);
    }
}

#[cfg(test)]
mod tests {
    use skiff_apimachinery::value;

    use super::*;

    fn faults(binary: &str, emulated: &str) -> usize {
        let object = value!({"spec": {
            "leaseName": "l", "binaryVersion": (binary), "emulationVersion": (emulated), "strategy": "OldestEmulationVersion"
        }});
        LeaseCandidateStrategy.validate(&object).len()
    }

    #[test]
    fn nobody_emulates_the_future() {
        assert_eq!(faults("1.36.0", "1.35.0"), 0);
        assert_eq!(faults("1.36.0+a", "1.36.0+b"), 0);
        assert_eq!(faults("1.36.0-rc.1", "1.36.0"), 1);
        assert_eq!(faults("1.36.0", "1.37.0"), 1);
        assert_eq!(faults("1.36", "1.35.0"), 2, "no version, and so less than any");
    }
}
