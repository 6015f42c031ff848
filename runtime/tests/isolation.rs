//! What a container may and may not do, and what the containers of a pod share.

mod common;

use common::{Node, container_pids, context, eventually, shell};
use skiff_cri::v1::{self, NamespaceMode};

const SLEEP: &str = "sleep 1000";

fn seccomp(kind: v1::security_profile::ProfileType, path: &str) -> Option<v1::SecurityProfile> {
    Some(v1::SecurityProfile { profile_type: kind.into(), localhost_ref: path.into() })
}

#[tokio::test(flavor = "multi_thread")]
async fn unprivileged_by_default() {
    let mut node = Node::start("plain").await;
    let pod = node.pod("web").await;
    let id = node.container(&pod, shell("app", "exec sleep 1000")).await;
    for command in [
        "mount -t tmpfs none /tmp",
        "echo 1 > /proc/sys/kernel/panic",
        "touch /sys/x",
        "mkdir /sys/fs/cgroup/x",
        "echo 1000000000 > /sys/fs/cgroup/memory/memory.limit_in_bytes",
        "mkdir /sys/fs/cgroup/memory/x",
        // Made, but the device cgroup keeps it from being opened.
        "mknod /tmp/kmsg c 1 11 && cat /tmp/kmsg",
        "hostname other",
        "ip link add dummy0 type veth",
    ] {
        let (output, code) = node.shell(&id, command).await;
        assert_ne!(code, 0, "{command}: {output}");
    }
    // It sees its own limits, nevertheless.
    assert_eq!(node.shell(&id, "cat /sys/fs/cgroup/memory/cgroup.procs | head -n 1").await, ("1\n".into(), 0));
    // Not through a shell, which ignores signals of its own.
    let status = node.exec_sync(&id, &["cat", "/proc/self/status", "/proc/1/status"], 5).await.expect("exec");
    let capabilities = String::from_utf8(status.stdout).expect("text");
    assert_eq!(capabilities.matches("SigIgn:\t0000000000000000").count(), 2, "{capabilities}");
    let line = |name: &str| capabilities.lines().find(|l| l.starts_with(name)).map(str::to_owned);
    // Bits 0, 1, 3-8, 10, 13, 18, 27, 29, 31: containerd's default, in exec as well.
    assert_eq!(line("CapEff").as_deref(), Some("CapEff:\t00000000a80425fb"));
    assert_eq!(line("CapBnd").as_deref(), Some("CapBnd:\t00000000a80425fb"));
    assert_eq!(line("CapAmb").as_deref(), Some("CapAmb:\t0000000000000000"));
    assert_eq!(line("NoNewPrivs").as_deref(), Some("NoNewPrivs:\t0"));
    assert_eq!(line("SigIgn").as_deref(), Some("SigIgn:\t0000000000000000"));
    assert_eq!(
        node.shell(&id, "cat /proc/1/status | head -n 1; wc -c < /proc/interrupts").await.0,
        "Name:\tsleep\n0\n"
    );
    assert_eq!(node.shell(&id, "echo $FROM_IMAGE $HOSTNAME; id -u; pwd").await.0, "yes web\n0\n/\n");
    node.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn seccomp_is_enforced_in_start_and_exec() {
    use v1::security_profile::ProfileType;
    let mut node = Node::start("seccomp").await;
    let pod = node.pod("web").await;
    let profile = node.path("profile.json");
    let rules = r#"{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[
        {"names":["mkdir","mkdirat"],"action":"SCMP_ACT_ERRNO","errnoRet":1}]}"#;
    std::fs::write(&profile, rules).expect("write");
    // With and without no_new_privs the filter has to be loaded at another time.
    for (name, no_new_privs) in [("a", false), ("b", true)] {
        let mut config = shell(name, "unshare -U true; echo $?; sleep 1000");
        context(&mut config).seccomp = seccomp(ProfileType::RuntimeDefault, "");
        context(&mut config).no_new_privs = no_new_privs;
        let id = node.container(&pod, config).await;
        let log = node.status(&id).await.log_path;
        eventually("output", || std::fs::read_to_string(&log).is_ok_and(|l| l.contains("stdout"))).await;
        assert!(node.log_lines(&id).await.contains(&"stdout F 1".to_owned()), "unshare is refused");
        let (output, code) = node.shell(&id, "unshare -U true").await;
        assert!(code != 0 && output.contains("not permitted"), "exec too: {output}");
        let (status, _) = node.shell(&id, "cat /proc/1/status /proc/self/status").await;
        assert_eq!(status.matches("Seccomp:\t2").count(), 2, "{status}");
        let expected = format!("NoNewPrivs:\t{}", u8::from(no_new_privs));
        assert_eq!(status.matches(&expected).count(), 2, "{status}");

        let mut config = shell(&format!("{name}-local"), SLEEP);
        context(&mut config).seccomp = seccomp(ProfileType::Localhost, profile.to_str().expect("utf-8"));
        context(&mut config).no_new_privs = no_new_privs;
        let id = node.container(&pod, config).await;
        assert_ne!(node.shell(&id, "mkdir /tmp/x").await.1, 0);
    }
    let mut config = shell("free", SLEEP);
    context(&mut config).seccomp = seccomp(ProfileType::Unconfined, "");
    let id = node.container(&pod, config).await;
    assert_eq!(node.shell(&id, "unshare -U true").await.1, 0);
    node.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn users_groups_and_capabilities() {
    let mut node = Node::start("users").await;
    let pod = node.pod("web").await;
    let value = |value| Some(v1::Int64Value { value });
    let mut config = shell("named", SLEEP);
    context(&mut config).run_as_username = "app".into();
    context(&mut config).supplemental_groups = vec![555];
    let id = node.container(&pod, config).await;
    let (output, _) = node.shell(&id, "id; echo $HOME").await;
    assert_eq!(output, "uid=1000(app) gid=1000(app) groups=555,1000(app),1001(extra)\n/home/app\n");
    let user = node.status(&id).await.user.and_then(|u| u.linux).expect("a user");
    assert_eq!((user.uid, user.gid, user.supplemental_groups), (1000, 1000, vec![555, 1000, 1001]));

    let mut config = shell("numbers", "id; sleep 1000");
    context(&mut config).run_as_user = value(4242);
    context(&mut config).run_as_group = value(77);
    context(&mut config).no_new_privs = true;
    context(&mut config).capabilities = Some(v1::Capability {
        drop_capabilities: vec!["ALL".into()],
        add_capabilities: vec!["NET_BIND_SERVICE".into()],
        ..Default::default()
    });
    let id = node.container(&pod, config).await;
    let log = node.status(&id).await.log_path;
    eventually("output", || std::fs::read_to_string(&log).is_ok_and(|l| l.contains("uid="))).await;
    assert!(node.log_lines(&id).await.contains(&"stdout F uid=4242 gid=77 groups=77".to_owned()));
    let (status, _) = node.shell(&id, "cat /proc/self/status").await;
    assert!(status.contains("CapBnd:\t0000000000000400") && status.contains("CapEff:\t0000000000000000"), "{status}");
    // Port 80 needs no capability in a pod.
    let (output, _) = node.shell(&id, "timeout 1 nc -l -p 80").await;
    assert!(!output.contains("ermission"), "{output}");

    let mut config = shell("privileged", SLEEP);
    context(&mut config).privileged = true;
    context(&mut config).masked_paths.clear();
    context(&mut config).readonly_paths.clear();
    let id = node.container(&pod, config).await;
    assert_eq!(
        node.shell(&id, "mount -t tmpfs none /tmp && cat /proc/sys/kernel/panic > /proc/sys/kernel/panic").await.1,
        0
    );
    assert!(node.shell(&id, "ls /dev").await.0.contains("loop") || std::fs::metadata("/dev/loop0").is_err());

    let mut config = shell("readonly", SLEEP);
    context(&mut config).readonly_rootfs = true;
    let id = node.container(&pod, config).await;
    assert!(node.shell(&id, "touch /x").await.0.contains("Read-only"));
    node.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn mounts_and_working_directory() {
    let mut node = Node::start("mounts").await;
    let pod = node.pod("web").await;
    let host = node.path("host");
    std::fs::create_dir_all(host.join("deep")).expect("mkdir");
    std::fs::write(host.join("file"), "from the host\n").expect("write");
    let mount = |host: std::path::PathBuf, container: &str, readonly: bool| v1::Mount {
        container_path: container.into(),
        host_path: host.display().to_string(),
        readonly,
        ..Default::default()
    };
    let mut config = shell("app", SLEEP);
    config.working_dir = "/made/for/me".into();
    // Children before parents, on purpose.
    config.mounts = vec![
        mount(host.join("deep"), "/data/deep", false),
        mount(host.clone(), "/data", true),
        mount(host.join("file"), "/etc/hosts", true),
        mount(host.join("missing"), "/missing", false),
    ];
    let id = node.container(&pod, config).await;
    assert_eq!(
        node.shell(&id, "pwd; cat /data/file /etc/hosts").await.0,
        "/made/for/me\nfrom the host\nfrom the host\n"
    );
    assert_ne!(node.shell(&id, "touch /data/x").await.1, 0);
    assert_eq!(node.shell(&id, "echo back > /data/deep/x; touch /missing/y").await.1, 0);
    assert_eq!(std::fs::read_to_string(host.join("deep/x")).expect("read"), "back\n");
    assert!(host.join("missing/y").exists());
    assert_eq!(node.status(&id).await.mounts.len(), 4);
    // Read-only all the way down, where the mount has mounts below it.
    let nested = node.path("state");
    let mut config = shell("recursive", SLEEP);
    config.mounts = vec![v1::Mount { recursive_read_only: true, ..mount(nested, "/data", true) }];
    let id = node.container(&pod, config).await;
    let (output, code) = node.shell(&id, "for f in /data/p/*/shm; do touch $f/x && echo written; done; true").await;
    assert_eq!((output.contains("Read-only"), output.contains("written"), code), (true, false, 0), "{output}");
    let mut config = shell("apparmor", SLEEP);
    context(&mut config).apparmor = seccomp(v1::security_profile::ProfileType::Localhost, "strict");
    let outcome = node.create(&pod, config).await;
    if !std::path::Path::new("/sys/module/apparmor").exists() {
        let error = outcome.expect_err("no AppArmor here");
        assert!(error.message().contains("AppArmor is not enabled"), "{}", error.message());
    }
    let mut config = shell("shared", SLEEP);
    config.mounts = vec![v1::Mount {
        propagation: v1::MountPropagation::PropagationBidirectional.into(),
        ..mount(node.path("state"), "/data", false)
    }];
    let error = node.create(&pod, config).await.expect_err("not a shared mount");
    assert!(error.message().contains("not a shared mount"), "{}", error.message());
    node.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn containers_of_a_pod_share_what_they_should() {
    let mut node = Node::start("share").await;
    let pod = node.pod("web").await;
    let one = node.container(&pod, shell("one", SLEEP)).await;
    let two = node.container(&pod, shell("two", SLEEP)).await;
    assert_eq!(node.shell(&one, "echo hi > /dev/shm/note; hostname").await.0, "web\n");
    assert_eq!(node.shell(&two, "cat /dev/shm/note; hostname").await.0, "hi\nweb\n");
    let namespaces = async |node: &mut Node, id: &str| {
        node.shell(id, "for n in net ipc uts pid mnt; do readlink /proc/self/ns/$n || ls -l /proc/self/ns/$n; done")
            .await
            .0
    };
    let (first, second) = (namespaces(&mut node, &one).await, namespaces(&mut node, &two).await);
    let same = first.lines().zip(second.lines()).map(|(a, b)| a == b).collect::<Vec<_>>();
    assert_eq!(same, [true, true, true, false, false], "{first}{second}");
    let status = v1::PodSandboxStatusRequest { pod_sandbox_id: pod.id.clone(), verbose: false };
    let ip = node.client.runtime.pod_sandbox_status(status).await.expect("status").into_inner().status;
    let ip = ip.and_then(|s| s.network).expect("network").ip;
    assert!(ip.starts_with("10.244.7."), "{ip}");
    assert!(node.shell(&one, "ip addr show eth0").await.0.contains(&format!("inet {ip}/32")));

    // Another pod reaches it, and is not it.
    let other = node.pod("other").await;
    let three = node.container(&other, shell("three", SLEEP)).await;
    let (output, code) = node.shell(&three, &format!("ping -c 1 -W 5 {ip}")).await;
    assert_eq!(code, 0, "{output}");
    assert_eq!(node.shell(&three, "hostname; ls /dev/shm").await.0, "other\n");
    node.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pid_namespaces_by_choice() {
    let mut node = Node::start("pids").await;
    let with = |node: &Node, name: &str, mode: NamespaceMode| {
        let mut config = node.pod_config(name);
        let security = config.linux.get_or_insert_default().security_context.get_or_insert_default();
        security.namespace_options = Some(v1::NamespaceOption { pid: mode.into(), ..Default::default() });
        config
    };
    let container = |name: &str, mode: NamespaceMode, target: &str| {
        let mut config = shell(name, SLEEP);
        let options = v1::NamespaceOption { pid: mode.into(), target_id: target.into(), ..Default::default() };
        context(&mut config).namespace_options = Some(options);
        config
    };
    let config = with(&node, "together", NamespaceMode::Pod);
    let pod = node.pod_with(config).await;
    let one = node.container(&pod, container("one", NamespaceMode::Pod, "")).await;
    let two = node.container(&pod, container("two", NamespaceMode::Pod, "")).await;
    let (processes, _) = node.shell(&two, "ps -o args").await;
    assert_eq!(processes.matches(SLEEP).count(), 2, "{processes}");
    assert!(processes.contains("skiff-shim"), "a first process that reaps: {processes}");
    // Stopping one leaves the other alone.
    node.stop_container(&one, 0).await;
    assert_eq!(node.shell(&two, "ps -o args").await.0.matches(SLEEP).count(), 1);
    node.remove_pod(&pod).await;

    let pod = node.pod("debug").await;
    let target = node.container(&pod, shell("app", SLEEP)).await;
    let debugger = node.container(&pod, container("debugger", NamespaceMode::Target, &target)).await;
    assert_eq!(node.shell(&debugger, "ps -o args").await.0.matches(SLEEP).count(), 2);

    let config = with(&node, "host", NamespaceMode::Node);
    let pod = node.pod_with(config).await;
    let id = node.container(&pod, container("app", NamespaceMode::Node, "")).await;
    assert!(node.shell(&id, "ps -o args").await.0.contains("skiff-runtime"));
    node.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_nodes_network_and_sysctls() {
    let mut node = Node::start("host").await;
    let mut config = node.pod_config("host");
    let security = config.linux.get_or_insert_default().security_context.get_or_insert_default();
    security.namespace_options = Some(v1::NamespaceOption { network: NamespaceMode::Node.into(), ..container_pids() });
    let pod = node.pod_with(config).await;
    let id = node.container(&pod, shell("app", SLEEP)).await;
    let own = std::fs::read_link("/proc/self/ns/uts").expect("link");
    assert_eq!(node.shell(&id, "ls -l /proc/self/ns/uts").await.0.trim().rsplit(' ').next(), own.to_str());
    let status = v1::PodSandboxStatusRequest { pod_sandbox_id: pod.id.clone(), verbose: false };
    let status = node.client.runtime.pod_sandbox_status(status).await.expect("status").into_inner().status;
    assert_eq!(status.and_then(|s| s.network).expect("network").ip, "");

    let mut config = node.pod_config("tuned");
    let sysctls = [("kernel.shm_rmid_forced", "1"), ("net.ipv4.ip_local_port_range", "2000 3000")];
    let sysctls = sysctls.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned()));
    config.linux.get_or_insert_default().sysctls = sysctls.collect();
    let pod = node.pod_with(config.clone()).await;
    let id = node.container(&pod, shell("app", SLEEP)).await;
    let command = "cat /proc/sys/kernel/shm_rmid_forced /proc/sys/net/ipv4/ip_local_port_range";
    assert_eq!(node.shell(&id, command).await.0, "1\n2000\t3000\n");

    config.metadata.as_mut().expect("metadata").name = "bad".into();
    config.linux.get_or_insert_default().sysctls = [("vm.swappiness".to_owned(), "1".to_owned())].into();
    let request = v1::RunPodSandboxRequest { config: Some(config), ..Default::default() };
    let error = node.client.runtime.run_pod_sandbox(request).await.expect_err("not namespaced");
    assert!(error.message().contains("vm.swappiness"), "{}", error.message());
    assert_eq!(node.leftovers().iter().filter(|line| line.contains("/p/")).count(), 6, "{:#?}", node.leftovers());
    node.finish().await;
}
