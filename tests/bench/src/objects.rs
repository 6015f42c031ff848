//! The objects that are written: pods as people write them, of 1 to 10 KB, the same for a seed.

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::{Value, json};

/// Bodies that are made once and used round robin.
const POOL: usize = 512;

/// Sizes of the bodies in bytes: how many of a hundred, and between which bounds. Defaults and managedFields add 2 KB to
/// a typical one.
const SIZES: [(u32, usize, usize); 3] = [(80, 1_000, 2_500), (15, 2_500, 5_000), (5, 5_000, 7_500)];

/// Sizes of small bodies: with defaults and managedFields each is a pod of 2 KB, which other servers are measured with.
const SMALL: [(u32, usize, usize); 1] = [(100, 0, 1)];

/// No scheduler answers to this name, so the pods stay as they were written.
const SCHEDULER: &str = "skiff-bench";

/// Bodies of pods that lack only their names.
pub struct Pods {
    /// Text before and after the name.
    bodies: Vec<(Vec<u8>, Vec<u8>)>,
}

impl Pods {
    /// The pods of a seed.
    pub fn new(seed: u64) -> Pods {
        let mut random = StdRng::seed_from_u64(seed);
        Pods { bodies: (0..POOL).map(|_| body(pod, &SIZES, &mut random)).collect() }
    }

    /// Small pods of a seed.
    pub fn small(seed: u64) -> Pods {
        let mut random = StdRng::seed_from_u64(seed);
        Pods { bodies: (0..POOL).map(|_| body(small_pod, &SMALL, &mut random)).collect() }
    }

    /// The body of pod `number` under a name.
    pub fn body(&self, number: usize, name: &str) -> Vec<u8> {
        let (before, after) = &self.bodies[number % POOL];
        let mut body = Vec::with_capacity(before.len() + name.len() + after.len());
        body.extend_from_slice(before);
        body.extend_from_slice(name.as_bytes());
        body.extend_from_slice(after);
        body
    }
}

fn body(pod: fn(&mut StdRng) -> Value, sizes: &[(u32, usize, usize)], random: &mut StdRng) -> (Vec<u8>, Vec<u8>) {
    let mut dice = random.random_range(0..100);
    let (_, least, most) = *sizes
        .iter()
        .find(|(share, ..)| {
            let found = dice < *share;
            dice = dice.saturating_sub(*share);
            found
        })
        .unwrap_or(&sizes[0]);
    let size = random.random_range(least..most);
    let mut pod = pod(random);
    let mut variables = Vec::new();
    let empty = pod.to_string().len();
    let mut length = empty;
    while length < size {
        let name = format!("SETTING_{}", variables.len());
        let value: String = (0..random.random_range(60..300)).map(|_| random.random_range('a'..='z')).collect();
        let variable = json!({"name": name, "value": value});
        length += variable.to_string().len() + 1;
        variables.push(variable);
    }
    if !variables.is_empty() {
        pod["spec"]["containers"][0]["env"] = Value::Array(variables);
    }
    let text = pod.to_string();
    let (before, after) = text.split_once("NAME-OF-THE-POD").unwrap_or((&text, ""));
    (before.as_bytes().to_vec(), after.as_bytes().to_vec())
}

fn pod(random: &mut StdRng) -> Value {
    let app = format!("app-{}", random.random_range(0..100));
    let probe = json!({"httpGet": {"path": "/healthz", "port": 8080}, "periodSeconds": 10, "failureThreshold": 3});
    json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": "NAME-OF-THE-POD",
            "labels": {"app": app, "tier": "backend", "version": format!("v{}", random.random_range(1..20))},
            "annotations": {"team": "measurements", "revision": format!("{:016x}", random.random::<u64>())},
        },
        "spec": {
            "schedulerName": SCHEDULER,
            "containers": [{
                "name": "server",
                "image": format!("registry.example/{app}:1.{}", random.random_range(0..50)),
                "ports": [{"name": "http", "containerPort": 8080}],
                "resources": {"requests": {"cpu": "100m", "memory": "128Mi"}, "limits": {"memory": "256Mi"}},
                "readinessProbe": probe,
                "livenessProbe": probe,
                "volumeMounts": [{"name": "config", "mountPath": "/etc/config"}],
            }],
            "volumes": [{"name": "config", "configMap": {"name": app}}],
        },
    })
}

fn small_pod(random: &mut StdRng) -> Value {
    let app = format!("app-{}", random.random_range(0..100));
    json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "NAME-OF-THE-POD", "labels": {"app": app}},
        "spec": {
            "schedulerName": SCHEDULER,
            "containers": [{"name": "server", "image": format!("registry.example/{app}:1.{}", random.random_range(0..50))}],
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pods_are_json_of_the_promised_sizes_and_the_same_for_a_seed() {
        let (one, two) = (Pods::new(7), Pods::new(7));
        for number in 0..POOL {
            let body = one.body(number, "p-1");
            assert_eq!(body, two.body(number, "p-1"));
            let pod: Value = serde_json::from_slice(&body).unwrap();
            assert_eq!(pod["metadata"]["name"], "p-1");
            assert!((900..9_000).contains(&body.len()), "{}", body.len());
        }
        assert_ne!(one.body(0, "x"), Pods::new(8).body(0, "x"));
    }
}
