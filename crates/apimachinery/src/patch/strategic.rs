//! Strategic merge patch: a merge patch that merges lists by key where the schema says so.
//!
//! A patch may carry directives beside ordinary fields: `$patch: replace|delete` in an object or in an element of a
//! keyed list, `$retainKeys` in an object, and, beside a list field `f`, `$setElementOrder/f` and
//! `$deleteFromPrimitiveList/f`. Follows `k8s.io/apimachinery/pkg/util/strategicpatch` in results and messages.
//!
//! Two answers differ from upstream on purpose: a patch with a malformed directive or an element without its merge key
//! is answered with 400, where upstream reports an internal error; and below maps and untyped data objects are merged,
//! where upstream gives up.

mod order;

use std::collections::{HashMap, HashSet};

use super::{MAX_DEPTH, bad_request, depth, does_not_apply, go_text};
use crate::schema::{FieldDef, PatchStrategy, SchemaRef, Type};
use crate::status::Status;
use crate::value::{Object, Value};
use order::{Key, by_presence, interleave};

const DIRECTIVE: &str = "$patch";
const RETAIN_KEYS: &str = "$retainKeys";
const DELETE_FROM_PRIMITIVE_LIST: &str = "$deleteFromPrimitiveList";
const SET_ELEMENT_ORDER: &str = "$setElementOrder";

/// Applies a strategic merge patch to an object of type `schema`.
///
/// Errors: 400 for a patch that is malformed, 422 for a list of lists, which the format has no meaning for.
pub fn apply(current: Value, patch: &Value, schema: SchemaRef<'_>) -> Result<Value, Status> {
    let Value::Object(patch) = patch else {
        return Err(bad_request("invalid JSON document"));
    };
    if patch.iter().any(|(_, item)| depth(item) >= MAX_DEPTH) {
        return Err(bad_request(format!("patch nests deeper than {MAX_DEPTH} levels")));
    }
    let current = match current {
        Value::Object(object) => object,
        _ => Object::new(),
    };
    merge_objects(current, patch, Some(schema)).map(Value::Object).map_err(Error::into_status)
}

/// Why a patch does not apply.
enum Error {
    ListOfLists,
    RetainKeys,
    PrimitiveList,
    ElementOrder,
    Other(String),
}

impl Error {
    fn into_status(self) -> Status {
        match self {
            Error::ListOfLists => does_not_apply(),
            Error::RetainKeys => bad_request("invalid patch format of retainKeys"),
            Error::PrimitiveList => bad_request("invalid patch format of primitive list"),
            Error::ElementOrder => bad_request("invalid patch format of setElementOrder list"),
            // Upstream has no code for these.
            Error::Other(message) => Status::new(500, "", message),
        }
    }

    fn no_merge_key(object: &Object, key: &str) -> Self {
        Error::Other(format!("map: {} does not contain declared merge key: {key}", go_text::object(object)))
    }

    fn wrong_type(expected: &Value, actual: &Value) -> Self {
        let (expected, actual) = (go_text::type_name(expected), go_text::type_name(actual));
        Error::Other(format!("expected a {expected}, but received a {actual}"))
    }

    fn unknown_directive(directive: &Value, object: &Object) -> Self {
        Error::Other(format!(
            "unknown patch type: {} in map: {}",
            go_text::as_string(directive),
            go_text::object(object)
        ))
    }
}

/// How a field is patched.
#[derive(Clone, Copy)]
struct Rule<'a> {
    strategy: PatchStrategy,
    /// Merge key of a list of objects; empty for none.
    merge_key: &'a str,
    /// Type of the value, and for a list of its elements; `None` below untyped data.
    value: Option<SchemaRef<'a>>,
    item: Option<SchemaRef<'a>>,
}

impl<'a> Rule<'a> {
    fn of(schema: Option<SchemaRef<'a>>, field: &str) -> Self {
        let def: Option<&FieldDef> = schema.and_then(|schema| schema.field_def(field));
        let value = schema.and_then(|schema| schema.member(field));
        let merge_key = match def.map(|def| &def.ty) {
            Some(Type::List(list)) => list.patch_merge_key.as_deref().unwrap_or(""),
            _ => "",
        };
        Self {
            strategy: def.map(|def| def.patch).unwrap_or_default(),
            merge_key,
            value,
            item: value.and_then(|value| value.item()),
        }
    }
}

