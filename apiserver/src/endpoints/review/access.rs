//! May they? SubjectAccessReview and its variants for a namespace and for oneself.
//!
//! Follows `pkg/registry/authorization/*/rest.go` and `pkg/apis/authorization/validation`.

use std::sync::Arc;

use skiff_apimachinery::field::{Error, ErrorList, Path};
use skiff_apimachinery::status::{self, Status};
use skiff_apimachinery::value::{Object, Value};
use skiff_apimachinery::{json, meta};

use super::selectors;
use crate::authentication::UserInfo;
use crate::authorization::{Attributes, Authorizer, Decision};

const GROUP: &str = "authorization.k8s.io";

/// Whether a user or group may.
pub(super) fn of_subject(review: Value, authorizer: &dyn Authorizer) -> Result<Value, Status> {
    let mut errors = subject_errors(&review);
    metadata_is_empty(&review, &[], "must be empty", &mut errors);
    let user = subject(&review);
    decided(review, user, errors, authorizer)
}

/// Whether a user or group may in one namespace.
pub(super) fn of_subject_in(namespace: &str, review: Value, authorizer: &dyn Authorizer) -> Result<Value, Status> {
    let mut errors = subject_errors(&review);
    metadata_is_empty(&review, &["namespace"], "must be empty except for namespace", &mut errors);
    let spec = Path::new("spec");
    if let Some(resource) = review.at(&["spec", "resourceAttributes"]) {
        let asked = resource.str_at(&["namespace"]).unwrap_or("");
        if asked != meta::namespace(&review) {
            let path = spec.child("resourceAttributes").child("namespace");
            errors.push(Error::invalid(&path, asked, "must match metadata.namespace"));
        }
    }
    if let Some(other) = review.at(&["spec", "nonResourceAttributes"]) {
        let path = spec.child("nonResourceAttributes");
        errors.push(Error::invalid(&path, as_in_go(other), "disallowed on this kind of request"));
    }
    debug_assert_eq!(meta::namespace(&review), namespace, "the request's namespace was filled in or compared");
    let user = subject(&review);
    decided(review, user, errors, authorizer)
}

/// Whether the one who asks may.
pub(super) fn of_self(review: Value, user: &Arc<UserInfo>, authorizer: &dyn Authorizer) -> Result<Value, Status> {
    let mut errors = ErrorList::default();
    attribute_errors(&review, &mut errors);
    selector_errors(&review, &mut errors);
    metadata_is_empty(&review, &[], "must be empty", &mut errors);
    decided(review, user.clone(), errors, authorizer)
}

fn subject(review: &Value) -> Arc<UserInfo> {
    let text = |field: &str| review.str_at(&["spec", field]).unwrap_or("").to_owned();
    let strings = |value: &Value| {
        value.as_array().unwrap_or(&[]).iter().filter_map(Value::as_str).map(str::to_owned).collect::<Vec<_>>()
    };
    let extra = review.at(&["spec", "extra"]).and_then(Value::as_object);
    Arc::new(UserInfo {
        name: text("user"),
        uid: text("uid"),
        groups: review.at(&["spec", "groups"]).map(strings).unwrap_or_default(),
        extra: extra.into_iter().flat_map(Object::iter).map(|(key, v)| (key.to_owned(), strings(v))).collect(),
    })
}

fn subject_errors(review: &Value) -> ErrorList {
    let mut errors = ErrorList::default();
    attribute_errors(review, &mut errors);
    if review.str_at(&["spec", "user"]).unwrap_or("").is_empty() && review.array_at(&["spec", "groups"]).is_empty() {
        let path = Path::new("spec").child("user");
        errors.push(Error::invalid(&path, "", "at least one of user or group must be specified"));
    }
    selector_errors(review, &mut errors);
    errors
}

/// A question is about a resource or about a path.
fn attribute_errors(review: &Value, errors: &mut ErrorList) {
    let of = |field: &str| review.at(&["spec", field]);
    let path = Path::new("spec");
    match (of("resourceAttributes"), of("nonResourceAttributes")) {
        (Some(_), Some(other)) => {
            let text = "cannot be specified in combination with resourceAttributes";
            errors.push(Error::invalid(&path.child("nonResourceAttributes"), as_in_go(other), text));
        }
        (None, None) => {
            let text = "exactly one of nonResourceAttributes or resourceAttributes must be specified";
            errors.push(Error::invalid(&path.child("resourceAttributes"), Value::Null, text));
        }
        _ => {}
    }
}

