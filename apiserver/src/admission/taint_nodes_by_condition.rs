//! A new node takes no pods before it is ready.
//!
//! Follows `plugin/pkg/admission/nodetaint`.

use skiff_apimachinery::status::Status;
use skiff_apimachinery::value;

use super::{Operation, Plugin, Request};

const NOT_READY: &str = "node.kubernetes.io/not-ready";

pub(super) struct TaintNodesByCondition;

#[async_trait::async_trait]
impl Plugin for TaintNodesByCondition {
    fn name(&self) -> &'static str {
        "TaintNodesByCondition"
    }

    fn handles(&self, operation: Operation, group: &str, resource: &str, subresource: &str) -> bool {
        operation == Operation::Create && group.is_empty() && resource == "nodes" && subresource.is_empty()
    }

    async fn admit(&self, request: &mut Request<'_>) -> Result<(), Status> {
        let Some(node) = &mut request.object else { return Ok(()) };
        let mut taints = node.array_at(&["spec", "taints"]).to_vec();
        let tainted = taints
            .iter()
            .any(|taint| taint.str_at(&["key"]) == Some(NOT_READY) && taint.str_at(&["effect"]) == Some("NoSchedule"));
        if !tainted {
            taints.push(value!({"key": NOT_READY, "effect": "NoSchedule"}));
            node.set_at(&["spec", "taints"], taints);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::Case;
    use super::*;

    #[tokio::test]
    async fn new_nodes_are_tainted_once() {
        let taint = value!({"key": NOT_READY, "effect": "NoSchedule"});
        let other = value!({"key": NOT_READY, "effect": "NoExecute"});
        for (before, after) in [
            (value!([]), value!([(taint.clone())])),
            (value!([(taint.clone())]), value!([(taint.clone())])),
            (value!([(other.clone())]), value!([(other.clone()), (taint.clone())])),
        ] {
            let node = value!({"metadata": {"name": "n"}, "spec": {"taints": before}});
            let node = Case::create("", "nodes", "", node).admit(&TaintNodesByCondition).await.expect("admitted");
            assert_eq!(node.at(&["spec", "taints"]), Some(&after));
        }
    }
}
