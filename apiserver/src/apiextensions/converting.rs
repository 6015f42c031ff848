//! A store of custom resources in which every object is in one version, whatever it is kept in.
//!
//! Where versions are converted by a webhook, each served version has such a store and a watch cache over it. So a
//! webhook is asked where entries leave the database and where they go in, at most once per change and version, and
//! everything that reads a cache (lists, watches, selectors of fields, tables) finds objects in the version it shows, as
//! upstream, where each version has its own storage and cache.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use quick_cache::Weighter;
use quick_cache::sync::Cache;
use skiff_apimachinery::json;
use skiff_apimachinery::value::Value;
use skiff_storage::{
    Draft, Entry, Head, ListOptions, ListPage, Revision, Storage, StorageError, StoredObject, WatchEvent, WatchStream,
};

use super::at_rest::Form;
use super::conversion::Converter;
use super::prune;
use super::types;
use crate::registry::draft::draft;

/// Objects in one question to a webhook.
const BATCH_OBJECTS: usize = 500;
/// Bytes of the objects in one question.
const BATCH_BYTES: usize = 8 << 20;
/// Converted objects that are remembered, so that a change need not convert again what was there before.
const REMEMBERED: usize = 1000;
/// Their bytes.
const REMEMBERED_BYTES: u64 = 8 << 20;

/// See the module.
#[derive(Clone)]
pub struct Converting {
    inner: Arc<dyn Storage>,
    converter: Converter,
    /// The version that readers see, as `group/version`.
    shown: Arc<str>,
    /// The version in which new writes are kept.
    stored: Arc<Form>,
    remembered: Arc<Cache<(Arc<str>, Revision), StoredObject, Bytes>>,
}

#[derive(Clone)]
struct Bytes;

impl Weighter<(Arc<str>, Revision), StoredObject> for Bytes {
    fn weight(&self, (key, _): &(Arc<str>, Revision), object: &StoredObject) -> u64 {
        (key.len() + object.json.len()) as u64
    }
}

impl Converting {
    /// Over this store.
    pub fn new(inner: Arc<dyn Storage>, converter: Converter, shown: &str, stored: Form) -> Self {
        let remembered = Cache::with_weighter(REMEMBERED, REMEMBERED_BYTES, Bytes);
        Self { inner, converter, shown: shown.into(), stored: Arc::new(stored), remembered: Arc::new(remembered) }
    }

    /// Whether an entry is kept in the version in which it would be written now.
    pub async fn is_kept_as_written_now(&self, key: &str) -> Result<bool, StorageError> {
        let (entry, _) = self.inner.get(key).await?;
        Ok(entry.is_none_or(|entry| is_in(&entry, &self.stored.api_version)))
    }

    async fn shown(&self, entry: Entry) -> Result<Entry, StorageError> {
        let mut entries = vec![entry];
        self.show(&mut entries.iter_mut().collect::<Vec<_>>()).await?;
        entries.pop().ok_or_else(|| StorageError::Unconvertible("nothing was converted".to_owned()))
    }

    /// Brings entries into the shown version, in batches.
    async fn show(&self, entries: &mut [&mut Entry]) -> Result<(), StorageError> {
        let mut pending: Vec<&mut Entry> = Vec::new();
        for entry in entries.iter_mut().filter(|entry| !is_in(entry, &self.shown)) {
            match self.remembered.get(&(entry.key.clone(), entry.revision)) {
                Some(object) => entry.object = object,
                None => pending.push(entry),
            }
        }
        let mut rest = pending.as_mut_slice();
        while !rest.is_empty() {
            let (batch, after) = rest.split_at_mut(batch_len(rest));
            let objects = batch.iter().map(|entry| decode(&entry.object.json)).collect::<Result<Vec<_>, _>>()?;
            let converted = self.converter.convert(objects, &self.shown).await.map_err(StorageError::Unconvertible)?;
            for (entry, object) in batch.iter_mut().zip(converted) {
                entry.object = draft(&object).splice(entry.revision);
                self.remembered.insert((entry.key.clone(), entry.revision), entry.object.clone());
            }
            rest = after;
        }
        Ok(())
    }

    /// What is written of a draft in the shown version.
    async fn kept(&self, shown: Draft) -> Result<Draft, StorageError> {
        if *self.shown == *self.stored.api_version {
            return Ok(shown);
        }
        let converted = self.converter.convert(vec![decode(&shown.json)?], &self.stored.api_version).await;
        let mut converted = converted.map_err(StorageError::Unconvertible)?;
        let mut object = converted.pop().unwrap_or_default();
        if let Some(schema) = &self.stored.schema {
            prune::prune(&mut object, schema);
        }
        Ok(draft(&object))
    }

    async fn event(&self, mut event: WatchEvent) -> Result<WatchEvent, StorageError> {
        match &mut event {
            WatchEvent::Put { entry, previous } => {
                // As a rule the one before is remembered.
                let mut both = std::iter::once(entry).chain(previous.as_mut()).collect::<Vec<_>>();
                self.show(&mut both).await?;
            }
            WatchEvent::Delete { previous, .. } => self.show(&mut [previous]).await?,
            WatchEvent::Progress { .. } => {}
        }
        Ok(event)
    }
}

