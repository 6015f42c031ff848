//! A runtime of its own for one test: own folders, cluster name, cgroups and network namespace, driven over its socket.

#![allow(dead_code, missing_docs, unreachable_pub, reason = "each test file uses a part of it")]

pub mod image;
pub mod registry;
pub mod stream;

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use skiff_cri::{Client, extension, v1};
use skiff_netlink::netns;

/// How long anything in these tests may take before it counts as hanging.
pub const DEADLINE: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(10);

/// A running `skiff-runtime` process and a client of it.
pub struct Node {
    name: String,
    folder: tempfile::TempDir,
    process: Option<Child>,
    pub client: Client,
}

/// A pod on a [`Node`].
pub struct Pod {
    pub id: String,
    pub config: v1::PodSandboxConfig,
}

impl Node {
    /// Starts a runtime that has the busybox image as `test.local/busybox:v1`.
    pub async fn start(name: &str) -> Self {
        let mut node = Self::start_empty(name).await;
        let imported = node.import(&image::busybox_archive("test.local/busybox:v1"), "").await.expect("import");
        assert_eq!(imported[0].names, ["test.local/busybox:v1"]);
        node
    }

    /// Starts a runtime without images.
    pub async fn start_empty(name: &str) -> Self {
        assert!(rustix::process::geteuid().is_root(), "containers need root");
        let name = format!("t{}-{name}", std::process::id());
        let folder = tempfile::Builder::new().prefix("skiff-rt-").tempdir().expect("temp dir");
        netns::create(&folder.path().join("netns")).expect("a network namespace");
        let mut node = Self {
            name,
            client: Client::connect_lazy(&format!("unix://{}/cri.sock", folder.path().display())).expect("a path"),
            folder,
            process: None,
        };
        node.run().await;
        node
    }

    fn command(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_skiff-runtime"));
        command.args(["--name", &self.name, "--pod-cidr", "10.244.7.0/24"]);
        for (flag, path) in [("--root-dir", "root"), ("--state-dir", "state"), ("--socket", "cri.sock")] {
            command.arg(flag).arg(self.path(path));
        }
        let log = File::options().create(true).append(true).open(self.path("log")).expect("log");
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        command
    }

    /// Starts the process and waits until it answers.
    pub async fn run(&mut self) {
        let mut command = self.command();
        let child = netns::run_in(&self.path("netns"), move || command.spawn()).expect("enter").expect("spawn");
        self.process = Some(child);
        let deadline = Instant::now() + DEADLINE;
        while self.client.runtime.version(v1::VersionRequest::default()).await.is_err() {
            let ended = self.process.as_mut().and_then(|process| process.try_wait().expect("wait"));
            assert!(ended.is_none() && Instant::now() < deadline, "the runtime does not start: {}", self.log());
            tokio::time::sleep(POLL).await;
        }
    }

