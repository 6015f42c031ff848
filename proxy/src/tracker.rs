//! What informers told since the last look: the model, kept up to date event by event, and the Services concerned.

use std::collections::BTreeSet;
use std::sync::Arc;

use parking_lot::Mutex;
use skiff_client::informer::{Event, Informer};
use skiff_client::types::{EndpointSlice, Node, Service};
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::convert;
use crate::model::{Key, State};

/// Label of a node's zone.
const ZONE_LABEL: &str = "topology.kubernetes.io/zone";

/// The model and what changed in it. Cloning gives another handle on the same one.
#[derive(Clone, Default)]
pub struct Tracker {
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    tracked: Mutex<Tracked>,
    changed: Notify,
}

/// The model under its lock.
#[derive(Default)]
pub struct Tracked {
    /// Everything known.
    pub state: State,
    /// Services whose rules may have changed.
    pub dirty: BTreeSet<Key>,
    /// When the oldest change that is not yet written arrived.
    pub since: Option<Instant>,
}

impl Tracked {
    fn mark(&mut self, key: Key) {
        self.dirty.insert(key);
        self.since.get_or_insert_with(Instant::now);
    }
}

impl Tracker {
    /// A tracker fed by these informers.
    pub fn new(services: &Informer<Service>, slices: &Informer<EndpointSlice>, node: &Informer<Node>) -> Self {
        let tracker = Self::default();
        let shared = tracker.shared.clone();
        services.add_handler(move |event| shared.note(|tracked| service_event(tracked, &event)));
        let shared = tracker.shared.clone();
        slices.add_handler(move |event| shared.note(|tracked| slice_event(tracked, &event)));
        let shared = tracker.shared.clone();
        node.add_handler(move |event| shared.note(|tracked| node_event(tracked, &event)));
        tracker
    }

    /// Waits until there may be something new.
    pub async fn changed(&self) {
        self.shared.changed.notified().await;
    }

    /// Looks at the model. The informers wait meanwhile.
    pub fn with<T>(&self, look: impl FnOnce(&mut Tracked) -> T) -> T {
        look(&mut self.shared.tracked.lock())
    }
}

impl Shared {
    fn note(&self, update: impl FnOnce(&mut Tracked)) {
        let mut tracked = self.tracked.lock();
        update(&mut tracked);
        let changed = !tracked.dirty.is_empty();
        drop(tracked);
        if changed {
            self.changed.notify_one();
        }
    }
}

fn service_event(tracked: &mut Tracked, event: &Event<'_, Service>) {
    let object = event.object();
    let key = convert::key(&object.metadata);
    let service = if matches!(event, Event::Deleted(_)) { None } else { convert::service(object) };
    let same = match (&service, tracked.state.services.get(&key)) {
        (Some(new), Some(old)) => new == old,
        (None, None) => true,
        _ => false,
    };
    if same {
        return;
    }
    match service {
        Some(service) => tracked.state.services.insert(key.clone(), service),
        None => tracked.state.services.remove(&key),
    };
    tracked.mark(key);
}

fn slice_event(tracked: &mut Tracked, event: &Event<'_, EndpointSlice>) {
    let (old, new) = match event {
        Event::Added(new) => (None, convert::slice(new)),
        Event::Updated(old, new) => (convert::slice(old), convert::slice(new)),
        Event::Deleted(old) => (convert::slice(old), None),
    };
    if old == new {
        return;
    }
    let name = &event.object().metadata.name;
    if let Some((service, _)) = old {
        tracked.state.remove_slice(&service, name);
        tracked.mark(service);
    }
    if let Some((service, slice)) = new {
        tracked.state.add_slice(service.clone(), name, slice);
        tracked.mark(service);
    }
}

fn node_event(tracked: &mut Tracked, event: &Event<'_, Node>) {
    let zone = event.object().metadata.labels.get(ZONE_LABEL).unwrap_or_default();
    if tracked.state.zone != zone {
        tracked.state.zone = zone.to_owned();
        for key in tracked.state.services.keys().cloned().collect::<Vec<_>>() {
            tracked.mark(key);
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn parse<T: serde::de::DeserializeOwned>(value: Value) -> T {
        serde_json::from_value(value).expect("an object")
    }

    fn service(version: &str, cluster_ip: &str) -> Service {
        parse(json!({"metadata": {"name": "web", "namespace": "demo", "resourceVersion": version},
            "spec": {"clusterIP": cluster_ip, "clusterIPs": [cluster_ip], "ports": [{"port": 80}]}}))
    }

    fn slice(version: &str, service: &str, address: &str) -> EndpointSlice {
        parse(json!({"metadata": {"name": "s", "namespace": "demo", "resourceVersion": version,
            "labels": {"kubernetes.io/service-name": service}}, "addressType": "IPv4",
            "ports": [{"name": "", "port": 8080}], "endpoints": [{"addresses": [address]}]}))
    }

    #[test]
    fn only_what_matters_marks_a_service() {
        let (services, slices, node) = (Informer::detached(), Informer::detached(), Informer::detached());
        let tracker = Tracker::new(&services, &slices, &node);
        let dirty = || {
            tracker.with(|tracked| {
                tracked.since = None;
                std::mem::take(&mut tracked.dirty).into_iter().map(|key| key.name).collect::<Vec<_>>()
            })
        };
        services.apply(service("1", "10.96.0.5"));
        assert_eq!(dirty(), ["web"]);
        services.apply(service("2", "10.96.0.5"));
        assert!(dirty().is_empty(), "nothing that the proxy reads has changed");
        slices.apply(slice("3", "web", "10.244.0.2"));
        slices.apply(slice("4", "other", "10.244.0.2"));
        assert_eq!(dirty(), ["other", "web"], "a slice that moves concerns both Services");
        slices.remove(slice("5", "other", "10.244.0.2"));
        assert_eq!(dirty(), ["other"]);
        assert!(tracker.with(|tracked| tracked.state.slices.is_empty()));
        node.apply(parse(json!({"metadata": {"name": "n", "resourceVersion": "6", "labels": {ZONE_LABEL: "z"}}})));
        assert_eq!(dirty(), ["web"]);
        services.apply(service("7", "None"));
        assert_eq!(dirty(), ["web"], "a Service that becomes headless loses its rules");
        assert!(tracker.with(|tracked| tracked.state.services.is_empty()));
    }
}
