//! Writers: each makes random changes with random numbers of its own.

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::{Value, json};
use skiff_fixture::Api;

use crate::truth::Object;

const NAMESPACES: usize = 4;
const NAMES: usize = 60;
const TIERS: [&str; 3] = ["a", "b", "c"];
const REASONS: [&str; 4] = ["R0", "R1", "R2", "R3"];

/// See the module.
pub(crate) struct Writer {
    random: StdRng,
    requests: usize,
    /// What was answered: revision and object.
    pub(crate) written: Vec<(u64, Object)>,
    /// Deletions that were answered.
    pub(crate) deleted: usize,
    /// Writes whose answer shows an older version: nothing changed.
    unchanged: usize,
}

/// Makes the namespaces.
pub(crate) async fn prepare(api: &Api) {
    for number in 0..NAMESPACES {
        api.post("/api/v1/namespaces", json!({"metadata": {"name": format!("storm-{number}")}})).await.expect(201);
    }
}

/// Requests, and how many of them changed nothing.
pub(crate) fn totals(writers: &[Writer]) -> (usize, usize) {
    writers.iter().fold((0, 0), |(requests, unchanged), w| (requests + w.requests, unchanged + w.unchanged))
}

impl Writer {
    pub(crate) fn new(seed: u64, number: usize) -> Self {
        let random = StdRng::seed_from_u64(seed.wrapping_add(number as u64));
        Self { random, requests: 0, written: Vec::new(), deleted: 0, unchanged: 0 }
    }

    pub(crate) async fn run(&mut self, api: &Api, requests: usize) {
        for _ in 0..requests {
            self.requests += 1;
            self.change(api).await;
        }
    }

    async fn change(&mut self, api: &Api) {
        let random = &mut self.random;
        let namespace = format!("storm-{}", random.random_range(0..NAMESPACES));
        let name = format!("e-{:02}", random.random_range(0..NAMES));
        let tier = TIERS[random.random_range(0..TIERS.len())];
        let reason = REASONS[random.random_range(0..REASONS.len())];
        let path = format!("/api/v1/namespaces/{namespace}/events");
        let one = format!("{path}/{name}");
        let answer = match random.random_range(0..10) {
            0..3 => api.post(&path, event(&namespace, &name, tier, reason)).await,
            // Creates it if there is none.
            3..6 => api.put(&one, event(&namespace, &name, tier, reason)).await,
            6..8 => {
                let patch = json!({"metadata": {"labels": {"tier": tier}}, "reason": reason});
                api.patch(&one, "merge-patch+json", patch).await
            }
            _ => {
                let answer = api.delete(&one, None).await;
                self.deleted += usize::from(answer.status == 200);
                assert!([200, 404].contains(&answer.status.as_u16()), "{}", answer.text);
                return;
            }
        };
        match answer.status.as_u16() {
            200 | 201 => self.note(&answer.json(), answer.status == 201),
            404 | 409 => {}
            _ => panic!("{}", answer.text),
        }
    }

    fn note(&mut self, object: &Value, created: bool) {
        let text = |value: &Value| value.as_str().expect("text").to_owned();
        let metadata = &object["metadata"];
        let revision = text(&metadata["resourceVersion"]).parse().expect("a version");
        let key = format!("{}/{}", text(&metadata["namespace"]), text(&metadata["name"]));
        let object = Object { key, tier: text(&metadata["labels"]["tier"]), reason: text(&object["reason"]) };
        // Somebody may have made the same change before, by this writer or another: then it is answered twice.
        let seen = self.written.iter().rev().take(NAMES).any(|(other, _)| *other == revision);
        self.unchanged += usize::from(seen && !created);
        self.written.push((revision, object));
    }
}

fn event(namespace: &str, name: &str, tier: &str, reason: &str) -> Value {
    json!({
        "metadata": {"name": name, "labels": {"tier": tier}},
        "involvedObject": {"kind": "Pod", "namespace": namespace, "name": "p"},
        "reason": reason, "message": "m", "type": "Normal", "source": {"component": "storm"},
    })
}
