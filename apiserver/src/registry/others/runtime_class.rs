//! node.k8s.io: RuntimeClass.
//!
//! Follows `pkg/registry/node/runtimeclass` and `pkg/apis/node/validation`.

use std::collections::HashSet;

use skiff_apimachinery::field::{Error, ErrorList};
use skiff_apimachinery::value::Value;

use crate::registry::at::At;
use crate::registry::core::node_labels;
use crate::registry::core::validation::{formats, resources, scheduling};
use crate::registry::strategy::{Strategy, WriteScope};
use crate::registry::{internal, object_meta};

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
        let overhead = root.child("overhead");
        // What pods take beside their containers is validated as limits are, and reported so.
        let fixed = overhead.child("podFixed");
        resources::overhead(&fixed.renamed("limits"), &mut errors);
        let placement = root.child("scheduling");
        let selector = placement.child("nodeSelector");
        if let Some(labels) = selector.value() {
            errors.extend(object_meta::validate_labels(labels, &selector.path()));
        }
        let tolerations = placement.child("tolerations");
        scheduling::tolerations(&tolerations, &mut errors);
        let mut seen = HashSet::new();
        for toleration in tolerations.items() {
            let key = ["key", "operator", "value", "effect"].map(|field| toleration.child(field).text().to_owned());
            if !seen.insert(key) {
                let shown = internal::shown(toleration.value(), "Toleration");
                errors.push(Error::duplicate(&toleration.path(), shown));
            }
        }
        errors
    }

    fn validate_update(&self, _scope: WriteScope<'_>, new: &Value, old: &Value) -> ErrorList {
        let mut errors = self.validate(new);
        let (new, old) = (At::root(new), At::root(old));
        new.child("handler").immutable(&mut errors, &old.child("handler"));
        errors
    }

    fn warnings(&self, new: &Value, _old: Option<&Value>) -> Vec<String> {
        let root = At::root(new);
        let placement = root.child("scheduling");
        let labels = placement.child("nodeSelector");
        let deprecations = labels.entries().filter_map(|(label, _)| node_labels::deprecation(label));
        deprecations.map(|text| format!("scheduling.nodeSelector: {text}")).collect()
    }

    fn allow_create_on_update(&self) -> bool {
        true
    }

    fn allow_unconditional_update(&self) -> bool {
        false
    }
}
