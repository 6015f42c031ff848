//! Create, update and delete of every kind, over the storage trait.
//!
//! One path for all kinds: admission, what the strategy prepares and validates, system metadata, compare-and-swap.
//! Follows `k8s.io/apiserver/pkg/registry/generic/registry/store.go` in order and in error texts. Lists and
//! watches go to the watch cache; writes read the object they change from the store itself.

use std::sync::Arc;

use bytes::Bytes;
use compact_str::CompactString;
use rand::RngExt;
use skiff_apimachinery::schema::SchemaRef;
use skiff_apimachinery::status::{self, Status};
use skiff_apimachinery::value::Value;
use skiff_apimachinery::{json, managedfields, meta, time};
use skiff_storage::{Draft, Entry, Storage, StorageError};

use super::canonical;
use super::conversion::{AtRest, Conversion};
use super::deletion::{self, DeleteOptions, Deletion};
use super::draft::draft;
use super::errors::{OPTIMISTIC_LOCK, storage_error};
use super::hook::{Hook, Reservation};
use super::metadata_checks::{OwnChecks, own_checks, own_checks_of_status};
use super::object_meta;
use super::strategy::{Behaviour, WriteScope, path_segment};
use super::unenforced;
use crate::admission::{Asked, Operation, Plugin};
use crate::authentication::UserInfo;
use crate::cacher::{Freshness, WatchCache};
use crate::context::Warnings;

/// Tries to find a free name for `generateName`.
const MAX_NAME_ATTEMPTS: usize = 8;
/// Times a write starts over because somebody else wrote in between.
const MAX_CONFLICT_RETRIES: usize = 256;
/// Longest base of a generated name; five characters follow.
const MAX_GENERATED_BASE: usize = 58;
/// Characters of generated names: no vowels, so no words.
const NAME_ALPHABET: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";

/// The objects of one resource.
pub struct Store {
    /// API group, empty for core.
    pub group: CompactString,
    /// Resource (plural).
    pub resource: CompactString,
    /// Kind.
    pub kind: CompactString,
    /// Whether objects live in namespaces.
    pub namespaced: bool,
    /// Whether `status` is written through a subresource of its own.
    pub has_status: bool,
    /// Type of the objects as they are stored.
    pub schema: SchemaRef<'static>,
    /// Behaviour of the kind.
    pub strategy: Behaviour,
    /// How objects are kept, where that is not the form this store works in.
    pub at_rest: Option<Arc<dyn AtRest>>,
    /// Where the bytes are.
    pub storage: Arc<dyn Storage>,
    /// What reads come from.
    pub cache: Arc<WatchCache>,
    /// Allocation around writes, if the kind has any.
    pub hook: Option<Arc<dyn Hook>>,
}

/// Who writes what, and how.
pub struct Write<'a> {
    /// The admission chain.
    pub admission: &'a [Arc<dyn Plugin>],
    /// Who writes.
    pub user: &'a Arc<UserInfo>,
    /// Where warnings for the client go.
    pub warnings: &'a Warnings,
    /// API group of the request, where it may be another than the store's.
    pub group: Option<&'a str>,
    /// API version of the request.
    pub version: &'a str,
    /// Subresource, empty for none.
    pub subresource: &'a str,
    /// Namespace, empty for cluster scope.
    pub namespace: &'a str,
    /// Name; empty for create.
    pub name: &'a str,
    /// Nothing is stored.
    pub dry_run: bool,
    /// A missing object is created whatever the kind (server-side apply).
    pub force_create: bool,
    /// A uid in the object must be that of the stored one (409); otherwise it is a field that cannot change (422).
    pub uid_is_precondition: bool,
    /// The request as its client sees it; `None` for writes by the server itself.
    pub asked: Option<&'a dyn Asked>,
}

/// A finished write.
#[derive(Debug)]
pub struct Written {
    /// The object as clients see it.
    pub json: Bytes,
    /// Whether it did not exist before.
    pub created: bool,
}

/// A finished delete.
#[derive(Debug)]
pub struct Deleted {
    /// The object, with what the delete changed.
    pub json: Bytes,
    /// Its uid.
    pub uid: String,
    /// Whether it is gone; otherwise it waits for finalizers or its grace period.
    pub gone: bool,
}

