//! node.k8s.io.

use skiff_apimachinery::field::ErrorList;
use skiff_apimachinery::value::Value;

use crate::registry::at::At;
use crate::registry::core::validation::formats;
use crate::registry::strategy::{Strategy, WriteScope};

/// RuntimeClass.
pub struct RuntimeClassStrategy;

impl Strategy for RuntimeClassStrategy {
    fn validate(&self, object: &Value) -> ErrorList {
        let mut errors = ErrorList::default();
        let root = At::root(object);
        let handler = root.child("handler");
        if handler.require(&mut errors) {
            formats::label(&handler, &mut errors);
        }
        errors
    }

    fn validate_update(&self, _scope: WriteScope<'_>, new: &Value, old: &Value) -> ErrorList {
        let mut errors = ErrorList::default();
        let (new, old) = (At::root(new), At::root(old));
        new.child("handler").immutable(&mut errors, &old.child("handler"));
        errors
    }

    fn allow_create_on_update(&self) -> bool {
        true
    }

    fn allow_unconditional_update(&self) -> bool {
        false
    }
}
