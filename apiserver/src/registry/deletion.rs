//! What a delete does to an object: decided here from the object and the options, carried out by the store.
//!
//! Follows `rest.BeforeDelete` and the deletion half of `registry.Store` upstream.

use skiff_apimachinery::value::Value;
use skiff_apimachinery::{meta, time};

use super::object_meta::{FINALIZER_FOREGROUND, FINALIZER_ORPHAN};
use super::strategy::{GarbageCollection, Strategy};

/// `metav1.DeleteOptions`, as far as they reach the registry.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct DeleteOptions {
    /// Seconds to wait for a graceful end.
    pub grace_period_seconds: Option<i64>,
    /// The object must have this uid.
    pub uid: Option<String>,
    /// The object must be at this resourceVersion.
    pub resource_version: Option<String>,
    /// `Orphan`, `Background` or `Foreground`.
    pub propagation_policy: Option<String>,
    /// The older way to say Orphan or not.
    pub orphan_dependents: Option<bool>,
    /// Nothing is stored.
    pub dry_run: bool,
}

/// What to do with the object.
#[derive(Debug, PartialEq)]
pub enum Deletion {
    /// Remove it now.
    Now,
    /// Store this state; the object goes when its grace period is over or its finalizers are gone.
    Mark(Value),
    /// Store this state, then remove it: grace period zero asked of a kind that knows graceful deletion.
    MarkThenNow(Value),
    /// It is being deleted already and nothing changes.
    Pending,
}

/// Decides. `now` is the current time.
pub fn decide(strategy: &dyn Strategy, object: &Value, options: &DeleteOptions, now: jiff::Timestamp) -> Deletion {
    let mut object = object.clone();
    if meta::deletion_timestamp(&object).is_none() {
        strategy.before_delete(&mut object);
    }
    let grace = match graceful(strategy, &mut object, options, now) {
        Graceful::Pending => return Deletion::Pending,
        Graceful::Set(seconds) => Some(seconds),
        Graceful::No => None,
    };
    set_garbage_collection_finalizers(strategy, &mut object, options);
    let finalizers_left = meta::finalizers(&object).next().is_some() || strategy.has_other_finalizers(&object);
    match grace {
        None if finalizers_left => {
            mark_as_deleting(&mut object, now);
            strategy.mark_deleting(&mut object);
            Deletion::Mark(object)
        }
        None => Deletion::Now,
        Some(seconds) if seconds > 0 || finalizers_left => Deletion::Mark(object),
        Some(_) => Deletion::MarkThenNow(object),
    }
}

enum Graceful {
    /// Not a graceful deletion.
    No,
    /// Deletion time and this grace period were set.
    Set(i64),
    /// Already being deleted, nothing to change.
    Pending,
}

fn graceful(strategy: &dyn Strategy, object: &mut Value, options: &DeleteOptions, now: jiff::Timestamp) -> Graceful {
    // Negative values count as one second.
    let asked = options.grace_period_seconds.map(|s| if s < 0 { 1 } else { s });
    if strategy.grace_period(object, asked).is_none() {
        return Graceful::No;
    }
    if let Some(deletion) = meta::deletion_timestamp(object).and_then(time::parse) {
        let current = object.i64_at(&["metadata", "deletionGracePeriodSeconds"]).unwrap_or(0);
        let current = if current < 0 { 1 } else { current };
        if current == 0 {
            return Graceful::No;
        }
        let Some(asked) = asked.filter(|asked| *asked < current) else {
            return Graceful::Pending;
        };
        // A grace period can only be shortened, and not into the past.
        let moved = deletion - jiff::SignedDuration::from_secs(current - asked);
        let (moved, asked) = if moved < now { (now, if asked == 0 { 0 } else { 1 }) } else { (moved, asked) };
        set_deletion(object, moved, asked);
        return Graceful::Set(asked);
    }
    let Some(seconds) = strategy.grace_period(object, asked) else {
        return Graceful::No;
    };
    // One year bounds the arithmetic; pods are limited far below by validation.
    let bounded = seconds.clamp(0, 366 * 24 * 3600);
    set_deletion(object, now + jiff::SignedDuration::from_secs(bounded), seconds);
    bump_generation(object);
    Graceful::Set(seconds)
}

fn set_deletion(object: &mut Value, at: jiff::Timestamp, seconds: i64) {
    object.set_at(&["metadata", "deletionTimestamp"], time::format(at));
    object.set_at(&["metadata", "deletionGracePeriodSeconds"], seconds);
}

/// A change to "being deleted" counts as a change for kinds that count.
fn bump_generation(object: &mut Value) {
    if let Some(generation) = object.i64_at(&["metadata", "generation"]).filter(|g| *g > 0) {
        object.set_at(&["metadata", "generation"], generation + 1);
    }
}

fn mark_as_deleting(object: &mut Value, now: jiff::Timestamp) {
    let existing = meta::deletion_timestamp(object).and_then(time::parse);
    if existing.is_none() {
        bump_generation(object);
    }
    if existing.is_none_or(|at| at > now) {
        object.set_at(&["metadata", "deletionTimestamp"], time::format(now));
    }
    object.set_at(&["metadata", "deletionGracePeriodSeconds"], 0);
}

