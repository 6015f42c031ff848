//! Server-side apply.

use super::ManagerInfo;
use super::compare::fields_of;
use super::conflict::{self, Conflict};
use super::entries::{Entry, Managed, Operation};
use super::last_applied;
use super::merge::{merge, remove};
use super::set::Set;
use super::shape::validate;
use super::update::{EMPTY, disown, reconcile, same_but_managed_fields, unowned, updated};
use super::versions::Changes;
use crate::schema::{SchemaRef, Type};
use crate::status::Status;
use crate::value::Value;

/// The manager of fields that were there before an object was first applied.
const BEFORE_FIRST_APPLY: &str = "before-first-apply";

/// Applies a configuration to an object (`None`: there is none yet) and returns the object with its managedFields.
///
/// `applied` is what the client sent, before defaults and with unknown fields, which are refused here. The result may
/// have to be defaulted again: fields that the manager gave up are gone. Errors: 400 for a configuration that does not
/// fit the schema, sets managedFields or is of another version; 409 listing the fields that others hold, unless
/// `force` takes them.
pub fn apply(
    live: Option<&Value>,
    mut applied: Value,
    schema: SchemaRef<'_>,
    manager: &ManagerInfo<'_>,
    force: bool,
) -> Result<Value, Status> {
    check_applied(&mut applied, schema, manager)?;
    let live = live.unwrap_or(&EMPTY);
    let mut managed =
        Managed::decode(live).map_err(|error| internal(format!("failed to decode managed fields: {error}")))?;
    if managed.entries.is_empty() {
        let before = ManagerInfo { name: BEFORE_FIRST_APPLY, ..*manager };
        managed = updated(&EMPTY, &without_managed_fields(live), schema, managed, &before)
            .map_err(|error| internal(format!("failed to create manager for existing fields: {error}")))?;
    }
    let attempt = Attempt { live, applied: &applied, schema, manager };
    let (object, managed) = match attempt.run(managed.clone(), force)? {
        Outcome::Done(object, managed) => (object, managed),
        Outcome::Conflicts(conflicts) => {
            let conflicts = last_applied::not_allowed(conflicts, live, schema, manager);
            if !conflicts.is_empty() {
                return Err(conflict::status(conflicts));
            }
            match attempt.run(managed, true)? {
                Outcome::Done(object, managed) => (object, managed),
                Outcome::Conflicts(conflicts) => return Err(conflict::status(conflicts)),
            }
        }
    };
    let mut object = object;
    last_applied::synchronize(&mut object, &applied, manager);
    managed.encode_into(&mut object);
    Ok(object)
}

fn internal(message: String) -> Status {
    Status::new(500, "InternalError", message)
}

fn bad_request(message: impl Into<String>) -> Status {
    Status::new(400, "BadRequest", message)
}

fn without_managed_fields(object: &Value) -> Value {
    let mut object = object.clone();
    object.remove_at(&["metadata", "managedFields"]);
    object
}

fn check_applied(applied: &mut Value, schema: SchemaRef<'_>, manager: &ManagerInfo<'_>) -> Result<(), Status> {
    let version = applied.str_at(&["apiVersion"]).unwrap_or("");
    if version != manager.api_version {
        return Err(bad_request(format!(
            "Incorrect version specified in apply patch. Specified patch version: {version}, expected: {}",
            manager.api_version
        )));
    }
    match applied.at(&["metadata", "managedFields"]) {
        Some(Value::Null) => drop(applied.remove_at(&["metadata", "managedFields"])),
        Some(_) => return Err(bad_request("metadata.managedFields must be nil")),
        None => {}
    }
    validate(schema, applied, false).map_err(|error| {
        let text = |path: &[&str]| applied.str_at(path).unwrap_or("").to_owned();
        let (namespace, name) = (text(&["metadata", "namespace"]), text(&["metadata", "name"]));
        let kind = text(&["kind"]);
        let version = manager.api_version;
        let group = if version.contains('/') { "" } else { "/" };
        let message =
            format!("failed to create typed patch object ({namespace}/{name}; {group}{version}, Kind={kind}): {error}");
        // Upstream has no code for these.
        Status::new(500, "", message)
    })
}

enum Outcome {
    Done(Value, Managed),
    Conflicts(Vec<Conflict>),
}

/// One try of an apply.
struct Attempt<'a> {
    live: &'a Value,
    applied: &'a Value,
    schema: SchemaRef<'a>,
    manager: &'a ManagerInfo<'a>,
}

