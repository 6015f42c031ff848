//! How long a pod takes from the first call to the running container.

mod common;

use std::time::{Duration, Instant};

use common::{Node, shell};

/// Goal for RunPodSandbox, CreateContainer and StartContainer together, on an idle machine.
const GOAL: Duration = Duration::from_millis(80);
/// What a busy machine and a debug build may add before the test fails.
const ALLOWANCE: u32 = 10;
const ROUNDS: usize = 10;

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_starts_quickly() {
    let mut node = Node::start("latency").await;
    let mut times = Vec::new();
    for round in 0..ROUNDS {
        let before = Instant::now();
        let pod = node.pod(&format!("web{round}")).await;
        let sandbox = before.elapsed();
        let id = node.create(&pod, shell("app", "sleep 1000")).await.expect("create");
        let created = before.elapsed();
        node.start_container(&id).await.expect("start");
        times.push((before.elapsed(), sandbox, created - sandbox, before.elapsed() - created));
    }
    times.sort_unstable();
    let (total, sandbox, create, start) = times[ROUNDS / 2];
    eprintln!(
        "median of {ROUNDS}: {total:?} = RunPodSandbox {sandbox:?} + CreateContainer {create:?} + StartContainer {start:?}"
    );
    assert!(total < GOAL * ALLOWANCE, "{times:?}");
    let before = Instant::now();
    let id = {
        let pod = node.pod("exec").await;
        node.container(&pod, shell("app", "sleep 1000")).await
    };
    let started = before.elapsed();
    let before = Instant::now();
    for _ in 0..ROUNDS {
        node.exec_sync(&id, &["true"], 5).await.expect("exec");
    }
    eprintln!("a pod: {started:?}; an exec: {:?}", before.elapsed() / ROUNDS as u32);
    let (_, pid) = node.verbose_status(&id).await;
    let shim = shim_of(pid);
    let memory = std::fs::read_to_string(format!("/proc/{shim}/smaps_rollup")).expect("smaps");
    for line in
        memory.lines().filter(|l| ["Rss:", "Pss:", "Private_Dirty:", "Anonymous:"].iter().any(|n| l.starts_with(n)))
    {
        eprintln!("shim {line}");
    }
    node.finish().await;
}

/// The parent of a container's first process.
fn shim_of(pid: i32) -> i32 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).expect("stat");
    let fields = stat.rsplit(") ").next().expect("fields");
    fields.split(' ').nth(1).expect("a parent").parse().expect("a number")
}
