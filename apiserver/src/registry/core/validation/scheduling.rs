//! Where a pod may run: tolerations, affinity, spreading, node selectors.

use std::collections::HashSet;

use skiff_apimachinery::field::{Error, ErrorList};
use skiff_apimachinery::names;

use super::formats;
use super::label_selector::{self, label_name};
use crate::registry::at::At;

/// Effects of taints.
pub const TAINT_EFFECTS: &[&str] = &["NoSchedule", "PreferNoSchedule", "NoExecute"];

/// Validates tolerations.
pub fn tolerations(list: &At<'_>, errors: &mut ErrorList) {
    for toleration in list.items() {
        let (key, operator) = (toleration.child("key"), toleration.child("operator"));
        let (value, effect) = (toleration.child("value"), toleration.child("effect"));
        if !key.is_empty() {
            label_name(&key, errors);
        } else if operator.text() != "Exists" {
            operator.invalid(
                errors,
                "operator must be Exists when `key` is empty, which means \"match all values and all keys\"",
            );
        }
        if toleration.child("tolerationSeconds").is_set() && effect.text() != "NoExecute" {
            effect.invalid(errors, "effect must be 'NoExecute' when `tolerationSeconds` is set");
        }
        match operator.text() {
            "Equal" | "" => {
                let messages = names::label_value(value.text());
                if !messages.is_empty() {
                    errors.push(Error::invalid(&operator.path(), value.text(), messages.join(";")));
                }
            }
            "Exists" if !value.is_empty() => {
                let message = "value must be empty when `operator` is 'Exists'";
                errors.push(Error::invalid(&operator.path(), value.text(), message));
            }
            "Exists" => {}
            // Comparisons are a feature that is off; upstream lists them all the same, but only to those who ask for one.
            "Lt" | "Gt" => operator.not_supported(errors, &["Equal", "Exists", "Lt", "Gt"]),
            _ => operator.not_supported(errors, &["Equal", "Exists"]),
        }
        if !effect.is_empty() {
            effect.if_set_one_of(errors, TAINT_EFFECTS);
        }
    }
}

/// Validates `affinity`.
pub fn affinity(at: &At<'_>, errors: &mut ErrorList) {
    let node = at.child("nodeAffinity");
    let required = node.child("requiredDuringSchedulingIgnoredDuringExecution");
    if required.is_set() {
        node_selector(&required, errors);
    }
    let preferred = node.child("preferredDuringSchedulingIgnoredDuringExecution");
    for term in preferred.items() {
        weight(&term.child("weight"), errors);
        node_selector_term(&term.child("preference"), errors);
    }
    for kind in ["podAffinity", "podAntiAffinity"] {
        let at = at.child(kind);
        let required = at.child("requiredDuringSchedulingIgnoredDuringExecution");
        for term in required.items() {
            pod_affinity_term(&term, errors);
        }
        let preferred = at.child("preferredDuringSchedulingIgnoredDuringExecution");
        for term in preferred.items() {
            weight(&term.child("weight"), errors);
            pod_affinity_term(&term.child("podAffinityTerm"), errors);
        }
    }
}

fn weight(at: &At<'_>, errors: &mut ErrorList) {
    if !(1..=100).contains(&at.int().unwrap_or(0)) {
        at.invalid(errors, "must be in the range 1-100");
    }
}

/// Validates a node selector: terms of which one must match.
pub fn node_selector(at: &At<'_>, errors: &mut ErrorList) {
    let terms = at.child("nodeSelectorTerms");
    if terms.is_empty() {
        return terms.required(errors, "must have at least one node selector term");
    }
    for term in terms.items() {
        node_selector_term(&term, errors);
    }
}

fn node_selector_term(term: &At<'_>, errors: &mut ErrorList) {
    let expressions = term.child("matchExpressions");
    for requirement in expressions.items() {
        node_requirement(&requirement, errors);
    }
    let fields = term.child("matchFields");
    for requirement in fields.items() {
        let (key, operator, values) =
            (requirement.child("key"), requirement.child("operator"), requirement.child("values"));
        match operator.text() {
            "In" | "NotIn" if values.len() != 1 => {
                values.required(
                    errors,
                    "must be only one value when `operator` is 'In' or 'NotIn' for node field selector",
                );
            }
            "In" | "NotIn" => {}
            _ => operator.invalid(errors, "not a valid selector operator"),
        }
        if key.text() == "metadata.name" {
            for value in values.items() {
                formats::subdomain(&value, errors);
            }
        } else {
            key.invalid(errors, "not a valid field selector key");
        }
    }
}