fn selector_errors(review: &Value, errors: &mut ErrorList) {
    if let Some(resource) = review.at(&["spec", "resourceAttributes"]) {
        selectors::validate(resource, errors);
    }
}

/// Reviews are nobody's objects: they have no names, labels or the like.
fn metadata_is_empty(review: &Value, but: &[&str], text: &str, errors: &mut ErrorList) {
    let Some(metadata) = review.get("metadata").and_then(Value::as_object) else { return };
    if metadata.iter().any(|(field, _)| field != "managedFields" && !but.contains(&field)) {
        errors.push(Error::invalid(&Path::new("metadata"), in_declared_order(metadata), text));
    }
}

/// Metadata as upstream shows it in errors: fields as its type declares them, not by name.
fn in_declared_order(metadata: &Object) -> Value {
    const ORDER: [&str; 13] = [
        "name",
        "generateName",
        "namespace",
        "selfLink",
        "uid",
        "resourceVersion",
        "generation",
        "creationTimestamp",
        "deletionTimestamp",
        "deletionGracePeriodSeconds",
        "labels",
        "annotations",
        "ownerReferences",
    ];
    const OF_ENTRIES: [&str; 7] =
        ["manager", "operation", "apiVersion", "time", "fieldsType", "fieldsV1", "subresource"];
    let mut parts = Vec::new();
    for field in ORDER.into_iter().chain(["finalizers"]) {
        parts.extend(metadata.get(field).map(|value| member(field, &text_of(value))));
    }
    if let Some(entries) = metadata.get("managedFields").and_then(Value::as_array) {
        let entry = |entry: &Value| {
            let fields = OF_ENTRIES.into_iter().filter_map(|field| Some(member(field, &text_of(entry.get(field)?))));
            format!("{{{}}}", fields.collect::<Vec<_>>().join(","))
        };
        let entries = entries.iter().map(entry).collect::<Vec<_>>();
        parts.push(member("managedFields", &format!("[{}]", entries.join(","))));
    }
    Value::Raw(format!("{{{}}}", parts.join(",")).into())
}

fn member(name: &str, json: &str) -> String {
    format!("{name:?}:{json}")
}

fn text_of(value: &Value) -> String {
    let mut out = Vec::new();
    json::write(value, &mut out);
    String::from_utf8_lossy(&out).into_owned()
}

/// `nonResourceAttributes` as upstream shows them in errors: by the names of its internal type.
fn as_in_go(other: &Value) -> Value {
    let text = |field: &str| Value::from(other.str_at(&[field]).unwrap_or(""));
    [("Path", text("path")), ("Verb", text("verb"))].into_iter().collect::<Object>().into()
}

fn decided(
    mut review: Value,
    user: Arc<UserInfo>,
    errors: ErrorList,
    authorizer: &dyn Authorizer,
) -> Result<Value, Status> {
    if !errors.is_empty() {
        // Upstream leaves the kind out here.
        return Err(status::invalid(GROUP, "", "", errors));
    }
    let (attributes, note) = attributes(&review, user);
    let mut answer = Object::new();
    let (decision, reason) = match authorizer.authorize(&attributes) {
        Decision::Allow(reason) => (true, reason),
        Decision::Deny(reason) => {
            answer.insert("denied", true);
            (false, reason)
        }
        Decision::NoOpinion(reason) => (false, reason),
    };
    answer.insert("allowed", decision);
    for (field, text) in [("reason", reason), ("evaluationError", note)] {
        if !text.is_empty() {
            answer.insert(field, text);
        }
    }
    review.set_at(&["status"], answer);
    Ok(review)
}

/// What an authorizer is asked, and what of the question it cannot be asked.
fn attributes(review: &Value, user: Arc<UserInfo>) -> (Attributes, String) {
    let Some(resource) = review.at(&["spec", "resourceAttributes"]) else {
        let text = |field: &str| review.str_at(&["spec", "nonResourceAttributes", field]).unwrap_or("").to_owned();
        return (Attributes { user, verb: text("verb"), path: text("path"), ..Attributes::default() }, String::new());
    };
    let text = |field: &str| resource.str_at(&[field]).unwrap_or("").to_owned();
    let (field_selector, note) = selectors::usable(resource);
    let version = text("version");
    let attributes = Attributes {
        user,
        verb: text("verb"),
        is_resource_request: true,
        api_group: text("group"),
        api_version: if version.is_empty() { "*".to_owned() } else { version },
        resource: text("resource"),
        subresource: text("subresource"),
        namespace: text("namespace"),
        name: text("name"),
        path: String::new(),
        field_selector,
    };
    (attributes, note)
}