    /// `kill -9` of the runtime.
    pub fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill().expect("kill");
            process.wait().expect("wait");
        }
    }

    /// Asks the runtime to end with SIGTERM, and waits for it.
    pub fn terminate(&mut self) {
        let mut process = self.process.take().expect("it runs");
        let pid = rustix::process::Pid::from_child(&process);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).expect("SIGTERM");
        assert!(process.wait().expect("wait").success(), "{}", self.log());
    }

    /// Starts a second runtime on the same folders, which is expected to fail, and returns what it says.
    pub fn run_second(&self) -> String {
        let mut command = self.command();
        command.stderr(Stdio::piped());
        let child = netns::run_in(&self.path("netns"), move || command.spawn()).expect("enter").expect("spawn");
        let output = child.wait_with_output().expect("wait");
        assert!(!output.status.success());
        String::from_utf8_lossy(&output.stderr).into_owned()
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    pub fn netns(&self) -> PathBuf {
        self.path("netns")
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.path("log")).unwrap_or_default()
    }

    /// Imports an image archive.
    pub async fn import(&mut self, archive: &[u8], name: &str) -> Result<Vec<extension::ImportedImage>, tonic::Status> {
        self.client.import_archive(io::Cursor::new(archive.to_vec()), name).await
    }

    /// A pod called `name` with the log folder `logs/NAME`.
    pub fn pod_config(&self, name: &str) -> v1::PodSandboxConfig {
        v1::PodSandboxConfig {
            metadata: Some(v1::PodSandboxMetadata {
                name: name.into(),
                namespace: "test".into(),
                uid: format!("uid-{name}"),
                attempt: 0,
            }),
            hostname: name.into(),
            log_directory: self.path("logs").join(name).display().to_string(),
            dns_config: Some(v1::DnsConfig { servers: vec!["10.96.0.10".into()], ..Default::default() }),
            linux: Some(v1::LinuxPodSandboxConfig {
                security_context: Some(v1::LinuxSandboxSecurityContext {
                    namespace_options: Some(container_pids()),
                    ..Default::default()
                }),
                ..Default::default()
            }),
            ..Default::default()
        }
    }

    pub async fn pod(&mut self, name: &str) -> Pod {
        let config = self.pod_config(name);
        self.pod_with(config).await
    }

    pub async fn pod_with(&mut self, config: v1::PodSandboxConfig) -> Pod {
        let request = v1::RunPodSandboxRequest { config: Some(config.clone()), ..Default::default() };
        let answer = self.client.runtime.run_pod_sandbox(request).await.expect("run the pod");
        Pod { id: answer.into_inner().pod_sandbox_id, config }
    }

    /// Creates and starts a container.
    pub async fn container(&mut self, pod: &Pod, config: v1::ContainerConfig) -> String {
        let id = self.create(pod, config).await.expect("create");
        self.start_container(&id).await.expect("start");
        id
    }

    pub async fn create(&mut self, pod: &Pod, config: v1::ContainerConfig) -> Result<String, tonic::Status> {
        let request = v1::CreateContainerRequest {
            pod_sandbox_id: pod.id.clone(),
            config: Some(config),
            sandbox_config: Some(pod.config.clone()),
        };
        let creating = Box::pin(self.client.runtime.create_container(request));
        Ok(creating.await?.into_inner().container_id)
    }

    pub async fn start_container(&mut self, id: &str) -> Result<(), tonic::Status> {
        let request = v1::StartContainerRequest { container_id: id.into() };
        self.client.runtime.start_container(request).await.map(drop)
    }

    pub async fn stop_container(&mut self, id: &str, timeout: i64) {
        let request = v1::StopContainerRequest { container_id: id.into(), timeout };
        self.client.runtime.stop_container(request).await.expect("stop");
    }

    pub async fn remove_pod(&mut self, pod: &Pod) {
        let request = v1::RemovePodSandboxRequest { pod_sandbox_id: pod.id.clone() };
        self.client.runtime.remove_pod_sandbox(request).await.expect("remove the pod");
    }

    pub async fn status(&mut self, id: &str) -> v1::ContainerStatus {
        self.verbose_status(id).await.0
    }

    /// The status of a container and the id of its process.
    pub async fn verbose_status(&mut self, id: &str) -> (v1::ContainerStatus, i32) {
        let request = v1::ContainerStatusRequest { container_id: id.into(), verbose: true };
        let answer = self.client.runtime.container_status(request).await.expect("status").into_inner();
        let info: serde_json::Value = serde_json::from_str(&answer.info["info"]).expect("info");
        let pid = info["pid"].as_i64().and_then(|pid| i32::try_from(pid).ok()).expect("a pid");
        (answer.status.expect("a status"), pid)
    }

    /// Waits until a container has ended.
    pub async fn ended(&mut self, id: &str) -> v1::ContainerStatus {
        let deadline = Instant::now() + DEADLINE;
        loop {
            let status = self.status(id).await;
            if status.state() == v1::ContainerState::ContainerExited {
                return status;
            }
            assert!(Instant::now() < deadline, "container {id} does not end");
            tokio::time::sleep(POLL).await;
        }
    }

    /// Waits until `condition` holds.
    pub async fn wait_until(&mut self, what: &str, mut condition: impl AsyncFnMut(&mut Self) -> bool) {
        let deadline = Instant::now() + DEADLINE;
        while !condition(self).await {
            assert!(Instant::now() < deadline, "never: {what}");
            tokio::time::sleep(POLL).await;
        }
    }

    /// Runs a shell command in a container and returns its output and exit code.
    pub async fn shell(&mut self, id: &str, command: &str) -> (String, i32) {
        let answer = self.exec_sync(id, &["sh", "-c", command], 10).await.expect("exec");
        let output = [answer.stdout, answer.stderr].concat();
        (String::from_utf8_lossy(&output).into_owned(), answer.exit_code)
    }

    pub async fn exec_sync(
        &mut self,
        id: &str,
        command: &[&str],
        timeout: i64,
    ) -> Result<v1::ExecSyncResponse, tonic::Status> {
        let cmd = command.iter().map(|argument| (*argument).to_owned()).collect();
        let request = v1::ExecSyncRequest { container_id: id.into(), cmd, timeout };
        Ok(self.client.runtime.exec_sync(request).await?.into_inner())
    }

    /// The texts of a container's log, without times.
    pub async fn log_lines(&mut self, id: &str) -> Vec<String> {
        let path = self.status(id).await.log_path;
        let text = std::fs::read_to_string(path).unwrap_or_default();
        text.lines().map(|line| line.split_once(' ').map_or(line, |(_, rest)| rest).to_owned()).collect()
    }

    /// Takes every process and mount away without anyone noting it down.
    pub fn lose_power(&self) {
        for process in self.processes() {
            let process = rustix::process::Pid::from_raw(process).expect("a process id");
            let _ = rustix::process::kill_process(process, rustix::process::Signal::KILL);
        }
        let containers = self.path("root/containers");
        self.clean().expect("cleanup");
        for container in std::fs::read_dir(containers).expect("containers").flatten() {
            if std::fs::read_to_string(container.path().join("record.json")).is_ok_and(|r| r.contains("\"ended\":null"))
            {
                let _ = std::fs::remove_file(container.path().join("exit.json"));
            }
        }
    }

    /// Ids of the processes that carry this node's folder in their command line.
    fn processes(&self) -> Vec<i32> {
        let folder = self.folder.path().display().to_string();
        let all = std::fs::read_dir("/proc").expect("proc").flatten();
        let own = all.filter(|process| {
            let command = std::fs::read(process.path().join("cmdline")).unwrap_or_default();
            String::from_utf8_lossy(&command).contains(&folder)
        });
        own.filter_map(|process| process.file_name().to_str()?.parse().ok()).collect()
    }

    /// Ends the runtime, takes everything away, and checks that nothing is left on the machine.
    pub async fn finish(mut self) {
        self.kill();
        self.clean().expect("cleanup");
        // Twice: nothing to do is fine.
        self.clean().expect("cleanup again");
        let leftovers = self.leftovers();
        assert!(leftovers.is_empty(), "left behind: {leftovers:#?}");
    }

    fn clean(&self) -> io::Result<()> {
        let mut command = self.command();
        command.arg("--cleanup");
        let status = netns::run_in(&self.path("netns"), move || command.status()).map_err(io::Error::other)??;
        if status.success() { Ok(()) } else { Err(io::Error::other(self.log())) }
    }

    /// Mounts, processes, cgroups and namespaces that carry this node's folder or name.
    pub fn leftovers(&self) -> Vec<String> {
        let folder = self.folder.path().display().to_string();
        let mounts = std::fs::read_to_string("/proc/self/mountinfo").expect("mounts");
        let own = self.path("netns").display().to_string();
        let mounts = mounts.lines().filter(|line| line.contains(&folder) && !line.contains(&format!("{own} ")));
        let mut found: Vec<String> = mounts.map(str::to_owned).collect();
        for process in std::fs::read_dir("/proc").expect("proc").flatten() {
            let command = std::fs::read(process.path().join("cmdline")).unwrap_or_default();
            let command = String::from_utf8_lossy(&command).replace('\0', " ");
            if command.contains(&folder) {
                found.push(format!("process {}: {command}", process.file_name().display()));
            }
        }
        for hierarchy in std::fs::read_dir("/sys/fs/cgroup").expect("cgroups").flatten() {
            found.extend(find(&hierarchy.path(), &self.name));
        }
        found
    }
}