fn merge_objects(mut original: Object, patch: &Object, schema: Option<SchemaRef<'_>>) -> Result<Object, Error> {
    if let Some(directive) = patch.get(DIRECTIVE) {
        return match directive.as_str() {
            Some("replace") => {
                let mut replacement = patch.clone();
                replacement.remove(DIRECTIVE);
                Ok(replacement)
            }
            Some("delete") => Ok(Object::new()),
            _ => Err(Error::unknown_directive(directive, patch)),
        };
    }
    retain_keys(&mut original, patch)?;
    let ordered = merge_ordered_lists(&mut original, patch, schema)?;
    for (key, change) in patch.iter() {
        if key == RETAIN_KEYS || key.starts_with(SET_ELEMENT_ORDER) || ordered.contains(key) {
            continue;
        }
        if key.starts_with(DELETE_FROM_PRIMITIVE_LIST) {
            let field = field_of(key, DELETE_FROM_PRIMITIVE_LIST).ok_or(Error::PrimitiveList)?;
            delete_from_list(&mut original, field, change, schema)?;
        } else {
            merge_field(&mut original, key, change, schema)?;
        }
    }
    Ok(original)
}

/// The field that a directive of the form `prefix/field` is about.
fn field_of<'a>(key: &'a str, prefix: &str) -> Option<&'a str> {
    key.strip_prefix(prefix)?.strip_prefix('/')
}

fn merge_field(original: &mut Object, key: &str, change: &Value, schema: Option<SchemaRef<'_>>) -> Result<(), Error> {
    let merged = match (original.remove(key), change) {
        (_, Value::Null) => None,
        (Some(Value::Object(current)), Value::Object(change)) => {
            let rule = Rule::of(schema, key);
            Some(Value::Object(match rule.strategy.replace {
                true => change.clone(),
                false => merge_objects(current, change, rule.value)?,
            }))
        }
        (Some(Value::Array(current)), Value::Array(change)) => {
            let rule = Rule::of(schema, key);
            Some(Value::Array(match rule.strategy.merge {
                true => merge_lists(current, change, &rule)?,
                false => change.clone(),
            }))
        }
        (_, change) => without_directives(change),
    };
    if let Some(merged) = merged {
        original.insert(key, merged);
    }
    Ok(())
}

/// What a patch value becomes where there was nothing of its kind: nulls in objects vanish, and so does every object
/// with a `$patch` directive.
fn without_directives(value: &Value) -> Option<Value> {
    match value {
        Value::Object(object) if object.contains_key(DIRECTIVE) => None,
        Value::Object(object) => Some(Value::Object(
            object
                .iter()
                .filter(|(_, item)| !item.is_null())
                .filter_map(|(key, item)| Some((key, without_directives(item)?)))
                .collect(),
        )),
        Value::Array(items) => Some(Value::Array(items.iter().filter_map(without_directives).collect())),
        other => Some(other.clone()),
    }
}

/// `$retainKeys`: drops every member of `original` that is not listed, after checking that the patch sets no others.
fn retain_keys(original: &mut Object, patch: &Object) -> Result<(), Error> {
    let Some(directive) = patch.get(RETAIN_KEYS) else {
        return Ok(());
    };
    let listed = directive.as_array().ok_or(Error::RetainKeys)?;
    let listed: HashSet<&str> = listed.iter().filter_map(Value::as_str).collect();
    for (key, change) in patch.iter() {
        let directive =
            key == RETAIN_KEYS || key.starts_with(DELETE_FROM_PRIMITIVE_LIST) || key.starts_with(SET_ELEMENT_ORDER);
        if !directive && !change.is_null() && !listed.contains(key) {
            return Err(Error::RetainKeys);
        }
    }
    original.retain(|key, _| listed.contains(key));
    Ok(())
}

/// `$deleteFromPrimitiveList/f`: removes the listed scalars.
fn delete_from_list(
    original: &mut Object,
    field: &str,
    doomed: &Value,
    schema: Option<SchemaRef<'_>>,
) -> Result<(), Error> {
    if doomed.is_null() {
        original.remove(field);
        return Ok(());
    }
    let (Some(Value::Array(current)), Value::Array(doomed)) = (original.get_mut(field), doomed) else {
        return Ok(());
    };
    if current.is_empty() && doomed.is_empty() {
        return Ok(());
    }
    if element_kind(&[current, doomed])? == ElementKind::Object {
        let merged = merge_lists(std::mem::take(current), doomed, &Rule::of(schema, field))?;
        *current = merged;
        return Ok(());
    }
    let doomed: HashSet<Key<'_>> = doomed.iter().map(Key::of).collect();
    current.retain(|item| !doomed.contains(&Key::of(item)));
    Ok(())
}

