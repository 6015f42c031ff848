//! Garbage collector: deletes what has lost all of its owners, and carries out foreground deletion and orphaning.
//!
//! Upstream: `pkg/controller/garbagecollector`. [`monitors`] feed the [`graph`] from every resource there is; work on an
//! object always begins with a look at the live one, because the graph may be behind.

mod graph;
mod monitors;

use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Mutex, RwLock};
use serde_json::json;
use skiff_client::objects::{DeleteOptions, PatchKind, Preconditions};
use skiff_client::types::{OwnerReference, PartialObject};
use skiff_client::{EventRecorder, EventType, ObjectReference, Objects, ResourceType, Workqueue, errors};
use tokio::sync::watch;

use crate::context::Context;
use crate::control_loop::{self, Next, Reconciler, unless_gone};
use graph::{FOREGROUND, Graph, Node, ORPHAN, Work};

const NAME: &str = "garbage-collector-controller";
/// After this an owner that is there and was not seen is looked for again.
const LOOK_AGAIN: Duration = Duration::from_secs(30);

struct Controller {
    context: Context,
    graph: Mutex<Graph>,
    queue: Workqueue<Work>,
    /// Every resource there is, to find owners by their kind.
    resources: RwLock<Vec<ResourceType>>,
    /// Whether the graph has seen everything once.
    synced: watch::Sender<bool>,
    recorder: EventRecorder,
}

/// Runs the controller.
pub async fn run(context: Context) -> anyhow::Result<()> {
    let controller = Arc::new(Controller {
        graph: Mutex::default(),
        queue: Workqueue::new(),
        resources: RwLock::default(),
        synced: watch::Sender::new(false),
        recorder: context.recorder("garbage-collector-controller"),
        context: context.clone(),
    });
    let monitors = tokio::spawn(monitors::run(controller.clone()));
    let mut synced = controller.synced.subscribe();
    // Before everything was seen, an owner that is not in the graph may well be there.
    let seen = context.shutdown.run_until_cancelled(synced.wait_for(|synced| *synced)).await;
    if seen.is_some_and(|seen| seen.is_ok()) {
        control_loop::run(NAME, &context, controller.queue.clone(), controller).await?;
    }
    monitors.await?;
    Ok(())
}

/// How an owner is, as far as a dependent is concerned.
enum OwnerState {
    /// It is there.
    Solid,
    /// It is gone.
    Absent,
    /// It goes when its dependents are gone.
    Waiting,
}

#[async_trait::async_trait]
impl Reconciler for Controller {
    type Key = Work;

    async fn reconcile(&self, work: &Work) -> anyhow::Result<Next> {
        match work {
            Work::Orphan(uid) => self.orphan_dependents(uid).await?,
            Work::Delete(uid) => {
                let unseen = self.graph.lock().unseen(uid).cloned();
                match unseen {
                    Some((owner, namespace)) => return self.look_for(uid, &owner, &namespace).await,
                    None => self.attempt_to_delete(uid).await?,
                }
            }
        }
        Ok(Next::Event)
    }
}

impl Controller {
    fn node(&self, uid: &str) -> Option<Node> {
        self.graph.lock().node(uid).cloned()
    }

    fn objects(&self, node: &Node) -> Option<Objects<PartialObject>> {
        let resource = node.resource.clone()?;
        Some(Objects::of(&self.context.client, resource, &node.namespace))
    }

    /// An owner that nobody has seen: if it is not there, its dependents have lost it.
    async fn look_for(&self, uid: &str, owner: &OwnerReference, namespace: &str) -> anyhow::Result<Next> {
        if self.exists(owner, namespace).await? {
            // Its informer will show it soon, as a rule. One that is made and goes while a watch is begun anew is never
            // shown at all, and nothing would tell of its end.
            return Ok(Next::After(LOOK_AGAIN));
        }
        let work = self.graph.lock().remove(uid);
        work.into_iter().for_each(|work| self.queue.add(work));
        Ok(Next::Event)
    }

