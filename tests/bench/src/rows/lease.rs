//! Heartbeats: every node renews its Lease.

use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Context;
use hyper::{Method, StatusCode};
use serde_json::{Value, json};

use super::{NAMESPACE, Operation, Settings, closed_loop};
use crate::client::{Call, Connection};
use crate::sample::Sample;
use crate::target::Target;

/// Renews Leases, each client its own, as fast as the server answers.
pub async fn measure(target: &Target, clients: usize, settings: &Settings) -> anyhow::Result<Sample> {
    let versions = (0..clients).map(|_| Mutex::new(String::new())).collect();
    closed_loop(target, clients, settings, Renew { versions: Arc::new(versions) }).await
}

#[derive(Clone)]
struct Renew {
    /// The resourceVersion of each client's Lease, as a kubelet remembers it.
    versions: Arc<Vec<Mutex<String>>>,
}

impl Operation for Renew {
    async fn run(&self, connection: &mut Connection, client: usize, number: usize) -> anyhow::Result<()> {
        let leases = format!("/apis/coordination.k8s.io/v1/namespaces/{NAMESPACE}/leases");
        let path = format!("{leases}/node-{client}");
        if number == 0 {
            let first = lease(client, number, "").to_string();
            // It may be there from the run before.
            connection.send(Call::new(Method::POST, &leases).json(first)).await?;
            self.remember(client, &connection.expect(StatusCode::OK, Call::new(Method::GET, &path)).await?)?;
        }
        let version = self.versions[client].lock().unwrap_or_else(PoisonError::into_inner).clone();
        let renewed = lease(client, number, &version).to_string();
        let answer = connection.expect(StatusCode::OK, Call::new(Method::PUT, &path).json(renewed)).await?;
        self.remember(client, &answer)
    }
}

impl Renew {
    fn remember(&self, client: usize, answer: &[u8]) -> anyhow::Result<()> {
        let answer: Value = serde_json::from_slice(answer)?;
        let version = answer["metadata"]["resourceVersion"].as_str().context("the answer has no resourceVersion")?;
        version.clone_into(&mut self.versions[client].lock().unwrap_or_else(PoisonError::into_inner));
        Ok(())
    }
}

fn lease(client: usize, number: usize, version: &str) -> Value {
    json!({
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": {"name": format!("node-{client}"), "resourceVersion": version},
        "spec": {
            "holderIdentity": format!("node-{client}"),
            "leaseDurationSeconds": 40,
            "renewTime": format!("2026-01-01T00:00:00.{:06}Z", number % 1_000_000),
        },
    })
}
