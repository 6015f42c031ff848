//! Managers that wrote in another version of the kind: their fields are where that version has them.

use std::fmt::Debug;

use super::ManagerInfo;
use super::compare::compare;
use super::entries::Entry;
use super::set::Set;
use crate::schema::SchemaRef;
use crate::value::Value;

/// The versions of a kind, where they differ in shape.
pub trait Versions: Debug + Send + Sync {
    /// The object, which says its version, in another one, and the type that it has there. `None` where both have the
    /// same fields at the same places, and for a version that is not known.
    fn convert(&self, object: &Value, api_version: &str) -> Option<(Value, SchemaRef<'_>)>;
}

/// What a write changes, in one version.
#[derive(Default)]
pub(super) struct Change {
    /// Fields with another value, and new ones.
    pub(super) changed: Set,
    /// Fields that are gone.
    pub(super) removed: Set,
}

impl Change {
    fn between(schema: SchemaRef<'_>, live: &Value, new: &Value, manager: &ManagerInfo<'_>) -> Result<Self, String> {
        let comparison = compare(schema, live, new)?.without(&manager.reset_fields());
        Ok(Self { changed: comparison.modified.union(&comparison.added), removed: comparison.removed })
    }
}

/// What a write changes, in the version of the write and in those of other managers.
pub(super) struct Changes {
    /// In the version of the write.
    pub(super) own: Change,
    others: Vec<(String, Change)>,
}

impl Changes {
    /// From `live` to `new`, for these managers.
    pub(super) fn between(
        schema: SchemaRef<'_>,
        live: &Value,
        new: &Value,
        manager: &ManagerInfo<'_>,
        entries: &[Entry],
    ) -> Result<Self, String> {
        let mut changes = Self { own: Change::between(schema, live, new, manager)?, others: Vec::new() };
        let Some(versions) = manager.versions else { return Ok(changes) };
        for entry in entries.iter().filter(|entry| entry.api_version != manager.api_version) {
            if changes.others.iter().any(|(version, _)| *version == entry.api_version) {
                continue;
            }
            let converted = (versions.convert(live, &entry.api_version), versions.convert(new, &entry.api_version));
            if let (Some((live, schema)), Some((new, _))) = converted {
                let change = Change::between(schema, &live, &new, manager)?;
                changes.others.push((entry.api_version.to_string(), change));
            }
        }
        Ok(changes)
    }

    /// In the version of a manager.
    pub(super) fn of(&self, entry: &Entry) -> &Change {
        self.others.iter().find(|(version, _)| *version == entry.api_version).map_or(&self.own, |(_, change)| change)
    }
}