impl Attempt<'_> {
    fn run(&self, mut managed: Managed, force: bool) -> Result<Outcome, Status> {
        let schema = self.schema;
        reconcile(&mut managed, schema, self.manager);
        let reset = self.manager.reset_fields();
        let set = fields_of(schema, self.applied).map_err(internal)?.recursive_difference(&reset);
        let merged = merge(schema, self.live, self.applied).map_err(internal)?;

        let mut own = Entry::new(self.manager, Operation::Apply, set);
        let before = managed.position(&own).map(|i| managed.entries.remove(i));
        own.time = before.as_ref().and_then(|before| before.time.clone());
        let mut merged = match &before {
            Some(last) => self.prune(merged, last, &own, &managed)?,
            None => merged,
        };

        let changes = Changes::between(schema, self.live, &merged, self.manager, &managed.entries).map_err(internal)?;
        if !force {
            let mut conflicts = Vec::new();
            for entry in &managed.entries {
                Conflict::all_of(entry, &entry.set().intersection(&changes.of(entry).changed), &mut conflicts);
            }
            if !conflicts.is_empty() {
                return Ok(Outcome::Conflicts(conflicts));
            }
        }
        for entry in &mut managed.entries {
            disown(entry, changes.of(entry));
        }
        managed.entries.retain(|entry| !entry.set().is_empty());
        drop_nulls(schema, &mut merged, true);
        // An apply that changes no field leaves the time alone: it may be no write at all.
        if !same_but_managed_fields(self.live, &merged) {
            own.time = Some(self.manager.time.into());
        }
        let owned = own.set().difference(unowned());
        if !owned.is_empty() {
            own.replace_set(owned);
            managed.entries.push(own);
        }
        Ok(Outcome::Done(merged, managed))
    }

    /// Removes what the manager applied last time, does not apply now, and nobody else holds.
    fn prune(&self, merged: Value, last: &Entry, own: &Entry, others: &Managed) -> Result<Value, Status> {
        let holders = others.entries.iter().chain([own]).collect::<Vec<_>>();
        if last.api_version == own.api_version {
            let named = |set: &Set| set.with_named_parents(Some(self.schema));
            if named(last.set()).difference(&named(own.set())).is_empty() {
                return Ok(merged);
            }
        } else if let Some((there, schema)) = self.converted(&merged, &last.api_version) {
            let pruned = self.pruned(&there, schema, last, &holders)?;
            return Ok(self.converted(&pruned, &own.api_version).map_or(merged, |(back, _)| back));
        }
        self.pruned(&merged, self.schema, last, &holders)
    }

    fn converted(&self, object: &Value, api_version: &str) -> Option<(Value, SchemaRef<'_>)> {
        self.manager.versions?.convert(object, api_version)
    }

    /// The same in the version in which the manager applied last.
    fn pruned(&self, merged: &Value, schema: SchemaRef<'_>, last: &Entry, holders: &[&Entry]) -> Result<Value, Status> {
        let named = |set: &Set| set.with_named_parents(Some(schema));
        let fields = |value: &Value| fields_of(schema, value).map(|set| named(&set)).map_err(internal);
        let last_set = named(last.set());
        let merged_fields = fields(merged)?;
        let mut pruned = remove(schema, merged, &last_set);
        // Back comes what anybody holds: other managers, or this one's new configuration.
        let (elsewhere, here): (Vec<&Entry>, Vec<&Entry>) = holders.iter().copied().partition(|entry| {
            entry.api_version != last.api_version && self.converted(merged, &entry.api_version).is_some()
        });
        let held = here.into_iter().fold(Set::new(), |held, entry| held.union(entry.set()));
        let kept = fields(&pruned)?.union(&named(&held));
        pruned = remove(schema, merged, &merged_fields.difference(&kept));
        for entry in elsewhere {
            pruned = self.with_held(merged, pruned, entry, &last.api_version)?;
        }
        let last = last_set;
        // And what went with its parent although this manager never held it.
        let gone = merged_fields.difference(&fields(&pruned)?).intersection(&last);
        Ok(remove(schema, merged, &gone))
    }

    /// Puts back what a manager holds in another version.
    fn with_held(&self, merged: &Value, pruned: Value, holder: &Entry, version: &str) -> Result<Value, Status> {
        let there = |object: &Value| self.converted(object, &holder.api_version);
        let (Some((merged, schema)), Some((other, _))) = (there(merged), there(&pruned)) else { return Ok(pruned) };
        let named = |set: &Set| set.with_named_parents(Some(schema));
        let fields = |value: &Value| fields_of(schema, value).map(|set| named(&set)).map_err(internal);
        let kept = fields(&other)?.union(&named(holder.set()));
        let other = remove(schema, &merged, &fields(&merged)?.difference(&kept));
        Ok(self.converted(&other, version).map_or(pruned, |(back, _)| back))
    }
}

/// Removes nulls, with which a configuration claims a field and takes its value away. They count in comparisons. Custom
/// resources keep theirs, which may mean something: what does not is pruned later. `go` says whether the place is one of
/// Go's types, which is known at structs.
fn drop_nulls(schema: SchemaRef<'_>, value: &mut Value, go: bool) {
    if matches!(schema.ty, Type::Any) {
        return;
    }
    let go = schema.struct_def().map_or(go, |def| def.name.starts_with("io.k8s."));
    match value {
        Value::Object(object) => {
            if let (true, Type::Map(map)) = (go, schema.ty) {
                // Go's maps have no place for a null but hold the zero value instead.
                object.iter_mut().filter(|(_, item)| item.is_null()).for_each(|(_, item)| *item = map.value.zero());
            }
            object.retain(|_, item| !go || !item.is_null());
            for (key, item) in object.iter_mut() {
                if let (Value::Object(_) | Value::Array(_), Some(below)) = (&item, schema.member(key)) {
                    drop_nulls(below, item, go);
                }
            }
        }
        Value::Array(items) => {
            if let Some(below) = schema.item() {
                items.iter_mut().for_each(|item| drop_nulls(below, item, go));
            }
        }
        _ => {}
    }
}
