//! Pods stay five minutes on a node that has gone quiet, unless they say otherwise.
//!
//! Follows `plugin/pkg/admission/defaulttolerationseconds`.

use skiff_apimachinery::status::Status;
use skiff_apimachinery::value;

use super::{Operation, Plugin, Request};

const KEYS: [&str; 2] = ["node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"];
const SECONDS: i64 = 300;

pub(super) struct DefaultTolerationSeconds;

#[async_trait::async_trait]
impl Plugin for DefaultTolerationSeconds {
    fn name(&self) -> &'static str {
        "DefaultTolerationSeconds"
    }

    fn handles(&self, operation: Operation, group: &str, resource: &str, subresource: &str) -> bool {
        matches!(operation, Operation::Create | Operation::Update)
            && group.is_empty()
            && resource == "pods"
            && subresource.is_empty()
    }

    async fn admit(&self, request: &mut Request<'_>) -> Result<(), Status> {
        let Some(pod) = &mut request.object else { return Ok(()) };
        let mut tolerations = pod.array_at(&["spec", "tolerations"]).to_vec();
        let before = tolerations.len();
        for key in KEYS {
            let tolerated = tolerations.iter().any(|toleration| {
                let text = |field: &str| toleration.str_at(&[field]).unwrap_or("");
                (text("key").is_empty() || text("key") == key)
                    && (text("effect").is_empty() || text("effect") == "NoExecute")
            });
            if !tolerated {
                tolerations.push(value!({
                    "key": key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": SECONDS
                }));
            }
        }
        if tolerations.len() != before {
            pod.set_at(&["spec", "tolerations"], tolerations);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use skiff_apimachinery::value::Value;

    use super::super::testing::Case;
    use super::*;

    async fn after(tolerations: Value) -> Vec<String> {
        let pod = value!({"metadata": {"name": "p"}, "spec": {"tolerations": tolerations}});
        let pod = Case::create("", "pods", "demo", pod).admit(&DefaultTolerationSeconds).await.expect("admitted");
        let text = |t: &Value| {
            let seconds = t.i64_at(&["tolerationSeconds"]).map_or("-".into(), |s| s.to_string());
            format!("{} {} {seconds}", t.str_at(&["key"]).unwrap_or("*"), t.str_at(&["effect"]).unwrap_or("*"))
        };
        pod.array_at(&["spec", "tolerations"]).iter().map(text).collect()
    }

    #[tokio::test]
    async fn tolerations_are_added_where_missing() {
        const NOT_READY: &str = "node.kubernetes.io/not-ready NoExecute 300";
        const UNREACHABLE: &str = "node.kubernetes.io/unreachable NoExecute 300";
        assert_eq!(after(value!([])).await, [NOT_READY, UNREACHABLE]);
        let own = value!([{"key": "node.kubernetes.io/not-ready", "effect": "NoExecute", "tolerationSeconds": 5}]);
        assert_eq!(after(own).await, ["node.kubernetes.io/not-ready NoExecute 5", UNREACHABLE]);
        assert_eq!(after(value!([{"operator": "Exists"}])).await, ["* * -"]);
        let other = value!([{"operator": "Exists", "effect": "NoSchedule"}]);
        assert_eq!(after(other).await, ["* NoSchedule -", NOT_READY, UNREACHABLE]);
    }
}
