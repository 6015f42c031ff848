//! Expressions in CEL as Kubernetes has it: reading, checking types, evaluating within bounds.
//!
//! An [`Environment`] says what expressions may speak of; [`Program::compile`] reads and checks one, and
//! [`Program::evaluate`] gives its value and cost, [`estimate`] what it may cost at most. Values are looked at in place under the types that schemas declare
//! ([`declared`]). Follows `k8s.io/apiserver/pkg/cel` and `github.com/google/cel-go`.

mod arithmetic;
pub mod ast;
pub mod authz;
pub mod check;
mod cost;
pub mod declared;
pub mod environment;
pub mod escape;
pub mod estimate;
pub mod eval;
pub mod formats;
mod functions;
pub mod json;
mod library;
mod lists;
mod literals;
mod macros;
mod nesting;
mod network;
pub mod operators;
mod parse;
pub mod pattern;
pub mod program;
mod report;
pub mod requests;
pub mod semver;
pub mod signatures;
mod text;
pub mod types;
pub mod value;
mod walk;

pub use self::environment::Environment;
pub use self::program::Program;
