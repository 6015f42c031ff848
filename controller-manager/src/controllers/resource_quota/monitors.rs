//! Notices what frees something: deletions of the kinds that some quota is about, pods that end, Services and claims
//! that change. Kinds that no quota is about are not watched.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use skiff_client::types::{PartialObject, Pod, Service};
use skiff_client::watch::Source;
use skiff_client::{Event, Informer, ResourceType};
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::{Controller, measure};
use crate::discovery;

/// How often kinds are looked for that a quota is about and that were not there.
const RESYNC: Duration = Duration::from_secs(30);

struct Monitor {
    _informer: Informer<PartialObject>,
    stop: CancellationToken,
}

/// Watches until shutdown.
pub(super) async fn run(controller: Arc<Controller>) {
    watch_pods_and_services(&controller);
    let shutdown = controller.context.shutdown.clone();
    let mut monitors: HashMap<(String, String), Monitor> = HashMap::new();
    loop {
        let wanted = wanted(&controller);
        monitors.retain(|kind, monitor| {
            let stays = wanted.contains(kind);
            if !stays {
                monitor.stop.cancel();
            }
            stays
        });
        let missing = wanted.into_iter().filter(|kind| !monitors.contains_key(kind)).collect::<Vec<_>>();
        let all_there = missing.is_empty() || start_missing(&controller, &mut monitors, missing).await;
        let pause = async { if all_there { std::future::pending().await } else { tokio::time::sleep(RESYNC).await } };
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = controller.changed.notified() => {}
            () = pause => {}
        }
    }
}

/// Those that have informers in this process anyway.
fn watch_pods_and_services(controller: &Arc<Controller>) {
    let owner = controller.clone();
    controller.context.informer::<Pod>().add_handler(move |event| match event {
        Event::Deleted(pod) => owner.freed(&pod.metadata.namespace),
        Event::Updated(old, new) if !old.is_terminal() && new.is_terminal() => owner.freed(&new.metadata.namespace),
        _ => {}
    });
    let owner = controller.clone();
    controller.context.informer::<Service>().add_handler(move |event| match event {
        Event::Deleted(service) | Event::Updated(_, service) => owner.freed(&service.metadata.namespace),
        Event::Added(_) => {}
    });
}

/// The other kinds that quotas are about.
fn wanted(controller: &Controller) -> BTreeSet<(String, String)> {
    let mut wanted = BTreeSet::new();
    for quota in controller.quotas.list() {
        wanted.extend(measure::kinds(quota.spec.hard.iter().map(|(name, _)| name)).into_keys());
    }
    wanted.retain(|(group, plural)| !group.is_empty() || !matches!(plural.as_str(), "pods" | "services"));
    wanted
}

/// Whether all could be started.
async fn start_missing(
    controller: &Arc<Controller>,
    monitors: &mut HashMap<(String, String), Monitor>,
    missing: Vec<(String, String)>,
) -> bool {
    let found = match discovery::discover(&controller.context.client).await {
        Ok(found) => found,
        Err(error) => {
            warn!(%error, "cannot discover resources, will retry");
            return false;
        }
    };
    let mut all = true;
    for kind in missing {
        let is = |resource: &ResourceType| *resource.group == *kind.0 && *resource.plural == *kind.1;
        let found = found.resources.iter().find(|one| is(&one.resource) && one.can("watch"));
        match found {
            Some(found) => drop(monitors.insert(kind, start(controller, &found.resource))),
            None => all = false,
        }
    }
    all
}

fn start(controller: &Arc<Controller>, resource: &ResourceType) -> Monitor {
    let stop = controller.context.shutdown.child_token();
    let source = Source { metadata_only: true, ..Source::all(resource.clone()) };
    let informer = Informer::<PartialObject>::spawn(controller.context.client.clone(), source, stop.clone());
    let owner = controller.clone();
    // Only a claim can free something without going: its volume shrinks back after a failed growth.
    let changes_count = &*resource.plural == "persistentvolumeclaims";
    informer.add_handler(move |event| match event {
        Event::Deleted(object) => owner.freed(&object.metadata.namespace),
        Event::Updated(_, object) if changes_count => owner.freed(&object.metadata.namespace),
        _ => {}
    });
    Monitor { _informer: informer, stop }
}
