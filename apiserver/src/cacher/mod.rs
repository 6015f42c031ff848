//! The watch cache: one per resource, in front of any engine.
//!
//! A [`WatchCache`] lists its prefix of the store once and then follows the store's watch. From that it serves every
//! read of the resource but the first bytes of a get: lists, pages, watches. What it promises:
//!
//! - One revision line: a list's revision and a watch from it join without gap or repeat.
//! - [`Freshness::Latest`] reads include every write that was answered before the read began.
//! - Bytes are shared: the store, the cache, its history and every watcher hold the same buffer; a frame is encoded
//!   once per event and format while the event is fresh.
//! - Whether a change is ADDED, MODIFIED or DELETED for a watcher follows from whether the old and the new object match
//!   its [`Predicate`]; DELETED carries the last matching state with the revision of the change.
//! - A watch from a revision that is still in the cache's or the engine's history works; otherwise it is
//!   [`CacheError::Expired`] (410), never a gap.
//! - Every queue is bounded; a slow watcher is ended ([`WatchEnd::Slow`]) and may resume where it was.
//!
//! Not promised: that [`Freshness::Any`] reads are recent, or that two resources' caches are at the same revision.
//!
//! Reading order: `object` (what is cached), `message` (its protobuf), `extract` (what is known of it), `predicate`, `ring` (history),
//! `queue` and `dispatch` (fan-out), `cache` and `list` and `watch` (the interface), `feed` (following the store).

mod cache;
mod dispatch;
mod error;
mod extract;
mod feed;
mod list;
mod message;
mod object;
mod predicate;
mod queue;
mod registry;
mod ring;
#[cfg(test)]
mod tests;
mod watch;

use std::sync::Arc;

use bytes::Bytes;
use futures::future::BoxFuture;

pub use self::cache::{FRESHNESS_WAIT, Freshness, ResourceConfig, WatchCache};
pub use self::error::CacheError;
pub use self::extract::{FieldSpec, Labels, SelectableFields};
pub use self::list::{ListRequest, ListResult, ListRevision};
pub use self::object::{CachedObject, Change, EventKind, FORMAT_JSON_FRAME, Format};
pub use self::predicate::{FieldRequirement, LabelMatch, Predicate};
pub use self::queue::WatchEnd;
pub use self::registry::Cacher;
pub use self::watch::{Watch, WatchItem, WatchRequest, WatchStart};

/// Read access to cached objects for authorizers and admission plugins: from memory, at most a commit behind.
pub trait ObjectReader: Send + Sync + 'static {
    /// The JSON of one object. `group` is empty for core, `namespace` for cluster scope.
    fn get(&self, group: &str, resource: &str, namespace: &str, name: &str) -> Option<Bytes>;

    /// The JSON of all objects of a resource, in one namespace or (empty) in all.
    fn list(&self, group: &str, resource: &str, namespace: &str) -> Vec<Bytes>;

    /// Grows whenever an object of the resource changes: lets callers cache what they derive.
    fn generation(&self, group: &str, resource: &str) -> u64;

    /// Returns once reads of the resource include every write that was answered before; a cache that cannot catch up is
    /// read as it is.
    fn caught_up<'a>(&'a self, _group: &'a str, _resource: &'a str) -> BoxFuture<'a, ()> {
        Box::pin(std::future::ready(()))
    }
}

/// Shared handle.
pub type SharedReader = Arc<dyn ObjectReader>;
