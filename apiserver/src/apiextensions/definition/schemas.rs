//! What the schema of a custom resource must be: structural, with defaults that fit it.
//!
//! Follows `apis/apiextensions/validation/validation.go` (`ValidateCustomResourceDefinitionOpenAPISchema`),
//! `apiserver/schema/{validation,complete}.go` and `apiserver/schema/defaulting/validation.go`.

use skiff_apimachinery::field::{Error, ErrorList, Path};
use skiff_apimachinery::value::{Object, Value};
use skiff_cel::pattern;

use super::super::schema::{META_FIELDS, Schema};
use super::super::{embedded, prune, validate as values};
use super::rules;

const TYPES: [&str; 6] = ["array", "boolean", "integer", "number", "object", "string"];
const MAP_TYPES: [&str; 2] = ["atomic", "granular"];
const LIST_TYPES: [&str; 3] = ["atomic", "set", "map"];
/// Keywords that Go has fields for at the root, where `status` is written on its own.
const AT_ROOT: [(&str, &str); 22] = [
    ("description", "Description"),
    ("type", "Type"),
    ("format", "Format"),
    ("title", "Title"),
    ("maximum", "Maximum"),
    ("exclusiveMaximum", "ExclusiveMaximum"),
    ("minimum", "Minimum"),
    ("exclusiveMinimum", "ExclusiveMinimum"),
    ("maxLength", "MaxLength"),
    ("minLength", "MinLength"),
    ("pattern", "Pattern"),
    ("maxItems", "MaxItems"),
    ("minItems", "MinItems"),
    ("uniqueItems", "UniqueItems"),
    ("multipleOf", "MultipleOf"),
    ("required", "Required"),
    ("items", "Items"),
    ("properties", "Properties"),
    ("externalDocs", "ExternalDocs"),
    ("example", "Example"),
    ("x-kubernetes-preserve-unknown-fields", "XPreserveUnknownFields"),
    ("x-kubernetes-validations", "XValidations"),
];
/// Keywords that are not supported anywhere.
const UNSUPPORTED: [&str; 6] = ["id", "additionalItems", "patternProperties", "definitions", "dependencies", "$ref"];
/// Keywords of structure, which alternatives cannot have, with how Go says so.
const STRUCTURE: [(&str, &str); 11] = [
    ("type", "must be empty to be structural"),
    ("additionalProperties", "must be undefined to be structural"),
    ("default", "must be undefined to be structural"),
    ("title", "must be empty to be structural"),
    ("description", "must be empty to be structural"),
    ("nullable", "must be false to be structural"),
    ("x-kubernetes-preserve-unknown-fields", "must be false to be structural"),
    ("x-kubernetes-embedded-resource", "must be false to be structural"),
    ("x-kubernetes-int-or-string", "must be false to be structural"),
    ("x-kubernetes-list-map-keys", "must be empty to be structural"),
    ("x-kubernetes-list-type", "must be undefined to be structural"),
];

/// Checks the schema of a version; `unchanged` says that it is what it was.
pub(super) fn validate(schema: &Value, status: bool, unchanged: bool, path: &Path, errors: &mut ErrorList) {
    let before = errors.len();
    if status {
        check_root(schema, path, errors);
    }
    if flag(schema, "nullable") {
        errors.push(Error::forbidden(&path.child("nullable"), "nullable cannot be true at the root"));
    }
    let mut structural = ErrorList::new();
    let supported = is_supported(schema);
    if supported {
        invariants(schema, Level::Root, path, &mut structural);
        complete(schema, schema, path, path, &mut structural);
        structural.sort_by_key(ToString::to_string);
    }
    if supported && structural.is_empty() {
        check_defaults(schema, &Schema::parse(schema), path, errors, false);
    }
    errors.extend(structural);
    let sound = errors.len() == before;
    keywords(schema, &Place { path: path.clone(), root: true, ..Place::default() }, errors);
    if sound && errors.len() == before {
        rules::validate(schema, unchanged, path, errors);
    }
}

fn flag(schema: &Value, keyword: &str) -> bool {
    schema.bool_at(&[keyword]).unwrap_or(false)
}

fn text<'a>(schema: &'a Value, keyword: &str) -> &'a str {
    schema.str_at(&[keyword]).unwrap_or("")
}

