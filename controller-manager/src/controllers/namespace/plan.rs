//! Pure: from what was found to the namespace's conditions. Texts are upstream's
//! (`deletion/status_condition_utils.go`).

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde_json::Value;
use skiff_client::ResourceType;
use skiff_client::types::Condition;

use super::content::Remaining;
use crate::conditions::{self, Form};

/// What a round of deletion found.
#[derive(Debug, Default)]
pub(super) struct Report {
    pub(super) discovery_failures: Vec<String>,
    pub(super) content_failures: Vec<String>,
    pub(super) remaining: Vec<(ResourceType, Remaining)>,
}

impl Report {
    /// Whether the namespace may go.
    pub(super) fn is_empty(&self) -> bool {
        self.discovery_failures.is_empty() && self.content_failures.is_empty() && self.remaining.is_empty()
    }

    /// Makes the texts independent of the order in which answers came.
    pub(super) fn sort(&mut self) {
        self.discovery_failures.sort();
        self.content_failures.sort();
        self.remaining.sort_by(|(a, _), (b, _)| remaining_text(a, 0).cmp(&remaining_text(b, 0)));
    }
}

fn remaining_text(resource: &ResourceType, count: usize) -> String {
    format!("{}.{} has {count} resource instances", resource.plural, resource.group)
}

/// The namespace's conditions, if they change.
pub(super) fn conditions(current: &[Condition], report: &Report, now: Timestamp) -> Option<Vec<Condition>> {
    let mut all = current.to_vec();
    for wanted in wanted(report, now) {
        match all.iter_mut().find(|condition| condition.type_ == wanted.type_) {
            None => all.push(wanted),
            Some(have) => {
                if have.status != wanted.status {
                    have.last_transition_time = wanted.last_transition_time;
                }
                (have.status, have.reason, have.message) = (wanted.status, wanted.reason, wanted.message);
            }
        }
    }
    (all != current).then_some(all)
}

fn wanted(report: &Report, now: Timestamp) -> [Condition; 5] {
    let of = |type_: &str, failed: Option<(&str, String)>, ok_reason: &str, ok_message: &str| {
        let mut condition = match failed {
            Some((reason, message)) => conditions::new(type_, "True", reason, message, now),
            None => conditions::new(type_, "False", ok_reason, ok_message, now),
        };
        // Namespaces have no such field.
        condition.last_update_time = None;
        condition
    };
    [
        of(
            "NamespaceDeletionDiscoveryFailure",
            discovery_failure(report),
            "ResourcesDiscovered",
            "All resources successfully discovered",
        ),
        of(
            "NamespaceDeletionGroupVersionParsingFailure",
            None,
            "ParsedGroupVersions",
            "All legacy kube types successfully parsed",
        ),
        of(
            "NamespaceDeletionContentFailure",
            content_failure(report),
            "ContentDeleted",
            "All content successfully deleted, may be waiting on finalization",
        ),
        of(
            "NamespaceContentRemaining",
            content_remaining(report),
            "ContentRemoved",
            "All content successfully removed",
        ),
        of(
            "NamespaceFinalizersRemaining",
            finalizers_remaining(report),
            "ContentHasNoFinalizers",
            "All content-preserving finalizers finished",
        ),
    ]
}

fn discovery_failure(report: &Report) -> Option<(&'static str, String)> {
    let failures = &report.discovery_failures;
    let message = format!("Discovery failed for some groups, {} failing: {}", failures.len(), failures.join(", "));
    (!failures.is_empty()).then_some(("DiscoveryFailed", message))
}

fn content_failure(report: &Report) -> Option<(&'static str, String)> {
    let failures = &report.content_failures;
    let message = format!("Failed to delete all resource types, {} remaining: {}", failures.len(), failures.join(", "));
    (!failures.is_empty()).then_some(("ContentDeletionFailed", message))
}

fn content_remaining(report: &Report) -> Option<(&'static str, String)> {
    let texts: Vec<_> = report.remaining.iter().map(|(resource, left)| remaining_text(resource, left.count)).collect();
    (!texts.is_empty()).then(|| ("SomeResourcesRemain", format!("Some resources are remaining: {}", texts.join(", "))))
}

fn finalizers_remaining(report: &Report) -> Option<(&'static str, String)> {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for (finalizer, count) in report.remaining.iter().flat_map(|(_, left)| &left.finalizers) {
        *counts.entry(finalizer).or_insert(0) += count;
    }
    let texts: Vec<_> =
        counts.iter().map(|(finalizer, count)| format!("{finalizer} in {count} resource instances")).collect();
    let message = format!("Some content in the namespace has finalizers remaining: {}", texts.join(", "));
    (!texts.is_empty()).then_some(("SomeFinalizersRemain", message))
}

pub(super) fn conditions_json(conditions: &[Condition]) -> Value {
    conditions::to_json(conditions, Form::Plain)
}

/// The conditions as text, for golden tests. The report is the file's document without a kind.
#[cfg(test)]
pub(super) fn golden(objects: &crate::golden::Objects) -> String {
    use skiff_client::types::Namespace;

    let namespace: Namespace = objects.one("Namespace");
    let extra = objects.extra();
    let texts = |list: &Value| -> Vec<String> {
        list.as_array().into_iter().flatten().filter_map(|one| one.as_str().map(str::to_owned)).collect()
    };
    let mut report = Report {
        discovery_failures: texts(&extra["discoveryFailures"]),
        content_failures: texts(&extra["contentFailures"]),
        remaining: Vec::new(),
    };
    for left in extra["remaining"].as_array().into_iter().flatten() {
        let text = |field: &str| left[field].as_str().unwrap_or_default().to_owned();
        let mut resource = ResourceType::new("", "v1", "", "", true);
        (resource.group, resource.plural) = (text("group").into(), text("resource").into());
        let finalizers = serde_json::from_value(left["finalizers"].clone()).unwrap_or_default();
        report
            .remaining
            .push((resource, Remaining { count: left["count"].as_u64().unwrap_or(0) as usize, finalizers }));
    }
    report.sort();
    let mut text = if report.is_empty() { "finalize\n".to_owned() } else { "look again later\n".to_owned() };
    match conditions(&namespace.status.conditions, &report, crate::golden::now()) {
        None => text.push_str("conditions unchanged"),
        Some(conditions) => {
            for condition in conditions {
                let since = condition.last_transition_time.map(skiff_client::clock::format_time).unwrap_or_default();
                text.push_str(&format!(
                    "{} {} {} since {since}: {}\n",
                    condition.type_, condition.status, condition.reason, condition.message
                ));
            }
        }
    }
    text
}
