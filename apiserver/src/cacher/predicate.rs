//! Which objects a reader wants, resolved against what the cache knows of them.

use std::fmt;
use std::sync::Arc;

use super::error::CacheError;
use super::extract::{Labels, SelectableFields};
use super::object::{CachedObject, Change, EventKind};

/// A label selector, as a function of labels.
pub type LabelMatch = Arc<dyn Fn(&Labels) -> bool + Send + Sync>;

/// One term of a field selector.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldRequirement {
    /// The field, e.g. `spec.nodeName`, `metadata.name`.
    pub field: String,
    /// Whether the field must be equal to the value, or must not.
    pub equal: bool,
    /// The value.
    pub value: String,
}

/// Which objects a reader wants; by default all.
#[derive(Clone, Default)]
pub struct Predicate {
    /// Of this namespace; empty for all.
    pub namespace: String,
    /// Of this name; empty for all.
    pub name: String,
    /// Whose labels match.
    pub labels: Option<LabelMatch>,
    /// Whose fields match all of these.
    pub fields: Vec<FieldRequirement>,
}

impl fmt::Debug for Predicate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Predicate")
            .field("namespace", &self.namespace)
            .field("name", &self.name)
            .field("labels", &self.labels.is_some())
            .field("fields", &self.fields)
            .finish()
    }
}

/// What a term looks at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Target {
    Namespace,
    Name,
    Field(usize),
}

#[derive(Clone)]
struct Term {
    target: Target,
    equal: bool,
    value: Box<str>,
}

/// A predicate whose fields are known to exist.
#[derive(Clone)]
pub(super) struct Resolved {
    terms: Box<[Term]>,
    labels: Option<LabelMatch>,
}

impl Predicate {
    pub(super) fn resolve(&self, fields: &SelectableFields) -> Result<Resolved, CacheError> {
        let mut terms = Vec::with_capacity(self.fields.len() + 2);
        let mut must_be = |target, value: &str| {
            if !value.is_empty() {
                terms.push(Term { target, equal: true, value: value.into() });
            }
        };
        must_be(Target::Namespace, &self.namespace);
        must_be(Target::Name, &self.name);
        for requirement in &self.fields {
            let target = match requirement.field.as_str() {
                "metadata.namespace" => Target::Namespace,
                "metadata.name" => Target::Name,
                other => match fields.index(other) {
                    Some(index) => Target::Field(index),
                    None => return Err(CacheError::UnsupportedField(other.to_owned())),
                },
            };
            terms.push(Term { target, equal: requirement.equal, value: requirement.value.as_str().into() });
        }
        Ok(Resolved { terms: terms.into_boxed_slice(), labels: self.labels.clone() })
    }
}

impl Resolved {
    pub(super) fn matches(&self, object: &CachedObject) -> bool {
        self.terms.iter().all(|term| (target(object, term.target) == &*term.value) == term.equal)
            && self.labels.as_ref().is_none_or(|labels| labels(object.labels()))
    }

    /// What a change is to a reader with this predicate.
    pub(super) fn transition(&self, change: &Change) -> Option<EventKind> {
        let before = change.old.as_ref().is_some_and(|old| self.matches(old));
        let after = change.new.as_ref().is_some_and(|new| self.matches(new));
        match (before, after) {
            (false, true) => Some(EventKind::Added),
            (true, true) => Some(EventKind::Modified),
            (true, false) => Some(EventKind::Deleted),
            (false, false) => None,
        }
    }

    /// The value that a target must have, if there is one.
    pub(super) fn required(&self, wanted: Target) -> Option<&str> {
        self.terms.iter().find(|term| term.equal && term.target == wanted).map(|term| &*term.value)
    }

    /// The first selectable field that must have a certain value.
    pub(super) fn required_field(&self) -> Option<(usize, &str)> {
        self.terms.iter().find_map(|term| match term.target {
            Target::Field(index) if term.equal => Some((index, &*term.value)),
            _ => None,
        })
    }

    /// Whether it selects by more than the namespace, so that the number of matches is not a count of keys.
    pub(super) fn selects(&self) -> bool {
        self.labels.is_some() || self.terms.iter().any(|term| !(term.equal && term.target == Target::Namespace))
    }
}

fn target(object: &CachedObject, target: Target) -> &str {
    match target {
        Target::Namespace => object.namespace(),
        Target::Name => object.name(),
        Target::Field(index) => object.field(index),
    }
}
