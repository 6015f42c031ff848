//! Crashes at bad moments, reboots, and many things at once.

mod common;

use std::time::{Duration, Instant};

use common::{DEADLINE, Node, shell};
use skiff_cri::v1::{self, ContainerEventType, ContainerState, PodSandboxState};

const ROUNDS: u64 = 6;
const PODS_PER_ROUND: usize = 4;

async fn sandboxes(node: &mut Node) -> Vec<v1::PodSandbox> {
    let request = v1::ListPodSandboxRequest::default();
    node.client.runtime.list_pod_sandbox(request).await.expect("list").into_inner().items
}

async fn containers(node: &mut Node) -> Vec<v1::Container> {
    let request = v1::ListContainersRequest::default();
    node.client.runtime.list_containers(request).await.expect("list").into_inner().containers
}

/// Starts pods until the runtime is gone; returns the containers whose start was answered.
async fn start_pods(client: skiff_cri::Client, configs: Vec<v1::PodSandboxConfig>) -> Vec<String> {
    let started = configs.into_iter().map(|config| {
        let mut client = client.clone();
        async move {
            let request = v1::RunPodSandboxRequest { config: Some(config.clone()), ..Default::default() };
            let pod = client.runtime.run_pod_sandbox(request).await.ok()?.into_inner().pod_sandbox_id;
            let request = v1::CreateContainerRequest {
                pod_sandbox_id: pod,
                config: Some(shell("app", "sleep 1000")),
                sandbox_config: Some(config),
            };
            let id = client.runtime.create_container(request).await.ok()?.into_inner().container_id;
            let request = v1::StartContainerRequest { container_id: id.clone() };
            client.runtime.start_container(request).await.ok()?;
            Some(id)
        }
    });
    futures::future::join_all(started).await.into_iter().flatten().collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_at_any_moment_it_keeps_its_word() {
    let mut node = Node::start("faults").await;
    let seed = std::process::id();
    eprintln!("seed {seed}");
    let mut answered = Vec::new();
    for round in 0..ROUNDS {
        let configs = (0..PODS_PER_ROUND).map(|n| node.pod_config(&format!("r{round}p{n}"))).collect();
        let starting = tokio::spawn(start_pods(node.client.clone(), configs));
        // 0 to 180 ms: before, within and after every step of a start.
        let pause = (u64::from(seed) * 2_654_435_761 + round * 40_503_000) % 180;
        tokio::time::sleep(Duration::from_millis(pause)).await;
        node.kill();
        answered.extend(starting.await.expect("task"));
        node.run().await;
        for id in &answered {
            let (status, pid) = node.verbose_status(id).await;
            assert_eq!(status.state(), ContainerState::ContainerRunning, "round {round}: an answered start is lost");
            assert!(std::path::Path::new(&format!("/proc/{pid}")).exists());
        }
        // Whatever else is there is in a state that can be acted on.
        for container in containers(&mut node).await {
            let (status, pid) = node.verbose_status(&container.id).await;
            if status.state() == ContainerState::ContainerRunning {
                assert!(std::path::Path::new(&format!("/proc/{pid}")).exists(), "{status:?}");
            }
        }
        let mut ids: Vec<_> = sandboxes(&mut node).await.into_iter().map(|sandbox| sandbox.id).collect();
        ids.dedup();
        if round % 2 == 1 {
            for id in ids {
                let request = v1::RemovePodSandboxRequest { pod_sandbox_id: id };
                node.client.runtime.remove_pod_sandbox(request).await.expect("remove");
            }
            answered.clear();
            let state = |name: &str| std::fs::read_dir(node.path("state").join(name)).expect("state").count();
            assert_eq!((state("c"), state("p"), state("x"), state("oci")), (0, 0, 0, 0), "round {round}");
        }
    }
    node.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_reboot_everything_has_ended() {
    let mut node = Node::start("reboot").await;
    let pod = node.pod("web").await;
    let id = node.container(&pod, shell("app", "sleep 1000")).await;
    let done = node.container(&pod, shell("done", "exit 5")).await;
    node.ended(&done).await;
    let created = node.create(&pod, shell("created", "true")).await.expect("create");
    node.kill();
    // What a reboot does: no process, no mount, no exit written down, another boot id.
    node.lose_power();
    std::fs::write(node.path("root/boot-id"), "another boot").expect("write");
    node.run().await;
    let listed = sandboxes(&mut node).await;
    assert_eq!((listed.len(), listed[0].state()), (1, PodSandboxState::SandboxNotready));
    for lost in [&id, &created] {
        let status = node.status(lost).await;
        assert_eq!((status.state(), status.exit_code), (ContainerState::ContainerExited, 255));
        assert_eq!(status.reason, "Unknown");
    }
    assert_eq!(node.status(&done).await.exit_code, 5);
    assert!(node.start_container(&created).await.is_err());
    // The pod's place is free for the next attempt.
    let mut config = node.pod_config("web");
    config.metadata.as_mut().expect("metadata").attempt = 1;
    let next = node.pod_with(config).await;
    let again = node.container(&next, shell("app", "echo again; sleep 1000")).await;
    assert_eq!(node.shell(&again, "echo up").await.0, "up\n");
    node.remove_pod(&pod).await;
    node.remove_pod(&next).await;
    node.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn events_tell_what_happens() {
    let mut node = Node::start("events").await;
    let mut events =
        node.client.clone().runtime.get_container_events(v1::GetEventsRequest {}).await.expect("events").into_inner();
    let pod = node.pod("web").await;
    let id = node.container(&pod, shell("app", "exit 3")).await;
    node.ended(&id).await;
    node.remove_pod(&pod).await;
    let mut seen = Vec::new();
    let deadline = Instant::now() + DEADLINE;
    while seen.len() < 8 && Instant::now() < deadline {
        let event = tokio::time::timeout(DEADLINE, events.message()).await.expect("in time").expect("event");
        let event = event.expect("the stream goes on");
        let of_pod = event.container_id == pod.id;
        if event.container_event_type() == ContainerEventType::ContainerStoppedEvent && !of_pod {
            assert_eq!(event.containers_statuses[0].exit_code, 3);
        }
        seen.push((of_pod, event.container_event_type()));
    }
    use ContainerEventType::{
        ContainerCreatedEvent as Created, ContainerDeletedEvent as Deleted, ContainerStartedEvent as Started,
        ContainerStoppedEvent as Stopped,
    };
    let expected = [
        (true, Created),
        (true, Started),
        (false, Created),
        (false, Started),
        (false, Stopped),
        (true, Stopped),
        (false, Deleted),
        (true, Deleted),
    ];
    assert_eq!(seen, expected);
    node.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn many_pods_at_once() {
    let mut node = Node::start("many").await;
    let configs: Vec<_> = (0..20).map(|n| node.pod_config(&format!("pod{n}"))).collect();
    let before = Instant::now();
    let started = start_pods(node.client.clone(), configs).await;
    eprintln!("20 pods in {:?}", before.elapsed());
    assert_eq!(started.len(), 20);
    let mut addresses = Vec::new();
    for sandbox in sandboxes(&mut node).await {
        let request = v1::PodSandboxStatusRequest { pod_sandbox_id: sandbox.id, verbose: false };
        let status = node.client.runtime.pod_sandbox_status(request).await.expect("status").into_inner().status;
        addresses.push(status.and_then(|s| s.network).expect("network").ip);
    }
    addresses.sort_unstable();
    addresses.dedup();
    assert_eq!(addresses.len(), 20);
    let removals = sandboxes(&mut node).await.into_iter().map(|sandbox| {
        let mut client = node.client.clone();
        async move {
            let request = v1::RemovePodSandboxRequest { pod_sandbox_id: sandbox.id };
            client.runtime.remove_pod_sandbox(request).await.expect("remove");
        }
    });
    futures::future::join_all(removals).await;
    assert!(containers(&mut node).await.is_empty());
    node.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_removed_while_it_starts_leaves_nothing() {
    let mut node = Node::start("race").await;
    for round in 0..12_u64 {
        let pod = node.pod(&format!("pod{round}")).await;
        let id = node.create(&pod, shell("app", "sleep 1000")).await.expect("create");
        let mut client = node.client.clone();
        let starting = tokio::spawn(async move {
            let request = v1::StartContainerRequest { container_id: id };
            client.runtime.start_container(request).await.map(drop)
        });
        tokio::time::sleep(Duration::from_millis(round * 3)).await;
        node.remove_pod(&pod).await;
        // Either outcome is right, as long as nothing runs afterwards.
        let _ = starting.await.expect("task");
        assert!(containers(&mut node).await.is_empty());
        let state = |name: &str| std::fs::read_dir(node.path("state").join(name)).expect("state").count();
        assert_eq!((state("c"), state("p"), state("oci")), (0, 0, 0), "round {round}");
    }
    node.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn it_ends_when_asked_and_leaves_containers_alone() {
    let mut node = Node::start("term").await;
    let pod = node.pod("web").await;
    let id = node.container(&pod, shell("app", "sleep 1000")).await;
    let (_, pid) = node.verbose_status(&id).await;
    let _events = node.client.clone().runtime.get_container_events(v1::GetEventsRequest {}).await.expect("events");
    let before = Instant::now();
    node.terminate();
    assert!(before.elapsed() < Duration::from_secs(10));
    assert!(!node.path("cri.sock").exists() && std::path::Path::new(&format!("/proc/{pid}")).exists());
    node.run().await;
    assert_eq!(node.verbose_status(&id).await.1, pid);
    assert_eq!(node.shell(&id, "echo on").await.0, "on\n");
    node.finish().await;
}