/// Cgroups below `folder` whose path mentions `name`.
fn find(folder: &Path, name: &str) -> Vec<String> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        if entry.file_name().to_string_lossy().contains(name) {
            found.push(entry.path().display().to_string());
        }
    }
    found
}

impl Drop for Node {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("log of the runtime:\n{}", self.log());
            self.kill();
            let _ = self.clean();
        }
        let _ = netns::delete(&self.path("netns"));
    }
}

/// Namespace options of an ordinary pod: every container has its own pid namespace.
pub fn container_pids() -> v1::NamespaceOption {
    v1::NamespaceOption { pid: v1::NamespaceMode::Container.into(), ..Default::default() }
}

/// A busybox container called `name` that runs a shell command.
pub fn shell(name: &str, command: &str) -> v1::ContainerConfig {
    v1::ContainerConfig {
        metadata: Some(v1::ContainerMetadata { name: name.into(), attempt: 0 }),
        image: Some(v1::ImageSpec { image: "test.local/busybox:v1".into(), ..Default::default() }),
        command: vec!["sh".into(), "-c".into(), command.into()],
        log_path: format!("{name}/0.log"),
        linux: Some(v1::LinuxContainerConfig {
            security_context: Some(v1::LinuxContainerSecurityContext {
                namespace_options: Some(container_pids()),
                masked_paths: vec!["/proc/interrupts".into()],
                readonly_paths: vec!["/proc/sys".into()],
                ..Default::default()
            }),
            resources: None,
        }),
        ..Default::default()
    }
}

/// The security context of a configuration, to change it.
pub fn context(config: &mut v1::ContainerConfig) -> &mut v1::LinuxContainerSecurityContext {
    config.linux.get_or_insert_default().security_context.get_or_insert_default()
}

/// Waits until `condition` holds.
pub async fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + DEADLINE;
    while !condition() {
        assert!(Instant::now() < deadline, "never: {what}");
        tokio::time::sleep(POLL).await;
    }
}
