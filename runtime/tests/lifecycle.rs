//! Containers from start to end: logs, exit codes, stopping, limits, and what is left afterwards.

mod common;

use std::time::Instant;

use common::{Node, context, eventually, shell};
use skiff_cri::v1::{self, ContainerState};
use tonic::Code;

#[tokio::test(flavor = "multi_thread")]
async fn a_container_runs_and_ends() {
    let mut node = Node::start("basic").await;
    let pod = node.pod("web").await;
    let command = "echo out; echo err >&2; cat /etc/resolv.conf; hostname; exit 3";
    let id = node.container(&pod, shell("job", command)).await;
    let status = node.ended(&id).await;
    assert_eq!((status.exit_code, status.reason.as_str()), (3, "Error"));
    assert!(status.finished_at >= status.started_at, "{status:?}");
    assert!(status.started_at >= status.created_at, "{status:?}");
    let log = node.log_lines(&id).await;
    for line in ["stdout F out", "stderr F err", "stdout F nameserver 10.96.0.10", "stdout F web"] {
        assert!(log.iter().any(|l| l == line), "{line:?} in {log:?}");
    }
    let ok = node.container(&pod, shell("ok", "true")).await;
    let status = node.ended(&ok).await;
    assert_eq!((status.exit_code, status.reason.as_str()), (0, "Completed"));
    node.remove_pod(&pod).await;
    node.remove_pod(&pod).await;
    node.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn stopping_by_signal_grace_and_force() {
    let mut node = Node::start("stop").await;
    let pod = node.pod("web").await;
    let polite = "trap 'echo bye; exit 7' TERM; echo ready; while :; do sleep 0.05; done";
    let stubborn = "trap '' TERM; echo ready; while :; do sleep 0.05; done";
    let mut quit = shell("quit", "trap 'exit 9' QUIT; echo ready; while :; do sleep 0.05; done");
    quit.stop_signal = v1::Signal::Sigquit.into();
    for (config, grace, code) in [
        (shell("polite", polite), 20, 7),
        (shell("stubborn", stubborn), 1, 137),
        (shell("forced", polite), 0, 137),
        (quit, 20, 9),
    ] {
        let id = node.container(&pod, config).await;
        let log = node.status(&id).await.log_path;
        eventually("ready", || std::fs::read_to_string(&log).is_ok_and(|l| l.contains("ready"))).await;
        let before = Instant::now();
        node.stop_container(&id, grace).await;
        let status = node.status(&id).await;
        assert_eq!(status.state(), ContainerState::ContainerExited);
        assert_eq!(status.exit_code, code, "{}", status.log_path);
        assert!(before.elapsed().as_secs() < 10);
        node.stop_container(&id, grace).await;
    }
    node.stop_container("no-such-container", 1).await;
    node.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn memory_limits_kill_and_say_so() {
    let mut node = Node::start("oom").await;
    let pod = node.pod("web").await;
    let mut config = shell("hog", "dd if=/dev/zero of=/dev/shm/big bs=1M count=60; sleep 100");
    config.linux.as_mut().expect("linux").resources = Some(v1::LinuxContainerResources {
        memory_limit_in_bytes: 24 << 20,
        oom_score_adj: 500,
        cpu_quota: 50_000,
        cpu_period: 100_000,
        cpu_shares: 512,
        ..Default::default()
    });
    // The shell itself eats the memory, so that it is the one to be killed.
    config.command[2] = "x=xxxxxxxxxxxxxxxx; while :; do x=$x$x; done".into();
    let id = node.container(&pod, config).await;
    let status = node.ended(&id).await;
    assert_eq!((status.exit_code, status.reason.as_str()), (137, "OOMKilled"));
    node.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn limits_are_set_shown_and_changed() {
    let mut node = Node::start("limits").await;
    let pod = node.pod("web").await;
    let mut config = shell("app", "while :; do sleep 0.1; done");
    config.linux.as_mut().expect("linux").resources = Some(v1::LinuxContainerResources {
        memory_limit_in_bytes: 64 << 20,
        cpu_quota: 50_000,
        cpu_period: 100_000,
        ..Default::default()
    });
    let id = node.container(&pod, config).await;
    let limit = |id: &str, node: &Node| {
        let group = format!("/sys/fs/cgroup/memory/skiff-{}", node.name());
        let mut folders = vec![std::path::PathBuf::from(group)];
        while let Some(folder) = folders.pop() {
            if folder.ends_with(id) {
                return std::fs::read_to_string(folder.join("memory.limit_in_bytes")).expect("limit");
            }
            folders.extend(std::fs::read_dir(&folder).into_iter().flatten().flatten().map(|e| e.path()));
        }
        panic!("no cgroup of {id}");
    };
    assert_eq!(limit(&id, &node).trim(), (64 << 20).to_string());
    let request = v1::UpdateContainerResourcesRequest {
        container_id: id.clone(),
        linux: Some(v1::LinuxContainerResources { memory_limit_in_bytes: 96 << 20, ..Default::default() }),
        ..Default::default()
    };
    node.client.runtime.update_container_resources(request).await.expect("update");
    assert_eq!(limit(&id, &node).trim(), (96 << 20).to_string());
    let shown = node.status(&id).await.resources.and_then(|r| r.linux).expect("resources");
    assert_eq!((shown.memory_limit_in_bytes, shown.cpu_quota), (96 << 20, 50_000));

    let request = v1::ContainerStatsRequest { container_id: id.clone() };
    let stats = node.client.runtime.container_stats(request).await.expect("stats").into_inner().stats.expect("stats");
    let memory = stats.memory.expect("memory");
    assert!(memory.working_set_bytes.is_some_and(|v| v.value > 0 && v.value < 64 << 20));
    assert!(stats.cpu.and_then(|cpu| cpu.usage_core_nano_seconds).is_some_and(|v| v.value > 0));
    let request = v1::PodSandboxStatsRequest { pod_sandbox_id: pod.id.clone() };
    let stats = node.client.runtime.pod_sandbox_stats(request).await.expect("stats").into_inner().stats.expect("stats");
    let linux = stats.linux.expect("linux");
    assert_eq!(linux.containers.len(), 1);
    assert!(linux.network.and_then(|n| n.default_interface).is_some_and(|i| i.name == "eth0"));
    node.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_start_says_why() {
    let mut node = Node::start("errors").await;
    let pod = node.pod("web").await;
    let mut missing = shell("missing", "");
    missing.command = vec!["/no/such/program".into()];
    let mut not_found = shell("notfound", "");
    not_found.command = vec!["nosuch".into()];
    let mut folder = shell("folder", "");
    folder.command = vec!["/etc".into()];
    for (config, expected) in [
        (missing, "exec: \"/no/such/program\": stat /no/such/program: no such file or directory"),
        (not_found, "exec: \"nosuch\": executable file not found in $PATH"),
        (folder, "exec: \"/etc\": stat /etc: is a directory"),
    ] {
        let id = node.create(&pod, config).await.expect("create");
        let error = node.start_container(&id).await.expect_err(expected);
        assert!(error.message().ends_with(expected), "{}", error.message());
        let status = node.status(&id).await;
        assert_eq!((status.exit_code, status.reason.as_str()), (128, "StartError"));
        assert!(status.message.ends_with(expected), "{}", status.message);
        assert_eq!(node.start_container(&id).await.expect_err("ended").code(), Code::FailedPrecondition);
    }
    let mut no_image = shell("noimage", "true");
    no_image.image = Some(v1::ImageSpec { image: "test.local/none:v1".into(), ..Default::default() });
    assert_eq!(node.create(&pod, no_image).await.expect_err("no image").code(), Code::NotFound);
    let mut no_user = shell("nouser", "true");
    context(&mut no_user).run_as_username = "nobody-knows".into();
    let error = node.create(&pod, no_user).await.expect_err("no user");
    assert!(error.message().contains("unable to find user nobody-knows"), "{}", error.message());
    let twice = shell("twice", "true");
    node.create(&pod, twice.clone()).await.expect("first");
    assert_eq!(node.create(&pod, twice).await.expect_err("same name").code(), Code::AlreadyExists);
    let status = node
        .client
        .runtime
        .container_status(v1::ContainerStatusRequest { container_id: "f".repeat(64), verbose: false });
    assert_eq!(status.await.expect_err("unknown").code(), Code::NotFound);
    node.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn commands_run_inside() {
    let mut node = Node::start("exec").await;
    let pod = node.pod("web").await;
    let id = node.container(&pod, shell("app", "echo $$ > /pid; while :; do sleep 0.1; done")).await;
    assert_eq!(node.shell(&id, "echo hi; echo no >&2; exit 5").await, ("hi\nno\n".into(), 5));
    assert_eq!(node.shell(&id, "hostname").await, ("web\n".into(), 0));
    assert_eq!(node.shell(&id, "kill -9 $$").await.1, 137);
    let (processes, _) = node.shell(&id, "ps").await;
    assert!(processes.lines().count() < 8, "a pid namespace of its own: {processes}");
    // SIGPIPE is not ignored: the writer ends quietly.
    let (piped, code) = node.shell(&id, "seq 100000 | head -n 1").await;
    assert_eq!((piped.as_str(), code), ("1\n", 0));
    let missing = node.exec_sync(&id, &["nosuch"], 5).await.expect_err("no such program");
    assert!(missing.message().ends_with("exec: \"nosuch\": executable file not found in $PATH"), "{missing}");
    let before = Instant::now();
    let slow = node.exec_sync(&id, &["sleep", "100"], 1).await.expect_err("too slow");
    assert_eq!(slow.code(), Code::DeadlineExceeded);
    assert!(before.elapsed().as_secs() < 8);
    // At once: neither running nor a zombie.
    let (left, _) = node.shell(&id, "ps -o args,stat").await;
    assert!(!left.contains("sleep 100") && !left.contains("Z"), "the timed out command is gone: {left}");
    // A background process that keeps the output open does not hold up the answer.
    let (output, code) = node.shell(&id, "sleep 50 & echo done").await;
    assert_eq!((output.as_str(), code), ("done\n", 0));
    node.stop_container(&id, 0).await;
    let stopped = node.exec_sync(&id, &["true"], 5).await.expect_err("stopped");
    assert_eq!(stopped.code(), Code::FailedPrecondition);
    node.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn logs_rotate_and_keep_long_lines() {
    let mut node = Node::start("logs").await;
    let pod = node.pod("web").await;
    let command = "head -c 20000 /dev/zero | tr '\\0' x; echo; echo before; while [ ! -e /go ]; do sleep 0.05; done; echo after; sleep 100";
    let id = node.container(&pod, shell("app", command)).await;
    let path = node.status(&id).await.log_path;
    eventually("first lines", || std::fs::read_to_string(&path).is_ok_and(|l| l.contains("before"))).await;
    let rotated = format!("{path}.1");
    std::fs::rename(&path, &rotated).expect("rename");
    let request = v1::ReopenContainerLogRequest { container_id: id.clone() };
    node.client.runtime.reopen_container_log(request).await.expect("reopen");
    node.shell(&id, "touch /go").await;
    eventually("new file", || std::fs::read_to_string(&path).is_ok_and(|l| l.contains(" stdout F after\n"))).await;
    let old = std::fs::read_to_string(&rotated).expect("old log");
    assert!(!old.contains("after"));
    let tags: Vec<&str> = old.lines().map(|line| line.split(' ').nth(2).expect("tag")).collect();
    assert_eq!(tags, ["P", "F", "F"]);
    node.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_runtime_disturbs_nothing() {
    let mut node = Node::start("crash").await;
    let pod = node.pod("web").await;
    let id = node.container(&pod, shell("app", "i=0; while :; do i=$((i+1)); echo $i; sleep 0.05; done")).await;
    let short = node.container(&pod, shell("short", "while [ ! -e /go ]; do sleep 0.05; done; exit 42")).await;
    let created = node.create(&pod, shell("created", "exit 6")).await.expect("create");
    let (before, pid) = node.verbose_status(&id).await;
    let (_, short_pid) = node.verbose_status(&short).await;
    node.kill();
    // It ends while nobody watches.
    std::fs::write(format!("/proc/{short_pid}/root/go"), "").expect("signal the container");
    eventually("the end", || !std::path::Path::new(&format!("/proc/{short_pid}")).exists()).await;
    let lines = || std::fs::read_to_string(&before.log_path).expect("log").lines().count();
    let written = lines();
    eventually("the log goes on without a runtime", || lines() > written + 3).await;
    node.run().await;
    let (after, same_pid) = node.verbose_status(&id).await;
    assert_eq!((after.state(), same_pid), (ContainerState::ContainerRunning, pid));
    assert_eq!(after.started_at, before.started_at);
    let ended = node.ended(&short).await;
    assert_eq!(ended.exit_code, 42);
    assert_eq!(node.shell(&id, "echo alive").await, ("alive\n".into(), 0));
    node.start_container(&created).await.expect("a created container can still be started");
    assert_eq!(node.ended(&created).await.exit_code, 6);
    // A shim that is killed takes its container along, and that is noticed.
    node.remove_pod(&pod).await;
    node.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_shim_ends_its_container() {
    let mut node = Node::start("noshim").await;
    let pod = node.pod("web").await;
    let id = node.container(&pod, shell("app", "sleep 1000")).await;
    let (_, pid) = node.verbose_status(&id).await;
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).expect("stat");
    let parent: i32 = stat.rsplit(") ").next().and_then(|s| s.split(' ').nth(1)).expect("parent").parse().expect("pid");
    let shim = rustix::process::Pid::from_raw(parent).expect("a pid");
    rustix::process::kill_process(shim, rustix::process::Signal::KILL).expect("kill");
    let status = node.ended(&id).await;
    assert_eq!((status.exit_code, status.reason.as_str()), (137, "Unknown"));
    // Gone, or dead and waiting for the machine's init to take note.
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    assert!(stat.is_empty() || stat.contains(") Z "), "{stat}");
    node.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_runtimes_do_not_share_folders() {
    let node = Node::start_empty("twice").await;
    let said = node.run_second();
    assert!(said.contains("another container runtime already uses"), "{said}");
    node.finish().await;
}
