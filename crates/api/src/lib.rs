//! The built-in API of Kubernetes v1.36 as data: types, kinds, resources.
//!
//! Nothing here is written per kind. [`builtin`] parses tables that `cargo xtask codegen` made from the facts in
//! `facts/` (see `docs/adr/0001-object-in-flight.md` for what they drive). Custom resources use the same structures,
//! made from their definitions at run time.

mod builtin;
mod tables;

pub use builtin::{Builtin, GroupInfo, KindInfo, Subresource, VersionInfo, builtin};