fn set_garbage_collection_finalizers(strategy: &dyn Strategy, object: &mut Value, options: &DeleteOptions) {
    let default = strategy.garbage_collection();
    if default == GarbageCollection::Unsupported {
        return;
    }
    let existing = meta::finalizers(object).map(str::to_owned).collect::<Vec<_>>();
    let existing_choice =
        existing.iter().map(String::as_str).find(|f| matches!(*f, FINALIZER_ORPHAN | FINALIZER_FOREGROUND));
    let (orphan, foreground) = match (options.orphan_dependents, options.propagation_policy.as_deref()) {
        (Some(orphan), _) => (orphan, false),
        (None, Some("Orphan")) => (true, false),
        (None, Some("Foreground")) => (false, true),
        (None, Some(_)) => (false, false),
        (None, None) => match existing_choice {
            Some(FINALIZER_ORPHAN) => (true, false),
            Some(_) => (false, true),
            None => (default == GarbageCollection::OrphanDependents, false),
        },
    };
    let mut wanted = existing
        .iter()
        .filter(|f| !matches!(f.as_str(), FINALIZER_ORPHAN | FINALIZER_FOREGROUND))
        .cloned()
        .collect::<Vec<_>>();
    if orphan {
        wanted.push(FINALIZER_ORPHAN.to_owned());
    }
    if foreground {
        wanted.push(FINALIZER_FOREGROUND.to_owned());
    }
    let (mut before, mut after) = (existing, wanted.clone());
    before.sort();
    after.sort();
    if before != after {
        if wanted.is_empty() {
            object.remove_at(&["metadata", "finalizers"]);
        } else {
            object.set_at(&["metadata", "finalizers"], wanted);
        }
    }
}

/// Whether an update that leaves `new` completes the deletion of `old` (`ShouldDeleteDuringUpdate` upstream).
pub fn completes(strategy: &dyn Strategy, new: &Value, old: &Value) -> bool {
    meta::finalizers(new).next().is_none()
        && !strategy.has_other_finalizers(new)
        && meta::deletion_timestamp(old).is_some()
        && old.i64_at(&["metadata", "deletionGracePeriodSeconds"]).unwrap_or(0) == 0
}

#[cfg(test)]
mod tests {
    use skiff_apimachinery::value;

    use super::*;
    use crate::registry::strategy::Generic;

    struct Graceful30;
    impl Strategy for Graceful30 {
        fn grace_period(&self, _object: &Value, asked: Option<i64>) -> Option<i64> {
            Some(asked.unwrap_or(30))
        }
    }

    fn now() -> jiff::Timestamp {
        "2026-01-01T00:00:00Z".parse().expect("time")
    }

    fn options(policy: &str) -> DeleteOptions {
        DeleteOptions { propagation_policy: (!policy.is_empty()).then(|| policy.to_owned()), ..Default::default() }
    }

    #[test]
    fn without_finalizers_it_goes_at_once() {
        let object = value!({"metadata": {"name": "a"}});
        assert_eq!(decide(&Generic, &object, &options(""), now()), Deletion::Now);
        assert_eq!(decide(&Generic, &object, &options("Background"), now()), Deletion::Now);
    }

    #[test]
    fn policies_become_finalizers() {
        let object = value!({"metadata": {"name": "a", "generation": 1}});
        for (policy, finalizer) in [("Orphan", "orphan"), ("Foreground", "foregroundDeletion")] {
            let Deletion::Mark(marked) = decide(&Generic, &object, &options(policy), now()) else { panic!("{policy}") };
            assert_eq!(
                marked,
                value!({"metadata": {
                    "name": "a", "generation": 2, "finalizers": [finalizer],
                    "deletionTimestamp": "2026-01-01T00:00:00Z", "deletionGracePeriodSeconds": 0
                }})
            );
        }
    }

    #[test]
    fn grace_periods_only_shrink() {
        let object = value!({"metadata": {"name": "a"}});
        let Deletion::Mark(first) = decide(&Graceful30, &object, &options(""), now()) else { panic!("not marked") };
        assert_eq!(first.str_at(&["metadata", "deletionTimestamp"]), Some("2026-01-01T00:00:30Z"));
        let longer = DeleteOptions { grace_period_seconds: Some(60), ..Default::default() };
        assert_eq!(decide(&Graceful30, &first, &longer, now()), Deletion::Pending);
        let shorter = DeleteOptions { grace_period_seconds: Some(5), ..Default::default() };
        let Deletion::Mark(second) = decide(&Graceful30, &first, &shorter, now()) else { panic!("not shortened") };
        assert_eq!(second.str_at(&["metadata", "deletionTimestamp"]), Some("2026-01-01T00:00:05Z"));
        let zero = DeleteOptions { grace_period_seconds: Some(0), ..Default::default() };
        assert!(matches!(decide(&Graceful30, &second, &zero, now()), Deletion::MarkThenNow(_)));
    }

    #[test]
    fn an_update_without_finalizers_completes_a_deletion() {
        let deleting =
            value!({"metadata": {"finalizers": ["x/y"], "deletionTimestamp": "t", "deletionGracePeriodSeconds": 0}});
        let without = value!({"metadata": {"deletionTimestamp": "t", "deletionGracePeriodSeconds": 0}});
        assert!(completes(&Generic, &without, &deleting));
        assert!(!completes(&Generic, &deleting, &deleting));
        let graceful = value!({"metadata": {"deletionTimestamp": "t", "deletionGracePeriodSeconds": 30}});
        assert!(!completes(&Generic, &without, &graceful));
    }
}
