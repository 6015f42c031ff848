//! Lists and pages.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;
use std::time::Instant;

use skiff_storage::{ListOptions, Revision};

use super::cache::{Freshness, Snapshot, WatchCache};
use super::error::CacheError;
use super::object::CachedObject;
use super::predicate::{Predicate, Resolved, Target};

/// Entries taken from the engine at a time when the cache's history does not reach far enough.
const ENGINE_PAGE: usize = 1000;

/// Which state to list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ListRevision {
    /// The current state, as fresh as asked.
    Fresh(Freshness),
    /// The state as it was (`resourceVersionMatch=Exact`, and the pages after the first).
    Exact(Revision),
}

/// What to list.
#[derive(Clone, Debug)]
pub struct ListRequest {
    /// Which state.
    pub revision: ListRevision,
    /// Which objects.
    pub predicate: Predicate,
    /// At most this many; 0 for all.
    pub limit: usize,
    /// Where to go on: the [`ListResult::next`] of the page before.
    pub start: Option<String>,
}

/// A list, or a page of one, in key order.
#[derive(Clone, Debug)]
pub struct ListResult {
    /// The objects.
    pub objects: Vec<Arc<CachedObject>>,
    /// The revision that the list shows.
    pub revision: Revision,
    /// Where the next page starts, when there may be one: the key after the last object, without the prefix.
    pub next: Option<String>,
    /// Objects after this page, when that is known: only without selectors, as upstream.
    pub remaining: Option<u64>,
}

impl WatchCache {
    /// Lists.
    pub async fn list(&self, request: &ListRequest) -> Result<ListResult, CacheError> {
        let predicate = request.predicate.resolve(&self.config.fields)?;
        match request.revision {
            ListRevision::Fresh(freshness) => {
                self.wait_until(freshness).await?;
                let snapshot = self.snapshot();
                Ok(self.page(&snapshot, &predicate, request))
            }
            ListRevision::Exact(revision) => {
                self.wait_until(Freshness::NotOlderThan(revision)).await?;
                match self.undone(revision) {
                    Some(snapshot) => Ok(self.page(&snapshot, &predicate, request)),
                    None => self.page_of_engine(revision, &predicate, request).await,
                }
            }
        }
    }

    /// Everything that matches, as the cache has it now. A predicate with unknown fields matches nothing.
    pub fn list_cached(&self, predicate: &Predicate) -> ListResult {
        let snapshot = self.snapshot();
        let request = ListRequest {
            revision: ListRevision::Fresh(Freshness::Any),
            predicate: predicate.clone(),
            limit: 0,
            start: None,
        };
        match predicate.resolve(&self.config.fields) {
            Ok(resolved) => self.page(&snapshot, &resolved, &request),
            Err(_) => ListResult { objects: Vec::new(), revision: snapshot.revision, next: None, remaining: None },
        }
    }

    /// The state at a past revision, if the history reaches that far.
    fn undone(&self, revision: Revision) -> Option<Snapshot> {
        let inner = self.inner.lock();
        let current = self.snapshot();
        if !inner.ring.reaches(revision, Instant::now()) {
            return None;
        }
        let mut before: BTreeMap<&str, Option<&Arc<CachedObject>>> = BTreeMap::new();
        for change in inner.ring.after(revision).rev() {
            if let Some(object) = change.old.as_ref().or(change.new.as_ref()) {
                before.insert(object.key(), change.old.as_ref());
            }
        }
        let mut objects = current.objects.clone();
        for (key, object) in before {
            match object {
                Some(object) => objects.insert(object.key().clone(), object.clone()),
                None => objects.remove(key),
            };
        }
        Some(Snapshot { revision, objects })
    }

    fn page(&self, snapshot: &Snapshot, predicate: &Resolved, request: &ListRequest) -> ListResult {
        let range = self.range(predicate);
        let start = self.start(&range, request);
        let bounds = (Bound::Included(start.as_str()), Bound::Unbounded);
        let mut rest = snapshot.objects.range::<_, str>(bounds).take_while(|(key, _)| key.starts_with(&range));
        let mut objects = Vec::new();
        if request.limit == 0 {
            objects.extend(rest.filter(|(_, object)| predicate.matches(object)).map(|(_, object)| object.clone()));
            return ListResult { objects, revision: snapshot.revision, next: None, remaining: None };
        }
        let matching = rest.by_ref().filter(|(_, object)| predicate.matches(object));
        objects.extend(matching.take(request.limit).map(|(_, object)| object.clone()));
        let everything = !predicate.selects() && range == self.config.prefix && request.start.is_none();
        let after = match everything {
            true => snapshot.objects.len() - objects.len(),
            false if predicate.selects() => usize::from(rest.next().is_some()),
            false => rest.count(),
        };
        self.result(objects, snapshot.revision, after as u64, predicate)
    }

    async fn page_of_engine(
        &self,
        revision: Revision,
        predicate: &Resolved,
        request: &ListRequest,
    ) -> Result<ListResult, CacheError> {
        let range = self.range(predicate);
        let mut start = Some(self.start(&range, request));
        let limit = if request.limit == 0 { usize::MAX } else { request.limit };
        let mut objects = Vec::new();
        loop {
            let wanted = if predicate.selects() { ENGINE_PAGE } else { ENGINE_PAGE.min(limit - objects.len()) };
            let options = ListOptions { revision: Some(revision), limit: wanted, start: start.take() };
            let page = self.storage.list(&range, options).await?;
            let mut after = page.remaining;
            let last = page.entries.last().map(|last| format!("{}\0", last.key));
            let mut entries = page.entries.into_iter();
            for entry in entries.by_ref() {
                let object = CachedObject::new(entry, self.config.prefix.len(), &self.config.fields);
                if predicate.matches(&object) {
                    objects.push(Arc::new(object));
                    if objects.len() == limit {
                        break;
                    }
                }
            }
            after += entries.len() as u64;
            if objects.len() >= limit || after == 0 || last.is_none() {
                return Ok(self.result(objects, revision, after, predicate));
            }
            start = last;
        }
    }

    /// What all wanted keys begin with.
    fn range(&self, predicate: &Resolved) -> String {
        match predicate.required(Target::Namespace) {
            Some(namespace) if self.config.namespaced => format!("{}{namespace}/", self.config.prefix),
            _ => self.config.prefix.clone(),
        }
    }

    fn start(&self, range: &str, request: &ListRequest) -> String {
        let start = request.start.as_deref().map(|start| format!("{}{start}", self.config.prefix));
        start.filter(|start| start.as_str() > range).unwrap_or_else(|| range.to_owned())
    }

    fn result(
        &self,
        objects: Vec<Arc<CachedObject>>,
        revision: Revision,
        after: u64,
        predicate: &Resolved,
    ) -> ListResult {
        let last = objects.last().filter(|_| after > 0);
        let next = last.map(|last| format!("{}\0", &last.key()[self.config.prefix.len()..]));
        let remaining = next.as_ref().filter(|_| !predicate.selects()).map(|_| after);
        ListResult { objects, revision, next, remaining }
    }
}