fn properties(schema: &Value) -> impl Iterator<Item = (&str, &Value)> {
    schema.get("properties").and_then(Value::as_object).into_iter().flat_map(Object::iter)
}

/// `additionalProperties`, if it is a schema.
fn additional(schema: &Value) -> Option<&Value> {
    schema.get("additionalProperties").filter(|additional| additional.as_object().is_some())
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(on) => !on,
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(members) => members.is_empty(),
        _ => false,
    }
}

/// Whether a schema has only keywords that structure can be told by.
fn is_supported(schema: &Value) -> bool {
    let is_list = schema.get("items").is_some_and(|items| items.as_array().is_some());
    let nested = ["items", "additionalProperties", "not"].into_iter().filter_map(|keyword| schema.get(keyword));
    let parts = ["allOf", "anyOf", "oneOf"].into_iter().flat_map(|keyword| schema.array_at(&[keyword]));
    !is_list
        && UNSUPPORTED.iter().all(|keyword| schema.get(keyword).is_none_or(is_empty))
        && nested.chain(parts).chain(properties(schema).map(|(_, property)| property)).all(is_supported)
}

fn check_root(schema: &Value, path: &Path, errors: &mut ErrorList) {
    let ty = text(schema, "type");
    if !ty.is_empty() && ty != "object" {
        let why =
            r#"only "object" is allowed as the type at the root of the schema if the status subresource is enabled"#;
        errors.push(Error::invalid(&path.child("type"), ty, why));
        return;
    }
    let keywords = schema.as_object().into_iter().flat_map(Object::iter);
    let mut set = keywords.filter(|(_, value)| !is_empty(value));
    if set.any(|(keyword, _)| !AT_ROOT.iter().any(|(allowed, _)| *allowed == keyword)) {
        let names = AT_ROOT.iter().map(|(_, name)| *name).collect::<Vec<_>>().join(" ");
        let why =
            format!("only [{names}] fields are allowed at the root of the schema if the status subresource is enabled");
        errors.push(Error::invalid(path, schema.clone(), why));
    }
}

#[derive(Clone, Copy, PartialEq)]
enum Level {
    Root,
    Item,
    Field,
}

/// Structure is stated once, at every place (`validateStructuralInvariants`).
fn invariants(schema: &Value, level: Level, path: &Path, errors: &mut ErrorList) {
    let ty = text(schema, "type");
    match schema.get("items") {
        Some(items) if items.as_object().is_some() => invariants(items, Level::Item, &path.child("items"), errors),
        None if ty == "array" => errors.push(Error::required(&path.child("items"), "must be specified")),
        _ => {}
    }
    for (key, property) in properties(schema) {
        invariants(property, Level::Field, &path.child("properties").key(key), errors);
    }
    if schema.get("additionalProperties").is_some() && level == Level::Root {
        errors.push(Error::forbidden(&path.child("additionalProperties"), "must not be used at the root"));
    }
    if let Some(additional) = additional(schema) {
        invariants(additional, Level::Field, &path.child("additionalProperties"), errors);
    }
    let (int_or_string, open) =
        (flag(schema, "x-kubernetes-int-or-string"), flag(schema, "x-kubernetes-preserve-unknown-fields"));
    let is_resource = flag(schema, "x-kubernetes-embedded-resource");
    let not_with = |keyword: &str, errors: &mut ErrorList| {
        let why = "must be false if x-kubernetes-int-or-string is true";
        errors.push(Error::invalid(&path.child(keyword), true, why));
    };
    if int_or_string && open {
        not_with("x-kubernetes-preserve-unknown-fields", errors);
    }
    if int_or_string && is_resource {
        not_with("x-kubernetes-embedded-resource", errors);
    }
    alternatives(schema, path, int_or_string, errors);
    check_type(ty, level, is_resource, int_or_string || open, path, errors);
    if is_resource && schema.get("additionalProperties").is_some() {
        let why = "must not be used if x-kubernetes-embedded-resource is set";
        errors.push(Error::forbidden(&path.child("additionalProperties"), why));
    }
    check_meta(schema, level, is_resource, path, errors);
    if is_resource && !open && properties(schema).next().is_none() {
        let why =
            "must not be empty if x-kubernetes-embedded-resource is true without x-kubernetes-preserve-unknown-fields";
        errors.push(Error::required(&path.child("properties"), why));
    }
}