/// Makes the new object from the one stored (`None` when there is none). Runs again after a conflict.
pub type Transform<'a> = &'a (dyn Fn(Option<&Value>) -> Result<Value, Status> + Send + Sync);

impl Store {
    /// The prefix of all keys of this resource, ending in a slash.
    pub fn prefix(&self) -> String {
        self.path(&[])
    }

    /// The prefix, and these segments with slashes in between.
    fn path(&self, rest: &[&str]) -> String {
        const ROOT: &str = "/registry/";
        let length = ROOT.len() + self.group.len() + self.resource.len() + 2;
        let mut key = String::with_capacity(length + rest.iter().map(|part| part.len() + 1).sum::<usize>());
        key.push_str(ROOT);
        if !self.group.is_empty() {
            key.push_str(&self.group);
            key.push('/');
        }
        key.push_str(&self.resource);
        if rest.is_empty() {
            key.push('/');
        }
        for part in rest {
            key.push('/');
            key.push_str(part);
        }
        key
    }

    /// The key of one object.
    pub fn key(&self, namespace: &str, name: &str) -> String {
        if self.namespaced { self.path(&[namespace, name]) } else { self.path(&[name]) }
    }

    /// 404 for an object of this resource.
    pub fn not_found(&self, name: &str) -> Status {
        status::not_found(&self.group, &self.resource, name)
    }

    /// 409 for a write based on an old version.
    pub fn modified(&self, name: &str) -> Status {
        status::conflict(&self.group, &self.resource, name, OPTIMISTIC_LOCK)
    }

    /// One object: the latest (`resourceVersion` unset), whatever the cache has (`0`), or not older than a version.
    pub async fn get(&self, namespace: &str, name: &str, resource_version: &str) -> Result<Bytes, Status> {
        let found = match resource_version {
            "" => {
                let read = self.storage.get(&self.key(namespace, name)).await;
                read.map_err(|e| self.storage_error(e, name))?.0.map(|entry| entry.object.json)
            }
            asked => {
                let freshness = match crate::endpoints::params::revision(asked)? {
                    0 => Freshness::Any,
                    revision => Freshness::NotOlderThan(revision),
                };
                self.cache.get_fresh(namespace, name, freshness).await?.map(|object| object.json().clone())
            }
        };
        found.ok_or_else(|| self.not_found(name))
    }

    /// Whether there is such an object now.
    pub async fn exists(&self, namespace: &str, name: &str) -> Result<bool, Status> {
        let read = self.storage.get(&self.key(namespace, name)).await;
        Ok(read.map_err(|e| self.storage_error(e, name))?.0.is_some())
    }

    /// Brings an object into canonical form and fills in the defaults of its kind.
    pub fn set_defaults(&self, object: &mut Value) {
        self.set_defaults_of(None, object);
    }

    /// The same for an object that was written in a version with this conversion, which may have defaults of its own.
    pub fn set_defaults_of(&self, conversion: Option<&dyn Conversion>, object: &mut Value) {
        canonical::canonicalize(object, self.schema);
        match conversion {
            Some(conversion) => conversion.set_defaults(object, &*self.strategy),
            None => self.strategy.set_defaults(object),
        }
    }

    /// Creates an object.
    pub async fn create(&self, write: &Write<'_>, mut object: Value) -> Result<Written, Status> {
        self.admit(write, Operation::Create, write.name, &mut object, None).await?;
        let generate_name = object.str_at(&["metadata", "generateName"]).unwrap_or("").to_owned();
        if !meta::name(&object).is_empty() || generate_name.is_empty() {
            return self.create_admitted(write, object).await;
        }
        let mut last = String::new();
        for _ in 0..MAX_NAME_ATTEMPTS {
            let mut named = object.clone();
            last = generated_name(&generate_name);
            named.set_at(&["metadata", "name"], last.as_str());
            match self.create_admitted(write, named).await {
                Err(error) if error.reason == "AlreadyExists" => {}
                done => return done,
            }
        }
        Err(status::generate_name_conflict(&self.group, &self.resource, &last))
    }

    async fn create_admitted(&self, write: &Write<'_>, mut object: Value) -> Result<Written, Status> {
        object_meta::fill_system_fields(&mut object, &time::format(jiff::Timestamp::now()));
        let reservation = self.reserve(&mut object, None, write.dry_run).await?;
        let created = self.create_reserved(write, object).await;
        reservation.finish(created.is_ok() && !write.dry_run).await;
        created
    }

