//! One informer per resource that can be deleted, with no more of each object than the graph needs.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;
use skiff_client::resource::Object;
use skiff_client::types::OwnerReference;
use skiff_client::watch::Source;
use skiff_client::{Event, Informer, ResourceType};
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use super::Controller;
use super::graph::Node;
use crate::discovery::{self, Discovered};

/// How often new resources are looked for (upstream's resync of the garbage collector).
const RESYNC: Duration = Duration::from_secs(30);
/// Pause after discovery failed.
const RETRY: Duration = Duration::from_secs(1);
/// What owns nothing and is owned by nothing that matters, and changes all the time (upstream's ignored resources).
const IGNORED: [(&str, &str); 2] = [("", "events"), ("events.k8s.io", "events")];

/// The metadata that ownership needs.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Slim {
    metadata: SlimMeta,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct SlimMeta {
    name: String,
    namespace: String,
    uid: String,
    resource_version: String,
    deletion_timestamp: Option<jiff::Timestamp>,
    owner_references: Vec<OwnerReference>,
    finalizers: Vec<String>,
}

impl Object for Slim {
    fn name(&self) -> &str {
        &self.metadata.name
    }
    fn namespace(&self) -> &str {
        &self.metadata.namespace
    }
    fn uid(&self) -> &str {
        &self.metadata.uid
    }
    fn resource_version(&self) -> &str {
        &self.metadata.resource_version
    }
}

impl Slim {
    fn node(&self, resource: &ResourceType) -> Node {
        let meta = &self.metadata;
        Node {
            resource: Some(resource.clone()),
            namespace: meta.namespace.clone(),
            name: meta.name.clone(),
            owners: meta.owner_references.clone(),
            finalizers: meta.finalizers.clone(),
            deleting: meta.deletion_timestamp.is_some(),
        }
    }
}

struct Monitor {
    informer: Informer<Slim>,
    stop: CancellationToken,
}

/// Keeps an informer for every resource there is, until shutdown.
pub(super) async fn run(controller: Arc<Controller>) {
    let mut monitors: HashMap<ResourceType, Monitor> = HashMap::new();
    let shutdown = controller.context.shutdown.clone();
    loop {
        let pause = match discovery::discover(&controller.context.client).await {
            Ok(found) => {
                if !found.failed.is_empty() {
                    debug!(failed = ?found.failed, "some groups could not be discovered");
                }
                // What could not be discovered stays watched.
                follow(&controller, &mut monitors, &found.resources, found.failed.is_empty());
                wait_synced(&monitors, &shutdown).await;
                controller.synced.send_replace(true);
                RESYNC
            }
            Err(error) => {
                warn!(%error, "cannot discover resources, will retry");
                RETRY
            }
        };
        if shutdown.run_until_cancelled(tokio::time::sleep(pause)).await.is_none() {
            return;
        }
    }
}

fn follow(
    controller: &Arc<Controller>,
    monitors: &mut HashMap<ResourceType, Monitor>,
    found: &[Discovered],
    complete: bool,
) {
    let wanted = found.iter().filter(|one| {
        let (group, plural) = (&*one.resource.group, &*one.resource.plural);
        !IGNORED.contains(&(group, plural)) && ["list", "watch", "delete"].iter().all(|verb| one.can(verb))
    });
    let wanted: Vec<&ResourceType> = wanted.map(|one| &one.resource).collect();
    if complete {
        monitors.retain(|resource, monitor| {
            let stays = wanted.contains(&resource);
            if !stays {
                monitor.stop.cancel();
            }
            stays
        });
    }
    *controller.resources.write() = found.iter().map(|one| one.resource.clone()).collect();
    for resource in wanted {
        if !monitors.contains_key(resource) {
            monitors.insert(resource.clone(), start(controller, resource));
        }
    }
}

fn start(controller: &Arc<Controller>, resource: &ResourceType) -> Monitor {
    let stop = controller.context.shutdown.child_token();
    let source = Source { metadata_only: true, ..Source::all(resource.clone()) };
    let informer = Informer::<Slim>::spawn(controller.context.client.clone(), source, stop.clone());
    let (owner, resource) = (controller.clone(), resource.clone());
    informer.add_handler(move |event| {
        let work = match event {
            Event::Added(object) | Event::Updated(_, object) => {
                owner.graph.lock().set(&object.metadata.uid, object.node(&resource))
            }
            Event::Deleted(object) => owner.graph.lock().remove(&object.metadata.uid),
        };
        work.into_iter().for_each(|work| owner.queue.add(work));
    });
    Monitor { informer, stop }
}

async fn wait_synced(monitors: &HashMap<ResourceType, Monitor>, shutdown: &CancellationToken) {
    for monitor in monitors.values() {
        if shutdown.run_until_cancelled(monitor.informer.wait_synced()).await.is_none() {
            return;
        }
    }
}
