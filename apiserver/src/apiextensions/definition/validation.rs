//! What a CustomResourceDefinition must be.
//!
//! Follows `apis/apiextensions/validation/validation.go` in what is checked, in its words and in its paths: what is the
//! same in all versions is reported as if it stood once for all of them (`spec.validation`), as it does upstream.

use skiff_apimachinery::field::{Error, ErrorList, Path};
use skiff_apimachinery::names;
use skiff_apimachinery::value::Value;

use super::super::{approval, conditions};
use super::schemas;
use crate::registry::at::At;
use crate::registry::{internal, webhook_client};

/// Fields that selectors can name in one version.
const MAX_SELECTABLE: usize = 8;
/// Bytes of a deprecation warning.
const MAX_WARNING: usize = 256;
const COLUMN_TYPES: [&str; 5] = ["boolean", "date", "integer", "number", "string"];
const COLUMN_FORMATS: [&str; 8] = ["byte", "date", "date-time", "double", "float", "int32", "int64", "password"];
const REVIEW_VERSIONS: [&str; 2] = ["v1", "v1beta1"];

/// Checks a definition; `old` is what it was, for an update.
pub(super) fn validate(new: &Value, old: Option<&Value>) -> ErrorList {
    let mut errors = ErrorList::new();
    let root = At::root(new);
    check_name(&root, old, &mut errors);
    let spec = root.child("spec");
    check_spec(&spec, old, &mut errors);
    if let Some(old) = old {
        check_immutable(&spec, old, &mut errors);
    }
    let status = root.child("status");
    check_names(&status.child("acceptedNames"), &mut errors);
    check_stored_versions(&status.child("storedVersions"), &spec, &mut errors);
    errors.extend(approval::validate(new, old));
    let preserves = |definition: &Value| definition.bool_at(&["spec", "preserveUnknownFields"]) == Some(true);
    if preserves(new) && !old.is_some_and(preserves) {
        let why =
            "cannot set to true, set x-kubernetes-preserve-unknown-fields to true in spec.versions[*].schema instead";
        spec.child("preserveUnknownFields").invalid(&mut errors, why);
    }
    errors
}

/// Whether the schema of a version is what it was.
fn is_unchanged(version: &Value, old: Option<&Value>) -> bool {
    let versions = old.map(|old| old.array_at(&["spec", "versions"])).unwrap_or_default();
    let before = versions.iter().find(|before| before.get("name") == version.get("name"));
    before.is_some_and(|before| before.get("schema") == version.get("schema"))
}

/// Checks a write to the status.
pub(super) fn validate_status(new: &Value) -> ErrorList {
    let mut errors = ErrorList::new();
    check_names(&At::root(new).child("status").child("acceptedNames"), &mut errors);
    errors
}

