//! Behaviour of CustomResourceDefinitions themselves.
//!
//! Follows `registry/customresourcedefinition/{strategy,etcd}.go` and `apis/apiextensions/v1/defaults.go`.

mod rule_costs;
mod rules;
mod schemas;
mod validation;

use skiff_apimachinery::field::ErrorList;
use skiff_apimachinery::value::{Object, Value};
use skiff_apimachinery::{meta, value};

use super::conditions::{self, Condition};
use skiff_cel::formats;

use super::CLEANUP;
use crate::registry::defaults::{text, within};
use crate::registry::strategy::{NameRule, Strategy, WriteScope};

/// CustomResourceDefinition.
pub struct DefinitionStrategy;

impl Strategy for DefinitionStrategy {
    fn set_defaults(&self, object: &mut Value) {
        crate::registry::defaults::spec(object, |spec| {
            within(spec, "names", |names| {
                let kind = names.get("kind").and_then(Value::as_str).unwrap_or("").to_owned();
                text(names, "singular", &kind.to_lowercase());
                if !kind.is_empty() {
                    text(names, "listKind", &format!("{kind}List"));
                }
            });
            if spec.get("conversion").is_none_or(Value::is_null) {
                spec.insert("conversion", value!({"strategy": "None"}));
            }
            let conversion = spec.object_mut("conversion");
            within(conversion, "webhook", |webhook| {
                within(webhook, "clientConfig", |config| {
                    within(config, "service", |service| crate::registry::defaults::absent(service, "port", 443));
                });
            });
        });
    }

    fn prepare_for_create(&self, _scope: WriteScope<'_>, object: &mut Value) {
        object.set_at(&["status"], Object::new());
        remember_storage_version(object);
        object.set_at(&["status", "conditions"], Value::Null);
        for name in ["plural", "kind"] {
            object.set_at(&["status", "acceptedNames", name], "");
        }
    }

    fn prepare_for_update(&self, _scope: WriteScope<'_>, new: &mut Value, _old: &Value) {
        remember_storage_version(new);
    }

    fn warnings(&self, new: &Value, old: Option<&Value>) -> Vec<String> {
        let before = old.map(unrecognized_formats).unwrap_or_default();
        let new = unrecognized_formats(new).into_iter().filter(|format| !before.contains(format));
        let formats = new.map(|format| format!("unrecognized format {format:?}"));
        formats.collect()
    }

    fn counts_generation(&self) -> bool {
        true
    }

    fn allow_unconditional_update(&self) -> bool {
        false
    }

    fn name_rule(&self) -> NameRule {
        crate::registry::strategy::dns_subdomain
    }

    fn validate(&self, object: &Value) -> ErrorList {
        validation::validate(object, None)
    }

    fn validate_update(&self, _scope: WriteScope<'_>, new: &Value, old: &Value) -> ErrorList {
        validation::validate(new, Some(old))
    }

    fn validate_status_update(&self, new: &Value, _old: &Value) -> ErrorList {
        validation::validate_status(new)
    }

    /// Its objects are deleted before it goes.
    fn before_delete(&self, object: &mut Value) {
        let mut finalizers = meta::finalizers(object).map(Value::from).collect::<Vec<_>>();
        if !finalizers.contains(&Value::from(CLEANUP)) {
            finalizers.push(CLEANUP.into());
        }
        object.set_at(&["metadata", "finalizers"], finalizers);
        let message = "CustomResourceDefinition marked for deletion; CustomResource deletion will begin soon";
        let reason = "InstanceDeletionPending";
        conditions::set(object, Condition { ty: "Terminating", status: true, reason, message });
    }
}

/// Every version that objects may have been written in is remembered.
fn remember_storage_version(definition: &mut Value) {
    let versions = definition.array_at(&["spec", "versions"]);
    let stored = versions.iter().find(|version| version.bool_at(&["storage"]) == Some(true));
    let Some(name) = stored.and_then(|version| version.get("name")).cloned() else { return };
    let mut all = definition.array_at(&["status", "storedVersions"]).to_vec();
    if !all.contains(&name) {
        all.push(name);
        definition.set_at(&["status", "storedVersions"], all);
    }
}

/// Formats in the schemas that mean nothing here.
fn unrecognized_formats(definition: &Value) -> Vec<String> {
    fn walk(schema: &Value, found: &mut Vec<String>) {
        let format = schema.str_at(&["format"]).unwrap_or("");
        if !format.is_empty() && !formats::is_known(schema.str_at(&["type"]).unwrap_or(""), format) {
            found.push(format.to_owned());
        }
        for key in ["items", "additionalProperties", "not"] {
            schema.get(key).into_iter().for_each(|schema| walk(schema, found));
        }
        for key in ["allOf", "anyOf", "oneOf"] {
            schema.array_at(&[key]).iter().for_each(|schema| walk(schema, found));
        }
        let properties = schema.get("properties").and_then(Value::as_object);
        properties.into_iter().flat_map(|p| p.iter()).for_each(|(_, schema)| walk(schema, found));
    }
    let mut found = Vec::new();
    for version in definition.array_at(&["spec", "versions"]) {
        version.at(&["schema", "openAPIV3Schema"]).into_iter().for_each(|schema| walk(schema, &mut found));
    }
    found
}

#[cfg(test)]
mod tests {
    use skiff_apimachinery::value;

    use super::*;

    #[test]
    fn names_and_conversion_have_defaults() {
        let mut object = value!({"spec": {"names": {"kind": "CronTab", "plural": "crontabs"}}});
        DefinitionStrategy.set_defaults(&mut object);
        let want = value!({"spec": {
            "names": {"kind": "CronTab", "listKind": "CronTabList", "plural": "crontabs", "singular": "crontab"},
            "conversion": {"strategy": "None"}
        }});
        assert_eq!(object, want);
    }

    #[test]
    fn storage_versions_are_remembered() {
        let mut object = value!({
            "spec": {"versions": [{"name": "v1"}, {"name": "v2", "storage": true}]},
            "status": {"storedVersions": ["v1"]}
        });
        remember_storage_version(&mut object);
        assert_eq!(object.at(&["status", "storedVersions"]), Some(&value!(["v1", "v2"])));
        remember_storage_version(&mut object);
        assert_eq!(object.array_at(&["status", "storedVersions"]).len(), 2);
    }
}
