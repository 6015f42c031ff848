//! Ownership after a create, an update or a patch that is no apply.

use std::sync::OnceLock;

use super::ManagerInfo;
use super::entries::{Entry, Managed, Operation};
use super::set::Set;
use super::versions::{Change, Changes};
use crate::schema::SchemaRef;
use crate::value::{Object, Value};

pub(super) static EMPTY: Value = Value::Object(Object::new());

/// Members of `metadata` that nobody owns, because the server keeps them.
pub(super) const UNOWNED_METADATA: [&str; 9] = [
    "clusterName",
    "creationTimestamp",
    "generation",
    "managedFields",
    "name",
    "namespace",
    "resourceVersion",
    "selfLink",
    "uid",
];

/// Fields that nobody owns.
pub(super) fn unowned() -> &'static Set {
    static SET: OnceLock<Set> = OnceLock::new();
    SET.get_or_init(|| {
        let mut set = Set::new();
        for path in [&["apiVersion"][..], &["kind"], &["metadata"]] {
            set.insert_fields(path);
        }
        for field in UNOWNED_METADATA {
            set.insert_fields(&["metadata", field]);
        }
        set
    })
}

/// Sets `new`'s managedFields for a write that makes `new` out of `live` (`None` for a create).
///
/// The managedFields that `new` carries are taken as the state before the write, so that clients may edit them; when
/// they are absent or invalid, those of `live` are; an empty list or a single empty entry resets them. Fields that the
/// write added or changed move to the manager, with its time; fields that it removed have no owner any more. Should the
/// objects not be comparable, `new` loses its managedFields.
pub fn update(live: Option<&Value>, new: &mut Value, schema: SchemaRef<'_>, manager: &ManagerInfo<'_>) {
    let managed = before(live, new, manager);
    new.remove_at(&["metadata", "managedFields"]);
    let is_create = live.is_none();
    if managed.entries.is_empty() && !is_create {
        // Nobody is known to own anything, so this is an object that is not tracked.
        return;
    }
    if let Ok(managed) = updated(live.unwrap_or(&EMPTY), new, schema, managed, manager) {
        managed.encode_into(new);
    }
}

/// The managers before the write.
fn before(live: Option<&Value>, new: &Value, manager: &ManagerInfo<'_>) -> Managed {
    let of_live = || live.and_then(|live| Managed::decode(live).ok()).unwrap_or_default();
    // Subresources do not change managedFields by hand.
    if !manager.subresource.is_empty() {
        return of_live();
    }
    if new.at(&["metadata", "managedFields"]).is_some_and(is_reset) {
        return Managed::default();
    }
    match Managed::decode(new) {
        Ok(managed) if !managed.entries.is_empty() => managed,
        _ => of_live(),
    }
}

/// Whether a client asks to forget all managers: an empty list, or one empty entry.
pub(super) fn is_reset(managed_fields: &Value) -> bool {
    match managed_fields.as_array() {
        Some([]) => true,
        Some([Value::Object(entry)]) => entry.is_empty(),
        _ => false,
    }
}

/// The managers after an update.
pub(super) fn updated(
    live: &Value,
    new: &Value,
    schema: SchemaRef<'_>,
    mut managed: Managed,
    manager: &ManagerInfo<'_>,
) -> Result<Managed, String> {
    reconcile(&mut managed, schema, manager);
    let changes = Changes::between(schema, live, new, manager, &managed.entries)?;
    for entry in &mut managed.entries {
        disown(entry, changes.of(entry));
    }
    managed.entries.retain(|entry| !entry.set().is_empty());
    let taken = changes.own.changed.difference(unowned());
    if !taken.is_empty() {
        let mut entry = Entry::new(manager, Operation::Update, taken);
        entry.time = Some(manager.time.into());
        match managed.position(&entry) {
            Some(i) => {
                let union = entry.set().union(managed.entries[i].set());
                entry.replace_set(union);
                managed.entries[i] = entry;
            }
            None => managed.entries.push(entry),
        }
    }
    managed.cap_updaters();
    Ok(managed)
}

/// Takes fields from a manager; one that loses nothing keeps its text.
pub(super) fn disown(entry: &mut Entry, change: &Change) {
    for taken in [&change.changed, &change.removed] {
        if entry.set().intersects(taken) {
            let rest = entry.set().difference(taken);
            entry.replace_set(rest);
        }
    }
}

/// Brings the sets of the manager's version in line with the schema; those of others have one of their own.
pub(super) fn reconcile(managed: &mut Managed, schema: SchemaRef<'_>, manager: &ManagerInfo<'_>) {
    for entry in managed.entries.iter_mut().filter(|entry| entry.api_version == manager.api_version) {
        if let Some(set) = entry.set().reconciled(schema) {
            entry.replace_set(set);
        }
    }
}

/// Undoes a write's change of times in managedFields when it changed nothing else, so that it is no write at all.
/// To be called last, when `new` is what would be stored.
pub fn keep_times(live: &Value, new: &mut Value) {
    let before = live.array_at(&["metadata", "managedFields"]);
    let after = new.array_at(&["metadata", "managedFields"]);
    let same_but_time = |a: &Value, b: &Value| match (a.as_object(), b.as_object()) {
        (Some(a), Some(b)) => {
            let rest = |object: &Object| object.len() - usize::from(object.contains_key("time"));
            rest(a) == rest(b) && a.iter().all(|(key, value)| key == "time" || b.get(key) == Some(value))
        }
        _ => false,
    };
    if before.is_empty()
        || before == after
        || before.len() != after.len()
        || !before.iter().zip(after).all(|(a, b)| same_but_time(a, b))
        || !same_but_managed_fields(live, new)
    {
        return;
    }
    let before = Value::Array(before.to_vec());
    new.set_at(&["metadata", "managedFields"], before);
}

/// Whether two objects are equal when their managedFields are left out.
pub(super) fn same_but_managed_fields(a: &Value, b: &Value) -> bool {
    let (Some(a), Some(b)) = (a.as_object(), b.as_object()) else {
        return a == b;
    };
    a.len() == b.len()
        && a.iter().all(|(key, value)| match (key, value, b.get(key)) {
            ("metadata", Value::Object(a), Some(Value::Object(b))) => {
                let rest = |object: &Object| object.len() - usize::from(object.contains_key("managedFields"));
                rest(a) == rest(b) && a.iter().all(|(key, value)| key == "managedFields" || b.get(key) == Some(value))
            }
            (_, value, other) => other == Some(value),
        })
}
