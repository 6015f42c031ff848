//! SchedulingGates: a pod with gates is not scheduled until they are gone.

use skiff_client::types::Pod;

use crate::framework::{Plugin, PreEnqueue, Status};
use crate::queue::ClusterEvents;

/// The plugin.
pub(super) struct SchedulingGates;

impl Plugin for SchedulingGates {
    fn name(&self) -> &'static str {
        "SchedulingGates"
    }

    fn events(&self) -> ClusterEvents {
        ClusterEvents::UNSCHEDULED_POD_UPDATE
    }
}

impl PreEnqueue for SchedulingGates {
    fn pre_enqueue(&self, pod: &Pod) -> Status {
        if pod.spec.scheduling_gates.is_empty() {
            return Status::SUCCESS;
        }
        let gates: Vec<&str> = pod.spec.scheduling_gates.iter().map(|gate| gate.name.as_str()).collect();
        Status::unresolvable(format!("waiting for scheduling gates: [{}]", gates.join(" ")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::pod;
    use serde_json::json;

    #[test]
    fn gates_are_named() {
        let gated = pod("a", json!({"schedulingGates": [{"name": "x"}, {"name": "y"}]}));
        assert_eq!(SchedulingGates.pre_enqueue(&gated.pod).reasons, ["waiting for scheduling gates: [x y]"]);
        assert!(SchedulingGates.pre_enqueue(&pod("b", json!({})).pod).is_success());
    }
}
