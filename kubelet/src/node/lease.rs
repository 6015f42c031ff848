//! The node's heartbeat: a Lease that is renewed every ten seconds (upstream: component-helpers `apimachinery/lease`).

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta, OwnerReference};
use kube::Client;
use skiff_client::{Objects, errors};
use tokio_util::sync::CancellationToken;

/// Namespace of all node leases.
const NAMESPACE: &str = "kube-node-lease";
/// How long the node counts as alive after a renewal, in seconds.
const DURATION_SECONDS: i32 = 40;
/// Time between renewals.
const RENEW: Duration = Duration::from_secs(10);
/// First and longest pause after a failed renewal.
const RETRY_MIN: Duration = Duration::from_millis(200);
const RETRY_MAX: Duration = Duration::from_secs(7);

/// Keeps the lease until `shutdown`. `uid` is that of the Node object, which owns the lease.
pub(crate) async fn run(client: Client, node: String, uid: String, shutdown: CancellationToken) {
    let leases = Objects::<Lease>::namespaced(&client, NAMESPACE);
    let mut known: Option<Lease> = None;
    let mut failures = 0u32;
    loop {
        let pause = match renew(&leases, &node, &uid, known.take()).await {
            Ok(lease) => {
                known = Some(lease);
                failures = 0;
                RENEW
            }
            Err(error) => {
                failures += 1;
                if failures.is_power_of_two() {
                    tracing::warn!(%error, failures, "cannot renew the node's lease, will retry");
                }
                (RETRY_MIN * 2u32.saturating_pow(failures.min(16) - 1)).min(RETRY_MAX)
            }
        };
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = tokio::time::sleep(pause) => {}
        }
    }
}

/// Writes the lease: over the one we know, else over the one that is there, else anew.
async fn renew(leases: &Objects<Lease>, node: &str, uid: &str, known: Option<Lease>) -> kube::Result<Lease> {
    if let Some(lease) = known {
        match leases.replace(node, "", &renewed(lease, node, uid)).await {
            Err(error) if errors::is_conflict(&error) || errors::is_not_found(&error) => {}
            done => return done,
        }
    }
    match leases.get_opt(node).await? {
        Some(lease) => leases.replace(node, "", &renewed(lease, node, uid)).await,
        None => leases.create(&renewed(Lease::default(), node, uid)).await,
    }
}

fn renewed(mut lease: Lease, node: &str, uid: &str) -> Lease {
    let owner = OwnerReference {
        api_version: "v1".into(),
        kind: "Node".into(),
        name: node.into(),
        uid: uid.into(),
        ..Default::default()
    };
    lease.metadata = ObjectMeta {
        name: Some(node.into()),
        namespace: Some(NAMESPACE.into()),
        owner_references: Some(vec![owner]),
        ..lease.metadata
    };
    lease.spec = Some(LeaseSpec {
        holder_identity: Some(node.into()),
        lease_duration_seconds: Some(DURATION_SECONDS),
        renew_time: Some(MicroTime(Timestamp::now())),
        ..lease.spec.unwrap_or_default()
    });
    lease
}