fn check_type(ty: &str, level: Level, is_resource: bool, open: bool, path: &Path, errors: &mut ErrorList) {
    let path = path.child("type");
    if is_resource && ty != "object" {
        let why = "must be object if x-kubernetes-embedded-resource is true";
        errors.push(if ty.is_empty() { Error::required(&path, why) } else { Error::invalid(&path, ty, why) });
    } else if ty.is_empty() && !open {
        errors.push(Error::required(
            &path,
            match level {
                Level::Root => "must not be empty at the root",
                Level::Item => "must not be empty for specified array items",
                Level::Field => "must not be empty for specified object fields",
            },
        ));
    }
    if level == Level::Root && !ty.is_empty() && ty != "object" {
        errors.push(Error::invalid(&path, ty, "must be object at the root"));
    }
}

/// Type and metadata of objects are what they are.
fn check_meta(schema: &Value, level: Level, is_resource: bool, path: &Path, errors: &mut ErrorList) {
    let of_object = level == Level::Root || is_resource;
    for field in ["kind", "apiVersion"] {
        if let Some(property) = schema.at(&["properties", field]).filter(|_| of_object)
            && text(property, "type") != "string"
        {
            let place = path.child("properties").key(field).child("type");
            errors.push(Error::invalid(&place, text(property, "type"), "must be string"));
        }
    }
    let Some(metadata) = schema.at(&["properties", "metadata"]) else { return };
    let place = path.child("properties").key("metadata");
    if of_object && text(metadata, "type") != "object" {
        errors.push(Error::invalid(&place.child("type"), text(metadata, "type"), "must be object"));
    }
    if level != Level::Root {
        return;
    }
    let only_names = properties(metadata).all(|(key, _)| matches!(key, "name" | "generateName"));
    let known = |keyword: &str| matches!(keyword, "type" | "default") || (keyword == "properties" && only_names);
    let mut keywords = metadata.as_object().into_iter().flat_map(Object::iter);
    if keywords.any(|(keyword, value)| !known(keyword) && !is_empty(value)) {
        let why = "must not specify anything other than name and generateName, but metadata is implicitly specified";
        errors.push(Error::forbidden(&place, why));
    }
}

/// Whether alternatives are those that `x-kubernetes-int-or-string` may repeat.
fn is_int_or_string(schema: &Value) -> bool {
    let types =
        schema.array_at(&["anyOf"]).iter().map(|one| (one.as_object().map_or(0, Object::len), text(one, "type")));
    types.eq([(1, "integer"), (1, "string")])
}

/// Alternatives, and patterns.
fn alternatives(schema: &Value, path: &Path, int_or_string: bool, errors: &mut ErrorList) {
    for keyword in ["anyOf", "allOf", "oneOf"] {
        for (index, part) in schema.array_at(&[keyword]).iter().enumerate() {
            let may_repeat = match keyword {
                "anyOf" => is_int_or_string(schema),
                _ => false,
            };
            if !may_repeat {
                let skip = keyword == "allOf" && index == 0 && is_int_or_string(part) && int_or_string;
                nested(part, skip, &path.child(keyword).index(index), errors);
            }
        }
    }
    if let Some(not) = schema.get("not") {
        nested(not, false, &path.child("not"), errors);
    }
    let expression = text(schema, "pattern");
    if let Some(error) = pattern::compile(expression).err().filter(|_| !expression.is_empty()) {
        let why = format!("must be a valid regular expression, but isn't: {error}");
        errors.push(Error::invalid(&path.child("pattern"), expression, why));
    }
}

fn nested(schema: &Value, skip_any_of: bool, path: &Path, errors: &mut ErrorList) {
    if skip_any_of {
        let mut rest = schema.clone();
        rest.remove_at(&["anyOf"]);
        alternatives(&rest, path, false, errors);
    } else {
        alternatives(schema, path, false, errors);
    }
    if let Some(items) = schema.get("items") {
        nested(items, false, &path.child("items"), errors);
    }
    for (key, property) in properties(schema) {
        nested(property, false, &path.child("properties").key(key), errors);
    }
    for (keyword, why) in STRUCTURE {
        if schema.get(keyword).is_some_and(|value| !is_empty(value) || keyword == "additionalProperties") {
            errors.push(Error::forbidden(&path.child(keyword), why));
        }
    }
    if schema.get("x-kubernetes-map-type").is_some() {
        errors.push(Error::forbidden(&path.child("x-kubernetes-map-type"), "must be undefined to be structural"));
    }
    if !schema.array_at(&["x-kubernetes-validations"]).is_empty() && !path.to_string().contains(".allOf[") {
        errors.push(Error::forbidden(&path.child("x-kubernetes-validations"), "must be empty to be structural"));
    }
    if schema.at(&["properties", "metadata"]).is_some() {
        let place = path.child("properties").key("metadata");
        errors.push(Error::forbidden(&place, "must not be specified in a nested context"));
    }
}

