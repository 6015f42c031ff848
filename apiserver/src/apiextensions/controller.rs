//! Keeps what is served in step with the CustomResourceDefinitions: gives them names and conditions, serves them, and
//! deletes their objects when they go.
//!
//! One task, which looks at everything again whenever a definition changes; only changed definitions are parsed and
//! compiled. Follows the controllers in `apiextensions-apiserver/pkg/controller`.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use skiff_apimachinery::managedfields::{self, ManagerInfo};
use skiff_apimachinery::status::Status;
use skiff_apimachinery::value::Value;
use skiff_apimachinery::{meta, time};

use super::conditions::{self, Condition};
use super::names::{self, Taken};
use super::version::Definition;
use super::{CLEANUP, GROUP, RESOURCE, approval};
use crate::ApiServer;
use crate::cacher::{Predicate, WatchRequest, WatchStart};
use crate::registry::Resource;
use crate::registry::deletion::DeleteOptions;
use crate::registry::store::Store;
use crate::server::Own;

/// How soon objects that wait for their own finalizers are looked at again.
const CLEANUP_PERIOD: Duration = Duration::from_millis(500);
/// Pause after a failure.
const RETRY: Duration = Duration::from_secs(1);
/// Who writes the status, as managedFields shows it.
const MANAGER: &str = "kube-apiserver";

/// What is known of the definitions.
pub struct Controller {
    server: Arc<ApiServer>,
    store: Arc<Store>,
    known: HashMap<String, Known>,
}

struct Known {
    json: Bytes,
    object: Arc<Value>,
    /// What was served is made of: names, spec and whether it is going.
    of: Option<Value>,
    resources: Vec<Arc<Resource>>,
}

impl Controller {
    /// Serves what the store has, then follows the definitions until the server's shutdown.
    pub fn start(server: &Arc<ApiServer>) {
        let Some(store) = server.registry.store(GROUP, RESOURCE).cloned() else {
            server.definitions_loaded.send_replace(true);
            return;
        };
        let mut controller = Self { server: server.clone(), store, known: HashMap::new() };
        tokio::spawn(async move {
            let shutdown = controller.server.shutdown.clone();
            tokio::select! {
                () = controller.run() => {}
                () = shutdown.cancelled() => {}
            }
        });
    }

    async fn run(&mut self) {
        self.store.cache.ready().await;
        self.read();
        self.serve();
        self.server.definitions_loaded.send_replace(true);
        self.follow().await;
    }

    async fn follow(&mut self) {
        loop {
            let request = WatchRequest { start: WatchStart::Now, predicate: Predicate::default(), bookmarks: false };
            let Ok(mut changes) = self.store.cache.watch(&request).await else {
                tokio::time::sleep(RETRY).await;
                continue;
            };
            loop {
                let again = self.reconcile().await;
                let changed = tokio::select! {
                    change = changes.next() => change.is_some(),
                    () = tokio::time::sleep(again.unwrap_or(Duration::MAX)), if again.is_some() => true,
                };
                if !changed {
                    break;
                }
                while changes.try_next().is_some() {}
            }
        }
    }

    /// Does what there is to do now; returns when to look again although nothing changed.
    async fn reconcile(&mut self) -> Option<Duration> {
        self.read();
        let mut again = self.update_conditions().await.err().map(|error| {
            tracing::warn!(%error, "conditions of a CustomResourceDefinition could not be written; trying again");
            RETRY
        });
        self.read();
        self.serve();
        let going = self.known.values().map(|known| known.object.clone()).filter(|object| is_going(object));
        for definition in going.collect::<Vec<_>>() {
            match self.clean_up(&definition).await {
                Ok(true) => {}
                Ok(false) => again = Some(again.map_or(CLEANUP_PERIOD, |a| a.min(CLEANUP_PERIOD))),
                Err(error) => {
                    let name = meta::name(&definition);
                    tracing::warn!(%error, name, "custom resources could not be deleted; trying again");
                    again = Some(again.map_or(RETRY, |a| a.min(RETRY)));
                }
            }
        }
        again
    }

