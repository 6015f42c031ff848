//! Of two schedulers one works, and the other takes over.

use std::time::Duration;

use skiff_client::leader_election;
use skiff_client::objects::Objects;
use skiff_client::types::Lease;

use crate::cluster::{Cluster, eventually};

fn candidate(identity: &str) -> skiff_scheduler::Config {
    let election = leader_election::Config {
        retry_period: Duration::from_millis(20),
        ..leader_election::Config::new("kube-system", "kube-scheduler", identity)
    };
    skiff_scheduler::Config { leader_election: Some(election), ..skiff_scheduler::Config::default() }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_next_one_takes_over_at_once_when_the_leader_stops() {
    let cluster = Cluster::start_server().await;
    let leases = Objects::<Lease>::namespaced(&cluster.client, "kube-system");
    let held_by = async |identity: &str| {
        let lease = leases.get_opt("kube-scheduler").await.expect("an answer");
        lease.is_some_and(|lease| lease.spec.holder_identity == identity)
    };
    let first = cluster.start_scheduler(candidate("first"));
    eventually("the first leads", || held_by("first")).await;
    cluster.start_scheduler(candidate("second"));
    cluster.add_node("only", "4").await;
    cluster.add_pod("before", "1").await;
    cluster.node_of("before").await;
    first.cancel();
    // Well before the lease would have ended by itself.
    eventually("the second leads", || held_by("second")).await;
    cluster.add_pod("after", "1").await;
    assert_eq!(cluster.node_of("after").await, "only");
}