    async fn create_reserved(&self, write: &Write<'_>, mut object: Value) -> Result<Written, Status> {
        self.before_create(write, &mut object)?;
        let name = meta::name(&object).to_owned();
        self.validate_admission(write, Operation::Create, &name, &mut object, None).await?;
        let key = self.key(write.namespace, &name);
        if write.dry_run {
            if self.storage.get(&key).await.map_err(|e| self.storage_error(e, &name))?.0.is_some() {
                return Err(status::already_exists(&self.group, &self.resource, &name));
            }
            return Ok(Written { json: self.at_rest_json(&object)?, created: true });
        }
        let entry = match self.storage.create(&key, self.draft(&object)?, self.strategy.time_to_live()).await {
            Ok(entry) => entry,
            Err(error @ StorageError::Exists { .. }) => {
                return Err(self.exists_error(&key, &name, error).await);
            }
            Err(error) => return Err(self.storage_error(error, &name)),
        };
        Ok(Written { json: entry.object.json, created: true })
    }

    /// Says so when the object in the way is being deleted.
    async fn exists_error(&self, key: &str, name: &str, error: StorageError) -> Status {
        let mut status = self.storage_error(error, name);
        if let Ok((Some(entry), _)) = self.storage.get(key).await
            && json::parse(&entry.object.json).is_ok_and(|object| meta::deletion_timestamp(&object).is_some())
        {
            status.message = format!("object is being deleted: {}", status.message);
        }
        status
    }

    fn before_create(&self, write: &Write<'_>, object: &mut Value) -> Result<(), Status> {
        if self.has_status && !self.strategy.keeps_status_on_create() {
            object.remove_at(&["status"]);
        }
        if self.strategy.counts_generation() {
            object.set_at(&["metadata", "generation"], 1);
        }
        write.warnings.extend(self.strategy.early_warnings(object));
        self.strategy.prepare_for_create(self.scope(write), object);
        canonical::complete_status(object, self.schema);
        let mut errors = object_meta::validate(object, self.namespaced, self.strategy.name_rule());
        if matches!(self.strategy, Behaviour::Static(_)) {
            errors.extend(object_meta::validate_own_finalizers(object));
        }
        errors.extend(self.strategy.validate_create(self.scope(write), object));
        if !errors.is_empty() {
            return Err(status::invalid(&self.group, &self.kind, meta::name(object), errors));
        }
        self.strategy.after_validation(object);
        self.warn(write, object, None);
        Ok(())
    }

    /// Changes an object, or creates it where the kind or the write allows that.
    pub async fn update(&self, write: &Write<'_>, transform: Transform<'_>) -> Result<Written, Status> {
        let key = self.key(write.namespace, write.name);
        let mut current = self.storage.get(&key).await.map_err(|e| self.storage_error(e, write.name))?.0;
        for _ in 0..MAX_CONFLICT_RETRIES {
            let Some(entry) = &current else {
                if !self.strategy.allow_create_on_update() && !write.force_create {
                    return Err(self.not_found(write.name));
                }
                match self.create_by_update(write, transform).await {
                    Err(error) if error.reason == "AlreadyExists" => {}
                    done => return done,
                }
                current = self.storage.get(&key).await.map_err(|e| self.storage_error(e, write.name))?.0;
                continue;
            };
            match self.update_once(write, entry, transform).await? {
                Attempt::Done(written) => return Ok(written),
                Attempt::Changed(now) => current = now,
            }
        }
        Err(status::server_timeout(&self.group, &self.resource, "update"))
    }

    async fn create_by_update(&self, write: &Write<'_>, transform: Transform<'_>) -> Result<Written, Status> {
        let mut object = transform(None)?;
        if !object.str_at(&["metadata", "uid"]).unwrap_or("").is_empty() {
            // A uid asks for an object that exists.
            let uid = object.str_at(&["metadata", "uid"]).unwrap_or("");
            return Err(self.uid_conflict(write, uid, ""));
        }
        self.admit(write, Operation::Create, write.name, &mut object, None).await?;
        self.create_admitted(write, object).await
    }

