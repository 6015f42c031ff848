//! Event, as the core group and events.k8s.io show it.
//!
//! Follows `pkg/registry/core/event` and the conversion in `pkg/apis/events/v1`. Stored is the core form; the newer form
//! has other names for the same facts.

use std::time::Duration;

use skiff_apimachinery::field::{Error, ErrorList, Path};
use skiff_apimachinery::names;
use skiff_apimachinery::value::{Object, Value};

use crate::cacher::FieldSpec;
use crate::registry::at::At;
use crate::registry::conversion::Conversion;
use crate::registry::object_meta;
use crate::registry::strategy::{GarbageCollection, NameRule, Strategy, WriteScope, dns_subdomain, path_segment};

/// The group in which events have more rules.
const NEWER_GROUP: &str = "events.k8s.io";

/// How long events are kept (upstream's `--event-ttl`).
const TIME_TO_LIVE: Duration = Duration::from_secs(3600);

/// See the module.
pub struct EventStrategy;

impl Strategy for EventStrategy {
    fn validate_create(&self, scope: WriteScope<'_>, object: &Value) -> ErrorList {
        let mut errors = of_any(object, scope.group);
        if scope.group == NEWER_GROUP {
            // The rest of the metadata is validated as for every kind.
            let metadata = Path::new("metadata");
            for (field, prefix) in [("generateName", true), ("name", false)] {
                let name = object.str_at(&["metadata", field]).unwrap_or("");
                let faults = if name.is_empty() { Vec::new() } else { dns_subdomain(name, prefix) };
                errors.extend(faults.into_iter().map(|fault| Error::invalid(&metadata.child(field), name, fault)));
            }
            of_new(&At::root(object), &mut errors);
        }
        errors
    }

    fn validate_update(&self, scope: WriteScope<'_>, new: &Value, old: &Value) -> ErrorList {
        let mut errors = of_any(new, scope.group);
        if scope.group == NEWER_GROUP {
            errors.extend(object_meta::validate_update(new, old));
            of_change(&At::root(new), &At::root(old), &mut errors);
        }
        errors
    }

    /// Only the newer group has a rule of its own.
    fn name_rule(&self) -> NameRule {
        path_segment
    }

    fn selectable_fields(&self) -> Vec<FieldSpec> {
        let mut fields = ["kind", "namespace", "name", "uid", "apiVersion", "resourceVersion", "fieldPath"]
            .map(|field| FieldSpec::new(&format!("involvedObject.{field}")))
            .to_vec();
        fields.push(FieldSpec::new("reason"));
        fields.push(FieldSpec::at("reportingComponent", &["reportingComponent"], ""));
        fields.push(FieldSpec::at("source", &["source.component", "reportingComponent"], ""));
        fields.push(FieldSpec::new("type"));
        fields
    }

    fn allow_create_on_update(&self) -> bool {
        true
    }

    fn garbage_collection(&self) -> GarbageCollection {
        GarbageCollection::Unsupported
    }

    fn time_to_live(&self) -> Option<Duration> {
        Some(TIME_TO_LIVE)
    }
}

/// What every event must fulfil (`legacyValidateEvent` upstream).
fn of_any(object: &Value, group: &str) -> ErrorList {
    let mut errors = ErrorList::default();
    let root = At::root(object);
    let (involved, metadata) = (root.child("involvedObject"), root.child("metadata"));
    let about = involved.child("namespace");
    let namespace = metadata.child("namespace").text();
    let newer = !root.child("eventTime").is_empty();
    // Events about objects without a namespace live in "default".
    let fits = match about.text() {
        "" => namespace == "default" || (newer && namespace == "kube-system"),
        about => newer || namespace == about,
    };
    if !fits {
        let path = Path::new("involvedObject").child("namespace");
        errors.push(Error::invalid(&path, about.text(), "does not match event.namespace"));
    }
    if newer {
        newer_fields(&root, group, &mut errors);
    }
    errors
}

/// What the newer group asks of a new event beyond that.
fn of_new(root: &At<'_>, errors: &mut ErrorList) {
    series(root, errors);
    root.child("eventTime").require(errors);
    let kind = root.child("type").text();
    if !matches!(kind, "Normal" | "Warning") {
        errors.push(Error::invalid(&Path::new("type"), "", format!("has invalid value: {kind}")));
    }
    let source = root.child("source");
    let named = !source.child("component").is_empty() || !source.child("host").is_empty();
    for (field, set) in [
        ("firstTimestamp", !root.child("firstTimestamp").is_empty()),
        ("lastTimestamp", !root.child("lastTimestamp").is_empty()),
        ("count", root.child("count").int().unwrap_or(0) != 0),
        ("source", named),
    ] {
        if set {
            errors.push(Error::invalid(&Path::new(field), "", "needs to be unset"));
        }
    }
}