/// What alternatives speak of has its place in the structure (`validateStructuralCompleteness`).
fn complete(part: &Value, schema: &Value, place: &Path, of: &Path, errors: &mut ErrorList) {
    for keyword in ["allOf", "anyOf", "oneOf"] {
        for (index, part) in part.array_at(&[keyword]).iter().enumerate() {
            complete_nested(part, Some(schema), place, &of.child(keyword).index(index), errors);
        }
    }
    if let Some(not) = part.get("not") {
        complete_nested(not, Some(schema), place, &of.child("not"), errors);
    }
}

fn complete_nested(part: &Value, schema: Option<&Value>, place: &Path, of: &Path, errors: &mut ErrorList) {
    let Some(schema) = schema else {
        errors.push(Error::required(place, format!("because it is defined in {of}")));
        return;
    };
    complete(part, schema, place, of, errors);
    if let Some(items) = part.get("items") {
        complete_nested(items, schema.get("items"), &place.child("items"), &of.child("items"), errors);
    }
    for (key, property) in properties(part) {
        let (place, of) = (place.child("properties").key(key), of.child("properties").key(key));
        complete_nested(property, schema.at(&["properties", key]), &place, &of, errors);
    }
}

/// Defaults fit the schema they are in.
fn check_defaults(document: &Value, schema: &Schema, path: &Path, errors: &mut ErrorList, in_meta: bool) {
    if let Some(default) = schema.default.as_ref().filter(|_| !in_meta) {
        let place = path.child("default");
        let mut pruned = Value::Object([("d", default.clone())].into_iter().collect::<Object>());
        let within = Schema { properties: [("d".into(), schema.clone())].into_iter().collect(), ..Schema::default() };
        prune::prune(&mut pruned, &within);
        if pruned.get("d") != Some(default) {
            errors.push(Error::invalid(&place, default.clone(), "must not have unknown fields"));
        }
        let wrapped = Value::Object([("d", default.clone())].into_iter().collect::<Object>());
        let found = embedded::validate(&wrapped, &within);
        if found.is_empty() {
            errors.extend(values::validate(default, None, schema, &place));
        } else {
            let at = |field: &str| format!("{place}{}", field.strip_prefix('d').unwrap_or(field));
            errors.extend(found.into_iter().map(|error| Error { field: at(&error.field), ..error }));
        }
    }
    if let (Some(document), Some(items)) = (document.get("items"), &schema.items) {
        check_defaults(document, items, &path.child("items"), errors, in_meta);
    }
    for (key, property) in &schema.properties {
        let Some(document) = document.at(&["properties", key]) else { continue };
        let in_meta = in_meta || (schema.embedded && META_FIELDS.contains(&key.as_str()));
        check_defaults(document, property, &path.child("properties").key(key), errors, in_meta);
    }
}

/// Where a schema is, for what may be said there.
#[derive(Clone, Default)]
struct Place {
    path: Path,
    root: bool,
    in_meta: bool,
    /// Why no default may be set here.
    no_default: Option<String>,
}

impl Place {
    fn at(&self, path: Path) -> Self {
        Self { path, root: false, ..self.clone() }
    }
}

