//! Behaviour of custom resources: what their schema says. Follows `registry/customresource/{strategy,validator}.go`.

use std::sync::Arc;

use skiff_apimachinery::field::{Error, ErrorList, Kind, Path};
use skiff_apimachinery::names;
use skiff_apimachinery::value::Value;

use super::rules::Rules;
use super::schema::Schema;
use super::{defaults, embedded, list_type, prune, validate};
use crate::registry::ScalePaths;
use crate::registry::object_meta::{FINALIZER_FOREGROUND, FINALIZER_ORPHAN};
use crate::registry::strategy::{Strategy, WriteScope};

const BLOCKED: &str = "some validation rules were not checked because the object was invalid; correct the existing errors to complete validation";

/// Behaviour of the objects of one version.
pub struct CustomStrategy {
    /// The schema; `None` where the version has none and everything is kept.
    pub schema: Option<Arc<Schema>>,
    /// The rules in it, compiled.
    pub rules: Rules,
    /// Where the Scale's values are, if there is one.
    pub scale: Option<ScalePaths>,
    /// Fields that selectors can name in any version.
    pub selectable: Vec<crate::cacher::FieldSpec>,
}

impl Strategy for CustomStrategy {
    fn prune(&self, object: &mut Value) -> Vec<String> {
        self.schema.as_ref().map(|schema| prune::prune(object, schema)).unwrap_or_default()
    }

    fn set_defaults(&self, object: &mut Value) {
        if let Some(schema) = &self.schema {
            prune::prune(object, schema);
            defaults::fill_in(object, schema);
        }
    }

    fn validate(&self, object: &Value) -> ErrorList {
        let Some(schema) = &self.schema else { return ErrorList::new() };
        let mut errors = validate::validate(object, None, schema, &Path::default());
        errors.extend(self.check_scale(object, true));
        errors.extend(embedded::validate(object, schema));
        errors.extend(list_type::validate(object, schema));
        self.check_rules(object, None, &mut errors);
        errors
    }

    fn validate_update(&self, _scope: WriteScope<'_>, new: &Value, old: &Value) -> ErrorList {
        let Some(schema) = &self.schema else { return ErrorList::new() };
        let mut errors = validate::validate(new, Some(old), schema, &Path::default());
        errors.extend(self.check_scale(new, true));
        errors.extend(embedded::validate(new, schema));
        if list_type::validate(old, schema).is_empty() {
            errors.extend(list_type::validate(new, schema));
        }
        self.check_rules(new, Some(old), &mut errors);
        errors
    }

    /// Of metadata, a write to `status` changes managed fields only.
    fn prepare_for_status_update(&self, new: &mut Value, old: &Value) {
        let managed = new.remove_at(&["metadata", "managedFields"]);
        let version = new.remove_at(&["metadata", "resourceVersion"]);
        new.set_at(&["metadata"], old.get("metadata").cloned().unwrap_or_default());
        for (field, value) in [("managedFields", managed), ("resourceVersion", version)] {
            match value {
                Some(value) => new.set_at(&["metadata", field], value),
                None => drop(new.remove_at(&["metadata", field])),
            }
        }
    }

    fn validate_status_update(&self, new: &Value, old: &Value) -> ErrorList {
        let Some(schema) = &self.schema else { return ErrorList::new() };
        let mut errors = ErrorList::new();
        if let (Some(status), Some(of_status)) = (new.get("status"), schema.properties.get("status")) {
            errors.extend(validate::validate(status, old.get("status"), of_status, &Path::new("status")));
        }
        errors.extend(self.check_scale(new, false));
        if list_type::validate(old, schema).is_empty() {
            errors.extend(list_type::validate(new, schema));
        }
        self.check_rules(new, Some(old), &mut errors);
        errors
    }

    fn warnings(&self, new: &Value, old: Option<&Value>) -> Vec<String> {
        let before = old.map(|old| skiff_apimachinery::meta::finalizers(old).collect::<Vec<_>>()).unwrap_or_default();
        let mut added = skiff_apimachinery::meta::finalizers(new).filter(|f| !before.contains(f)).collect::<Vec<_>>();
        added.sort_unstable();
        added.dedup();
        added.into_iter().flat_map(finalizer_warnings).collect()
    }

    fn selectable_fields(&self) -> Vec<crate::cacher::FieldSpec> {
        self.selectable.clone()
    }

    fn counts_generation(&self) -> bool {
        true
    }

    fn generation_changed(&self, new: &Value, old: &Value) -> bool {
        let but_metadata = |object: &Value| {
            let members = object.as_object().into_iter().flat_map(|members| members.iter());
            members.filter(|(key, _)| *key != "metadata").map(|(k, v)| (k.to_owned(), v.clone())).collect::<Vec<_>>()
        };
        but_metadata(new) != but_metadata(old)
    }

    fn allow_unconditional_update(&self) -> bool {
        false
    }
}