    async fn update_once(&self, write: &Write<'_>, entry: &Entry, transform: Transform<'_>) -> Result<Attempt, Status> {
        let old = self.parse_stored(&entry.object.json)?;
        let mut new = transform(Some(&old))?;
        if write.uid_is_precondition {
            self.check_uid(write, new.str_at(&["metadata", "uid"]), &old)?;
        }
        self.admit(write, Operation::Update, write.name, &mut new, Some(&old)).await?;
        self.check_version(write.name, &mut new, entry)?;
        let reservation = self.reserve(&mut new, Some(&old), write.dry_run).await?;
        let mut stored = false;
        let attempt = self.update_reserved(write, entry, new, &old, &mut stored).await;
        reservation.finish(stored).await;
        attempt
    }

    /// The rest of an update; sets `stored` when what was reserved is in use.
    async fn update_reserved(
        &self,
        write: &Write<'_>,
        entry: &Entry,
        mut new: Value,
        old: &Value,
        stored: &mut bool,
    ) -> Result<Attempt, Status> {
        self.before_update(write, &mut new, old)?;
        managedfields::keep_times(old, &mut new);
        self.validate_admission(write, Operation::Update, write.name, &mut new, Some(old)).await?;
        if deletion::completes(&*self.strategy, &new, old) {
            return self.delete_by_update(write, entry, old, &new).await;
        }
        if new == *old && self.is_current(write.name, &new, entry).await? {
            return Ok(Attempt::Done(Written { json: entry.object.json.clone(), created: false }));
        }
        if write.dry_run {
            return Ok(Attempt::Done(Written { json: self.at_rest_json(&new)?, created: false }));
        }
        match self.storage.update(&entry.key, entry.revision, self.draft(&new)?, self.strategy.time_to_live()).await {
            Ok(entry) => {
                *stored = true;
                Ok(Attempt::Done(Written { json: entry.object.json, created: false }))
            }
            // Another write came between. A patch is applied to its result, and a version that the client insists on is
            // found to be old.
            Err(StorageError::Conflict { current }) => Ok(Attempt::Changed(Some(*current))),
            Err(StorageError::NotFound { .. }) => Ok(Attempt::Changed(None)),
            Err(error) => Err(self.storage_error(error, write.name)),
        }
    }

    /// The last finalizer went: the object goes, and the client gets what it wrote.
    async fn delete_by_update(
        &self,
        write: &Write<'_>,
        entry: &Entry,
        old: &Value,
        new: &Value,
    ) -> Result<Attempt, Status> {
        let written = Written { json: self.at_rest_json(new)?, created: false };
        if write.dry_run {
            return Ok(Attempt::Done(written));
        }
        match self.storage.delete(&entry.key, entry.revision).await {
            Ok(_) => {
                self.after_delete(old).await;
                Ok(Attempt::Done(written))
            }
            Err(StorageError::NotFound { .. }) => Ok(Attempt::Done(written)),
            Err(StorageError::Conflict { current }) => Ok(Attempt::Changed(Some(*current))),
            Err(error) => Err(self.storage_error(error, write.name)),
        }
    }

    fn before_update(&self, write: &Write<'_>, new: &mut Value, old: &Value) -> Result<(), Status> {
        object_meta::carry_over(new, old);
        let errors = if write.subresource == "status" {
            restore_all_but_status(new, old);
            if crate::endpoints::reset::keeps_metadata(&self.group, &self.resource) {
                restore_metadata(new, old);
            }
            canonical::complete_status(new, self.schema);
            self.strategy.prepare_for_status_update(new, old);
            let own = own_checks_of_status(&self.group, &self.resource);
            self.validate_metadata_change(new, old, own, |s| s.strategy.validate_status_update(new, old))
        } else {
            if self.has_status && !self.strategy.writes_status(write.subresource) {
                restore(new, old, "status");
            }
            let scope = self.scope(write);
            self.strategy.prepare_for_update(scope, new, old);
            canonical::complete_status(new, self.schema);
            if self.strategy.counts_generation() && self.strategy.generation_changed(new, old) {
                let generation = old.i64_at(&["metadata", "generation"]).unwrap_or(0);
                new.set_at(&["metadata", "generation"], generation + 1);
            }
            let own = own_checks(&self.group, &self.resource);
            self.validate_metadata_change(new, old, own, |s| s.strategy.validate_update(scope, new, old))
        };
        if !errors.is_empty() {
            return Err(status::invalid(&self.group, &self.kind, meta::name(new), errors));
        }
        match write.subresource {
            "" => self.warn(write, new, Some(old)),
            "status" => write.warnings.extend(self.strategy.status_warnings(new)),
            _ => {}
        }
        Ok(())
    }