/// Keywords with their values (`ValidateCustomResourceDefinitionOpenAPISchema`).
fn keywords(schema: &Value, place: &Place, errors: &mut ErrorList) {
    let path = &place.path;
    let ty = text(schema, "type");
    if !ty.is_empty() && !TYPES.contains(&ty) {
        errors.push(Error::not_supported(&path.child("type"), ty, &TYPES));
    }
    if let Some(why) = place.no_default.as_ref().filter(|_| schema.get("default").is_some_and(|d| !d.is_null())) {
        errors.push(Error::forbidden(&path.child("default"), format!("must not be set {why}")));
    }
    for keyword in UNSUPPORTED {
        if schema.get(keyword).is_some_and(|value| !is_empty(value) || keyword == "additionalItems") {
            errors.push(Error::forbidden(&path.child(keyword), format!("{keyword} is not supported")));
        }
    }
    if ty == "null" {
        let why = "type cannot be set to null, use nullable as an alternative";
        errors.push(Error::forbidden(&path.child("type"), why));
    }
    if schema.get("items").is_some_and(|items| items.as_array().is_some()) {
        errors.push(Error::forbidden(&path.child("items"), "items must be a schema object and not an array"));
    }
    if place.in_meta && flag(schema, "x-kubernetes-embedded-resource") {
        let why = "must not be used inside of resource meta";
        errors.push(Error::forbidden(&path.child("x-kubernetes-embedded-resource"), why));
    }
    if flag(schema, "uniqueItems") {
        let why = "uniqueItems cannot be set to true since the runtime complexity becomes quadratic";
        errors.push(Error::forbidden(&path.child("uniqueItems"), why));
    }
    if let Some(additional) = schema.get("additionalProperties")
        && properties(schema).next().is_some()
        && additional.as_bool() != Some(true)
    {
        let why = "additionalProperties and properties are mutual exclusive";
        errors.push(Error::forbidden(&path.child("additionalProperties"), why));
    }
    if schema.bool_at(&["x-kubernetes-preserve-unknown-fields"]) == Some(false) {
        let place = path.child("x-kubernetes-preserve-unknown-fields");
        errors.push(Error::invalid(&place, false, "must be true or undefined"));
    }
    below(schema, place, errors);
    map_type(schema, path, errors);
    list_type(schema, path, errors);
    rules::check_text(schema, path, errors);
}

fn below(schema: &Value, place: &Place, errors: &mut ErrorList) {
    let path = &place.path;
    if let Some(additional) = additional(schema) {
        let mut below = place.at(path.child("additionalProperties"));
        if place.in_meta {
            below.no_default = Some("inside additionalProperties applying to object metadata".to_owned());
        }
        keywords(additional, &below, errors);
    }
    for (key, property) in properties(schema) {
        let mut below = place.at(path.child("properties").key(key));
        if (place.root || flag(schema, "x-kubernetes-embedded-resource")) && META_FIELDS.contains(&key) {
            below.in_meta = true;
            if place.root {
                below.no_default = Some(format!("in top-level {key}"));
            }
        }
        keywords(property, &below, errors);
    }
    if let Some(not) = schema.get("not") {
        keywords(not, &place.at(path.child("not")), errors);
    }
    for keyword in ["allOf", "oneOf", "anyOf"] {
        for (index, part) in schema.array_at(&[keyword]).iter().enumerate() {
            keywords(part, &place.at(path.child(keyword).index(index)), errors);
        }
    }
    if let Some(items) = schema.get("items").filter(|items| items.as_object().is_some()) {
        keywords(items, &place.at(path.child("items")), errors);
    }
}

/// Reports a type that is not the one a keyword is for.
fn wrong_type(schema: &Value, wanted: &str, keyword: &str, path: &Path, errors: &mut ErrorList) -> bool {
    let ty = text(schema, "type");
    if ty == wanted {
        return false;
    }
    let why = format!("must be {wanted} if {keyword} is specified");
    let path = path.child("type");
    errors.push(if ty.is_empty() { Error::required(&path, why) } else { Error::invalid(&path, ty, why) });
    true
}

fn map_type(schema: &Value, path: &Path, errors: &mut ErrorList) {
    const KEYWORD: &str = "x-kubernetes-map-type";
    let Some(map_type) = schema.str_at(&[KEYWORD]) else { return };
    wrong_type(schema, "object", KEYWORD, path, errors);
    if !MAP_TYPES.contains(&map_type) {
        errors.push(Error::not_supported(&path.child(KEYWORD), map_type, &MAP_TYPES));
    }
}

