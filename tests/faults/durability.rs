//! `kill -9` at any time loses nothing that was answered, and disturbs no container.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{ListParams, ObjectMeta, PostParams};
use kube::{Api, Client};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use skiff_tests::application::{self, NODE_PORT};
use skiff_tests::{Cluster, http1, kubectl, processes, with_cluster, with_control_plane};
use tokio::task::JoinSet;

use crate::syscalls::Trace;

/// Rounds of writing, killing and starting again.
const ROUNDS: usize = 20;

/// Creates that must have been answered in a round before the kill, and how many more may be until it comes.
const ACKNOWLEDGED: usize = 200;
const MORE: usize = 200;

/// Clients that write at once.
const WRITERS: usize = 8;

/// How often the NodePort is asked while Skiff is dead.
const ASKED: usize = 20;

/// The seed of a run can be given to repeat it.
const SEED: &str = "SKIFF_TEST_SEED";

#[test]
fn nothing_acknowledged_is_lost_by_kill_9() {
    let seed = std::env::var(SEED).ok().and_then(|seed| seed.parse().ok()).unwrap_or_else(rand::random::<u64>);
    eprintln!("{SEED}={seed}");
    with_cluster("kill-9", async |cluster| {
        let mut random = StdRng::seed_from_u64(seed);
        application::apply(cluster, &kubectl::newest()).await;
        skiff_tests::eventually("the NodePort answers", async || http1::get(NODE_PORT, "/").await).await;
        let containers = containers(cluster);
        assert!(containers.len() >= 3, "{containers:?}");
        let (mut acknowledged, mut newest, mut worst) = (BTreeMap::new(), 0, Duration::ZERO);
        for round in 0..ROUNDS {
            let until = ACKNOWLEDGED + random.random_range(0..MORE);
            let answers = write_and_kill(cluster, round, until).await;
            let versions = answers.iter().map(|(_, version)| *version);
            newest = newest.max(versions.max().expect("answers"));
            acknowledged.extend(answers);

            for _ in 0..ASKED {
                http1::get(NODE_PORT, "/").await.expect("the NodePort answers while Skiff is dead");
            }
            assert_eq!(self::containers(cluster), containers, "containers in round {round}");
            let begun = Instant::now();
            cluster.boot().await.expect("it starts again");
            worst = worst.max(begun.elapsed());
            newest = check(cluster, &acknowledged, newest).await;
        }
        eprintln!("{} acknowledged creates in {ROUNDS} rounds, slowest start {worst:?}", acknowledged.len());
        cluster.until_node_ready().await;
        application::until_available(cluster, 3).await;
        assert_eq!(self::containers(cluster), containers, "containers at the end");
        let pods = application::pods(cluster).await;
        let statuses = pods.iter().flat_map(|pod| pod.status.iter().flat_map(|status| &status.container_statuses));
        let restarts: i32 = statuses.flatten().map(|status| status.restart_count).sum();
        assert_eq!((pods.len(), restarts), (3, 0));
    });
}

#[test]
fn under_load_every_commit_is_synced() {
    with_control_plane("syncs", async |cluster| {
        let trace = Trace::start(cluster).await;
        let (answered, stop) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
        let mut writers = JoinSet::new();
        for writer in 0..WRITERS {
            writers.spawn(write(cluster.client(), format!("s-w{writer}"), answered.clone(), stop.clone()));
        }
        skiff_tests::eventually("enough creates", async || match answered.load(Ordering::Acquire) {
            enough if enough >= ACKNOWLEDGED => Ok(()),
            few => Err(few),
        })
        .await;
        stop.store(true, Ordering::Release);
        let acknowledged: usize = writers.join_all().await.iter().map(Vec::len).sum();
        let counted = trace.stop();
        eprintln!("{acknowledged} creates were answered: {counted:?}");
        // A commit can hold one create of each client at most, as each waits for its answer.
        assert!(counted.commits >= acknowledged / WRITERS, "{counted:?} for {acknowledged} creates");
        assert!(counted.syncs >= counted.commits, "{counted:?}");
    });
}

/// Writes with several clients, and kills the server as soon as so many creates have been answered. Returns the
/// answered ones with their versions.
async fn write_and_kill(cluster: &mut Cluster, round: usize, until: usize) -> Vec<(String, u64)> {
    let (answered, stop) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
    let mut writers = JoinSet::new();
    for writer in 0..WRITERS {
        writers.spawn(write(cluster.client(), format!("r{round}-w{writer}"), answered.clone(), stop.clone()));
    }
    let begun = Instant::now();
    while answered.load(Ordering::Acquire) < until {
        assert!(begun.elapsed() < Duration::from_secs(60), "only {} creates", answered.load(Ordering::Acquire));
        tokio::time::sleep(Duration::from_micros(200)).await;
    }
    cluster.kill();
    stop.store(true, Ordering::Release);
    writers.join_all().await.into_iter().flatten().collect()
}

/// Creates one object after the other until it is over, or the server is.
async fn write(
    client: Client,
    prefix: String,
    answered: Arc<AtomicUsize>,
    stop: Arc<AtomicBool>,
) -> Vec<(String, u64)> {
    let maps: Api<ConfigMap> = Api::namespaced(client, "default");
    let mut mine = Vec::new();
    while !stop.load(Ordering::Acquire) {
        let name = format!("{prefix}-{}", mine.len());
        let data = BTreeMap::from([("name".to_owned(), name.clone()), ("filling".to_owned(), "x".repeat(500))]);
        let metadata = ObjectMeta { name: Some(name.clone()), ..ObjectMeta::default() };
        let map = ConfigMap { metadata, data: Some(data), ..ConfigMap::default() };
        // Whatever goes wrong now, it was not answered.
        let Ok(created) = maps.create(&PostParams::default(), &map).await else { break };
        mine.push((name, version(&created.metadata)));
        answered.fetch_add(1, Ordering::AcqRel);
    }
    mine
}

/// Every acknowledged object is there as it was, and the store has not gone back. Returns its version.
async fn check(cluster: &Cluster, acknowledged: &BTreeMap<String, u64>, newest: u64) -> u64 {
    let maps: Api<ConfigMap> = Api::namespaced(cluster.client(), "default");
    let list = maps.list(&ListParams::default()).await.expect("a list");
    let now: u64 =
        list.metadata.resource_version.as_deref().and_then(|version| version.parse().ok()).expect("a version");
    assert!(now >= newest, "the store is at {now}, and was at {newest}");
    let found: BTreeMap<_, _> =
        list.items.iter().map(|map| (map.metadata.name.clone().expect("a name"), map)).collect();
    for (name, version) in acknowledged {
        let map =
            found.get(name).unwrap_or_else(|| panic!("{name}, written as {version}, is lost; the store is at {now}"));
        assert_eq!(self::version(&map.metadata), *version, "version of {name}");
        let data = map.data.as_ref().expect("data");
        assert_eq!((data.get("name"), data["filling"].len()), (Some(name), 500), "content of {name}");
    }
    now
}

fn version(metadata: &ObjectMeta) -> u64 {
    metadata.resource_version.as_deref().and_then(|version| version.parse().ok()).expect("a version")
}

/// The shims of a cluster and the processes of their containers.
fn containers(cluster: &Cluster) -> BTreeSet<(i32, Vec<i32>)> {
    let shims = cluster.shims().into_iter().map(|shim| shim.pid);
    shims.map(|shim| (shim, processes::children(shim))).filter(|(_, children)| !children.is_empty()).collect()
}
