//! Heartbeats: every node renews its Lease.

use hyper::{Method, StatusCode};
use serde_json::json;

use super::{NAMESPACE, Operation, Settings, closed_loop};
use crate::client::{Call, Connection};
use crate::sample::Sample;
use crate::target::Target;

/// Renews Leases, each client its own, as fast as the server answers.
pub async fn measure(target: &Target, clients: usize, settings: &Settings) -> anyhow::Result<Sample> {
    closed_loop(target, clients, settings, Renew).await
}

#[derive(Clone)]
struct Renew;

impl Operation for Renew {
    async fn run(&self, connection: &mut Connection, client: usize, number: usize) -> anyhow::Result<()> {
        let leases = format!("/apis/coordination.k8s.io/v1/namespaces/{NAMESPACE}/leases");
        let lease = json!({
            "apiVersion": "coordination.k8s.io/v1",
            "kind": "Lease",
            "metadata": {"name": format!("node-{client}")},
            "spec": {
                "holderIdentity": format!("node-{client}"),
                "leaseDurationSeconds": 40,
                "renewTime": format!("2026-01-01T00:00:00.{:06}Z", number % 1_000_000),
            },
        });
        if number == 0 {
            // It may be there from the run before.
            connection.send(Call::new(Method::POST, &leases).json(lease.to_string())).await?;
        }
        let path = format!("{leases}/node-{client}");
        connection.expect(StatusCode::OK, Call::new(Method::PUT, &path).json(lease.to_string())).await?;
        Ok(())
    }
}