    fn warn(&self, write: &Write<'_>, new: &Value, old: Option<&Value>) {
        write.warnings.extend(self.strategy.warnings(new, old));
        write.warnings.extend(unenforced::warning(&self.group, &self.resource).map(str::to_owned));
    }

    fn validate_metadata_change(
        &self,
        new: &Value,
        old: &Value,
        own: OwnChecks,
        then: impl FnOnce(&Self) -> skiff_apimachinery::field::ErrorList,
    ) -> skiff_apimachinery::field::ErrorList {
        let mut errors = object_meta::validate(new, self.namespaced, path_segment);
        errors.extend(object_meta::validate_update(new, old));
        if own != OwnChecks::None {
            errors.extend(object_meta::validate_update(new, old));
        }
        if own == OwnChecks::All {
            errors.extend(object_meta::validate(new, self.namespaced, self.strategy.name_rule()));
            errors.extend(object_meta::validate_own_finalizers(new));
        }
        errors.extend(then(self));
        errors
    }

    /// Deletes an object, or marks it as being deleted.
    pub async fn delete(&self, write: &Write<'_>, options: &DeleteOptions) -> Result<Deleted, Status> {
        let key = self.key(write.namespace, write.name);
        for _ in 0..MAX_CONFLICT_RETRIES {
            let (entry, _) = self.storage.get(&key).await.map_err(|e| self.storage_error(e, write.name))?;
            let Some(entry) = entry else {
                return Err(self.not_found(write.name));
            };
            let old = self.parse_stored(&entry.object.json)?;
            self.check_preconditions(write.name, options, &old)?;
            self.admit_delete(write, options, &old).await?;
            let deleted = |json: Bytes, gone| Deleted { json, uid: meta::uid(&old).to_owned(), gone };
            let decision = deletion::decide(&*self.strategy, &old, options, jiff::Timestamp::now());
            if options.dry_run {
                return Ok(match decision {
                    Deletion::Now => deleted(entry.object.json, true),
                    Deletion::Pending => deleted(entry.object.json, false),
                    Deletion::Mark(new) => deleted(self.at_rest_json(&new)?, false),
                    Deletion::MarkThenNow(new) => deleted(self.at_rest_json(&new)?, true),
                });
            }
            let done = match decision {
                Deletion::Pending => return Ok(deleted(entry.object.json, false)),
                Deletion::Now => self.remove(&entry, &old).await,
                Deletion::Mark(new) if new == old => return Ok(deleted(entry.object.json, false)),
                Deletion::Mark(new) => {
                    self.mark(&entry, self.draft(&new)?).await.map(|entry| (entry.object.json, false))
                }
                Deletion::MarkThenNow(new) => match self.mark(&entry, self.draft(&new)?).await {
                    Ok(entry) => self.remove_marked(entry, &old).await,
                    Err(error) => Err(error),
                },
            };
            match done {
                Ok((json, gone)) => return Ok(deleted(json, gone)),
                Err(StorageError::Conflict { .. }) => {}
                Err(error) => return Err(self.storage_error(error, write.name)),
            }
        }
        Err(status::server_timeout(&self.group, &self.resource, "delete"))
    }

    async fn mark(&self, entry: &Entry, new: Draft) -> Result<Entry, StorageError> {
        self.storage.update(&entry.key, entry.revision, new, self.strategy.time_to_live()).await
    }

    async fn remove(&self, entry: &Entry, old: &Value) -> Result<(Bytes, bool), StorageError> {
        let (removed, revision) = self.storage.delete(&entry.key, entry.revision).await?;
        self.after_delete(old).await;
        Ok((removed.object.with_revision(revision).json, true))
    }