/// Merges every list that comes with a `$setElementOrder/f`, and brings it into that order. Returns their fields.
fn merge_ordered_lists<'p>(
    original: &mut Object,
    patch: &'p Object,
    schema: Option<SchemaRef<'_>>,
) -> Result<HashSet<&'p str>, Error> {
    let mut done = HashSet::new();
    for (key, order) in patch.iter().filter(|(key, _)| key.starts_with(SET_ELEMENT_ORDER)) {
        let Value::Array(order) = order else {
            return Err(Error::wrong_type(&Value::Array(Vec::new()), order));
        };
        let field = field_of(key, SET_ELEMENT_ORDER).ok_or(Error::ElementOrder)?;
        if let Some(def) = schema.and_then(|schema| schema.struct_def())
            && def.field(field).is_none()
            && !def.preserve_unknown
        {
            let name = def.name.rsplit('.').next().unwrap_or("");
            return Err(Error::Other(format!(
                "unable to find api field in struct {name} for the json field {field:?}"
            )));
        }
        let current = list_of(original.get(field))?;
        let change = list_of(patch.get(field))?;
        let rule = Rule::of(schema, field);
        check_order(change.unwrap_or(&[]), order, rule.merge_key)?;
        if current.is_none() && change.is_none() {
            continue;
        }
        let merged = merge_in_order(current.map(<[Value]>::to_vec), change, order, &rule)?;
        original.insert(field, Value::Array(merged));
        if let Some((field, _)) = patch.iter().find(|(name, _)| *name == field) {
            done.insert(field);
        }
    }
    Ok(done)
}

fn list_of(value: Option<&Value>) -> Result<Option<&[Value]>, Error> {
    match value {
        None => Ok(None),
        Some(Value::Array(items)) => Ok(Some(items)),
        Some(other) => Err(Error::wrong_type(&Value::Array(Vec::new()), other)),
    }
}

fn merge_in_order(
    current: Option<Vec<Value>>,
    change: Option<&[Value]>,
    order: &[Value],
    rule: &Rule<'_>,
) -> Result<Vec<Value>, Error> {
    let live = current.clone().unwrap_or_default();
    let kind = element_kind(&[&live, change.unwrap_or(&[])])?;
    let merged = match (current, change) {
        (Some(current), Some(change)) if rule.strategy.merge => merge_lists(current, change, rule)?,
        (None, Some(change)) => change.iter().filter_map(without_directives).collect(),
        (_, Some(change)) => change.to_vec(),
        (current, None) => current.unwrap_or_default(),
    };
    let live = match change {
        Some(change) if rule.strategy.merge && kind == ElementKind::Object => after_deletions(live, change, rule)?,
        _ => live,
    };
    let (patched, live_only) = by_presence(merged, order, rule.merge_key)?;
    interleave(patched, live_only, order, &live, rule.merge_key, kind == ElementKind::Object)
}

/// The live list as it counts for the order: without what the patch deletes, and with the first added elements in the
/// places that this frees. (Upstream deletes and appends within one array, so clients see exactly this order.)
fn after_deletions(live: Vec<Value>, change: &[Value], rule: &Rule<'_>) -> Result<Vec<Value>, Error> {
    let replaces = |item: &Value| item.get(DIRECTIVE).and_then(Value::as_str) == Some("replace");
    if change.iter().any(replaces) {
        return Ok(live);
    }
    let before = live.len();
    let (mut live, others) = apply_element_directives(live, change, rule.merge_key)?;
    let freed = before.saturating_sub(live.len());
    if freed == 0 {
        return Ok(live);
    }
    let known: HashSet<Key<'_>> = live.iter().filter_map(|item| item.get(rule.merge_key)).map(Key::of).collect();
    let added: Vec<Value> = others
        .iter()
        .filter(|item| !item.get(rule.merge_key).is_some_and(|key| known.contains(&Key::of(key))))
        .take(freed)
        .cloned()
        .collect();
    live.extend(added);
    Ok(live)
}

/// The patched elements must come in the order that `$setElementOrder` gives, and all be in it.
fn check_order(change: &[Value], order: &[Value], merge_key: &str) -> Result<(), Error> {
    if change.is_empty() || order.is_empty() {
        return Ok(());
    }
    let mut wanted = order.iter();
    for item in change {
        if let Value::Object(object) = item {
            if object.contains_key(DIRECTIVE) {
                continue;
            }
        } else if !merge_key.is_empty() {
            return Err(Error::wrong_type(&Value::Object(Object::new()), item));
        }
        let key = Key::under(item, merge_key)?;
        let mut found = false;
        for candidate in wanted.by_ref() {
            if Key::under(candidate, merge_key)? == key {
                found = true;
                break;
            }
        }
        if !found {
            return Err(Error::Other(format!(
                "The order in patch list:\n{}\n doesn't match {SET_ELEMENT_ORDER} list:\n{}\n",
                go_text::list(change),
                go_text::list(order)
            )));
        }
    }
    Ok(())
}

