//! The built `skiff` as a cluster of a test.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use k8s_openapi::api::core::v1::{Event, Node};
use kube::api::ListParams;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Api, Client, Config};

use crate::network::{NODE_IP, Namespace};
use crate::{eventually, processes};

/// How long the API server may take until it is ready.
const READY_WITHIN: Duration = Duration::from_secs(30);

/// How long `skiff down` may take when a test ends.
const DOWN_WITHIN: Duration = Duration::from_secs(60);

/// How often a starting or ending process is looked at.
const LOOK: Duration = Duration::from_millis(10);

/// Images that every cluster with a node gets.
const IMAGES: [&str; 3] = ["echo-v1.tar", "echo-v2.tar", "tools-v1.tar"];

/// A running cluster. Dropping it removes the cluster and all that it made.
pub struct Cluster {
    /// Its name.
    pub name: String,
    /// All of its folders lie below this one.
    pub folder: PathBuf,
    arguments: Vec<String>,
    server: Option<Child>,
    client: Option<Client>,
}

impl Cluster {
    /// Starts a cluster with further flags of `skiff server`, and waits for its API server.
    pub async fn start_with(test: &str, network: &Namespace, flags: &[&str]) -> anyhow::Result<Cluster> {
        let folder = std::env::temp_dir().join(format!("skiff-{}-{test}", network.name));
        std::fs::create_dir(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
        let arguments = flags.iter().map(|flag| (*flag).to_owned()).collect();
        let name = network.name.clone();
        let mut cluster = Cluster { name, folder, arguments, server: None, client: None };
        cluster.boot().await?;
        Ok(cluster)
    }

    /// Starts the server again after [`Cluster::kill`], and waits until it is ready.
    pub async fn boot(&mut self) -> anyhow::Result<()> {
        let log = std::fs::File::options().create(true).append(true).open(self.log_path())?;
        let child = self
            .skiff("server")
            .args(["--node-ip", NODE_IP, "--node-name", "node-1"])
            .args(&self.arguments)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .with_context(|| format!("cannot start {}", program().display()))?;
        let server = self.server.insert(child);
        let begun = Instant::now();
        let kubeconfig = self.folder.join("data").join(&self.name).join("admin.kubeconfig");
        while begun.elapsed() < READY_WITHIN {
            if let Some(status) = server.try_wait()? {
                bail!("the server ended with {status}:\n{}", tail(&self.folder.join("server.log")));
            }
            if let Ok(client) = connect(&kubeconfig).await
                && is_ready(&client).await
            {
                self.client = Some(client);
                return Ok(());
            }
            tokio::time::sleep(LOOK).await;
        }
        bail!("the API server was not ready within {READY_WITHIN:?}:\n{}", tail(&self.log_path()))
    }

    /// `skiff` with the folders of this cluster.
    pub fn skiff(&self, subcommand: &str) -> Command {
        self.skiff_named(&self.name, subcommand)
    }

    /// `skiff` for another cluster with the folders of this one.
    pub fn skiff_named(&self, name: &str, subcommand: &str) -> Command {
        let mut command = Command::new(program());
        command.args(subcommand.split(' ')).args(["--name", name]);
        for (flag, folder) in [("--data-dir", "data"), ("--run-dir", "run"), ("--log-dir", "log")] {
            command.arg(flag).arg(self.folder.join(folder));
        }
        command
    }

    /// A client with the administrator's rights.
    pub fn client(&self) -> Client {
        self.client.clone().expect("the cluster runs")
    }

    /// Where the API server is.
    pub fn url(&self) -> http::Uri {
        let kubeconfig = Kubeconfig::read_from(self.kubeconfig()).expect("the kubeconfig");
        let server = kubeconfig.clusters.into_iter().find_map(|named| named.cluster?.server).expect("a server");
        server.parse().expect("a URL")
    }

    /// The administrator's kubeconfig.
    pub fn kubeconfig(&self) -> PathBuf {
        self.data().join("admin.kubeconfig")
    }

    /// The folder of what survives.
    pub fn data(&self) -> PathBuf {
        self.folder.join("data").join(&self.name)
    }

    /// The server's process.
    pub fn pid(&self) -> i32 {
        self.server.as_ref().and_then(|server| i32::try_from(server.id()).ok()).expect("the cluster runs")
    }

    /// `kill -9` of every Skiff process but the shims, which belong to their containers.
    pub fn kill(&mut self) {
        if let Some(mut server) = self.server.take() {
            let _ = server.kill();
            let _ = server.wait();
        }
        self.client = None;
    }

    /// Processes of this cluster's shims.
    pub fn shims(&self) -> Vec<processes::Process> {
        let mut all = processes::naming(&self.folder);
        all.retain(|process| process.arguments.first().is_some_and(|program| program.ends_with("skiff-shim")));
        all
    }

    /// Waits until the node is ready and takes pods. A full disk, for instance, shows as a taint in the message.
    pub async fn until_node_ready(&self) {
        let nodes: Api<Node> = Api::all(self.client());
        eventually("a Ready node without taints", async || {
            let nodes = nodes.list(&ListParams::default()).await.map_err(|error| error.to_string())?;
            let node = nodes.items.first().ok_or("no node")?;
            let mut conditions = node.status.iter().flat_map(|status| status.conditions.iter().flatten());
            let ready = conditions.any(|condition| condition.type_ == "Ready" && condition.status == "True");
            let taints = node.spec.as_ref().and_then(|spec| spec.taints.clone()).unwrap_or_default();
            if ready && taints.is_empty() { Ok(()) } else { Err(format!("ready: {ready}, taints: {taints:?}")) }
        })
        .await;
    }

    /// Loads the samples' images.
    pub async fn load_images(&self) {
        let folder = images();
        for image in IMAGES {
            let path = folder.join(image);
            assert!(path.exists(), "{} is missing: `cargo xtask images --out` makes it", path.display());
            let output = self.skiff("image load").arg(&path).output().expect("skiff image load");
            assert!(output.status.success(), "skiff image load: {}", text(&output));
        }
    }

    /// What somebody who looks for the cause of a failure wants to see.
    pub async fn describe(&self) {
        eprintln!("--- the end of the server's log\n{}", tail(&self.log_path()));
        let Some(client) = self.client.clone() else { return };
        let events: Api<Event> = Api::all(client);
        let Ok(events) = events.list(&ListParams::default()).await else { return };
        eprintln!("--- events");
        for event in events.items {
            let (object, reason) = (event.involved_object, event.reason.unwrap_or_default());
            let (kind, name) = (object.kind.unwrap_or_default(), object.name.unwrap_or_default());
            eprintln!("{kind} {name}: {reason}: {}", event.message.unwrap_or_default());
        }
    }

    fn log_path(&self) -> PathBuf {
        self.folder.join("server.log")
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if let Some(server) = &self.server {
            let _ = nix::sys::signal::kill(
                nix::unistd::Pid::from_raw(server.id() as i32),
                nix::sys::signal::Signal::SIGTERM,
            );
        }
        if let Some(mut server) = self.server.take() {
            let begun = Instant::now();
            while begun.elapsed() < DOWN_WITHIN && matches!(server.try_wait(), Ok(None)) {
                std::thread::sleep(LOOK);
            }
            let _ = server.kill();
            let _ = server.wait();
        }
        let kubeconfig = self.folder.join("kubeconfig");
        let down = self.skiff("down").arg("--delete-data").arg("--kubeconfig").arg(kubeconfig).output();
        match down {
            Ok(output) if output.status.success() => {}
            Ok(output) => eprintln!("skiff down: {}", text(&output)),
            Err(error) => eprintln!("skiff down: {error}"),
        }
        for process in processes::naming(&self.folder) {
            eprintln!("left over: {process:?}");
            processes::kill_now(process.pid);
        }
        let keep = std::env::var_os("SKIFF_TEST_KEEP").is_some();
        if !keep && let Err(error) = std::fs::remove_dir_all(&self.folder) {
            eprintln!("cannot remove {}: {error}", self.folder.display());
        }
    }
}

/// The program under test: `SKIFF_BIN`, else the release build.
pub fn program() -> PathBuf {
    std::env::var_os("SKIFF_BIN").map_or_else(|| target().join("release/skiff"), PathBuf::from)
}

fn images() -> PathBuf {
    std::env::var_os("SKIFF_IMAGES").map_or_else(|| target().join("images"), PathBuf::from)
}

fn target() -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), |folder| root.join(folder))
}

async fn connect(kubeconfig: &Path) -> anyhow::Result<Client> {
    let kubeconfig = Kubeconfig::read_from(kubeconfig)?;
    let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?;
    Ok(Client::try_from(config)?)
}

async fn is_ready(client: &Client) -> bool {
    let Ok(request) = http::Request::get("/readyz").body(Vec::new()) else { return false };
    client.request_text(request).await.is_ok_and(|text| text == "ok")
}

/// All that a command said.
pub fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

fn tail(path: &Path) -> String {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let lines: Vec<_> = text.lines().collect();
    lines[lines.len().saturating_sub(60)..].join("\n")
}