    /// Whether an owner is there, asked live.
    async fn exists(&self, owner: &OwnerReference, namespace: &str) -> anyhow::Result<bool> {
        let Some(resource) = self.resource_of(owner) else {
            // A kind that is not served, such as one of a definition that was removed: nobody can say.
            anyhow::bail!("no resource is known for {} {}", owner.api_version, owner.kind);
        };
        if resource.namespaced && namespace.is_empty() {
            // A cluster-scoped object cannot be owned by one in a namespace: it is never collected.
            return Ok(true);
        }
        let place = if resource.namespaced { namespace } else { "" };
        let live = Objects::<PartialObject>::of(&self.context.client, resource, place).get_opt(&owner.name).await?;
        Ok(live.is_some_and(|live| live.metadata.uid == owner.uid))
    }

    fn resource_of(&self, owner: &OwnerReference) -> Option<ResourceType> {
        let (group, version) = owner.api_version.rsplit_once('/').unwrap_or(("", &owner.api_version));
        let resources = self.resources.read();
        let of_kind = || resources.iter().filter(|one| one.group == group && one.kind == *owner.kind);
        of_kind().find(|one| one.version == version).or_else(|| of_kind().next()).cloned()
    }

    async fn attempt_to_delete(&self, uid: &str) -> anyhow::Result<()> {
        let Some(node) = self.node(uid) else { return Ok(()) };
        if node.deletes_dependents() {
            return self.delete_dependents_first(uid, &node).await;
        }
        if node.deleting || node.owners.is_empty() {
            return Ok(());
        }
        let Some(objects) = self.objects(&node) else { return Ok(()) };
        let Some(live) = objects.get_opt(&node.name).await?.filter(|live| live.metadata.uid == uid) else {
            // The informer will tell that it is gone.
            return Ok(());
        };
        let (mut solid, mut absent, mut waiting) = (0, Vec::new(), Vec::new());
        for owner in &live.metadata.owner_references {
            match self.state_of(owner, &node, &live).await? {
                OwnerState::Solid => solid += 1,
                OwnerState::Absent => absent.push(owner.uid.clone()),
                OwnerState::Waiting => waiting.push(owner.uid.clone()),
            }
        }
        if live.metadata.owner_references.is_empty() {
            return Ok(());
        }
        if solid > 0 {
            // It stays, without those that are gone or wait for it.
            absent.append(&mut waiting);
            return if absent.is_empty() { Ok(()) } else { self.take_off(&objects, &live, &absent).await };
        }
        let dependents = self.graph.lock().dependents(uid);
        let policy = if !waiting.is_empty() && !dependents.is_empty() {
            self.unblock(&dependents, uid).await?;
            "Foreground"
        } else if live.metadata.has_finalizer(ORPHAN) {
            "Orphan"
        } else if live.metadata.has_finalizer(FOREGROUND) {
            "Foreground"
        } else {
            "Background"
        };
        let options = DeleteOptions {
            propagation_policy: Some(policy),
            preconditions: Some(Preconditions {
                uid: Some(uid.to_owned()),
                resource_version: Some(live.metadata.resource_version.clone()),
            }),
            ..DeleteOptions::default()
        };
        unless_gone(objects.delete(&node.name, &options).await)?;
        Ok(())
    }

    async fn state_of(&self, owner: &OwnerReference, node: &Node, live: &PartialObject) -> anyhow::Result<OwnerState> {
        if let Some(known) = self.node(&owner.uid) {
            let scoped = known.resource.as_ref().is_some_and(|resource| resource.namespaced);
            if scoped && known.namespace != node.namespace {
                self.complain(owner, node, live);
                let stays = node.namespace.is_empty();
                return Ok(if stays { OwnerState::Solid } else { OwnerState::Absent });
            }
            return Ok(if known.deletes_dependents() { OwnerState::Waiting } else { OwnerState::Solid });
        }
        let there = self.exists(owner, &node.namespace).await?;
        Ok(if there { OwnerState::Solid } else { OwnerState::Absent })
    }

