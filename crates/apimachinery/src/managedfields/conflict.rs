//! What an apply is told when other managers hold fields that it wants to change.

use super::entries::{Entry, Operation};
use super::path::{PathElement, quote};
use crate::status::{Status, StatusCause};

/// A field that another manager holds.
pub(super) struct Conflict {
    /// The manager as messages name it.
    manager: String,
    /// The field.
    pub(super) path: Vec<PathElement>,
}

impl Conflict {
    /// The fields of `entry` that an apply wants to change.
    pub(super) fn all_of(entry: &Entry, fields: &super::set::Set, out: &mut Vec<Conflict>) {
        let manager = printed(entry);
        fields.for_each(|path| out.push(Conflict { manager: manager.clone(), path: path.to_vec() }));
    }

    fn printed_path(&self) -> String {
        self.path.iter().map(PathElement::to_string).collect()
    }
}

fn printed(entry: &Entry) -> String {
    let mut text = String::new();
    quote(&entry.manager, &mut text);
    if !entry.subresource.is_empty() {
        text.push_str(" with subresource ");
        quote(&entry.subresource, &mut text);
    }
    if entry.operation == Operation::Update {
        text.push_str(" using ");
        text.push_str(&entry.api_version);
    }
    text
}

/// The 409 that lists all conflicts, with a cause for each.
pub(super) fn status(mut conflicts: Vec<Conflict>) -> Status {
    conflicts.sort_by(|a, b| a.manager.cmp(&b.manager));
    let message = match conflicts.as_slice() {
        [only] => format!("Apply failed with 1 conflict: conflict with {}: {}", only.manager, only.printed_path()),
        _ => {
            let mut lines = Vec::new();
            let mut manager = None;
            for conflict in &conflicts {
                if manager != Some(&conflict.manager) {
                    lines.push(format!("conflicts with {}:", conflict.manager));
                    manager = Some(&conflict.manager);
                }
                lines.push(format!("- {}", conflict.printed_path()));
            }
            format!("Apply failed with {} conflicts: {}", conflicts.len(), lines.join("\n"))
        }
    };
    let mut status = Status::new(409, "Conflict", message);
    status.details.causes = conflicts
        .iter()
        .map(|conflict| StatusCause {
            reason: "FieldManagerConflict".into(),
            message: format!("conflict with {}", conflict.manager),
            field: conflict.printed_path(),
        })
        .collect();
    status
}