fn check_name(root: &At<'_>, old: Option<&Value>, errors: &mut ErrorList) {
    let text = |path: &[&str]| root.value().and_then(|value| value.str_at(path)).unwrap_or("");
    let wanted = format!("{}.{}", text(&["spec", "names", "plural"]), text(&["spec", "group"]));
    if old.is_none() && text(&["metadata", "name"]) != wanted {
        root.child("metadata").child("name").invalid(errors, r#"must be spec.names.plural+"."+spec.group"#);
    }
}

fn check_immutable(spec: &At<'_>, old: &Value, errors: &mut ErrorList) {
    let old_root = At::root(old);
    let old_spec = old_root.child("spec");
    if conditions::is_true(old, "Established") {
        spec.child("scope").immutable(errors, &old_spec.child("scope"));
        spec.child("names").child("kind").immutable(errors, &old_spec.child("names").child("kind"));
    }
    spec.child("group").immutable(errors, &old_spec.child("group"));
    spec.child("names").child("plural").immutable(errors, &old_spec.child("names").child("plural"));
}

fn label(at: &At<'_>, errors: &mut ErrorList) {
    let messages = names::dns1035_label(at.text());
    if !messages.is_empty() {
        at.invalid(errors, messages.join(","));
    }
}

fn check_spec(spec: &At<'_>, old: Option<&Value>, errors: &mut ErrorList) {
    let group = spec.child("group");
    if group.require(errors) {
        let messages = names::dns1123_subdomain(group.text());
        if !messages.is_empty() {
            group.invalid(errors, messages.join(","));
        } else if !group.text().contains('.') {
            group.invalid(errors, "should be a domain with at least one dot");
        }
    }
    spec.child("scope").one_of(errors, &["Cluster", "Namespaced"]);
    let versions = spec.child("versions");
    for version in versions.items() {
        let schema = version.child("schema");
        let schema = schema.child("openAPIV3Schema");
        if !schema.is_set() {
            schema.required(errors, "");
        }
    }
    let shared = Shared::of(&versions);
    for version in versions.items() {
        label(&version.child("name"), errors);
        check_version(&version, &shared, old, errors);
    }
    check_version_list(spec, &versions, &shared, errors);
    let names = spec.child("names");
    for field in ["plural", "singular", "kind", "listKind"] {
        names.child(field).require(errors);
    }
    check_names(&names, errors);
    if let (Some(first), place) = (versions.index(0).value(), Path::new("spec")) {
        let status = has_status(&versions);
        if shared.schema
            && let Some(schema) = first.at(&["schema", "openAPIV3Schema"])
        {
            schemas::validate(
                schema,
                status,
                is_unchanged(first, old),
                &place.child("validation").child("openAPIV3Schema"),
                errors,
            );
        }
        if shared.subresources
            && let Some(subresources) = first.get("subresources")
        {
            check_subresources(subresources, &place.child("subresources"), errors);
        }
        if shared.columns {
            check_columns(
                first.array_at(&["additionalPrinterColumns"]),
                &place.child("additionalPrinterColumns"),
                errors,
            );
        }
        if shared.selectable {
            check_selectable(first, &place.child("selectableFields"), old, errors);
        }
    }
    check_conversion(&spec.child("conversion"), errors);
}

/// What is the same in all versions, and so is checked once.
#[derive(Clone, Copy)]
struct Shared {
    schema: bool,
    subresources: bool,
    columns: bool,
    selectable: bool,
}

impl Shared {
    fn of(versions: &At<'_>) -> Self {
        let same = |key: &str| {
            let first = versions.index(0).value().and_then(|version| version.get(key)).cloned();
            first.is_some() && versions.items().all(|version| version.child(key).value() == first.as_ref())
        };
        Self {
            schema: same("schema"),
            subresources: same("subresources"),
            columns: same("additionalPrinterColumns"),
            selectable: same("selectableFields"),
        }
    }
}

fn has_status(versions: &At<'_>) -> bool {
    versions.items().any(|version| version.child("subresources").child("status").is_set())
}

fn check_version(version: &At<'_>, shared: &Shared, old: Option<&Value>, errors: &mut ErrorList) {
    check_deprecation(version, errors);
    let Some(value) = version.value() else { return };
    if !shared.schema
        && let Some(schema) = value.at(&["schema", "openAPIV3Schema"])
    {
        let status = value.at(&["subresources", "status"]).is_some();
        let path = version.child("schema").child("openAPIV3Schema").path();
        schemas::validate(schema, status, is_unchanged(value, old), &path, errors);
    }
    if !shared.subresources
        && let Some(subresources) = value.get("subresources")
    {
        check_subresources(subresources, &version.child("subresources").path(), errors);
    }
    if !shared.columns {
        let path = version.child("additionalPrinterColumns").path();
        check_columns(value.array_at(&["additionalPrinterColumns"]), &path, errors);
    }
    if !shared.selectable {
        check_selectable(value, &version.child("selectableFields").path(), old, errors);
    }
}

fn check_deprecation(version: &At<'_>, errors: &mut ErrorList) {
    let warning = version.child("deprecationWarning");
    if !warning.is_set() {
        return;
    }
    if !version.child("deprecated").flag() {
        warning.invalid(errors, "can only be set for deprecated versions");
        return;
    }
    if warning.text().len() > MAX_WARNING {
        warning.invalid(errors, "must be <= 256 characters long");
    }
    if warning.text().is_empty() {
        warning.invalid(errors, "must not be an empty string");
    }
    if let Some((at, _)) = warning.text().char_indices().find(|(_, c)| c.is_control()) {
        let why = "must only contain printable UTF-8 characters; non-printable character found at index";
        warning.invalid(errors, format!("{why} {at}"));
    }
}

fn check_version_list(spec: &At<'_>, versions: &At<'_>, shared: &Shared, errors: &mut ErrorList) {
    let mut names = versions.items().map(|version| version.child("name").text().to_owned()).collect::<Vec<_>>();
    let count = names.len();
    names.sort();
    names.dedup();
    let stored = versions.items().filter(|version| version.child("storage").flag()).count();
    let wrong = [
        (names.len() != count, "must contain unique version names"),
        (stored != 1, "must have exactly one version marked as storage version"),
    ];
    for (_, why) in wrong.iter().filter(|(wrong, _)| *wrong) {
        errors.push(Error::invalid(&versions.path(), as_go_shows(versions, shared), *why));
    }
    let first = versions.index(0);
    let first = first.child("name").text();
    if count > 0 {
        let messages = skiff_apimachinery::names::dns1035_label(first);
        if !messages.is_empty() {
            errors.push(Error::invalid(&spec.child("version").path(), first, messages.join(",")));
        }
    }
}

/// Versions as Go's error shows its structs: with all fields, and without what stands once for all.
fn as_go_shows(versions: &At<'_>, shared: &Shared) -> Value {
    if versions.is_empty() {
        return Value::Null;
    }
    let once = [
        ("schema", shared.schema),
        ("subresources", shared.subresources),
        ("additionalPrinterColumns", shared.columns),
        ("selectableFields", shared.selectable),
    ];
    let own = |version: At<'_>| {
        let mut version = version.value().cloned().unwrap_or_default();
        for (field, _) in once.iter().filter(|(_, shared)| *shared) {
            version.remove_at(&[field]);
        }
        version
    };
    let versions = Value::Array(versions.items().map(own).collect());
    internal::shown(Some(&versions), "[CustomResourceDefinitionVersion")
}

