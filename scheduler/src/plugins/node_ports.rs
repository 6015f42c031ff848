//! NodePorts: ports that a pod takes on its node must be free there.

use crate::cache::{NodeInfo, PodInfo, Snapshot};
use crate::framework::{CycleState, Filter, Plugin, PreFilter, Status};
use crate::queue::ClusterEvents;

/// The plugin.
pub(super) struct NodePorts;

impl Plugin for NodePorts {
    fn name(&self) -> &'static str {
        "NodePorts"
    }

    fn events(&self) -> ClusterEvents {
        ClusterEvents::NODE_ADD | ClusterEvents::ASSIGNED_POD_DELETE
    }
}

impl PreFilter for NodePorts {
    fn pre_filter(&self, _: &mut CycleState, pod: &PodInfo, _: &Snapshot) -> Status {
        if pod.host_ports.is_empty() { Status::SKIP } else { Status::SUCCESS }
    }
}

impl Filter for NodePorts {
    fn filter(&self, _: &CycleState, pod: &PodInfo, node: &NodeInfo) -> Status {
        let taken = |port| node.used_ports.iter().any(|used: &crate::cache::HostPort| used.conflicts(port));
        if pod.host_ports.iter().any(taken) {
            return Status::unschedulable("node(s) didn't have free ports for the requested pod ports");
        }
        Status::SUCCESS
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{node, pod, snapshot, verdicts};
    use serde_json::json;

    #[test]
    fn taken_ports_refuse() {
        let with_port = |name: &str, node: &str, port: serde_json::Value| {
            pod(name, json!({"nodeName": node, "containers": [{"name": "c", "ports": [port]}]}))
        };
        let nodes = [node("a", json!({})), node("b", json!({}))];
        let there = with_port("there", "a", json!({"containerPort": 80, "hostPort": 80, "hostIP": "127.0.0.1"}));
        let snapshot = snapshot(&nodes, &[there]);
        let check = |port, expected: &[&str]| {
            assert_eq!(verdicts(&NodePorts, &with_port("p", "", port), &snapshot), expected);
        };
        let refused = "a: node(s) didn't have free ports for the requested pod ports";
        check(json!({"containerPort": 80}), &["skip"]);
        check(json!({"containerPort": 80, "hostPort": 80}), &[refused, "b: ok"]);
        check(json!({"containerPort": 80, "hostPort": 80, "hostIP": "0.0.0.0"}), &[refused, "b: ok"]);
        check(json!({"containerPort": 80, "hostPort": 80, "hostIP": "127.0.0.2"}), &["a: ok", "b: ok"]);
        check(json!({"containerPort": 80, "hostPort": 80, "protocol": "UDP"}), &["a: ok", "b: ok"]);
    }
}
