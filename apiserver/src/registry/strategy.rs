//! What one kind does differently from all others.
//!
//! A strategy is the only code a kind has: defaults, what create and update may set, validation, and a few switches. The
//! generic store calls it; it never calls the store. Follows `rest.RESTCreateStrategy`, `RESTUpdateStrategy` and
//! `RESTDeleteStrategy` of `k8s.io/apiserver/pkg/registry/rest`.

use std::sync::Arc;
use std::time::Duration;

use skiff_apimachinery::field::ErrorList;
use skiff_apimachinery::names;
use skiff_apimachinery::value::Value;

use crate::authentication::UserInfo;
use crate::cacher::FieldSpec;

/// Checks an object name; `prefix` when it is a `generateName`. Returns upstream's messages.
pub type NameRule = fn(name: &str, prefix: bool) -> Vec<String>;

/// What happens to dependents of a deleted object when the client does not say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GarbageCollection {
    /// They are deleted.
    DeleteDependents,
    /// They are orphaned.
    OrphanDependents,
    /// The kind takes no part in garbage collection (Event).
    Unsupported,
}

/// Why a write happens; strategies may look at it.
#[derive(Clone, Copy, Debug)]
pub struct WriteScope<'a> {
    /// Subresource that is written; empty for the object itself.
    pub subresource: &'a str,
    /// Namespace, empty for cluster scope.
    pub namespace: &'a str,
    /// API group of the request: a kind may be written through another group than the one it is stored in (Event).
    pub group: &'a str,
    /// Who writes.
    pub identity: &'a UserInfo,
}

/// The strategy of a store: one that is part of the program, or one made from a definition at run time.
#[derive(Clone)]
pub enum Behaviour {
    /// A built-in kind's.
    Static(&'static dyn Strategy),
    /// A custom resource's.
    Made(Arc<dyn Strategy>),
}

impl std::ops::Deref for Behaviour {
    type Target = dyn Strategy;

    fn deref(&self) -> &Self::Target {
        match self {
            Behaviour::Static(strategy) => *strategy,
            Behaviour::Made(strategy) => &**strategy,
        }
    }
}

/// Behaviour of one kind. The defaults fit most kinds.
pub trait Strategy: Send + Sync + 'static {
    /// Takes out what the kind does not know, beyond what decoding under the schema found; returns where it was. Asked
    /// of objects that clients send, so that unknown fields can be reported.
    fn prune(&self, _object: &mut Value) -> Vec<String> {
        Vec::new()
    }

    /// Fills in what the client left out (`SetDefaults_*` upstream), beyond the defaults that the schema states.
    fn set_defaults(&self, _object: &mut Value) {}