fn check_names(names: &At<'_>, errors: &mut ErrorList) {
    for field in ["plural", "singular"] {
        let name = names.child(field);
        if !name.is_empty() {
            label(&name, errors);
        }
    }
    for field in ["kind", "listKind"] {
        let name = names.child(field);
        let messages = skiff_apimachinery::names::dns1035_label(&name.text().to_lowercase());
        if !name.is_empty() && !messages.is_empty() {
            name.invalid(errors, format!("may have mixed case, but should otherwise match: {}", messages.join(",")));
        }
    }
    names.child("shortNames").items().for_each(|name| label(&name, errors));
    let list_kind = names.child("listKind");
    if !list_kind.is_empty() && list_kind.text() == names.child("kind").text() {
        list_kind.invalid(errors, "kind and listKind may not be the same");
    }
    names.child("categories").items().for_each(|name| label(&name, errors));
}

fn check_stored_versions(stored: &At<'_>, spec: &At<'_>, errors: &mut ErrorList) {
    if stored.len() == 0 {
        errors.push(Error::invalid(&stored.path(), Value::Null, "must have at least one stored version"));
        return;
    }
    let versions = spec.child("versions");
    let is_remembered = |name: &str| stored.items().any(|stored| stored.text() == name);
    for version in versions.items().filter(|version| version.child("storage").flag()) {
        let name = version.child("name");
        if !is_remembered(name.text()) {
            stored.invalid(errors, format!("must have the storage version {}", name.text()));
        }
    }
    for name in stored.items() {
        if !versions.items().any(|version| version.child("name").text() == name.text()) {
            let name_text = name.text();
            name.invalid(errors, format!(
                "missing from spec.versions; {name_text} was previously a storage version, and must remain in spec.versions until a storage migration ensures no data remains persisted in {name_text} and removes {name_text} from status.storedVersions"
            ));
        }
    }
}

