//! The Python client, in a virtual environment that `scripts/setup-clients` makes.

use std::path::{Path, PathBuf};
use std::time::Duration;

use skiff_tests::Cluster;
use skiff_tests::table::{Outcome, Table};
use tokio::process::Command;

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
    let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("clients/python/scenarios.py");
    let chosen = std::env::var("CLIENT_SCENARIOS").ok();
    let chosen = chosen.iter().flat_map(|names| names.split(',')).filter_map(|name| name.strip_prefix("python "));
    let mut command = Command::new(python);
    // Written beside the sources, compiled modules would dirty the tree.
    command.arg("-B").arg(program).arg(cluster.kubeconfig()).args(chosen).kill_on_drop(true);
    let output = tokio::time::timeout(PATIENCE, command.output()).await;
    let output = match output {
        Ok(output) => output.expect("Python runs"),
        Err(_) => return table.add(CLIENT, "all", Outcome::Failed(format!("not within {PATIENCE:?}"))),
    };
    let text = String::from_utf8_lossy(&output.stdout);
    let results: Vec<_> = text.lines().filter_map(result).collect();
    if results.is_empty() || !output.status.success() {
        table.add(CLIENT, "the program", Outcome::Failed(format!("it ended with {}", output.status)));
    }
    if results.iter().any(|(_, outcome)| matches!(outcome, Outcome::Failed(_))) || results.is_empty() {
        eprintln!("--- what Python said\n{}", String::from_utf8_lossy(&output.stderr));
    }
    for (name, outcome) in results {
        table.add(CLIENT, &name, outcome);
    }
}

/// A scenario's line.
fn result(line: &str) -> Option<(String, Outcome)> {
    let mut parts = line.strip_prefix("RESULT\t")?.split('\t');
    let (name, word, rest) = (parts.next()?, parts.next()?, parts.next()?);
    let outcome = match (word, rest.parse()) {
        ("ok", Ok(steps)) => Outcome::Passed(steps),
        _ => Outcome::Failed(rest.to_owned()),
    };
    Some((name.to_owned(), outcome))
}

/// Where the environment is.
fn environment() -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), |folder| root.join(folder));
    target.join("python")
}

#[test]
fn a_line_is_a_result() {
    assert_eq!(result("RESULT\twatch\tok\t3"), Some(("watch".to_owned(), Outcome::Passed(3))));
    assert_eq!(result("RESULT\ta b\tfailed\tE: x"), Some(("a b".to_owned(), Outcome::Failed("E: x".to_owned()))));
    assert_eq!(result("something else"), None);
}
