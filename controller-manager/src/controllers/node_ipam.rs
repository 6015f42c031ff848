//! Node IPAM: gives each node its part of the pod network in `spec.podCIDR`.
//!
//! Upstream: `pkg/controller/nodeipam`, range allocator. A part, once given, is the node's until the node is deleted.
//! There is one worker: which parts are free follows from the nodes in the cache and from what was given a moment ago.

use std::sync::Arc;

use anyhow::Context as _;
use ipnet::Ipv4Net;
use parking_lot::Mutex;
use serde_json::json;
use skiff_client::objects::PatchKind;
use skiff_client::types::Node;
use skiff_client::{Event, EventRecorder, EventType, Informer, ObjectReference, Objects, Workqueue};
use skiff_net::subnets::Subnets;
use tracing::info;

use crate::context::Context;
use crate::control_loop::{self, Next, Reconciler, unless_gone};

const NAME: &str = "node-ipam-controller";

struct Controller {
    context: Context,
    nodes: Informer<Node>,
    parts: Mutex<Subnets>,
    recorder: EventRecorder,
}

/// Runs the controller.
pub async fn run(context: Context) -> anyhow::Result<()> {
    let range = &context.config.cluster_cidr;
    let range: Ipv4Net = range.parse().with_context(|| format!("{range:?} is not an IPv4 range"))?;
    let parts = Subnets::new(range, context.config.node_cidr_mask_size)?;
    let controller = Arc::new(Controller {
        nodes: context.informer(),
        parts: Mutex::new(parts),
        recorder: context.recorder("cidrAllocator"),
        context: context.clone(),
    });
    let queue = Workqueue::new();
    let (to, owner) = (queue.clone(), controller.clone());
    controller.nodes.add_handler(move |event| {
        let node = event.object();
        match (&event, node.spec.pod_cidr.parse()) {
            (Event::Deleted(_), _) => owner.parts.lock().release(&node.metadata.name),
            (_, Ok(part)) => owner.parts.lock().occupy(&node.metadata.name, part),
            _ => {}
        }
        to.add(node.metadata.name.clone());
    });
    // Before all nodes are known, a part that looks free may be another node's.
    if !context.synced(&controller.nodes).await {
        return Ok(());
    }
    control_loop::run(NAME, &context, queue, controller).await
}

#[async_trait::async_trait]
impl Reconciler for Controller {
    type Key = String;

    async fn reconcile(&self, name: &String) -> anyhow::Result<Next> {
        let Some(node) = self.nodes.get_by_name("", name) else { return Ok(Next::Event) };
        if !node.spec.pod_cidr.is_empty() || node.metadata.is_deleting() {
            return Ok(Next::Event);
        }
        let part = self.parts.lock().allocate(name);
        let Some(part) = part else {
            let about = ObjectReference::to(&*node);
            let message = format!("Node {name} status is now: CIDRNotAvailable");
            self.recorder.event(&about, EventType::Normal, "CIDRNotAvailable", message);
            anyhow::bail!("the range {} has no part left", self.context.config.cluster_cidr);
        };
        let patch = json!({
            "metadata": {"resourceVersion": node.metadata.resource_version},
            "spec": {"podCIDR": part, "podCIDRs": [part]},
        });
        let api = Objects::<Node>::cluster(&self.context.client);
        if unless_gone(api.patch(name, "", PatchKind::Merge, &patch).await)?.is_none() {
            // It went while it was given its part, perhaps after its end was seen: nobody else gives that back.
            self.parts.lock().release(name);
            return Ok(Next::Event);
        }
        info!(node = name, cidr = %part, "pod range assigned");
        Ok(Next::Event)
    }
}
