//! FlowSchema.

use skiff_apimachinery::field::{Error, ErrorList, Path};
use skiff_apimachinery::names;
use skiff_apimachinery::value::Value;

use super::{mandatory, standing_schemas, status};
use crate::registry::at::At;
use crate::registry::core::validation::formats;
use crate::registry::defaults::{nonzero, spec};
use crate::registry::internal;
use crate::registry::strategy::{Strategy, WriteScope};

const METHODS: &[&str] = &["ByNamespace", "ByUser"];
const KINDS: &[&str] = &["Group", "ServiceAccount", "User"];
const VERBS: &[&str] = &["create", "delete", "deletecollection", "get", "list", "patch", "proxy", "update", "watch"];
const MAX_PRECEDENCE: i64 = 10_000;

/// FlowSchema.
pub struct FlowSchemaStrategy;

impl Strategy for FlowSchemaStrategy {
    fn set_defaults(&self, object: &mut Value) {
        spec(object, |spec| nonzero(spec, "matchingPrecedence", 1000));
    }

    fn validate(&self, object: &Value) -> ErrorList {
        let mut errors = ErrorList::default();
        let root = At::root(object);
        let name = object.str_at(&["metadata", "name"]).unwrap_or("");
        schema(&root.child("spec"), name, &mut errors);
        if let Some(fixed) = mandatory(name, standing_schemas())
            && object.get("spec") != Some(fixed)
        {
            let shown = internal::shown(object.get("spec"), "FlowSchemaSpec");
            let message = format!("spec of '{name}' must equal the fixed value");
            errors.push(Error::invalid(&Path::new("spec"), shown, message));
        }
        status(&root.child("status"), &mut errors);
        errors
    }

    fn validate_update(&self, _scope: WriteScope<'_>, new: &Value, _old: &Value) -> ErrorList {
        self.validate(new)
    }

    fn validate_status_update(&self, new: &Value, _old: &Value) -> ErrorList {
        let mut errors = ErrorList::default();
        status(&At::root(new).child("status"), &mut errors);
        errors
    }

    fn counts_generation(&self) -> bool {
        true
    }
}

fn schema(spec: &At<'_>, name: &str, errors: &mut ErrorList) {
    let precedence = spec.child("matchingPrecedence");
    match precedence.int().unwrap_or(0) {
        ..=0 => precedence.invalid(errors, "must be a positive value"),
        1 if name != "exempt" => {
            precedence.invalid(errors, "only the schema named 'exempt' may have matchingPrecedence 1");
        }
        number if number > MAX_PRECEDENCE => {
            precedence.invalid(errors, format!("must not be greater than {MAX_PRECEDENCE}"));
        }
        _ => {}
    }
    let method = spec.child("distinguisherMethod");
    let kind = method.child("type");
    if method.is_set() && !METHODS.contains(&kind.text()) {
        // Upstream shows the whole method.
        let shown = internal::shown(method.value(), "FlowDistinguisherMethod");
        errors.push(Error::not_supported(&kind.path(), shown, METHODS));
    }
    let level = spec.child("priorityLevelConfiguration");
    let level = level.child("name");
    if level.is_empty() {
        level.required(errors, "must reference a priority level");
    } else {
        formats::subdomain(&level, errors);
    }
    for rule in spec.child("rules").items() {
        self::rule(&rule, errors);
    }
}

fn rule(rule: &At<'_>, errors: &mut ErrorList) {
    let subjects = rule.child("subjects");
    if subjects.is_empty() {
        subjects.required(errors, "subjects must contain at least one value");
    }
    for subject in subjects.items() {
        self::subject(&subject, errors);
    }
    let (resources, others) = (rule.child("resourceRules"), rule.child("nonResourceRules"));
    if resources.is_empty() && others.is_empty() {
        rule.required(errors, "at least one of resourceRules and nonResourceRules has to be non-empty");
    }
    for rule in resources.items() {
        resource_rule(&rule, errors);
    }
    for rule in others.items() {
        other_rule(&rule, errors);
    }
}