    /// Tells the user that an owner is in another namespace (upstream reason `OwnerRefInvalidNamespace`).
    fn complain(&self, owner: &OwnerReference, node: &Node, live: &PartialObject) {
        let mut about = ObjectReference::to_partial(live);
        if let Some(resource) = &node.resource {
            about.api_version = resource.api_version();
            about.kind = resource.kind.to_string();
        }
        let message = format!(
            "ownerRef [{}/{}, namespace: {}, name: {}, uid: {}] does not exist in namespace {:?}",
            owner.api_version, owner.kind, node.namespace, owner.name, owner.uid, node.namespace
        );
        self.recorder.event(&about, EventType::Warning, "OwnerRefInvalidNamespace", message);
    }

    /// Foreground deletion: when no dependent blocks any more, the finalizer goes.
    async fn delete_dependents_first(&self, uid: &str, node: &Node) -> anyhow::Result<()> {
        let blocking = self.graph.lock().blocking(uid);
        if blocking.is_empty() {
            return self.remove_finalizer(uid, node, FOREGROUND).await;
        }
        for dependent in blocking {
            if !self.node(&dependent).is_some_and(|node| node.deleting) {
                self.queue.add(Work::Delete(dependent));
            }
        }
        Ok(())
    }

    /// Takes this owner's name off its dependents, then lets it go.
    async fn orphan_dependents(&self, uid: &str) -> anyhow::Result<()> {
        let Some(node) = self.node(uid).filter(Node::orphans_dependents) else { return Ok(()) };
        let dependents = self.graph.lock().dependents(uid);
        for dependent in dependents {
            let Some(node) = self.node(&dependent) else { continue };
            let Some(objects) = self.objects(&node) else { continue };
            let live = objects.get_opt(&node.name).await?.filter(|live| live.metadata.uid == dependent);
            if let Some(live) = live {
                self.take_off(&objects, &live, &[uid.to_owned()]).await?;
            }
        }
        self.remove_finalizer(uid, &node, ORPHAN).await
    }

    /// Dependents that wait for their own dependents no longer block this one (a circle would never end).
    async fn unblock(&self, dependents: &[String], uid: &str) -> anyhow::Result<()> {
        for dependent in dependents {
            let Some(node) = self.node(dependent).filter(Node::deletes_dependents) else { continue };
            let Some(objects) = self.objects(&node) else { continue };
            let Some(mut live) = objects.get_opt(&node.name).await? else { continue };
            for owner in live.metadata.owner_references.iter_mut().filter(|owner| owner.uid == uid) {
                owner.block_owner_deletion = false;
            }
            self.write_owners(&objects, &live, &live.metadata.owner_references).await?;
        }
        Ok(())
    }

    async fn take_off(
        &self,
        objects: &Objects<PartialObject>,
        live: &PartialObject,
        gone: &[String],
    ) -> anyhow::Result<()> {
        let left = live.metadata.owner_references.iter().filter(|owner| !gone.contains(&owner.uid));
        let left: Vec<OwnerReference> = left.cloned().collect();
        self.write_owners(objects, live, &left).await
    }

    async fn write_owners(
        &self,
        objects: &Objects<PartialObject>,
        live: &PartialObject,
        owners: &[OwnerReference],
    ) -> anyhow::Result<()> {
        let patch = json!({"metadata": {
            "uid": live.metadata.uid,
            "resourceVersion": live.metadata.resource_version,
            "ownerReferences": owners,
        }});
        unless_gone(objects.patch(&live.metadata.name, "", PatchKind::Merge, &patch).await)?;
        Ok(())
    }

    async fn remove_finalizer(&self, uid: &str, node: &Node, finalizer: &str) -> anyhow::Result<()> {
        let Some(objects) = self.objects(node) else { return Ok(()) };
        let Some(live) = objects.get_opt(&node.name).await?.filter(|live| live.metadata.uid == uid) else {
            return Ok(());
        };
        let left: Vec<&String> = live.metadata.finalizers.iter().filter(|have| *have != finalizer).collect();
        if left.len() == live.metadata.finalizers.len() {
            return Ok(());
        }
        let patch = json!({"metadata": {
            "uid": uid,
            "resourceVersion": live.metadata.resource_version,
            "finalizers": left,
        }});
        match objects.patch(&node.name, "", PatchKind::Merge, &patch).await {
            // It is another one by now.
            Err(error) if errors::is_invalid(&error) => Ok(()),
            done => Ok(drop(unless_gone(done)?)),
        }
    }
}
