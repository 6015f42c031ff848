//! The Python client, in a virtual environment that `scripts/setup-clients` makes.

use std::path::{Path, PathBuf};
use std::time::Duration;

use skiff_tests::Cluster;
use skiff_tests::table::{Outcome, Table};
use tokio::process::Command;

use crate::program;

/// How long all scenarios may take together.
const PATIENCE: Duration = Duration::from_secs(240);

const CLIENT: &str = "python";

/// Plays all scenarios, each of which says in a line how it went.
pub(crate) async fn run(cluster: &Cluster, table: &mut Table) {
    let python = environment().join("bin/python");
    if !python.exists() {
        let why = format!("no {}: scripts/setup-clients makes it", python.display());
        return table.add(CLIENT, "all", Outcome::NotRun(why));
    }
    let scenarios = Path::new(env!("CARGO_MANIFEST_DIR")).join("clients/python/scenarios.py");
    let Some(chosen) = program::chosen(CLIENT) else { return };
    let mut command = Command::new(python);
    // Written beside the sources, compiled modules would dirty the tree.
    command.arg("-B").arg(scenarios).arg(cluster.kubeconfig()).args(chosen);
    program::run(CLIENT, command, PATIENCE, table).await;
}

/// Where the environment is.
fn environment() -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), |folder| root.join(folder));
    target.join("python")
}