    /// Removes what has just been marked to go at once, whatever happens to it in between: who watches it may write its
    /// last status, or remove it first. The client's wish is fulfilled either way (`ignoreNotFound` in upstream's
    /// `registry.Store.Delete`).
    async fn remove_marked(&self, mut entry: Entry, old: &Value) -> Result<(Bytes, bool), StorageError> {
        let marked = entry.object.json.clone();
        for _ in 0..MAX_CONFLICT_RETRIES {
            match self.remove(&entry, old).await {
                Err(StorageError::Conflict { current }) if self.is_same(&current, old) => entry = *current,
                // It is gone, and at most another one has its name.
                Err(StorageError::Conflict { .. } | StorageError::NotFound { .. }) => return Ok((marked, true)),
                done => return done,
            }
        }
        // Whoever keeps writing it sees the mark: that it goes is left to them.
        Ok((marked, false))
    }

    fn is_same(&self, entry: &Entry, old: &Value) -> bool {
        self.parse_stored(&entry.object.json).is_ok_and(|current| meta::uid(&current) == meta::uid(old))
    }

    fn check_preconditions(&self, name: &str, options: &DeleteOptions, old: &Value) -> Result<(), Status> {
        let conflict = |message: String| Err(status::conflict(&self.group, &self.resource, name, &message));
        let uid = meta::uid(old);
        if let Some(wanted) = options.uid.as_deref().filter(|wanted| *wanted != uid) {
            return conflict(format!(
                "the UID in the precondition ({wanted}) does not match the UID in record ({uid}). The object might have been deleted and then recreated"
            ));
        }
        let version = meta::resource_version(old);
        if let Some(wanted) = options.resource_version.as_deref().filter(|wanted| *wanted != version) {
            return conflict(format!(
                "the ResourceVersion in the precondition ({wanted}) does not match the ResourceVersion in record ({version}). The object might have been modified"
            ));
        }
        Ok(())
    }

    fn check_uid(&self, write: &Write<'_>, wanted: Option<&str>, old: &Value) -> Result<(), Status> {
        match wanted.filter(|wanted| !wanted.is_empty() && *wanted != meta::uid(old)) {
            Some(wanted) => Err(self.uid_conflict(write, wanted, meta::uid(old))),
            None => Ok(()),
        }
    }

    /// 409 for a write meant for an object with another uid; upstream shows the error of its store.
    fn uid_conflict(&self, write: &Write<'_>, wanted: &str, found: &str) -> Status {
        let mut key = self.key(write.namespace, write.name);
        // The names that a few resources have in upstream's store.
        for (ours, theirs) in [
            ("/registry/endpoints/", "/registry/services/endpoints/"),
            ("/registry/nodes/", "/registry/minions/"),
            ("/registry/replicationcontrollers/", "/registry/controllers/"),
            ("/registry/services/", "/registry/services/specs/"),
        ] {
            if let Some(rest) = key.strip_prefix(ours) {
                key = format!("{theirs}{rest}");
                break;
            }
        }
        let message = format!(
            "StorageError: invalid object, Code: 4, Key: {key}, ResourceVersion: 0, AdditionalErrorMsg: Precondition failed: UID in precondition: {wanted}, UID in object meta: {found}"
        );
        status::conflict(&self.group, &self.resource, write.name, &message)
    }

    /// Refuses a version other than the current one; fills it in when the client does not insist on any.
    fn check_version(&self, name: &str, new: &mut Value, entry: &Entry) -> Result<(), Status> {
        let wanted = meta::resource_version(new).to_owned();
        let current = entry.revision.to_string();
        if wanted.is_empty() || wanted == "0" {
            if !self.strategy.allow_unconditional_update() {
                use skiff_apimachinery::field::{Error, Path};
                let path = Path::new("metadata").child("resourceVersion");
                let errors = vec![Error::invalid(&path, 0, "must be specified for an update")];
                return Err(status::invalid(&self.group, &self.resource, name, errors));
            }
            new.set_at(&["metadata", "resourceVersion"], current);
            return Ok(());
        }
        if wanted != current {
            return Err(self.modified(name));
        }
        Ok(())
    }

    async fn reserve(&self, new: &mut Value, old: Option<&Value>, dry_run: bool) -> Result<Reservation, Status> {
        match &self.hook {
            Some(hook) => hook.begin(new, old, dry_run).await,
            None => Ok(Reservation::default()),
        }
    }

    async fn after_delete(&self, old: &Value) {
        if let Some(hook) = &self.hook {
            hook.after_delete(old).await;
        }
    }