/// A path that may be used where a simple one is wanted.
fn check_simple_path(path: &str, place: &Path, errors: &mut ErrorList) -> bool {
    let simple = path.starts_with('.');
    if !simple {
        errors.push(Error::invalid(place, path, "must be a simple json path starting with ."));
    }
    simple
}

fn check_subresources(subresources: &Value, place: &Path, errors: &mut ErrorList) {
    let Some(scale) = subresources.get("scale") else { return };
    let place = place.child("scale");
    for (field, under, required, why) in [
        ("specReplicasPath", &[".spec."][..], true, "should be a json path under .spec"),
        ("statusReplicasPath", &[".status."], true, "should be a json path under .status"),
        ("labelSelectorPath", &[".spec.", ".status."], false, "should be a json path under either .spec or .status"),
    ] {
        let place = place.child(field);
        let path = scale.str_at(&[field]).unwrap_or("");
        if path.is_empty() {
            if required {
                errors.push(Error::required(&place, ""));
            }
        } else if check_simple_path(path, &place, errors) && !under.iter().any(|under| path.starts_with(under)) {
            errors.push(Error::invalid(&place, path, why));
        }
    }
}

fn check_columns(columns: &[Value], place: &Path, errors: &mut ErrorList) {
    for (index, column) in columns.iter().enumerate() {
        let place = place.index(index);
        let text = |key: &str| column.str_at(&[key]).unwrap_or("");
        if text("name").is_empty() {
            errors.push(Error::required(&place.child("name"), ""));
        }
        let types = format!("must be one of {}", COLUMN_TYPES.join(","));
        match text("type") {
            "" => errors.push(Error::required(&place.child("type"), types)),
            ty if !COLUMN_TYPES.contains(&ty) => errors.push(Error::invalid(&place.child("type"), ty, types)),
            _ => {}
        }
        let format = text("format");
        if !format.is_empty() && !COLUMN_FORMATS.contains(&format) {
            let why = format!("must be one of {}", COLUMN_FORMATS.join(","));
            errors.push(Error::invalid(&place.child("format"), format, why));
        }
        let place = place.child("JSONPath");
        match text("jsonPath") {
            "" => errors.push(Error::required(&place, "")),
            path => drop(check_simple_path(path, &place, errors)),
        }
    }
}

fn check_selectable(version: &Value, place: &Path, old: Option<&Value>, errors: &mut ErrorList) {
    let fields = version.array_at(&["selectableFields"]);
    if fields.is_empty() {
        return;
    }
    let Some(schema) = version.at(&["schema", "openAPIV3Schema"]) else {
        let why = "may only be set when `version.schema.openAPIV3Schema` is not included";
        errors.push(Error::invalid(place, "", why));
        return;
    };
    let mut unique = Vec::new();
    for (index, field) in fields.iter().enumerate() {
        let place = place.index(index).child("jsonPath");
        let path = field.str_at(&["jsonPath"]).unwrap_or("");
        if path.is_empty() {
            errors.push(Error::required(&place, ""));
            continue;
        }
        let (found, names) = match schemas::follow(schema, path, false) {
            Ok(found) => found,
            Err(why) => {
                errors.push(Error::invalid(&place, path, format!("is an invalid path: {why}")));
                continue;
            }
        };
        if names.first().is_some_and(|first| first == "metadata") {
            errors.push(Error::invalid(&place, path, "must not point to fields in metadata"));
        }
        if !matches!(found.str_at(&["type"]), Some("string" | "boolean" | "integer")) {
            let why = "must point to a field of type string, boolean or integer. Enum string fields and strings with formats are allowed.";
            errors.push(Error::invalid(&place, path, why));
        }
        if unique.contains(&names) {
            errors.push(Error::duplicate(&place, path));
        } else {
            unique.push(names);
        }
    }
    let unchanged = || {
        let versions = old.map(|old| old.array_at(&["spec", "versions"])).unwrap_or_default();
        let before = versions.iter().find(|old| old.get("name") == version.get("name"));
        before.is_some_and(|before| before.get("selectableFields") == version.get("selectableFields"))
    };
    if unique.len() > MAX_SELECTABLE && !unchanged() {
        errors.push(Error::too_many(place, unique.len(), MAX_SELECTABLE));
    }
}

