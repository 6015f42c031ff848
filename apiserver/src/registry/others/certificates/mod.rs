//! CertificateSigningRequest.
//!
//! Follows `pkg/registry/certificates` and `pkg/apis/certificates/validation`. Who asks is what approvers and signers go
//! by, so it is written here and never taken from the client.

mod validation;

use skiff_apimachinery::field::ErrorList;
use skiff_apimachinery::time;
use skiff_apimachinery::value::{Object, Value};

use self::validation::Allowed;
use crate::authentication::UserInfo;
use crate::cacher::FieldSpec;
use crate::registry::strategy::{NameRule, Strategy, WriteScope, path_segment};

/// CertificateSigningRequest.
pub struct SigningRequestStrategy;

impl Strategy for SigningRequestStrategy {
    fn prepare_for_create(&self, scope: WriteScope<'_>, object: &mut Value) {
        let spec = object.object_at_mut(&["spec"]);
        for field in ["username", "uid", "groups", "extra"] {
            spec.remove(field);
        }
        asked_by(scope.identity, spec);
        object.set_at(&["status"], Object::new());
    }

    fn prepare_for_update(&self, scope: WriteScope<'_>, new: &mut Value, old: &Value) {
        // What is asked is fixed; an approval changes conditions only.
        if let Some(spec) = old.get("spec") {
            new.set_at(&["spec"], spec.clone());
        }
        if scope.subresource == "approval" {
            match old.at(&["status", "certificate"]) {
                Some(certificate) => new.set_at(&["status", "certificate"], certificate.clone()),
                None => drop(new.remove_at(&["status", "certificate"])),
            }
            stamp_conditions(new, old);
        }
    }

    fn prepare_for_status_update(&self, new: &mut Value, old: &Value) {
        if let Some(spec) = old.get("spec") {
            new.set_at(&["spec"], spec.clone());
        }
        keep_decisions(new, old);
        stamp_conditions(new, old);
    }

    fn validate(&self, object: &Value) -> ErrorList {
        validation::of_request(object, &Value::Null)
    }

    fn validate_update(&self, scope: WriteScope<'_>, new: &Value, old: &Value) -> ErrorList {
        let approval = scope.subresource == "approval";
        validation::of_update(new, old, Allowed { conditions: approval, certificate: false })
    }

    fn validate_status_update(&self, new: &Value, old: &Value) -> ErrorList {
        validation::of_update(new, old, Allowed { conditions: false, certificate: true })
    }

    fn writes_status(&self, subresource: &str) -> bool {
        subresource == "approval"
    }

    /// Upstream has no rule of its own for these.
    fn name_rule(&self) -> NameRule {
        path_segment
    }

    fn selectable_fields(&self) -> Vec<FieldSpec> {
        vec![FieldSpec::new("spec.signerName")]
    }
}

/// Writes down who asks.
fn asked_by(user: &UserInfo, spec: &mut Object) {
    spec.insert("username", user.name.as_str());
    if !user.uid.is_empty() {
        spec.insert("uid", user.uid.as_str());
    }
    let list = |texts: &[String]| texts.iter().map(|text| Value::from(text.as_str())).collect::<Vec<_>>();
    if !user.groups.is_empty() {
        spec.insert("groups", list(&user.groups));
    }
    if !user.extra.is_empty() {
        let mut extra = Object::new();
        for (key, values) in &user.extra {
            extra.insert(key.as_str(), list(values));
        }
        spec.insert("extra", extra);
    }
}

/// Puts back the decisions about a request: whoever writes the rest of the status has nothing to say about them. One that
/// comes or goes is left for the validation to refuse.
fn keep_decisions(new: &mut Value, old: &Value) {
    let is = |condition: &&Value, kind: &str| condition.str_at(&["type"]) == Some(kind);
    for kind in ["Approved", "Denied"] {
        let before = old.array_at(&["status", "conditions"]).iter().filter(|c| is(c, kind)).collect::<Vec<_>>();
        if new.array_at(&["status", "conditions"]).iter().filter(|c| is(c, kind)).count() != before.len() {
            continue;
        }
        let list = new.object_at_mut(&["status"]).get_mut("conditions").and_then(Value::as_array_mut);
        let now = list.into_iter().flatten().filter(|c| is(&&**c, kind));
        now.zip(before).for_each(|(now, before)| now.clone_from(before));
    }
}

/// Fills in when a condition was written, and when it became what it is.
fn stamp_conditions(new: &mut Value, old: &Value) {
    let now = time::format(jiff::Timestamp::now());
    let before = old.array_at(&["status", "conditions"]);
    let list = new.object_at_mut(&["status"]).get_mut("conditions").and_then(Value::as_array_mut);
    for condition in list.into_iter().flatten() {
        let same = |old: &&Value| ["type", "status"].iter().all(|key| old.get(key) == condition.get(key));
        let since = before.iter().find(same).and_then(|old| old.str_at(&["lastTransitionTime"]));
        let since = since.unwrap_or(&now).to_owned();
        for (field, time) in [("lastUpdateTime", now.as_str()), ("lastTransitionTime", &since)] {
            if condition.str_at(&[field]).is_none() {
                condition.set_at(&[field], time);
            }
        }
    }
}
