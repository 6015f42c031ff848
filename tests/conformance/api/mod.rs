//! What sig-api-machinery asks.

pub(crate) mod aggregated;
pub(crate) mod chunking;
pub(crate) mod definitions;
pub(crate) mod discovery;
pub(crate) mod field_validation;
pub(crate) mod namespaces;
pub(crate) mod openapi;
pub(crate) mod policies;
pub(crate) mod watchers;