    fn scope<'a>(&'a self, write: &'a Write<'_>) -> WriteScope<'a> {
        WriteScope {
            subresource: write.subresource,
            namespace: write.namespace,
            group: write.group.unwrap_or(&self.group),
            identity: write.user,
        }
    }

    /// The object behind stored bytes.
    pub fn parse_stored(&self, json: &[u8]) -> Result<Value, Status> {
        // Under the schema, so that fieldsV1 stays text as it is in objects that were just decoded.
        let kept = match json::decode(json, self.schema) {
            Ok(decoded) => decoded.value,
            Err(error) => {
                return Err(status::internal_error(format!("stored {} cannot be read: {error}", self.resource)));
            }
        };
        match &self.at_rest {
            Some(form) => form.read(kept),
            None => Ok(kept),
        }
    }

    /// What the storage is given of an object.
    fn draft(&self, object: &Value) -> Result<Draft, Status> {
        match &self.at_rest {
            Some(form) => Ok(draft(&form.write(object)?)),
            None => Ok(draft(object)),
        }
    }

    /// The bytes that would be stored of an object.
    fn at_rest_json(&self, object: &Value) -> Result<Bytes, Status> {
        match &self.at_rest {
            Some(form) => Ok(to_json(&form.write(object)?)),
            None => Ok(to_json(object)),
        }
    }

    /// Whether what is stored of an object is what would be stored now: another version may be kept since, or other
    /// defaults filled in.
    async fn is_current(&self, name: &str, object: &Value, entry: &Entry) -> Result<bool, Status> {
        let Some(form) = &self.at_rest else { return Ok(true) };
        let kept = json::decode(&entry.object.json, self.schema).map_err(status::internal_error)?.value;
        let is_same = form.write(object)? == kept;
        Ok(is_same && form.is_current(&entry.key).await.map_err(|e| self.storage_error(e, name))?)
    }

    /// A storage error as clients see it.
    pub fn storage_error(&self, error: StorageError, name: &str) -> Status {
        storage_error(&self.group, &self.resource, name, error)
    }
}

enum Attempt {
    Done(Written),
    /// Somebody else wrote in between; this is what is there now.
    Changed(Option<Entry>),
}

fn to_json(object: &Value) -> Bytes {
    let mut out = Vec::with_capacity(4096);
    json::write(object, &mut out);
    out.into()
}

fn generated_name(base: &str) -> String {
    let mut end = base.len().min(MAX_GENERATED_BASE);
    while !base.is_char_boundary(end) {
        end -= 1;
    }
    let mut name = base[..end].to_owned();
    let mut rng = rand::rng();
    for _ in 0..5 {
        name.push(char::from(NAME_ALPHABET[rng.random_range(0..NAME_ALPHABET.len())]));
    }
    name
}

/// Puts one top-level field back as it was.
fn restore(new: &mut Value, old: &Value, field: &str) {
    match old.get(field) {
        Some(value) => drop(new.object_at_mut(&[]).insert(field, value.clone())),
        None => drop(new.remove_at(&[field])),
    }
}

/// A write to `status` changes `status`, labels, annotations, finalizers and managed fields, and nothing else.
fn restore_all_but_status(new: &mut Value, old: &Value) {
    let written = std::mem::take(new);
    let (metadata, status) = (written.get("metadata").cloned(), written.get("status").cloned());
    *new = old.clone();
    if let Some(metadata) = metadata {
        new.set_at(&["metadata"], metadata);
        match old.at(&["metadata", "ownerReferences"]) {
            Some(owners) => new.set_at(&["metadata", "ownerReferences"], owners.clone()),
            None => drop(new.remove_at(&["metadata", "ownerReferences"])),
        }
    }
    match status {
        Some(status) => new.set_at(&["status"], status),
        None => drop(new.remove_at(&["status"])),
    }
}

/// Puts back all metadata but what the server itself keeps there about this write.
fn restore_metadata(new: &mut Value, old: &Value) {
    let kept = ["managedFields", "resourceVersion"].map(|field| (field, new.at(&["metadata", field]).cloned()));
    restore(new, old, "metadata");
    for (field, value) in kept {
        if let Some(value) = value {
            new.set_at(&["metadata", field], value);
        }
    }
}
