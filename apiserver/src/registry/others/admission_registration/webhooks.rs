//! ValidatingWebhookConfiguration and MutatingWebhookConfiguration.

use std::collections::HashSet;

use skiff_apimachinery::field::{Error, ErrorList};
use skiff_apimachinery::names;
use skiff_apimachinery::value::{Object, Value};

use super::rules;
use crate::admission::policy::check;
use crate::registry::at::At;
use crate::registry::core::validation::label_selector;
use crate::registry::defaults::{absent, each, within};
use crate::registry::strategy::{Strategy, WriteScope};
use crate::registry::webhook_client;

const SIDE_EFFECTS: &[&str] = &["None", "NoneOnDryRun", "Some", "Unknown"];
const NO_SIDE_EFFECTS: &[&str] = &["None", "NoneOnDryRun"];
/// Versions of AdmissionReview that the server speaks.
const REVIEW_VERSIONS: &[&str] = &["v1", "v1beta1"];

/// A webhook configuration of either kind.
pub struct WebhookConfigurationStrategy {
    /// Whether the webhooks change objects.
    pub mutating: bool,
}

impl Strategy for WebhookConfigurationStrategy {
    fn set_defaults(&self, object: &mut Value) {
        each(object.object_at_mut(&[]), "webhooks", |hook| {
            absent(hook, "failurePolicy", "Fail");
            absent(hook, "matchPolicy", "Equivalent");
            absent(hook, "namespaceSelector", Object::new());
            absent(hook, "objectSelector", Object::new());
            absent(hook, "timeoutSeconds", 10);
            if self.mutating {
                absent(hook, "reinvocationPolicy", "Never");
            }
            rules::default_rules(hook, "rules");
            within(hook, "clientConfig", |client| within(client, "service", |service| absent(service, "port", 443)));
        });
    }

    fn validate(&self, object: &Value) -> ErrorList {
        validate(object, Asked::OF_NEW)
    }

    fn validate_update(&self, _scope: WriteScope<'_>, new: &Value, old: &Value) -> ErrorList {
        validate(new, Asked::of_change(new, old))
    }

    fn warnings(&self, new: &Value, _old: Option<&Value>) -> Vec<String> {
        rules::name_warnings(new)
    }

    fn counts_generation(&self) -> bool {
        true
    }

    fn generation_changed(&self, new: &Value, old: &Value) -> bool {
        new.get("webhooks") != old.get("webhooks")
    }

    fn allow_unconditional_update(&self) -> bool {
        false
    }
}

/// What is asked of webhooks that was not always asked: a configuration that does not have it may stay so.
#[derive(Clone, Copy, Debug)]
struct Asked {
    no_side_effects: bool,
    known_review_version: bool,
    unique_names: bool,
    conditions: bool,
}

impl Asked {
    const OF_NEW: Self =
        Self { no_side_effects: true, known_review_version: true, unique_names: true, conditions: true };

    fn of_change(new: &Value, old: &Value) -> Self {
        let (new, old) = (new.array_at(&["webhooks"]), old.array_at(&["webhooks"]));
        let no_effects = |hook: &Value| hook.str_at(&["sideEffects"]).is_some_and(|e| NO_SIDE_EFFECTS.contains(&e));
        let known = |hook: &Value| {
            let versions = hook.array_at(&["admissionReviewVersions"]);
            versions.is_empty() || versions.iter().filter_map(Value::as_str).any(|v| REVIEW_VERSIONS.contains(&v))
        };
        let mut names = HashSet::new();
        let same = |(a, b): (&Value, &Value)| a.get("matchConditions") == b.get("matchConditions");
        Self {
            no_side_effects: old.iter().all(no_effects),
            known_review_version: old.iter().all(known),
            unique_names: old.iter().all(|hook| names.insert(hook.str_at(&["name"]))),
            conditions: new.len() != old.len() || !new.iter().zip(old).all(same),
        }
    }
}

fn validate(object: &Value, asked: Asked) -> ErrorList {
    let mut errors = ErrorList::default();
    let root = At::root(object);
    let mut names = HashSet::new();
    for hook in root.child("webhooks").items() {
        webhook(&hook, asked, &mut errors);
        review_versions(&hook.child("admissionReviewVersions"), asked.known_review_version, &mut errors);
        let name = hook.child("name");
        if asked.unique_names && !name.is_empty() && !names.insert(name.text().to_owned()) {
            name.duplicate(&mut errors);
        }
    }
    errors
}

fn webhook(hook: &At<'_>, asked: Asked, errors: &mut ErrorList) {
    qualified(&hook.child("name"), errors);
    for rule in hook.child("rules").items() {
        rules::rule(&rule, errors);
    }
    hook.child("failurePolicy").if_set_one_of(errors, rules::FAILURE_POLICIES);
    hook.child("matchPolicy").if_set_one_of(errors, rules::MATCH_POLICIES);
    let allowed = if asked.no_side_effects { NO_SIDE_EFFECTS } else { SIDE_EFFECTS };
    let effects = hook.child("sideEffects");
    if !effects.is_set() {
        effects.required(errors, &format!("must specify one of {}", allowed.join(", ")));
    }
    effects.if_set_one_of(errors, allowed);
    let timeout = hook.child("timeoutSeconds");
    if timeout.int().is_some_and(|seconds| !(1..=30).contains(&seconds)) {
        timeout.invalid(errors, "the timeout value must be between 1 and 30 seconds");
    }
    for field in ["namespaceSelector", "objectSelector"] {
        label_selector::validate(&hook.child(field), errors);
    }
    hook.child("reinvocationPolicy").if_set_one_of(errors, rules::REINVOCATION_POLICIES);
    webhook_client::validate(&hook.child("clientConfig"), errors);
    if asked.conditions {
        rules::match_conditions(&hook.child("matchConditions"), errors);
        if let Some(value) = hook.value() {
            errors.extend(check::webhook(value, &hook.path()));
        }
    }
}

/// A name of at least three parts (`IsFullyQualifiedName` upstream).
fn qualified(name: &At<'_>, errors: &mut ErrorList) {
    if !name.require(errors) {
        return;
    }
    let messages = names::dns1123_subdomain(name.text());
    if !messages.is_empty() {
        name.invalid(errors, messages.join(","));
    } else if name.text().split('.').count() < 3 {
        name.invalid(errors, "should be a domain with at least three segments separated by dots");
    }
}

fn review_versions(list: &At<'_>, known: bool, errors: &mut ErrorList) {
    if list.is_empty() {
        return list.required(errors, &format!("must specify one of {}", REVIEW_VERSIONS.join(", ")));
    }
    let mut seen = HashSet::new();
    for version in list.items() {
        if !seen.insert(version.text().to_owned()) {
            errors.push(Error::invalid(&version.path(), version.text(), "duplicate version"));
            continue;
        }
        version.messages(errors, names::dns1035_label(version.text()));
    }
    if known && !REVIEW_VERSIONS.iter().any(|version| seen.contains(*version)) {
        list.invalid(errors, format!("must include at least one of {}", REVIEW_VERSIONS.join(", ")));
    }
}
