//! Follows the APIServices: makes those of custom resources, says which are available, and learns what others serve.
//!
//! One task for all of them, and one for each that somebody else serves, because those may take their time.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use skiff_apimachinery::managedfields::{self, ManagerInfo};
use skiff_apimachinery::status::Status;
use skiff_apimachinery::value::Value;
use skiff_apimachinery::{meta, time, value};
use tokio_util::sync::CancellationToken;

use super::availability::{self, Verdict};
use super::learned::{self, Learned};
use super::listing::{CUSTOM_GROUP_PRIORITY, CUSTOM_VERSION_PRIORITY};
use super::remote::Remote;
use super::service::{ApiService, Backend, MANAGED};
use super::{Delegated, GROUP, RESOURCE};
use crate::ApiServer;
use crate::cacher::{ObjectReader, Predicate, WatchRequest, WatchStart};
use crate::registry::deletion::DeleteOptions;
use crate::registry::store::Store;
use crate::server::Own;

/// Pause after a failure.
const RETRY: Duration = Duration::from_secs(1);
/// Longest pause before somebody who failed is asked again.
const LAST_RETRY: Duration = Duration::from_secs(30);
/// How often those who serve are asked whether they still do.
const PERIOD: Duration = Duration::from_secs(30);
/// How soon a change of Services or endpoints is noticed.
const NOTICE: Duration = Duration::from_millis(250);
/// Who writes the status, as managedFields shows it.
const MANAGER: &str = "kube-apiserver";

/// See the module.
pub struct Controller {
    server: Arc<ApiServer>,
    store: Arc<Store>,
    /// Those that somebody else serves, by name.
    running: BTreeMap<String, Running>,
}

struct Running {
    delegated: Arc<Delegated>,
    stop: CancellationToken,
}

impl Controller {
    /// Follows the APIServices until the server's shutdown.
    pub fn start(server: &Arc<ApiServer>) {
        let Some(store) = server.registry.store(GROUP, RESOURCE).cloned() else { return };
        let mut controller = Self { server: server.clone(), store, running: BTreeMap::new() };
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
        let mut loaded = self.server.definitions_loaded.subscribe();
        // The sender is the server's own: it cannot be gone.
        let _ = loaded.wait_for(|loaded| *loaded).await;
        let mut served = self.server.registry.subscribe();
        loop {
            let request = WatchRequest { start: WatchStart::Now, predicate: Predicate::default(), bookmarks: false };
            let Ok(mut changes) = self.store.cache.watch(&request).await else {
                tokio::time::sleep(RETRY).await;
                continue;
            };
            loop {
                let failed = self.reconcile().await.err();
                if let Some(error) = &failed {
                    tracing::warn!(%error, "APIServices could not be written; trying again");
                }
                let changed = tokio::select! {
                    change = changes.next() => change.is_some(),
                    changed = served.changed() => changed.is_ok(),
                    () = tokio::time::sleep(RETRY), if failed.is_some() => true,
                };
                if !changed {
                    break;
                }
                while changes.try_next().is_some() {}
            }
        }
    }

    async fn reconcile(&mut self) -> Result<(), Status> {
        self.read();
        let objects = self.objects();
        self.manage(&objects).await?;
        for object in &objects {
            let service = ApiService::parse(object);
            if service.backend.is_none() && !service.available {
                write_verdict(&self.store, object, &Verdict::local()).await?;
            }
        }
        Ok(())
    }

    fn objects(&self) -> Vec<Value> {
        let objects = self.store.cache.list_cached(&Predicate::default()).objects;
        objects.iter().filter_map(|entry| self.store.parse_stored(entry.json()).ok()).collect()
    }

    /// Takes over what the objects say.
    fn read(&mut self) {
        let services = self.objects().iter().map(|object| Arc::new(ApiService::parse(object))).collect::<Vec<_>>();
        let mut before = std::mem::take(&mut self.running);
        for service in services.iter() {
            let Some(backend) = &service.backend else { continue };
            let running = match before.remove(&service.name) {
                Some(known) if *known.delegated.service == **service => known,
                Some(known) if known.delegated.service.backend == service.backend => self.renew(known, service),
                known => {
                    known.into_iter().for_each(|known| known.stop.cancel());
                    self.begin(service, backend)
                }
            };
            self.running.insert(service.name.clone(), running);
        }
        before.values().for_each(|gone| gone.stop.cancel());
        let delegated = self.running.values().map(|running| running.delegated.clone()).collect::<Vec<_>>();
        let now = self.server.aggregator.picture();
        let same = now.services == services
            && now.delegated.len() == delegated.len()
            && now.delegated.iter().zip(&delegated).all(|(a, b)| Arc::ptr_eq(a, b));
        if !same {
            self.server.aggregator.replace(services, delegated);
        }
    }

    /// The same backend under an object that changed otherwise.
    fn renew(&self, known: Running, service: &Arc<ApiService>) -> Running {
        known.stop.cancel();
        let learned = known.delegated.learned.load_full();
        let remote = known.delegated.remote.clone();
        self.follow(Delegated { service: service.clone(), remote, learned: ArcSwap::new(learned) })
    }

    fn begin(&self, service: &Arc<ApiService>, backend: &Backend) -> Running {
        let identity = self.server.proxy_tls.as_ref().and_then(|tls| tls.front_proxy.as_ref());
        let remote = Remote::new(backend, identity, self.server.services.clone()).map(Arc::new);
        self.follow(Delegated { service: service.clone(), remote, learned: ArcSwap::default() })
    }

    fn follow(&self, delegated: Delegated) -> Running {
        let (delegated, stop) = (Arc::new(delegated), self.server.shutdown.child_token());
        let follower =
            Follower { server: self.server.clone(), store: self.store.clone(), delegated: delegated.clone() };
        let stopped = stop.clone();
        tokio::spawn(async move { stopped.run_until_cancelled(follower.run()).await });
        Running { delegated, stop }
    }