    /// Takes over what changed.
    fn read(&mut self) {
        let current = self.store.cache.list_cached(&Predicate::default()).objects;
        let mut before = std::mem::take(&mut self.known);
        for entry in current {
            let name = entry.name().to_owned();
            let json = entry.json().clone();
            let known = match before.remove(&name) {
                Some(known) if known.json == json => known,
                known => match self.store.parse_stored(&json) {
                    Ok(object) => {
                        let (of, resources) = known.map(|known| (known.of, known.resources)).unwrap_or_default();
                        Known { json, object: Arc::new(object), of, resources }
                    }
                    Err(error) => {
                        tracing::error!(%error, name, "a stored CustomResourceDefinition cannot be read");
                        continue;
                    }
                },
            };
            self.known.insert(name, known);
        }
        for known in before.values() {
            self.stop_serving(known);
        }
    }

    fn stop_serving(&self, known: &Known) {
        if let Some(resource) = known.resources.first() {
            self.server.cacher.remove(&resource.info.group, &resource.info.plural);
        }
    }

    /// Makes the resources of changed definitions and serves all of them.
    fn serve(&mut self) {
        let mut changed = false;
        let cacher = self.server.cacher.clone();
        for known in self.known.values_mut() {
            let definition = Definition::new(&known.object);
            let is_served = definition.has_condition("NamesAccepted") || definition.has_condition("Established");
            let of = is_served.then(|| made_of(&known.object));
            if known.of == of {
                continue;
            }
            changed = true;
            let before = known.resources.first().cloned();
            if let Some(before) = &before
                && (before.info.plural != definition.plural()
                    || !has_same_fields(&known.object, before)
                    || definition.is_converted_by_webhook()
                    || is_converted_by_webhook(before))
            {
                cacher.remove(&before.info.group, &before.info.plural);
            }
            known.resources = if is_served { definition.resources(&cacher, &self.server.webhooks) } else { Vec::new() };
            known.of = of;
        }
        let all = self.known.values().flat_map(|known| known.resources.iter().cloned()).collect::<Vec<_>>();
        let served = self.server.registry.served().resources().filter(|r| r.custom.is_some()).count();
        if changed || served != all.len() {
            self.server.registry.serve_custom(&all);
        }
    }

    /// Writes names and conditions where they are not what they should be.
    async fn update_conditions(&self) -> Result<(), Status> {
        // In the order of their age: who came first keeps a name.
        let mut all = self.known.values().map(|known| known.object.clone()).collect::<Vec<_>>();
        all.sort_by_key(|object| {
            let created = object.str_at(&["metadata", "creationTimestamp"]).unwrap_or("").to_owned();
            (created, meta::name(object).to_owned())
        });
        let mut taken: HashMap<String, Taken> = HashMap::new();
        for object in &all {
            taken.entry(group_of(object)).or_default().add(object);
        }
        for object in all {
            let taken = taken.entry(group_of(&object)).or_default();
            let mut wanted = (*object).clone();
            if wanted.at(&["spec", "names"]) != wanted.at(&["status", "acceptedNames"])
                || conditions::find(&wanted, "NamesAccepted").is_none()
            {
                names::accept(&mut wanted, taken);
            }
            approval::set_condition(&mut wanted);
            taken.add(&wanted);
            if wanted.get("status") != object.get("status") {
                self.write_status(&wanted).await?;
            }
        }
        Ok(())
    }