fn list_type(schema: &Value, path: &Path, errors: &mut ErrorList) {
    const KEYWORD: &str = "x-kubernetes-list-type";
    const KEYS: &str = "x-kubernetes-list-map-keys";
    let list_type = schema.str_at(&[KEYWORD]);
    let items = schema.get("items").filter(|items| items.as_object().is_some());
    let keys = schema.array_at(&[KEYS]);
    if list_type.is_some() && !wrong_type(schema, "array", KEYWORD, path, errors) && list_type == Some("set") {
        set_items(items, path, errors);
    }
    if let Some(other) = list_type.filter(|list_type| !LIST_TYPES.contains(list_type)) {
        errors.push(Error::not_supported(&path.child(KEYWORD), other, &LIST_TYPES));
    }
    let why = "must be map if x-kubernetes-list-map-keys is non-empty";
    match list_type {
        None if !keys.is_empty() => errors.push(Error::required(&path.child(KEYWORD), why)),
        Some(other) if !keys.is_empty() && other != "map" => {
            errors.push(Error::invalid(&path.child(KEYWORD), other, why));
        }
        _ => {}
    }
    if list_type == Some("map") {
        if keys.is_empty() {
            errors.push(Error::required(&path.child(KEYS), "must not be empty if x-kubernetes-list-type is map"));
        }
        match items {
            None => {
                let why = "must have a schema if x-kubernetes-list-type is map";
                errors.push(Error::required(&path.child("items"), why));
            }
            Some(items) => map_keys(schema, items, path, errors),
        }
    }
    if let (Some(list_type @ ("set" | "map")), Some(items)) = (list_type, items)
        && flag(items, "nullable")
    {
        let why = format!("cannot be nullable when x-kubernetes-list-type is {list_type}");
        errors.push(Error::forbidden(&path.child("items").child("nullable"), why));
    }
}

fn set_items(items: Option<&Value>, path: &Path, errors: &mut ErrorList) {
    let Some(items) = items else { return };
    const WHY: &str = "must be atomic as item of a list with x-kubernetes-list-type=set";
    let shown = items.get("x-kubernetes-list-type").cloned().unwrap_or_default();
    match text(items, "type") {
        "array" if items.str_at(&["x-kubernetes-list-type"]).is_some_and(|kind| kind != "atomic") => {
            errors.push(Error::invalid(&path.child("items").child("x-kubernetes-list-type"), shown, WHY));
        }
        "object" if items.str_at(&["x-kubernetes-map-type"]) != Some("atomic") => {
            errors.push(Error::invalid(&path.child("items").child("x-kubernetes-map-type"), shown, WHY));
        }
        _ => {}
    }
}

fn map_keys(schema: &Value, items: &Value, path: &Path, errors: &mut ErrorList) {
    const KEYS: &str = "x-kubernetes-list-map-keys";
    if text(items, "type") != "object" {
        let why = "must be object if parent array's x-kubernetes-list-type is map";
        errors.push(Error::invalid(&path.child("items").child("type"), text(items, "type"), why));
        return;
    }
    let keys = schema.array_at(&[KEYS]);
    let all = || schema.get(KEYS).cloned().unwrap_or_default();
    for (index, key) in keys.iter().filter_map(Value::as_str).enumerate() {
        let place = path.child("items").child("properties").key(key);
        match items.at(&["properties", key]) {
            None => {
                errors.push(Error::invalid(&path.child(KEYS), all(), "entries must all be names of item properties"))
            }
            Some(property) => {
                if matches!(text(property, "type"), "array" | "object") {
                    let why = "must be a scalar type if parent array's x-kubernetes-list-type is map";
                    errors.push(Error::invalid(&place.child("type"), text(items, "type"), why));
                }
                let is_required = items.array_at(&["required"]).iter().any(|name| name.as_str() == Some(key));
                if !is_required && property.get("default").is_none_or(Value::is_null) {
                    let why = "this property is in x-kubernetes-list-map-keys, so it must have a default or be a required property";
                    errors.push(Error::required(&place.child("default"), why));
                }
                if flag(property, "nullable") {
                    let why = "this property is in x-kubernetes-list-map-keys, so it cannot be nullable";
                    errors.push(Error::forbidden(&place.child("nullable"), why));
                }
            }
        }
        if keys[..index].iter().any(|other| other.as_str() == Some(key)) {
            errors.push(Error::invalid(&path.child(KEYS), all(), "must not contain duplicate entries"));
        }
    }
}

