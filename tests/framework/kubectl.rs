//! Every `kubectl` on this machine.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use crate::Cluster;

/// A `kubectl`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kubectl {
    /// Where it lies.
    pub path: PathBuf,
    /// Its version, such as 1.32.
    pub version: String,
}

/// All of them: the one on the path, and those beside it, the newest first. Panics if there is none.
pub fn all() -> Vec<Kubectl> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let on_path = std::env::split_paths(&path).map(|folder| folder.join("kubectl")).find(|path| path.is_file());
    let on_path = on_path.expect("a kubectl on the PATH: without one nothing here is proved");
    let real = on_path.canonicalize().expect("kubectl");
    let folder = real.parent().expect("a folder");
    let mut all: Vec<Kubectl> = Vec::new();
    for entry in std::fs::read_dir(folder).expect("the folder of kubectl").flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let ours = name == "kubectl" || name.strip_prefix("kubectl.").is_some_and(|v| v.starts_with(char::is_numeric));
        if let Some(kubectl) = ours.then(|| identify(&entry.path())).flatten()
            && all.iter().all(|other| other.version != kubectl.version)
        {
            all.push(kubectl);
        }
    }
    assert!(!all.is_empty(), "no kubectl in {} says its version", folder.display());
    all.sort_by_key(|kubectl| std::cmp::Reverse(minor(&kubectl.version)));
    all
}

/// The newest one.
pub fn newest() -> Kubectl {
    all().swap_remove(0)
}

fn identify(path: &Path) -> Option<Kubectl> {
    let output = Command::new(path).args(["version", "--client", "--output", "json"]).output().ok()?;
    let version: serde_json::Value = serde_json::from_slice(&output.stdout).ok()?;
    let client = &version["clientVersion"];
    let minor = client["minor"].as_str()?.trim_end_matches('+');
    Some(Kubectl { path: path.to_owned(), version: format!("{}.{minor}", client["major"].as_str()?) })
}

fn minor(version: &str) -> u32 {
    version.split_once('.').and_then(|(_, minor)| minor.parse().ok()).unwrap_or_default()
}

impl Kubectl {
    /// The command, with the cluster as its only one and a home of its own.
    pub fn command(&self, cluster: &Cluster, arguments: &[&str]) -> Command {
        let home = cluster.folder.join(format!("home-{}", self.version));
        std::fs::create_dir_all(&home).expect("a home");
        let mut command = Command::new(&self.path);
        command.args(arguments).current_dir(&home).stdin(Stdio::null());
        command.env_clear().env("HOME", &home).env("PATH", std::env::var_os("PATH").unwrap_or_default());
        command.env("KUBECONFIG", cluster.kubeconfig()).env("LANG", "C.UTF-8");
        // Over WebSockets a kubectl before v1.36 that is kept waiting by its machine may throw away what comes first. Here
        // commands in containers are a means; tests/compat runs them over WebSockets.
        command.env("KUBECTL_REMOTE_COMMAND_WEBSOCKETS", "false");
        command
    }

    /// Runs it to its end.
    pub fn output(&self, cluster: &Cluster, arguments: &[&str]) -> Output {
        self.command(cluster, arguments).output().expect("kubectl runs")
    }

    /// Runs it; it must succeed. Returns what it wrote to standard output.
    #[track_caller]
    pub fn ok(&self, cluster: &Cluster, arguments: &[&str]) -> String {
        let output = self.output(cluster, arguments);
        let all = crate::cluster::text(&output);
        assert!(output.status.success(), "kubectl {} {}: {all}", self.version, arguments.join(" "));
        String::from_utf8_lossy(&output.stdout).into_owned()
    }
}