/// How many of these make one question.
fn batch_len(entries: &[&mut Entry]) -> usize {
    let mut bytes = 0;
    let fits = entries.iter().take(BATCH_OBJECTS).take_while(|entry| {
        bytes += entry.object.json.len();
        bytes <= BATCH_BYTES
    });
    fits.count().max(1)
}

/// Whether an entry is in a version. Its members are sorted, so that it begins with it.
fn is_in(entry: &Entry, api_version: &str) -> bool {
    let rest = entry.object.json.strip_prefix(br#"{"apiVersion":""#);
    rest.and_then(|rest| rest.strip_prefix(api_version.as_bytes())).is_some_and(|rest| rest.starts_with(b"\""))
}

fn decode(json: &[u8]) -> Result<Value, StorageError> {
    let decoded = json::decode(json, types::envelope());
    decoded.map(|decoded| decoded.value).map_err(|error| StorageError::Corrupt(error.to_string()))
}

#[async_trait::async_trait]
impl Storage for Converting {
    async fn get(&self, key: &str) -> Result<(Option<Entry>, Revision), StorageError> {
        let (entry, revision) = self.inner.get(key).await?;
        match entry {
            Some(entry) => Ok((Some(self.shown(entry).await?), revision)),
            None => Ok((None, revision)),
        }
    }

    async fn list(&self, prefix: &str, options: ListOptions) -> Result<ListPage, StorageError> {
        let mut page = self.inner.list(prefix, options).await?;
        self.show(&mut page.entries.iter_mut().collect::<Vec<_>>()).await?;
        Ok(page)
    }

    async fn create(&self, key: &str, draft: Draft, ttl: Option<Duration>) -> Result<Entry, StorageError> {
        let draft = self.kept(draft).await?;
        self.shown(self.inner.create(key, draft, ttl).await?).await
    }

    async fn update(
        &self,
        key: &str,
        expected: Revision,
        draft: Draft,
        ttl: Option<Duration>,
    ) -> Result<Entry, StorageError> {
        let draft = self.kept(draft).await?;
        match self.inner.update(key, expected, draft, ttl).await {
            Ok(entry) => self.shown(entry).await,
            Err(StorageError::Conflict { current }) => {
                Err(StorageError::Conflict { current: Box::new(self.shown(*current).await?) })
            }
            Err(error) => Err(error),
        }
    }

    async fn delete(&self, key: &str, expected: Revision) -> Result<(Entry, Revision), StorageError> {
        match self.inner.delete(key, expected).await {
            Ok((entry, revision)) => Ok((self.shown(entry).await?, revision)),
            Err(StorageError::Conflict { current }) => {
                Err(StorageError::Conflict { current: Box::new(self.shown(*current).await?) })
            }
            Err(error) => Err(error),
        }
    }

    async fn watch(&self, prefix: &str, from: Revision) -> Result<WatchStream, StorageError> {
        let stream = self.inner.watch(prefix, from).await?;
        let this = self.clone();
        let converted = stream.then(move |event| {
            let this = this.clone();
            async move {
                match event {
                    Ok(event) => this.event(event).await,
                    Err(error) => Err(error),
                }
            }
        });
        // A stream ends after an error.
        let ending = converted.scan(false, |ended, event| {
            let item = (!*ended).then_some(event);
            *ended = matches!(item, Some(Err(_)));
            std::future::ready(item)
        });
        Ok(ending.boxed())
    }

    async fn compact(&self, revision: Revision) -> Result<(), StorageError> {
        self.inner.compact(revision).await
    }

    async fn head(&self, prefix: &str) -> Result<Head, StorageError> {
        self.inner.head(prefix).await
    }

    async fn healthy(&self) -> Result<(), StorageError> {
        self.inner.healthy().await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(json: &str) -> Entry {
        let json = bytes::Bytes::from(json.to_owned());
        Entry { key: "/k".into(), revision: 1, object: StoredObject { json, rv_at: 0, rv_len: 0 } }
    }

    #[test]
    fn versions_are_seen_without_parsing() {
        let kept = entry(r#"{"apiVersion":"a.io/v1","kind":"A"}"#);
        assert!(is_in(&kept, "a.io/v1"));
        assert!(!is_in(&kept, "a.io/v"));
        assert!(!is_in(&kept, "a.io/v10"));
        assert!(!is_in(&entry(r#"{"kind":"A"}"#), "a.io/v1"));
    }

    #[test]
    fn batches_are_bounded_and_never_empty() {
        let large = "x".repeat(BATCH_BYTES + 1);
        let mut entries = [entry("{}"), entry("{}"), entry(&large), entry("{}")];
        let mut references = entries.iter_mut().collect::<Vec<_>>();
        assert_eq!(batch_len(&references), 2);
        assert_eq!(batch_len(&references[2..]), 1);
        references.clear();
        let mut many = (0..BATCH_OBJECTS + 1).map(|_| entry("{}")).collect::<Vec<_>>();
        assert_eq!(batch_len(&many.iter_mut().collect::<Vec<_>>()), BATCH_OBJECTS);
    }
}