#[derive(Clone, Copy, PartialEq)]
enum ElementKind {
    Object,
    Scalar,
}

/// The one kind that all elements share.
fn element_kind(lists: &[&[Value]]) -> Result<ElementKind, Error> {
    let mut elements = lists.iter().flat_map(|list| list.iter());
    let Some(first) = elements.next() else {
        return Err(Error::Other("no elements in any of the given slices".into()));
    };
    if matches!(first, Value::Array(_)) {
        return Err(Error::ListOfLists);
    }
    let discriminant = std::mem::discriminant(first);
    if first.is_null() || elements.any(|item| std::mem::discriminant(item) != discriminant) {
        let lists: Vec<String> = lists.iter().map(|list| go_text::list(*list)).collect();
        return Err(Error::Other(format!("list element types are not identical: [{}]", lists.join(" "))));
    }
    Ok(if matches!(first, Value::Object(_)) { ElementKind::Object } else { ElementKind::Scalar })
}

/// Merges two lists: scalars as a set, objects by key.
fn merge_lists(original: Vec<Value>, change: &[Value], rule: &Rule<'_>) -> Result<Vec<Value>, Error> {
    if original.is_empty() && change.is_empty() {
        return Ok(original);
    }
    if element_kind(&[&original, change])? == ElementKind::Scalar {
        let mut merged = original.clone();
        merged.extend_from_slice(change);
        let mut seen = HashSet::new();
        let first: Vec<bool> = merged.iter().map(|item| seen.insert(Key::of(item))).collect();
        drop(seen);
        let mut first = first.into_iter();
        merged.retain(|_| first.next().unwrap_or(false));
        let (patched, live_only) = by_presence(merged, change, "")?;
        return interleave(patched, live_only, change, &original, "", false);
    }
    if rule.merge_key.is_empty() {
        return Err(Error::Other("cannot merge lists without merge key for struct".into()));
    }
    let (original, change) = apply_element_directives(original, change, rule.merge_key)?;
    let live = original.clone();
    let merged = merge_elements(original, &change, rule)?;
    let (patched, live_only) = by_presence(merged, &change, rule.merge_key)?;
    interleave(patched, live_only, &change, &live, rule.merge_key, true)
}

/// Applies the elements that carry `$patch`; returns what the others are merged into, and the others.
fn apply_element_directives(
    mut original: Vec<Value>,
    change: &[Value],
    merge_key: &str,
) -> Result<(Vec<Value>, Vec<Value>), Error> {
    let mut others = Vec::with_capacity(change.len());
    let mut doomed = HashSet::new();
    let mut replace = false;
    for item in change {
        let Value::Object(object) = item else {
            continue;
        };
        let Some(directive) = object.get(DIRECTIVE) else {
            others.push(item.clone());
            continue;
        };
        match directive.as_str() {
            Some("delete") => drop(doomed.insert(Key::under(item, merge_key)?)),
            Some("replace") => replace = true,
            Some("merge") => {
                return Err(Error::Other("merging lists cannot yet be specified in the patch".into()));
            }
            _ => return Err(Error::unknown_directive(directive, object)),
        }
    }
    if replace {
        return Ok((others, Vec::new()));
    }
    if !doomed.is_empty() {
        original.retain(|item| !item.get(merge_key).is_some_and(|key| doomed.contains(&Key::of(key))));
    }
    Ok((original, others))
}

fn merge_elements(mut original: Vec<Value>, change: &[Value], rule: &Rule<'_>) -> Result<Vec<Value>, Error> {
    // Where every element of the patch goes, decided before anything moves: a long list costs no more than its length.
    let mut places = HashMap::with_capacity(original.len());
    for (i, item) in original.iter().enumerate() {
        if let Some(key) = item.get(rule.merge_key) {
            places.entry(Key::of(key)).or_insert(i);
        }
    }
    let mut end = original.len();
    let mut targets = Vec::with_capacity(change.len());
    for item in change {
        let place = *places.entry(Key::under(item, rule.merge_key)?).or_insert(end);
        end = end.max(place + 1);
        targets.push(place);
    }
    drop(places);
    for (item, place) in change.iter().zip(targets) {
        match (original.get_mut(place).map(std::mem::take), item) {
            (Some(Value::Object(current)), Value::Object(change)) => {
                original[place] = Value::Object(merge_objects(current, change, rule.item)?);
            }
            _ => original.push(item.clone()),
        }
    }
    Ok(original)
}

#[cfg(test)]
mod tests;