fn series(root: &At<'_>, errors: &mut ErrorList) {
    let series = root.child("series");
    if series.is_set() {
        if series.child("count").int().unwrap_or(0) < 2 {
            errors.push(Error::invalid(&Path::new("series").child("count"), "", "should be at least 2"));
        }
        series.child("lastObservedTime").require(errors);
    }
}

/// In the newer group only the series of an event changes.
fn of_change(new: &At<'_>, old: &At<'_>, errors: &mut ErrorList) {
    if new.child("series").value() != old.child("series").value() {
        series(new, errors);
    }
    let fixed = |field: &'static str, shown: &'static str, ty: &str, errors: &mut ErrorList| {
        if new.child(field).value() != old.child(field).value() {
            new.child(field).renamed(shown).invalid_as(ty, errors, "field is immutable");
        }
    };
    fixed("involvedObject", "involvedObject", "ObjectReference", errors);
    for field in ["reason", "message"] {
        fixed(field, field, "s", errors);
    }
    fixed("source", "source", "EventSource", errors);
    for (field, ty) in [("firstTimestamp", "t"), ("lastTimestamp", "t"), ("count", "i"), ("reason", "s"), ("type", "s")]
    {
        fixed(field, field, ty, errors);
    }
    fixed("eventTime", "eventTime", "t", errors);
    fixed("action", "action", "s", errors);
    fixed("related", "related", "*ObjectReference", errors);
    fixed("reportingComponent", "reportingController", "s", errors);
    fixed("reportingInstance", "reportingInstance", "s", errors);
}

/// What an event with an `eventTime` must have.
fn newer_fields(root: &At<'_>, group: &str, errors: &mut ErrorList) {
    let component = root.child("reportingComponent");
    let controller = component.renamed(if group == NEWER_GROUP { "reportingController" } else { "reportingComponent" });
    controller.require(errors);
    controller.messages(errors, names::qualified_name(controller.text()));
    for (field, longest) in [("reportingInstance", 128), ("action", 128), ("reason", 128), ("message", 1024)] {
        let at = root.child(field);
        if field != "message" {
            at.require(errors);
        }
        if at.text().len() > longest {
            errors.push(Error::invalid(&at.path(), "", format!("can have at most {longest} characters")));
        }
    }
}

/// Fields with another name in events.k8s.io: theirs, ours.
const RENAMED: &[(&str, &str)] = &[
    ("regarding", "involvedObject"),
    ("note", "message"),
    ("reportingController", "reportingComponent"),
    ("deprecatedSource", "source"),
    ("deprecatedFirstTimestamp", "firstTimestamp"),
    ("deprecatedLastTimestamp", "lastTimestamp"),
    ("deprecatedCount", "count"),
];

/// events.k8s.io/v1.
pub struct EventsV1;

impl Conversion for EventsV1 {
    fn to_stored(&self, object: Value) -> Value {
        renamed(object, "v1", |name| RENAMED.iter().find(|(theirs, _)| *theirs == name).map(|(_, ours)| *ours))
    }

    fn from_stored(&self, object: Value) -> Value {
        let theirs = |name: &str| RENAMED.iter().find(|(_, ours)| *ours == name).map(|(theirs, _)| *theirs);
        renamed(object, "events.k8s.io/v1", theirs)
    }

    fn field_label<'a>(&self, label: &'a str) -> Option<std::borrow::Cow<'a, str>> {
        match label.strip_prefix("regarding.") {
            Some(rest) => Some(format!("involvedObject.{rest}").into()),
            None if label == "reportingController" => Some("reportingComponent".into()),
            None if label.starts_with("involvedObject.") || label == "reportingComponent" || label == "source" => None,
            None => Some(label.into()),
        }
    }
}

fn renamed(object: Value, api_version: &str, rename: impl Fn(&str) -> Option<&'static str>) -> Value {
    let Value::Object(object) = object else {
        return object;
    };
    let mut out = object
        .into_iter()
        .map(|(key, value)| match rename(&key) {
            Some(new) => (new.into(), value),
            None => (key, value),
        })
        .collect::<Object>();
    out.insert("apiVersion", api_version);
    Value::Object(out)
}

#[cfg(test)]
mod tests {
    use skiff_apimachinery::value;

    use super::*;

    #[test]
    fn both_forms_say_the_same() {
        let newer = value!({
            "apiVersion": "events.k8s.io/v1", "kind": "Event", "note": "n", "regarding": {"name": "x"},
            "reportingController": "c", "reportingInstance": "i", "action": "a", "deprecatedCount": 2
        });
        let stored = EventsV1.to_stored(newer.clone());
        assert_eq!(
            stored,
            value!({
                "apiVersion": "v1", "kind": "Event", "message": "n", "involvedObject": {"name": "x"},
                "reportingComponent": "c", "reportingInstance": "i", "action": "a", "count": 2
            })
        );
        assert_eq!(EventsV1.from_stored(stored), newer);
        assert_eq!(EventsV1.field_label("regarding.name").as_deref(), Some("involvedObject.name"));
        assert_eq!(EventsV1.field_label("involvedObject.name"), None);
    }
}