fn node_requirement(at: &At<'_>, errors: &mut ErrorList) {
    let (key, operator, values) = (at.child("key"), at.child("operator"), at.child("values"));
    match operator.text() {
        "In" | "NotIn" if values.is_empty() => {
            values.required(errors, "must be specified when `operator` is 'In' or 'NotIn'");
        }
        "Exists" | "DoesNotExist" if !values.is_empty() => {
            values.forbidden(errors, "may not be specified when `operator` is 'Exists' or 'DoesNotExist'");
        }
        "Gt" | "Lt" if values.len() != 1 => {
            values.required(errors, "must be specified single value when `operator` is 'Lt' or 'Gt'");
        }
        "In" | "NotIn" | "Exists" | "DoesNotExist" | "Gt" | "Lt" => {}
        _ => operator.invalid(errors, "not a valid selector operator"),
    }
    label_name(&key, errors);
    for value in values.items() {
        value.messages(errors, names::label_value(value.text()));
    }
}

fn pod_affinity_term(term: &At<'_>, errors: &mut ErrorList) {
    for selector in ["labelSelector", "namespaceSelector"] {
        label_selector::validate(&term.child(selector), errors);
    }
    let namespaces = term.child("namespaces");
    for namespace in namespaces.items() {
        let path = term.path().child("namespace");
        for message in names::dns1123_label(namespace.text()) {
            errors.push(Error::invalid(&path, namespace.text(), message));
        }
    }
    match_label_keys(term, errors);
    let topology = term.child("topologyKey");
    if topology.is_empty() {
        topology.required(errors, "can not be empty");
    }
    label_name(&topology, errors);
}

fn match_label_keys(term: &At<'_>, errors: &mut ErrorList) {
    let (keys, mismatch) = (term.child("matchLabelKeys"), term.child("mismatchLabelKeys"));
    if !term.child("labelSelector").is_set() {
        for list in [&keys, &mismatch].into_iter().filter(|list| !list.is_empty()) {
            list.forbidden(errors, "must not be specified when labelSelector is not set");
        }
    } else {
        for list in [&keys, &mismatch] {
            for key in list.items() {
                label_name(&key, errors);
            }
        }
    }
    let selector = term.child("labelSelector");
    let mut selected = selector.child("matchLabels").entries().map(|(key, _)| key.to_owned()).collect::<HashSet<_>>();
    for expression in selector.child("matchExpressions").items() {
        // The keys have become expressions by now: one that was there before is found twice.
        let key = expression.child("key").text();
        if !selected.insert(key.to_owned())
            && let Some(index) = keys.items().position(|own| own.text() == key)
        {
            let text = "exists in both matchLabelKeys and labelSelector";
            errors.push(Error::invalid(&term.path().index(index), key, text));
        }
    }
    for key in keys.items() {
        if mismatch.items().any(|other| other.text() == key.text()) {
            key.invalid(errors, "exists in both matchLabelKeys and mismatchLabelKeys");
        }
    }
}

/// Validates `topologySpreadConstraints`.
pub fn spread_constraints(list: &At<'_>, errors: &mut ErrorList) {
    let mut seen = HashSet::new();
    for constraint in list.items() {
        let skew = constraint.child("maxSkew");
        if skew.int().unwrap_or(0) <= 0 {
            skew.invalid(errors, "must be greater than zero");
        }
        let topology = constraint.child("topologyKey");
        if topology.is_empty() {
            topology.required(errors, "can not be empty");
        } else {
            label_name(&topology, errors);
        }
        let when = constraint.child("whenUnsatisfiable");
        if !matches!(when.text(), "DoNotSchedule" | "ScheduleAnyway") {
            when.not_supported(errors, &["DoNotSchedule", "ScheduleAnyway"]);
        }
        if !seen.insert((topology.text().to_owned(), when.text().to_owned())) {
            // Upstream shows the first of the two.
            let same = |other: &At<'_>| {
                other.child("topologyKey").text() == topology.text()
                    && other.child("whenUnsatisfiable").text() == when.text()
            };
            let first = list.items().position(|other| same(&other)).unwrap_or_default();
            let path = list.path().index(first).child("{topologyKey, whenUnsatisfiable}");
            let shown = format!("{{{}, {}}}", topology.text(), when.text());
            errors.push(Error::duplicate(&path, shown));
        }
        let domains = constraint.child("minDomains");
        if domains.int().is_some_and(|n| n <= 0) {
            domains.invalid(errors, "must be greater than zero");
        }
        if domains.is_set() && when.text() != "DoNotSchedule" {
            let message =
                format!("can only use minDomains if whenUnsatisfiable={}, not {}", "DoNotSchedule", when.text());
            domains.invalid(errors, message);
        }
        for policy in ["nodeAffinityPolicy", "nodeTaintsPolicy"] {
            constraint.child(policy).if_set_one_of(errors, &["Honor", "Ignore"]);
        }
        match_label_keys(&constraint, errors);
        label_selector::validate(&constraint.child("labelSelector"), errors);
    }
}