impl CustomStrategy {
    fn check_rules(&self, new: &Value, old: Option<&Value>, errors: &mut ErrorList) {
        let blocks = |error: &Error| {
            matches!(
                error.kind,
                Kind::NotSupported | Kind::Required | Kind::TooLong | Kind::TooMany | Kind::TypeInvalid
            )
        };
        if self.rules.is_empty() {
            return;
        }
        if errors.iter().any(blocks) {
            errors.push(Error::invalid(&Path::default(), Value::Null, BLOCKED));
            return;
        }
        if let Some(schema) = &self.schema {
            errors.extend(self.rules.check(schema, new, old));
        }
    }

    fn check_scale(&self, object: &Value, with_spec: bool) -> ErrorList {
        let mut errors = ErrorList::new();
        let Some(scale) = &self.scale else { return errors };
        let spec = with_spec.then_some(&scale.replicas);
        for path in spec.into_iter().chain([&scale.status_replicas]) {
            check_replicas(object, path, &mut errors);
        }
        if let Some(path) = &scale.selector
            && let Err(found) = nested(object, path, |value| matches!(value, Value::String(_)), "string")
        {
            errors.push(Error::invalid(&Path::new(&format!(".{}", path.join("."))), "", found));
        }
        errors
    }
}

fn check_replicas(object: &Value, path: &[String], errors: &mut ErrorList) {
    let place = Path::new(&format!(".{}", path.join(".")));
    match nested(object, path, |value| matches!(value, Value::Int(_)), "int64") {
        Err(message) => errors.push(Error::invalid(&place, 0, message)),
        Ok(Some(Value::Int(n))) if *n < 0 => {
            errors.push(Error::invalid(&place, *n, "should be a non-negative integer"));
        }
        Ok(Some(Value::Int(n))) if *n > i64::from(i32::MAX) => {
            errors.push(Error::invalid(&place, *n, format!("should be less than or equal to {}", i32::MAX)));
        }
        Ok(_) => {}
    }
}

/// The value at a path, which must be of one type (`unstructured.NestedInt64` and its like).
fn nested<'a>(
    object: &'a Value,
    path: &[String],
    fits: impl Fn(&Value) -> bool,
    wanted: &str,
) -> Result<Option<&'a Value>, String> {
    let mut value = object;
    for (depth, key) in path.iter().enumerate() {
        match value {
            Value::Object(members) => match members.get(key) {
                Some(member) => value = member,
                None => return Ok(None),
            },
            other => {
                let at = path[..=depth].join(".");
                let shown = super::go_text(other);
                let kind = super::go_type(other);
                return Err(format!(
                    ".{at} accessor error: {shown} is of the type {kind}, expected map[string]interface{{}}"
                ));
            }
        }
    }
    if fits(value) {
        return Ok(Some(value));
    }
    let (shown, kind) = (super::go_text(value), super::go_type(value));
    Err(format!(".{} accessor error: {shown} is of the type {kind}, expected {wanted}", path.join(".")))
}

fn finalizer_warnings(finalizer: &str) -> Vec<String> {
    let warn = |message: &str| format!("metadata.finalizers: {finalizer:?}: {message}");
    let mut warnings = names::qualified_name(finalizer).iter().map(|message| warn(message)).collect::<Vec<_>>();
    if !finalizer.contains('/') && ![FINALIZER_ORPHAN, FINALIZER_FOREGROUND, "kubernetes"].contains(&finalizer) {
        warnings.push(warn(if finalizer.contains('.') {
            "prefer a domain-qualified finalizer name including a path (/) to avoid accidental conflicts with other finalizer writers"
        } else {
            "prefer a domain-qualified finalizer name to avoid accidental conflicts with other finalizer writers"
        }));
    }
    warnings
}

#[cfg(test)]
mod tests {
    use skiff_apimachinery::value;

    use super::*;

    #[test]
    fn finalizers_without_a_path_are_warned_about() {
        let strategy = CustomStrategy { schema: None, rules: Rules::default(), scale: None, selectable: Vec::new() };
        let object = value!({"metadata": {"finalizers": ["orphan", "a.b/c", "a.b", "x"]}});
        let warnings = strategy.warnings(&object, None);
        assert_eq!(warnings.len(), 2, "{warnings:?}");
        assert!(
            warnings[0].starts_with("metadata.finalizers: \"a.b\": prefer a domain-qualified finalizer name including")
        );
        assert_eq!(strategy.warnings(&object, Some(&object)), Vec::<String>::new());
    }

    #[test]
    fn replicas_must_be_numbers() {
        let path = |parts: &[&str]| parts.iter().map(|p| (*p).to_owned()).collect::<Vec<_>>();
        let scale = ScalePaths {
            replicas_of_versions: Vec::new(),
            replicas: path(&["spec", "n"]),
            status_replicas: path(&["status", "n"]),
            selector: None,
        };
        let strategy =
            CustomStrategy { schema: None, rules: Rules::default(), scale: Some(scale), selectable: Vec::new() };
        let errors = strategy.check_scale(&value!({"spec": {"n": (-1)}, "status": {"n": "x"}}), true);
        let texts = errors.iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(
            texts,
            [
                ".spec.n: Invalid value: -1: should be a non-negative integer",
                ".status.n: Invalid value: 0: .status.n accessor error: x is of the type string, expected int64",
            ]
        );
    }
}
