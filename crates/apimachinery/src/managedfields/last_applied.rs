//! kubectl's annotation of what it applied last, which eases the move from client-side to server-side apply.
//!
//! The manager `kubectl` may take, without force, fields that are as its own client-side apply left them; and as long
//! as the annotation is there, its applies keep it up to date, so that one can go back.

use super::ManagerInfo;
use super::compare::{compare, fields_of};
use super::conflict::Conflict;
use super::path::write_scalar;
use super::set::Set;
use super::shape::validate;
use crate::schema::SchemaRef;
use crate::value::Value;

const KUBECTL: &str = "kubectl";
const ANNOTATION: [&str; 3] = ["metadata", "annotations", "kubectl.kubernetes.io/last-applied-configuration"];

/// Most bytes that all annotations of an object may have; an update that does not fit is left out.
const MAX_ANNOTATION_BYTES: usize = 256 * 1024;

/// The conflicts that remain after those that a client-side apply explains.
///
/// As upstream has it, this is all or nothing: with one conflict unexplained, those that are explained still are, but
/// the apply fails.
pub(super) fn not_allowed(
    conflicts: Vec<Conflict>,
    live: &Value,
    schema: SchemaRef<'_>,
    manager: &ManagerInfo<'_>,
) -> Vec<Conflict> {
    if manager.name != KUBECTL {
        return conflicts;
    }
    match allowed(live, schema, manager) {
        Some(allowed) => conflicts.into_iter().filter(|conflict| !allowed.contains(&conflict.path)).collect(),
        None => conflicts,
    }
}

/// The fields that are as the annotation says.
fn allowed(live: &Value, schema: SchemaRef<'_>, manager: &ManagerInfo<'_>) -> Option<Set> {
    let text = live.str_at(&ANNOTATION).filter(|text| !text.is_empty())?;
    let last = crate::json::parse(text.as_bytes()).ok()?;
    if last.str_at(&["apiVersion"]) != Some(manager.api_version) {
        return None;
    }
    validate(schema, &last, false).ok()?;
    let comparison = compare(schema, &last, live).ok()?;
    let fields = fields_of(schema, &last).ok()?;
    Some(fields.difference(&comparison.modified).difference(&comparison.added).difference(&comparison.removed))
}

/// Writes what was applied into the annotation, if there is one.
pub(super) fn synchronize(object: &mut Value, applied: &Value, manager: &ManagerInfo<'_>) {
    if manager.name != KUBECTL || object.str_at(&ANNOTATION).is_none_or(str::is_empty) {
        return;
    }
    let mut applied = applied.clone();
    applied.remove_at(&ANNOTATION);
    if applied.at(&ANNOTATION[..2]).and_then(Value::as_object).is_some_and(|annotations| annotations.is_empty()) {
        applied.remove_at(&ANNOTATION[..2]);
    }
    let mut text = String::new();
    write_scalar(&applied, &mut text);
    // As Go writes JSON: safe inside HTML, and with a line break at the end.
    let text = text.replace('<', "\\u003c").replace('>', "\\u003e").replace('&', "\\u0026") + "\n";
    let annotations = object.object_at_mut(&ANNOTATION[..2]);
    annotations.remove(ANNOTATION[2]);
    let others: usize = annotations.iter().map(|(key, value)| key.len() + value.as_str().map_or(0, str::len)).sum();
    if others + ANNOTATION[2].len() + text.len() <= MAX_ANNOTATION_BYTES {
        annotations.insert(ANNOTATION[2], text);
    }
}
