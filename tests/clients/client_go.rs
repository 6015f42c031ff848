//! client-go, where there is Go and a module that has it: the program in `client_go` is built and plays its scenarios.
//!
//! `CLIENT_GO` is the folder of a Go module that depends on `k8s.io/client-go` and has its dependencies at hand, such as
//! a checkout of Kubernetes. Nothing is written to it: Go is told that the program's files stand in it.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Map, Value, json};
use skiff_tests::Cluster;
use skiff_tests::cluster::text;
use skiff_tests::table::{Outcome, Table};
use tokio::process::Command;

use crate::program;

const CLIENT: &str = "client-go";

/// How long all scenarios may take together, and how long the build of the program, which may be that of all of client-go.
const PATIENCE: Duration = Duration::from_secs(400);
const BUILT_WITHIN: Duration = Duration::from_secs(900);

/// The package's folder within the module.
const PACKAGE: &str = "skiff-client-go";

/// Plays all scenarios, or says what is missing.
pub(crate) async fn run(cluster: &Cluster, table: &mut Table) {
    let Some(chosen) = program::chosen(CLIENT) else { return };
    let Some(module) = std::env::var_os("CLIENT_GO").map(PathBuf::from) else {
        let why = "CLIENT_GO does not say where a Go module with client-go is".to_owned();
        return table.add(CLIENT, "all", Outcome::NotRun(why));
    };
    match build(&module, &cluster.folder).await {
        Ok(program) => {
            let mut command = Command::new(program);
            command.arg(cluster.kubeconfig()).args(chosen);
            program::run(CLIENT, command, PATIENCE, table).await;
        }
        Err(error) => table.add(CLIENT, "the build", Outcome::Failed(error)),
    }
}

/// Builds the program into a folder.
async fn build(module: &Path, folder: &Path) -> Result<PathBuf, String> {
    let (overlay, program) = (folder.join("overlay.json"), folder.join("client-go"));
    std::fs::write(&overlay, overlay_of(module)?.to_string()).map_err(|error| error.to_string())?;
    let mut command = Command::new("go");
    command.args(["build", "-buildvcs=false", "-overlay"]).arg(&overlay).arg("-o").arg(&program);
    command.arg(format!("./{PACKAGE}")).current_dir(module).env("CGO_ENABLED", "0").kill_on_drop(true);
    let output = tokio::time::timeout(BUILT_WITHIN, command.output()).await;
    let output = output.map_err(|_| format!("not built within {BUILT_WITHIN:?}"))?;
    let output = output.map_err(|error| format!("go does not run: {error}"))?;
    if output.status.success() { Ok(program) } else { Err(text(&output)) }
}

/// Says that our files stand in the module.
fn overlay_of(module: &Path) -> Result<Value, String> {
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("clients/client_go");
    let entries = std::fs::read_dir(&sources).map_err(|error| error.to_string())?;
    let mut replace = Map::new();
    for path in entries.flatten().map(|entry| entry.path()) {
        if path.extension().is_some_and(|extension| extension == "go") {
            let name = path.file_name().unwrap_or_default();
            let place = module.join(PACKAGE).join(name).to_string_lossy().into_owned();
            replace.insert(place, json!(path.to_string_lossy()));
        }
    }
    Ok(json!({ "Replace": replace }))
}