    /// Clears or computes what a client may not set on create, beyond `status` and `metadata`.
    fn prepare_for_create(&self, _scope: WriteScope<'_>, _object: &mut Value) {}

    /// Validates a new object, `metadata` aside.
    fn validate(&self, _object: &Value) -> ErrorList {
        ErrorList::default()
    }

    /// The same, for a kind to which it matters who writes and how.
    fn validate_create(&self, _scope: WriteScope<'_>, object: &Value) -> ErrorList {
        self.validate(object)
    }

    /// Fills in what upstream adds to a new object only after it was found valid (`Canonicalize` and what reading a stored
    /// object defaults).
    fn after_validation(&self, _object: &mut Value) {}

    /// Puts back or computes what a client may not change, beyond `status` and `metadata`.
    fn prepare_for_update(&self, _scope: WriteScope<'_>, _new: &mut Value, _old: &Value) {}

    /// Validates a change, `metadata` aside.
    fn validate_update(&self, _scope: WriteScope<'_>, new: &Value, _old: &Value) -> ErrorList {
        self.validate(new)
    }

    /// Puts back what a write to `status` may not change. `spec` has been put back already.
    fn prepare_for_status_update(&self, _new: &mut Value, _old: &Value) {}

    /// Validates a write to `status`.
    fn validate_status_update(&self, _new: &Value, _old: &Value) -> ErrorList {
        ErrorList::default()
    }

    /// Texts for the `Warning` header, on create (`old` is `None`) and update.
    fn warnings(&self, _new: &Value, _old: Option<&Value>) -> Vec<String> {
        Vec::new()
    }

    /// Texts for the `Warning` header of a write to `status`.
    fn status_warnings(&self, _new: &Value) -> Vec<String> {
        Vec::new()
    }

    /// Texts for the `Warning` header that the client of a create also gets when the object is refused.
    fn early_warnings(&self, _new: &Value) -> Vec<String> {
        Vec::new()
    }

    /// Rule for names.
    fn name_rule(&self) -> NameRule {
        dns_subdomain
    }

    /// Fields for selectors beyond name and namespace.
    fn selectable_fields(&self) -> Vec<FieldSpec> {
        Vec::new()
    }

    /// Whether `metadata.generation` counts changes of `spec`.
    fn counts_generation(&self) -> bool {
        false
    }

    /// Whether what `generation` counts differs; asked only when [`Self::counts_generation`] holds.
    fn generation_changed(&self, new: &Value, old: &Value) -> bool {
        new.get("spec") != old.get("spec")
    }

    /// Whether a client's `status` is kept on create (Node) rather than dropped.
    fn keeps_status_on_create(&self) -> bool {
        false
    }

    /// Whether a subresource other than `status` writes `status` too (a Pod's binding, the approval of a request).
    fn writes_status(&self, _subresource: &str) -> bool {
        false
    }

    /// Whether PUT to a missing object creates it.
    fn allow_create_on_update(&self) -> bool {
        false
    }

    /// Whether PUT without resourceVersion replaces whatever is there.
    fn allow_unconditional_update(&self) -> bool {
        true
    }

    /// Whether DELETE answers the object instead of a Status.
    fn returns_deleted_object(&self) -> bool {
        false
    }

    /// Default policy for dependents.
    fn garbage_collection(&self) -> GarbageCollection {
        GarbageCollection::DeleteDependents
    }

    /// The grace period in seconds that applies to deleting this object, given the one asked for; `None` when the kind
    /// knows no graceful deletion (`CheckGracefulDelete` upstream).
    fn grace_period(&self, _object: &Value, _asked: Option<i64>) -> Option<i64> {
        None
    }

    /// Changes an object that is asked to be deleted for the first time, before it is decided what happens to it.
    fn before_delete(&self, _object: &mut Value) {}

    /// Whether the object stays although its last metadata finalizer is gone (Namespace: `spec.finalizers`).
    fn has_other_finalizers(&self, _object: &Value) -> bool {
        false
    }

    /// Shows in the object that its deletion began, beside `metadata` (Namespace: its phase).
    fn mark_deleting(&self, _object: &mut Value) {}

    /// How long objects live (Event); `None` for ever.
    fn time_to_live(&self) -> Option<Duration> {
        None
    }
}

/// The strategy of kinds that need nothing of their own.
pub struct Generic;

impl Strategy for Generic {}

/// DNS-1123 subdomain, the rule of most kinds.
pub fn dns_subdomain(name: &str, prefix: bool) -> Vec<String> {
    names::dns1123_subdomain(&masked(name, prefix))
}

/// DNS-1123 label: Namespace, Service.
pub fn dns_label(name: &str, prefix: bool) -> Vec<String> {
    names::dns1123_label(&masked(name, prefix))
}

/// Anything that fits a path segment: RBAC.
pub fn path_segment(name: &str, prefix: bool) -> Vec<String> {
    if prefix { names::path_segment_prefix(name) } else { names::path_segment(name) }
}

/// A prefix may end in a dash that the generated suffix follows (`maskTrailingDash` upstream).
fn masked(name: &str, prefix: bool) -> std::borrow::Cow<'_, str> {
    match name.strip_suffix('-') {
        Some(stem) if prefix && !stem.is_empty() => format!("{stem}a").into(),
        _ => name.into(),
    }
}