fn check_conversion(conversion: &At<'_>, errors: &mut ErrorList) {
    if !conversion.is_set() {
        return;
    }
    let strategy = conversion.child("strategy");
    strategy.one_of(errors, &["None", "Webhook"]);
    let webhook = conversion.child("webhook");
    let client = webhook.child("clientConfig");
    // The names of Go's internal type.
    let (client_path, versions_path) =
        (conversion.child("webhookClientConfig").path(), conversion.child("conversionReviewVersions").path());
    let versions = webhook.child("conversionReviewVersions");
    if strategy.text() != "Webhook" {
        let why = "should not be set when strategy is not set to Webhook";
        if client.is_set() {
            errors.push(Error::forbidden(&client_path, why));
        }
        if versions.len() > 0 {
            errors.push(Error::forbidden(&versions_path, why));
        }
        return;
    }
    if client.is_set() {
        let place = conversion.child("webhookClientConfig");
        webhook_client::validate(&place.with_value(client.value()), errors);
    } else {
        errors.push(Error::required(&client_path, "required when strategy is set to Webhook"));
    }
    check_review_versions(&versions, &versions_path, errors);
}

fn check_review_versions(versions: &At<'_>, place: &Path, errors: &mut ErrorList) {
    if versions.len() == 0 {
        errors.push(Error::required(place, ""));
        return;
    }
    let all = versions.items().map(|version| version.text().to_owned()).collect::<Vec<_>>();
    for (index, version) in all.iter().enumerate() {
        if all[..index].contains(version) {
            errors.push(Error::invalid(&place.index(index), version.as_str(), "duplicate version"));
            continue;
        }
        for message in names::dns1035_label(version) {
            errors.push(Error::invalid(&place.index(index), version.as_str(), message));
        }
    }
    if !all.iter().any(|version| REVIEW_VERSIONS.contains(&version.as_str())) {
        let why = format!("must include at least one of {}", REVIEW_VERSIONS.join(", "));
        errors.push(Error::invalid(place, versions.value().cloned().unwrap_or_default(), why));
    }
}

#[cfg(test)]
mod tests {
    use skiff_apimachinery::value;

    use super::*;

    fn definition() -> Value {
        value!({
            "metadata": {"name": "foos.x.io"},
            "spec": {
                "group": "x.io", "scope": "Namespaced",
                "names": {"plural": "foos", "singular": "foo", "kind": "Foo", "listKind": "FooList"},
                "conversion": {"strategy": "None"},
                "versions": [{"name": "v1", "served": true, "storage": true,
                    "schema": {"openAPIV3Schema": {"type": "object", "properties": {"a": {"type": "string"}}}}}]
            },
            "status": {"storedVersions": ["v1"]}
        })
    }

    #[test]
    fn a_plain_definition_is_valid_and_its_names_stay() {
        let old = definition();
        assert_eq!(validate(&old, None), []);
        let mut new = old.clone();
        new.set_at(&["spec", "names", "plural"], "bars");
        new.set_at(&["spec", "scope"], "Cluster");
        let errors = validate(&new, Some(&old)).iter().map(ToString::to_string).collect::<Vec<_>>();
        // Nothing is served yet, so the scope may change.
        assert_eq!(errors, ["spec.names.plural: Invalid value: \"bars\": field is immutable"]);
    }
}