    /// Makes an APIService for each version of custom resources that is served, and lets those go that are no longer.
    async fn manage(&self, objects: &[Value]) -> Result<(), Status> {
        let served = self.server.registry.served();
        let custom = served.resources().filter(|resource| resource.custom.is_some());
        let wanted = custom.map(|r| (r.info.version.to_string(), r.info.group.to_string())).collect::<BTreeSet<_>>();
        for (version, group) in &wanted {
            let name = format!("{version}.{group}");
            if !objects.iter().any(|object| meta::name(object) == name) {
                self.server.ensure(GROUP, RESOURCE, managed(&name, group, version)).await?;
            }
        }
        for object in objects {
            let service = ApiService::parse(object);
            if !service.managed || wanted.contains(&(service.version.clone(), service.group.clone())) {
                continue;
            }
            let options = DeleteOptions { uid: Some(service.uid.clone()), ..DeleteOptions::default() };
            match self.store.delete(&Own::new(object).write(), &options).await {
                Err(error) if !matches!(error.code, 404 | 409) => return Err(error),
                _ => {}
            }
        }
        Ok(())
    }
}

fn managed(name: &str, group: &str, version: &str) -> Value {
    let mut object = value!({
        "apiVersion": "apiregistration.k8s.io/v1",
        "kind": "APIService",
        "metadata": {"name": name},
        "spec": {
            "group": group,
            "version": version,
            "groupPriorityMinimum": CUSTOM_GROUP_PRIORITY,
            "versionPriority": CUSTOM_VERSION_PRIORITY
        }
    });
    object.set_at(&["metadata", "labels", MANAGED], "true");
    object
}

/// Looks after one APIService that somebody else serves.
struct Follower {
    server: Arc<ApiServer>,
    store: Arc<Store>,
    delegated: Arc<Delegated>,
}

impl Follower {
    async fn run(self) {
        let mut pause = RETRY;
        loop {
            let seen = self.seen();
            let verdict = self.verdict().await;
            if let Err(error) = self.say(&verdict).await {
                tracing::warn!(%error, name = self.delegated.service.name, "an APIService's status could not be written");
            }
            self.learn(verdict.available).await;
            pause = if verdict.available { PERIOD } else { (pause * 2).min(LAST_RETRY) };
            self.wait(pause, seen).await;
        }
    }

    async fn verdict(&self) -> Verdict {
        let Delegated { service, remote, .. } = &*self.delegated;
        match &service.backend {
            Some(backend) => availability::check(service, backend, remote, self.server.cacher.as_ref()).await,
            None => Verdict::local(),
        }
    }

    async fn say(&self, verdict: &Verdict) -> Result<(), Status> {
        let Some(entry) = self.store.cache.get("", &self.delegated.service.name) else { return Ok(()) };
        let object = self.store.parse_stored(entry.json())?;
        if meta::uid(&object) != self.delegated.service.uid {
            return Ok(());
        }
        write_verdict(&self.store, &object, verdict).await
    }

    async fn learn(&self, available: bool) {
        let before = self.delegated.learned.load_full();
        let learned = match &self.delegated.remote {
            Ok(remote) if available => learned::learn(&self.delegated.service, remote, &before).await,
            _ => Learned { current: false, ..(*before).clone() },
        };
        if learned != *before {
            self.delegated.learned.store(Arc::new(learned));
            self.server.aggregator.touch();
        }
    }

    fn seen(&self) -> Seen {
        // In this order, so that what changes in between is noticed.
        let generations = self.generations();
        Seen { generations, versions: self.versions() }
    }

    fn generations(&self) -> (u64, u64) {
        let reader = self.server.cacher.as_ref();
        (reader.generation("", "services"), reader.generation("discovery.k8s.io", "endpointslices"))
    }

    fn versions(&self) -> Vec<(String, String)> {
        let backend = self.delegated.service.backend.as_ref();
        backend.map(|backend| availability::versions(backend, self.server.cacher.as_ref())).unwrap_or_default()
    }

    /// Waits this long, or until the Service or its endpoints change. Those of others change all the time.
    async fn wait(&self, pause: Duration, mut seen: Seen) {
        let end = tokio::time::Instant::now() + pause;
        while tokio::time::Instant::now() < end {
            let generations = self.generations();
            if generations != seen.generations {
                if self.versions() != seen.versions {
                    return;
                }
                seen.generations = generations;
            }
            tokio::time::sleep(NOTICE.min(pause)).await;
        }
    }
}

/// What has been seen of Services and endpoints.
struct Seen {
    /// Of all.
    generations: (u64, u64),
    /// Of those behind the backend.
    versions: Vec<(String, String)>,
}

/// Writes the condition `Available` where it says something else.
async fn write_verdict(store: &Store, object: &Value, verdict: &Verdict) -> Result<(), Status> {
    let now = time::format(jiff::Timestamp::now());
    let mut wanted = object.clone();
    verdict.set(&mut wanted, &now);
    if wanted.get("status") == object.get("status") {
        return Ok(());
    }
    let own = Own::new(object);
    let mut write = own.write();
    write.subresource = "status";
    let manager = ManagerInfo::new(MANAGER, "apiregistration.k8s.io/v1", "status", &now);
    let changed = |current: Option<&Value>| {
        let mut new = current.unwrap_or(object).clone();
        verdict.set(&mut new, &now);
        managedfields::update(current, &mut new, store.schema, &manager);
        Ok(new)
    };
    match store.update(&write, &changed).await {
        Err(error) if !matches!(error.code, 404 | 409) => Err(error),
        _ => Ok(()),
    }
}
