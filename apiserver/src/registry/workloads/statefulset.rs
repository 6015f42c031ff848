//! StatefulSet.

use skiff_apimachinery::field::{Error, ErrorList, Path};
use skiff_apimachinery::value;
use skiff_apimachinery::value::{Object, Value};

use super::{collisions, selector_and_template, status_counts};
use crate::registry::at::At;
use crate::registry::core::storage::claim_spec;
use crate::registry::core::validation::formats;
use crate::registry::core::{pod_defaults, pod_warnings};
use crate::registry::defaults::{absent, each, spec, text};
use crate::registry::strategy::{NameRule, Strategy, WriteScope, dns_label};

/// Parts of the spec that may change.
const MUTABLE: &[&str] = &[
    "replicas",
    "template",
    "updateStrategy",
    "minReadySeconds",
    "ordinals",
    "revisionHistoryLimit",
    "persistentVolumeClaimRetentionPolicy",
];

/// Numbers in a status.
const COUNTS: &[&str] = &[
    "replicas",
    "readyReplicas",
    "currentReplicas",
    "updatedReplicas",
    "availableReplicas",
    "observedGeneration",
    "collisionCount",
];
/// Those that are parts of others, and how the other is called.
const PARTS: &[(&str, &str, &str)] = &[
    ("readyReplicas", "replicas", "status.replicas"),
    ("currentReplicas", "replicas", "status.replicas"),
    ("updatedReplicas", "replicas", "status.replicas"),
    ("availableReplicas", "replicas", "status.replicas"),
    ("availableReplicas", "readyReplicas", "status.readyReplicas"),
];

/// See the module.
pub struct StatefulSetStrategy;

impl Strategy for StatefulSetStrategy {
    fn set_defaults(&self, object: &mut Value) {
        spec(object, |spec| {
            text(spec, "podManagementPolicy", "OrderedReady");
            let strategy = spec.object_mut("updateStrategy");
            if strategy.get("type").and_then(Value::as_str).unwrap_or("").is_empty() {
                strategy.insert("type", "RollingUpdate");
                absent(strategy, "rollingUpdate", Object::new());
            }
            if strategy.get("type").and_then(Value::as_str) == Some("RollingUpdate") {
                crate::registry::defaults::within(strategy, "rollingUpdate", |rolling| absent(rolling, "partition", 0));
            }
            let retention = spec.object_mut("persistentVolumeClaimRetentionPolicy");
            text(retention, "whenDeleted", "Retain");
            text(retention, "whenScaled", "Retain");
            absent(spec, "replicas", 1);
            absent(spec, "revisionHistoryLimit", 10);
            each(spec, "volumeClaimTemplates", |template| {
                absent(template, "apiVersion", "v1");
                absent(template, "kind", "PersistentVolumeClaim");
                pod_defaults::claim_spec(template.object_mut("spec"));
                text(template.object_mut("status"), "phase", "Pending");
            });
            pod_defaults::template(spec);
        });
    }

    fn validate(&self, object: &Value) -> ErrorList {
        let mut errors = ErrorList::default();
        // Claims become volumes, which the containers may mount.
        let with_volumes = with_claim_volumes(object);
        let root = At::root(&with_volumes);
        let spec = root.child("spec");
        let management = spec.child("podManagementPolicy");
        if !matches!(management.text(), "OrderedReady" | "Parallel") {
            management.invalid(&mut errors, "must be 'OrderedReady' or 'Parallel'");
        }
        update_strategy(&spec.child("updateStrategy"), &mut errors);
        let retention = spec.child("persistentVolumeClaimRetentionPolicy");
        for field in ["whenDeleted", "whenScaled"] {
            retention.child(field).if_set_one_of(&mut errors, &["Retain", "Delete"]);
        }
        let templates = spec.child("volumeClaimTemplates");
        for template in templates.items() {
            claim_spec(&template.child("spec"), &mut errors);
        }
        spec.child("replicas").not_negative(&mut errors);
        spec.child("minReadySeconds").not_negative(&mut errors);
        let ordinals = spec.child("ordinals");
        ordinals.child("start").not_negative(&mut errors);
        let service = spec.child("serviceName");
        if !service.is_empty() {
            formats::label(&service, &mut errors);
        }
        selector_and_template(&spec, "StatefulSet", "statefulset", "", &mut errors);
        errors
    }