/// The schema that a path such as `.spec.a['b']` leads to, with the names on the way (`ValidFieldPath`).
pub(super) fn follow<'a>(schema: &'a Value, path: &str, brackets: bool) -> Result<(&'a Value, Vec<String>), String> {
    let (mut schema, mut names, mut rest) = (schema, Vec::new(), path);
    while let Some(first) = rest.chars().next() {
        let end = |text: &str| text.find(['.', '[', ']']).unwrap_or(text.len());
        let name = match first {
            '.' => {
                let end = end(&rest[1..]) + 1;
                let name = rest[1..end].to_owned();
                rest = &rest[end..];
                if name.is_empty() {
                    return Err(match rest.chars().next() {
                        None => "unexpected end of JSON path".to_owned(),
                        Some(other) => format!("expected [ or . but got: {other}"),
                    });
                }
                name
            }
            '[' if !brackets => return Err("array notation is not allowed".to_owned()),
            '[' => {
                let Some(quoted) = rest.strip_prefix("['") else {
                    return Err(format!("expected single quoted string but got {}", &rest[1..1 + end(&rest[1..])]));
                };
                let Some((name, after)) = quoted.split_once("']") else {
                    return Err("unexpected end of JSON path".to_owned());
                };
                rest = after;
                name.replace("\\'", "'")
            }
            _ => return Err(format!("expected [ or . but got: {}", &rest[..end(rest)])),
        };
        let named = schema.at(&["properties", &name]);
        let within =
            named.or_else(|| additional(schema).filter(|_| first == '[' && schema.get("properties").is_none()));
        schema = within.ok_or_else(|| "does not refer to a valid field".to_owned())?;
        names.push(name);
    }
    Ok((schema, names))
}

#[cfg(test)]
mod tests {
    use skiff_apimachinery::value;

    use super::*;

    fn texts(schema: Value) -> Vec<String> {
        let mut errors = ErrorList::new();
        validate(&schema, false, false, &Path::new("s"), &mut errors);
        errors.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn structure_is_complete_and_stated_once() {
        let a = |schema: Value| value!({"type": "object", "properties": {"a": schema}});
        for (schema, want) in [
            (value!({"type": "string"}), &[][..]),
            (value!({}), &["s.properties[a].type: Required value: must not be empty for specified object fields"]),
            (value!({"type": "array"}), &["s.properties[a].items: Required value: must be specified"]),
            (
                value!({"type": "object", "anyOf": [{"type": "object", "properties": {"y": {"minLength": 1}}}]}),
                &["s.properties[a].anyOf[0].type: Forbidden: must be empty to be structural"],
            ),
            (value!({"x-kubernetes-int-or-string": true, "anyOf": [{"type": "integer"}, {"type": "string"}]}), &[]),
        ] {
            assert_eq!(texts(a(schema)), want);
        }
        let incomplete = value!({"type": "object", "anyOf": [{"properties": {"y": {"minLength": 1}}}]});
        assert_eq!(
            texts(incomplete),
            ["s.properties[y]: Required value: because it is defined in s.anyOf[0].properties[y]"]
        );
    }

    #[test]
    fn defaults_fit() {
        let a = |schema: Value| value!({"type": "object", "properties": {"a": schema}});
        assert_eq!(
            texts(a(value!({"type": "string", "default": 5}))),
            [r#"s.properties[a].default: Invalid value: "integer":  in body must be of type string: "integer""#]
        );
        let unpruned = value!({"type": "object", "properties": {"x": {"type": "string"}}, "default": {"y": 1}});
        assert_eq!(
            texts(a(unpruned)),
            [r#"s.properties[a].default: Invalid value: {"y":1}: must not have unknown fields"#]
        );
    }

    #[test]
    fn paths_lead_to_schemas() {
        let schema = value!({"properties": {"spec": {"properties": {"a": {"type": "string"}}, "type": "object"}}});
        assert_eq!(follow(&schema, ".spec.a", false).map(|(s, _)| text(s, "type")), Ok("string"));
        assert_eq!(follow(&schema, ".spec['a']", true).map(|(_, names)| names.len()), Ok(2));
        for (path, why) in [
            (".spec.b", "does not refer to a valid field"),
            ("spec", "expected [ or . but got: spec"),
            (".spec['a']", "array notation is not allowed"),
        ] {
            assert_eq!(follow(&schema, path, false).map(|_| ()), Err(why.to_owned()), "{path}");
        }
    }
}
