//! CustomResourceDefinitions, and the resources they define.
//!
//! A definition is an object like any other ([`definition`] is its strategy). [`controller`] follows the definitions,
//! gives them their names and conditions, and has [`version`] make a [`Resource`](crate::registry::Resource) of each
//! version: from there on a custom resource takes the path of all resources. What is its own hangs on the seams that
//! every kind has: [`strategy`] (pruning, defaults, validation), [`types`] (the tables that patches and apply walk),
//! [`at_rest`] (the version in which objects are kept), [`columns`] (tables).
//!
//! Reading order: `schema`, `prune`, `defaults`, `validate` (with `list_type`, `embedded`), `rules` (with `declared`),
//! `strategy`, `types`, `at_rest`, `conversion`, `converting`, `version`, `names`, `conditions`, `controller`, `definition`. See
//! `docs/adr/0005-custom-resources.md`.

pub mod approval;
pub mod at_rest;
pub mod columns;
pub mod conditions;
pub mod controller;
pub mod conversion;
pub mod converting;
pub mod declared;
pub mod defaults;
pub mod definition;
pub mod embedded;
pub mod jsonpath;
pub mod list_type;
pub mod names;
pub mod prune;
pub mod rules;
pub mod schema;
pub mod strategy;
pub mod types;
pub mod validate;
pub mod version;

use skiff_apimachinery::value::Value;

pub use self::controller::Controller;

/// Group of the definitions.
pub const GROUP: &str = "apiextensions.k8s.io";
/// Resource of the definitions.
pub const RESOURCE: &str = "customresourcedefinitions";
/// The finalizer of definitions whose objects are to be deleted first.
pub const CLEANUP: &str = "customresourcecleanup.apiextensions.k8s.io";

/// A value as Go prints it.
fn go_text(value: &Value) -> String {
    match value {
        Value::Null => "<nil>".to_owned(),
        Value::String(text) => text.to_string(),
        other => crate::pretty::as_go_prints(other),
    }
}

/// The type of a decoded value as Go prints it.
fn go_type(value: &Value) -> &'static str {
    match value {
        Value::Null => "<nil>",
        Value::Bool(_) => "bool",
        Value::Int(_) => "int64",
        Value::Float(_) => "float64",
        Value::String(_) | Value::Raw(_) => "string",
        Value::Array(_) => "[]interface {}",
        Value::Object(_) => "map[string]interface {}",
    }
}
