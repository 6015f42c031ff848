//! Who owns which field: `metadata.managedFields` and server-side apply.
//!
//! Every write by a manager leaves an entry with the fields it set, as a [`Set`] of paths in the text form of
//! [`fields_v1`]. An update takes the fields it changed from whoever had them; an apply states all fields that a
//! manager wants, is refused where it would change what others hold, and removes what the manager no longer wants.
//!
//! In reading order: [`path`](PathElement) is a step, [`Set`] a set of paths, [`compare`] and [`merge`] walk objects
//! under their schema, `entries` is the field in the object, `update` and `apply` are the two ways to write, and
//! `create` is the fast way for an object that is new. Follows `sigs.k8s.io/structured-merge-diff` and
//! `k8s.io/apimachinery/pkg/util/managedfields`.
//!
//! Where a request calls these: [`on_create`] and [`update`] on the decoded and defaulted object, before mutating
//! admission, whose changes nobody owns; [`apply`] in place of a patch, with defaulting after it; [`keep_times`] last,
//! on what would be stored.
//!
//! Entries of another version of the kind are compared in that version where [`Versions`] can convert, and otherwise by
//! the same paths.

mod apply;
mod compare;
mod conflict;
mod create;
mod entries;
pub mod fields_v1;
mod last_applied;
mod merge;
mod path;
pub mod scale;
mod set;
mod shape;
#[cfg(test)]
mod tests;
mod update;
mod versions;

pub use apply::apply;
pub use compare::{Comparison, compare, fields_of};
pub use create::on_create;
pub use merge::{merge, remove};
pub use path::PathElement;
pub use set::{Node, Set};
pub use update::{keep_times, update};
pub use versions::Versions;

/// Who writes, and how.
#[derive(Clone, Copy, Debug)]
pub struct ManagerInfo<'a> {
    /// Name of the manager: the request's `fieldManager`, else the start of its user agent.
    pub name: &'a str,
    /// Version of the kind that is written, e.g. `apps/v1`.
    pub api_version: &'a str,
    /// Subresource that is written; empty for none.
    pub subresource: &'a str,
    /// Time of the write, RFC 3339 in UTC with whole seconds.
    pub time: &'a str,
    /// Paths that this write cannot change, whatever it says; nobody comes to own them or what is below.
    pub reset: &'a [&'a [&'a str]],
    /// The other versions of the kind, if they differ in shape.
    pub versions: Option<&'a dyn Versions>,
}

/// Whether `metadata.managedFields` can be read; the error says why not.
pub fn check(object: &crate::value::Value) -> Result<(), String> {
    entries::Managed::decode(object).map(drop)
}

impl<'a> ManagerInfo<'a> {
    /// A manager to whom the usual rule applies: the object's own endpoint does not write `status`, and the subresource
    /// `status` does not write `spec`.
    pub fn new(name: &'a str, api_version: &'a str, subresource: &'a str, time: &'a str) -> Self {
        let reset: &[&[&str]] = match subresource {
            "" => &[&["status"]],
            "status" => &[&["spec"]],
            _ => &[],
        };
        Self { name, api_version, subresource, time, reset, versions: None }
    }

    fn reset_fields(&self) -> Set {
        let mut set = Set::new();
        for path in self.reset {
            set.insert_fields(path);
        }
        set
    }
}
