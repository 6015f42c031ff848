//! Leader election by a Lease: who writes with the version he has read leads.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use kube::api::{ApiResource, DynamicObject, PostParams};
use kube::{Api, core::GroupVersionKind};
use serde_json::json;
use tokio::task::JoinSet;

use super::errors::code;
use skiff_tests::stage::Stage;

/// Who wants to lead, and how often leadership passes.
const CANDIDATES: usize = 8;
const TERMS: usize = 5;

pub(super) async fn leader(stage: Stage) {
    let resource = ApiResource::from_gvk(&GroupVersionKind::gvk("coordination.k8s.io", "v1", "Lease"));
    let leases: Api<DynamicObject> = Api::namespaced_with(stage.client.clone(), &stage.namespace, &resource);
    let lease = |holder: &str| {
        let mut lease = DynamicObject::new("leader", &resource);
        lease.data = json!({"spec": {
            "holderIdentity": holder, "leaseDurationSeconds": 15, "leaseTransitions": 0,
            "acquireTime": "2026-01-02T03:04:05.678901Z", "renewTime": "2026-01-02T03:04:05.678901Z",
        }});
        lease
    };
    // All try to make it; one does.
    let mut trying = JoinSet::new();
    for number in 0..CANDIDATES {
        let (leases, lease) = (leases.clone(), lease(&format!("candidate-{number}")));
        trying.spawn(async move { code(leases.create(&PostParams::default(), &lease).await) });
    }
    let mut codes = trying.join_all().await;
    codes.sort_unstable();
    assert_eq!(codes[0], 200);
    assert!(codes[1..].iter().all(|code| *code == 409), "{codes:?}");
    stage.done("one makes it");
    let read = leases.get("leader").await.expect("read");
    assert_eq!(read.data["spec"]["renewTime"], "2026-01-02T03:04:05.678901Z");
    stage.done("times to the microsecond");

    // In every term all read, then all write: one wins.
    for term in 1..=TERMS {
        let (winners, mut writing) = (Arc::new(AtomicUsize::new(0)), JoinSet::new());
        let read = leases.get("leader").await.expect("read");
        for number in 0..CANDIDATES {
            let (leases, mut lease, winners) = (leases.clone(), read.clone(), winners.clone());
            lease.data["spec"]["holderIdentity"] = json!(format!("candidate-{number}"));
            lease.data["spec"]["leaseTransitions"] = json!(term);
            writing.spawn(async move {
                match code(leases.replace("leader", &PostParams::default(), &lease).await) {
                    200 => winners.fetch_add(1, Ordering::Relaxed),
                    409 => 0,
                    other => panic!("{other}"),
                }
            });
        }
        writing.join_all().await;
        assert_eq!(winners.load(Ordering::Relaxed), 1, "term {term}");
        stage.done("one leads");
    }
    let read = leases.get("leader").await.expect("read");
    assert_eq!(read.data["spec"]["leaseTransitions"], TERMS);
}