/// The members of a subject in the order in which upstream looks at them, with the kinds that they belong to.
const MEMBERS: &[(&str, &str)] = &[("serviceAccount", "ServiceAccount"), ("user", "User"), ("group", "Group")];

fn subject(subject: &At<'_>, errors: &mut ErrorList) {
    let kind = subject.child("kind");
    let Some((own, name)) = MEMBERS.iter().find(|(_, name)| *name == kind.text()) else {
        return kind.not_supported(errors, KINDS);
    };
    let member = subject.child(own);
    if member.is_set() {
        let name = member.child("name");
        if name.require(errors) && *own == "serviceAccount" && name.text() != "*" {
            formats::subdomain(&name, errors);
        }
        let namespace = member.child("namespace");
        if *own == "serviceAccount" && namespace.is_empty() {
            namespace.required(errors, "must specify namespace for service account");
        } else if *own == "serviceAccount" {
            formats::label(&namespace, errors);
        }
    } else {
        member.required(errors, &format!("{own} is required when subject kind is '{name}'"));
    }
    for (other, name) in MEMBERS.iter().filter(|(other, _)| other != own) {
        let other_member = subject.child(other);
        if other_member.is_set() {
            other_member.forbidden(errors, format!("{other} is forbidden when subject kind is not '{name}'"));
        }
    }
}

/// Validates that a wildcard stands alone; returns whether there is one.
fn wildcard(list: &At<'_>, what: &str, errors: &mut ErrorList) -> bool {
    let found = list.items().any(|item| item.text() == "*");
    if found && list.len() > 1 {
        list.invalid(errors, format!("if '*' is present, must not specify other {what}"));
    }
    found
}

fn verbs(list: &At<'_>, errors: &mut ErrorList) {
    if list.is_empty() {
        return list.required(errors, "verbs must contain at least one value");
    }
    if !wildcard(list, "verbs", errors) && !list.items().all(|verb| VERBS.contains(&verb.text())) {
        let shown = list.value().cloned().unwrap_or_default();
        errors.push(Error::not_supported(&list.path(), shown, VERBS));
    }
}

fn resource_rule(rule: &At<'_>, errors: &mut ErrorList) {
    verbs(&rule.child("verbs"), errors);
    for (field, what, missing) in [
        ("apiGroups", "api groups", "resource rules must supply at least one api group"),
        ("resources", "resources", "resource rules must supply at least one resource"),
    ] {
        let list = rule.child(field);
        if list.is_empty() {
            list.required(errors, missing);
        }
        wildcard(&list, what, errors);
    }
    let namespaces = rule.child("namespaces");
    if namespaces.is_empty() && !rule.child("clusterScope").flag() {
        let message = "resource rules that are not cluster scoped must supply at least one namespace";
        namespaces.required(errors, message);
    } else if !wildcard(&namespaces, "namespaces", errors) {
        for namespace in namespaces.items() {
            for message in names::dns1123_label(namespace.text()) {
                let message = format!("each member of this list must be '*' or a DNS-1123 label; {message}");
                namespace.invalid(errors, message);
            }
        }
    }
}

fn other_rule(rule: &At<'_>, errors: &mut ErrorList) {
    verbs(&rule.child("verbs"), errors);
    let urls = rule.child("nonResourceURLs");
    if urls.is_empty() {
        return urls.required(errors, "nonResourceURLs must contain at least one value");
    }
    if wildcard(&urls, "non-resource URLs", errors) {
        return;
    }
    for url in urls.items() {
        let text = url.text();
        let problem = match text {
            "" => "must not be empty",
            "/" => continue,
            _ if !text.starts_with('/') => "must start with slash",
            _ if text.contains(' ') => "must not contain white-space",
            _ if text.contains("//") => "must not contain double slash",
            _ => match text.matches('*').count() {
                0 => continue,
                1 if text.ends_with("/*") => continue,
                _ => "wildcard can only do suffix matching",
            },
        };
        url.invalid(errors, problem);
    }
}
