//! Clients that nobody here wrote: every `kubectl` on this machine.

mod filter;
mod script;
mod session;
mod target;
mod terminal;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use skiff_tests::kubectl::{self, Kubectl};
use skiff_tests::table::Table;
use skiff_tests::with_cluster;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use session::{Outcome, Session};
use target::Target;

/// Versions at work at once.
const AT_ONCE: usize = 5;

/// Scripts that change the node, so that one version after the other runs them.
const ALONE: [&str; 1] = ["nodes"];

/// Runs every script with every kubectl. `UPDATE_GOLDEN=1` writes what they say into the scripts;
/// `KUBECTL_SCRIPTS=a,b` and `KUBECTL_VERSIONS=1.33` choose among them. `KUBECTL_KEEP_GOING=1` shows every
/// difference rather than the first of a script. `KUBECTL_SERVER=kubeconfig` asks another cluster than ours: what differs
/// there is where the scripts promise something else than upstream.
#[test]
fn every_kubectl_does_what_the_scripts_say() {
    match std::env::var_os("KUBECTL_SERVER") {
        Some(kubeconfig) => {
            let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
            let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
            runtime.block_on(async { run_all(&Target::other(kubeconfig.into()).await).await });
        }
        None => with_cluster("kubectl", async |cluster| run_all(&Target::ours(cluster)).await),
    }
}

async fn run_all(target: &Target) {
    let update = std::env::var_os("UPDATE_GOLDEN").is_some();
    let kubectls = chosen("KUBECTL_VERSIONS", kubectl::all(), |kubectl| &kubectl.version);
    let scripts = chosen("KUBECTL_SCRIPTS", scripts(), |(name, _)| name);
    let alone = |name: &str| update || ALONE.contains(&name);
    let mut outcomes = together(target, &kubectls, scripts.iter().filter(|(name, _)| !alone(name))).await;
    for (name, path) in scripts.iter().filter(|(name, _)| alone(name)) {
        for (index, kubectl) in kubectls.iter().enumerate() {
            let learn = update.then_some(index == 0);
            outcomes.push(Session::new(target, kubectl, name).await.run(path, learn).await);
        }
    }
    let mut table = Table::new();
    for outcome in &outcomes {
        table.add(&format!("kubectl {}", outcome.version), &outcome.name, outcome.result());
    }
    table.print();
    let differences: Vec<_> = outcomes.into_iter().flat_map(|outcome| outcome.differences).collect();
    assert!(differences.is_empty(), "{} differ:\n{}", differences.len(), differences.join("\n"));
}

/// Several versions side by side, each in namespaces of its own.
async fn together(
    target: &Target,
    kubectls: &[Kubectl],
    scripts: impl Iterator<Item = (&String, &PathBuf)> + Clone,
) -> Vec<Outcome> {
    let (slots, mut running) = (Arc::new(Semaphore::new(AT_ONCE)), JoinSet::new());
    for kubectl in kubectls {
        for (name, path) in scripts.clone() {
            let session = Session::new(target, kubectl, name);
            let (slots, path) = (slots.clone(), path.clone());
            running.spawn(async move {
                let _slot = slots.acquire_owned().await.expect("a slot");
                session.await.run(&path, None).await
            });
        }
    }
    running.join_all().await
}

/// The scripts by name.
fn scripts() -> BTreeMap<String, PathBuf> {
    let folder = folder();
    let entries = std::fs::read_dir(&folder).expect("the scripts").flatten().map(|entry| entry.path());
    let scripts = entries.filter(|path| path.extension().is_some_and(|extension| extension == "txt"));
    scripts.map(|path| (path.file_stem().expect("a name").to_string_lossy().into_owned(), path)).collect()
}

/// Where scripts and the manifests they use are.
fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("compat/matrix")
}

/// Those that an environment variable names, or all.
fn chosen<C, T>(variable: &str, all: C, name: impl Fn(&T) -> &String) -> C
where
    C: IntoIterator<Item = T> + FromIterator<T>,
{
    let Ok(names) = std::env::var(variable) else { return all };
    all.into_iter().filter(|one| names.split(',').any(|chosen| chosen == name(one))).collect()
}
