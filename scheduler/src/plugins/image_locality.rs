//! ImageLocality: prefers nodes that have the pod's images, the larger the better; an image that only few nodes have
//! counts less, or those few would attract everything.

use std::collections::HashMap;
use std::sync::Arc;

use crate::cache::{NodeInfo, PodInfo, Snapshot};
use crate::framework::{CycleState, MAX_NODE_SCORE, Plugin, Score};

/// Below this sum an image is fast to pull anywhere (23 MB).
const MIN_THRESHOLD: i64 = 23 << 20;
/// Above this, per container, more makes no difference (1000 MB).
const MAX_CONTAINER_THRESHOLD: i64 = 1000 << 20;

/// The plugin.
pub(super) struct ImageLocality;

impl Plugin for ImageLocality {
    fn name(&self) -> &'static str {
        "ImageLocality"
    }
}

/// Share of nodes that have each of the pod's images.
#[derive(Clone)]
struct Spread(HashMap<String, f64>);

fn images(pod: &PodInfo) -> impl Iterator<Item = String> {
    let spec = &pod.pod.spec;
    spec.init_containers.iter().chain(&spec.containers).map(|container| normalized(&container.image))
}

/// An image without a tag means `latest`.
fn normalized(image: &str) -> String {
    if image.rfind(':') <= image.rfind('/') { format!("{image}:latest") } else { image.to_owned() }
}

impl Score for ImageLocality {
    fn pre_score(&self, state: &mut CycleState, pod: &PodInfo, _: &[Arc<NodeInfo>], snapshot: &Snapshot) -> bool {
        if snapshot.nodes.len() < 2 {
            return false;
        }
        let share = |image: &String| {
            let have = snapshot.nodes.iter().filter(|node| node.images.contains_key(image)).count();
            have as f64 / snapshot.nodes.len() as f64
        };
        let spread: HashMap<String, f64> = images(pod).map(|image| (image.clone(), share(&image))).collect();
        let any = spread.values().any(|share| *share > 0.0);
        state.write(Spread(spread));
        any
    }

    fn score(&self, state: &CycleState, pod: &PodInfo, node: &NodeInfo) -> i64 {
        let Some(Spread(spread)) = state.get() else { return 0 };
        let (mut sum, mut containers) = (0, 0);
        for image in images(pod) {
            containers += 1;
            let size = node.images.get(&image).copied().unwrap_or(0);
            sum += (size as f64 * spread.get(&image).copied().unwrap_or(0.0)) as i64;
        }
        let max = MAX_CONTAINER_THRESHOLD * containers.max(1);
        MAX_NODE_SCORE * (sum.clamp(MIN_THRESHOLD, max) - MIN_THRESHOLD) / (max - MIN_THRESHOLD)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{node, node_with, pod, scores, snapshot};
    use serde_json::json;

    #[test]
    fn a_node_with_a_large_image_is_better() {
        let images = json!([{"names": ["big:latest"], "sizeBytes": 2_000i64 << 20}, {"names": ["small:v1"], "sizeBytes": 1 << 20}]);
        let has = node_with(json!({"metadata": {"name": "a"}, "status": {"images": images}}));
        let snapshot = snapshot(&[has, node("b", json!({}))], &[]);
        let running = |image: &str| pod("p", json!({"containers": [{"name": "c", "image": image}]}));
        assert_eq!(scores(&ImageLocality, &running("big"), &snapshot), [100, 0]);
        assert_eq!(scores(&ImageLocality, &running("small:v1"), &snapshot), [0, 0]);
        assert!(scores(&ImageLocality, &running("unknown"), &snapshot).is_empty());
        assert_eq!(normalized("registry:5000/a/b"), "registry:5000/a/b:latest");
    }
}
