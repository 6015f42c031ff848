//! Kinds of the core group.

pub mod pod_defaults;
pub mod pod_resources;
pub mod validation;
