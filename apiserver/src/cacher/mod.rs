//! The watch cache: one per resource, in front of any engine.

use std::sync::Arc;

use bytes::Bytes;

/// Read access to cached objects for authorizers and admission plugins: from memory, at most a commit behind.
pub trait ObjectReader: Send + Sync + 'static {
    /// The JSON of one object. `group` is empty for core, `namespace` for cluster scope.
    fn get(&self, group: &str, resource: &str, namespace: &str, name: &str) -> Option<Bytes>;

    /// The JSON of all objects of a resource, in one namespace or (empty) in all.
    fn list(&self, group: &str, resource: &str, namespace: &str) -> Vec<Bytes>;

    /// Grows whenever an object of the resource changes: lets callers cache what they derive.
    fn generation(&self, group: &str, resource: &str) -> u64;
}

/// Shared handle.
pub type SharedReader = Arc<dyn ObjectReader>;