    fn validate_update(&self, _scope: WriteScope<'_>, new: &Value, old: &Value) -> ErrorList {
        let mut errors = self.validate(new);
        let mut compared = new.get("spec").cloned().unwrap_or_default();
        let before = old.get("spec").cloned().unwrap_or_default();
        for field in MUTABLE {
            match before.get(field) {
                Some(value) => compared.set_at(&[field], value.clone()),
                None => drop(compared.remove_at(&[field])),
            }
        }
        if compared != before {
            let message = "updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template', 'updateStrategy', 'revisionHistoryLimit', 'persistentVolumeClaimRetentionPolicy' and 'minReadySeconds' are forbidden";
            errors.push(Error::forbidden(&Path::new("spec"), message));
        }
        errors
    }

    fn validate_status_update(&self, new: &Value, old: &Value) -> ErrorList {
        let mut errors = ErrorList::default();
        let (new, old) = (At::root(new), At::root(old));
        status_counts(&new.child("status"), COUNTS, PARTS, &mut errors);
        collisions(&new.child("status"), &old.child("status"), &mut errors);
        errors
    }

    fn name_rule(&self) -> NameRule {
        dns_label
    }

    fn warnings(&self, new: &Value, old: Option<&Value>) -> Vec<String> {
        let mut warnings = pod_warnings::of_changed_template(new, old, &["spec", "template"]);
        let kept = new.i64_at(&["spec", "revisionHistoryLimit"]).unwrap_or(0);
        let text =
            "spec.revisionHistoryLimit: a negative value retains all historical revisions; a value >= 0 is recommended";
        if kept < 0 {
            warnings.push(text.to_owned());
        }
        warnings
    }

    fn counts_generation(&self) -> bool {
        true
    }
}

fn update_strategy(at: &At<'_>, errors: &mut ErrorList) {
    let (kind, rolling) = (at.child("type"), at.child("rollingUpdate"));
    match kind.text() {
        "" => at.required(errors, ""),
        "OnDelete" if rolling.is_set() => {
            let ty = "RollingUpdateStatefulSetStrategy";
            rolling.invalid_as(ty, errors, "only allowed for updateStrategy 'RollingUpdate'");
        }
        "OnDelete" => {}
        "RollingUpdate" => rolling.child("partition").not_negative(errors),
        _ => at.invalid_as("StatefulSetUpdateStrategy", errors, "must be 'RollingUpdate' or 'OnDelete'"),
    }
}

fn with_claim_volumes(object: &Value) -> Value {
    let claims = object.array_at(&["spec", "volumeClaimTemplates"]);
    let mut object = object.clone();
    for field in ["subdomain", "hostname"] {
        object.remove_at(&["spec", "template", "spec", field]);
    }
    let names = claims.iter().filter_map(|c| c.str_at(&["metadata", "name"])).map(str::to_owned).collect::<Vec<_>>();
    if names.is_empty() {
        return object;
    }
    let given = object.array_at(&["spec", "template", "spec", "volumes"]).to_vec();
    let mut volumes = names
        .iter()
        .map(|name| value!({"name": (name.as_str()), "persistentVolumeClaim": {"claimName": (name.as_str())}}))
        .collect::<Vec<_>>();
    volumes.extend(given.into_iter().filter(|v| !names.iter().any(|n| v.str_at(&["name"]) == Some(n))));
    object.set_at(&["spec", "template", "spec", "volumes"], volumes);
    object
}
