//! Node IPAM: gives each node its part of the pod network in `spec.podCIDR`.
//!
//! Upstream: `pkg/controller/nodeipam`, range allocator. A part, once given, is the node's until the node is deleted.
//! There is one worker: which parts are free follows from the nodes in the cache and from what was given a moment ago.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::sync::Arc;

use anyhow::{Context as _, ensure};
use parking_lot::Mutex;
use serde_json::json;
use skiff_client::objects::PatchKind;
use skiff_client::types::Node;
use skiff_client::{Event, EventRecorder, EventType, Informer, ObjectReference, Objects, Workqueue};
use tracing::info;

use crate::context::Context;
use crate::control_loop::{self, Next, Reconciler, unless_gone};

const NAME: &str = "node-ipam-controller";
/// Most parts that a range may be divided into (upstream's limit on the difference of prefix lengths: 16).
const MAX_PARTS: u64 = 1 << 16;

struct Controller {
    context: Context,
    nodes: Informer<Node>,
    parts: Mutex<Parts>,
    recorder: EventRecorder,
}

/// Runs the controller.
pub async fn run(context: Context) -> anyhow::Result<()> {
    let parts = Parts::new(&context.config.cluster_cidr, context.config.node_cidr_mask_size)?;
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
        match event {
            Event::Deleted(_) => owner.parts.lock().release(&node.metadata.name),
            _ if !node.spec.pod_cidr.is_empty() => owner.parts.lock().occupy(&node.metadata.name, &node.spec.pod_cidr),
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
        unless_gone(api.patch(name, "", PatchKind::Merge, &patch).await)?;
        info!(node = name, cidr = part, "pod range assigned");
        Ok(Next::Event)
    }
}

/// The parts of a range, and whose they are.
#[derive(Debug)]
struct Parts {
    base: u32,
    /// Addresses of one part.
    size: u64,
    mask: u8,
    count: u64,
    owners: BTreeMap<u64, String>,
}

impl Parts {
    fn new(range: &str, mask: u8) -> anyhow::Result<Self> {
        let (address, prefix) = range.split_once('/').with_context(|| format!("{range:?} is not a range"))?;
        let address: Ipv4Addr = address.parse().with_context(|| format!("{range:?} is not an IPv4 range"))?;
        let prefix: u8 = prefix.parse().with_context(|| format!("{range:?} is not a range"))?;
        ensure!(prefix <= 32 && mask <= 32, "prefix lengths are at most 32");
        ensure!(mask >= prefix, "node-cidr-mask-size {mask} is larger than the range {range}");
        let count = 1u64 << (mask - prefix);
        ensure!(count <= MAX_PARTS, "{range} in parts of /{mask} makes more than {MAX_PARTS} parts");
        Ok(Self { base: u32::from(address), size: 1 << (32 - mask), mask, count, owners: BTreeMap::new() })
    }

    /// The node's part, or the first free one.
    fn allocate(&mut self, node: &str) -> Option<String> {
        let mine = self.owners.iter().find(|(_, owner)| *owner == node).map(|(part, _)| *part);
        let part = mine.or_else(|| (0..self.count).find(|part| !self.owners.contains_key(part)))?;
        self.owners.insert(part, node.to_owned());
        Some(self.name(part))
    }

    /// Notes a part that a node has. Of another range: nothing to note.
    fn occupy(&mut self, node: &str, cidr: &str) {
        let Some(part) = self.parse(cidr) else { return };
        self.owners.retain(|at, owner| owner != node || *at == part);
        self.owners.entry(part).or_insert_with(|| node.to_owned());
    }

    fn release(&mut self, node: &str) {
        self.owners.retain(|_, owner| owner != node);
    }

    fn name(&self, part: u64) -> String {
        // Below `count` a part lies within the range, so this cannot leave 32 bits.
        let address = u64::from(self.base) + part * self.size;
        format!("{}/{}", Ipv4Addr::from(address as u32), self.mask)
    }

    fn parse(&self, cidr: &str) -> Option<u64> {
        let (address, mask) = cidr.split_once('/')?;
        let address: Ipv4Addr = address.parse().ok()?;
        let part = u64::from(u32::from(address).checked_sub(self.base)?) / self.size;
        (mask.parse() == Ok(self.mask) && part < self.count).then_some(part)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_get_parts_keep_them_and_give_them_back() {
        let mut parts = Parts::new("10.244.0.0/22", 24).expect("a range");
        parts.occupy("b", "10.244.1.0/24");
        parts.occupy("foreign", "192.168.0.0/24");
        let mut allocate = |node: &str| parts.allocate(node);
        assert_eq!(allocate("a").as_deref(), Some("10.244.0.0/24"));
        assert_eq!(allocate("a").as_deref(), Some("10.244.0.0/24"), "asked again, the same");
        assert_eq!(allocate("c").as_deref(), Some("10.244.2.0/24"));
        assert_eq!(allocate("d").as_deref(), Some("10.244.3.0/24"));
        assert_eq!(allocate("e"), None);
        parts.release("b");
        assert_eq!(parts.allocate("e").as_deref(), Some("10.244.1.0/24"));
    }

    #[test]
    fn impossible_ranges_are_refused() {
        for (range, mask) in [("10.244.0.0", 24), ("x/16", 24), ("10.244.0.0/16", 8), ("10.0.0.0/8", 32)] {
            assert!(Parts::new(range, mask).is_err(), "{range} {mask}");
        }
    }
}