    /// Writes a definition's status, unless it has changed since it was read: then it is looked at again.
    async fn write_status(&self, definition: &Value) -> Result<(), Status> {
        let own = Own::new(definition);
        let mut write = own.write();
        write.subresource = "status";
        let now = time::format(jiff::Timestamp::now());
        let manager = ManagerInfo::new(MANAGER, "apiextensions.k8s.io/v1", "status", &now);
        let changed = |current: Option<&Value>| {
            let mut new = definition.clone();
            managedfields::update(current, &mut new, self.store.schema, &manager);
            Ok(new)
        };
        match self.store.update(&write, &changed).await {
            Ok(written) => {
                // The next look must see it.
                drop(self.store.cache.wait_for(revision(&written.json)).await);
                Ok(())
            }
            Err(error) if matches!(error.code, 404 | 409) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Deletes the objects of a definition that is going, then lets it go. Returns whether that is done.
    async fn clean_up(&self, definition: &Value) -> Result<bool, Status> {
        let mut wanted = definition.clone();
        if !conditions::is_true(definition, "Established") {
            let reason = "NeverEstablished";
            let message = "resource was never established";
            conditions::set(&mut wanted, Condition { ty: "Terminating", status: false, reason, message });
            return self.let_go(wanted).await;
        }
        let message = "CustomResource deletion is in progress";
        let reason = "InstanceDeletionInProgress";
        conditions::set(&mut wanted, Condition { ty: "Terminating", status: true, reason, message });
        if wanted.get("status") != definition.get("status") {
            self.write_status(&wanted).await?;
            // What is served lets nothing be created any more once that is seen.
            return Ok(false);
        }
        let known = self.known.get(meta::name(definition));
        let store = known.and_then(|known| known.resources.first()).and_then(|resource| resource.store.clone());
        if let Some(store) = store
            && !delete_all(&store).await?
        {
            return Ok(false);
        }
        let reason = "InstanceDeletionCompleted";
        let message = "removed all instances";
        conditions::set(&mut wanted, Condition { ty: "Terminating", status: false, reason, message });
        self.let_go(wanted).await
    }

    async fn let_go(&self, mut definition: Value) -> Result<bool, Status> {
        let left = meta::finalizers(&definition).filter(|f| *f != CLEANUP).map(Value::from).collect::<Vec<_>>();
        if left.is_empty() {
            definition.remove_at(&["metadata", "finalizers"]);
        } else {
            definition.set_at(&["metadata", "finalizers"], left);
        }
        self.write_status(&definition).await?;
        Ok(true)
    }
}

/// Whether a definition waits for its objects to be deleted.
fn is_going(definition: &Value) -> bool {
    meta::deletion_timestamp(definition).is_some() && meta::finalizers(definition).any(|f| f == CLEANUP)
}

fn group_of(definition: &Value) -> String {
    definition.str_at(&["spec", "group"]).unwrap_or("").to_owned()
}

/// All of a definition that decides what is served.
fn made_of(definition: &Value) -> Value {
    let mut of = skiff_apimachinery::value::Object::new();
    of.insert("uid", meta::uid(definition));
    of.insert("spec", definition.get("spec").cloned().unwrap_or_default());
    of.insert("names", definition.at(&["status", "acceptedNames"]).cloned().unwrap_or_default());
    of.insert("terminating", conditions::is_true(definition, "Terminating"));
    Value::Object(of)
}

/// Whether the resource has caches of its own for each version.
fn is_converted_by_webhook(resource: &Resource) -> bool {
    resource.custom.as_ref().is_some_and(|custom| custom.converter.is_webhook())
}

/// Whether the cache of a resource has what selectors can name now.
fn has_same_fields(definition: &Value, resource: &Resource) -> bool {
    let Some(store) = &resource.store else { return true };
    let wanted = Definition::new(definition).selectable();
    wanted == store.strategy.selectable_fields()
}

fn revision(json: &Bytes) -> u64 {
    let object = skiff_apimachinery::json::parse(json).unwrap_or_default();
    meta::resource_version(&object).parse().unwrap_or(0)
}

/// Deletes what there is; returns whether nothing is left.
async fn delete_all(store: &Store) -> Result<bool, Status> {
    let request = crate::cacher::ListRequest {
        revision: crate::cacher::ListRevision::Fresh(crate::cacher::Freshness::Latest),
        predicate: Predicate::default(),
        limit: 0,
        start: None,
    };
    let objects = store.cache.list(&request).await?.objects;
    for entry in &objects {
        let object = store.parse_stored(entry.json())?;
        if meta::deletion_timestamp(&object).is_some() {
            continue;
        }
        match store.delete(&Own::new(&object).write(), &DeleteOptions::default()).await {
            Ok(_) => {}
            Err(error) if error.code == 404 => {}
            Err(error) => return Err(error),
        }
    }
    Ok(objects.is_empty())
}
