//! `cargo xtask conformance`: the official end-to-end tests against a running cluster, and the list of those that passed.
//!
//! The test binary is upstream's `e2e.test`, which is not part of this project. The list, `tests/conformance/passed.txt`,
//! only grows: a test that is on it and fails is a regression, and fails the command.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};

use anyhow::{Context, bail, ensure};
use clap::Args;
use regex::Regex;
use serde::Deserialize;

/// The list, below the project's root.
const PASSED: &str = "tests/conformance/passed.txt";

/// What the names of all conformance tests contain.
const CONFORMANCE: &str = "[Conformance]";

/// Tests that want the cluster for themselves.
const ALONE: [&str; 2] = ["[Serial]", "[Disruptive]"];

/// How much of a failure's message is shown.
const MESSAGE_CHARS: usize = 300;

#[derive(Args)]
pub(crate) struct Conformance {
    /// Upstream's test binary.
    #[arg(long)]
    e2e_test: PathBuf,
    /// The cluster, with an administrator's rights.
    #[arg(long, env = "KUBECONFIG")]
    kubeconfig: PathBuf,
    /// Run only tests whose name this regular expression matches.
    #[arg(long, default_value = "")]
    focus: Regex,
    /// Leave out tests whose name this regular expression matches.
    #[arg(long)]
    skip: Option<Regex>,
    /// Run only what passed before.
    #[arg(long)]
    passed: bool,
    /// Processes that run tests side by side; those that want the cluster for themselves follow.
    #[arg(long, default_value_t = 4)]
    jobs: usize,
    /// How long each process may take, as Go writes durations.
    #[arg(long, default_value = "2h")]
    timeout: String,
    /// Folder of logs and reports.
    #[arg(long)]
    report: PathBuf,
}

/// How a test ended.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Outcome {
    passed: bool,
    message: String,
}

type Outcomes = BTreeMap<String, Outcome>;

/// Runs the tests, prints how they ended, and adds to the list.
pub(crate) fn run(root: &Path, options: &Conformance) -> anyhow::Result<()> {
    let list = root.join(PASSED);
    let before: BTreeSet<String> =
        std::fs::read_to_string(&list).unwrap_or_default().lines().map(str::to_owned).collect();
    std::fs::create_dir_all(&options.report)?;
    let wanted = |name: &String| {
        name.contains(CONFORMANCE)
            && options.focus.is_match(name)
            && !options.skip.as_ref().is_some_and(|skip| skip.is_match(name))
            && (!options.passed || before.contains(name))
    };
    let chosen: Vec<String> = all(options)?.into_iter().filter(wanted).collect();
    ensure!(!chosen.is_empty(), "no conformance test has such a name");
    println!("{} tests", chosen.len());

    let (alone, together): (Vec<_>, Vec<_>) =
        chosen.into_iter().partition(|name| ALONE.iter().any(|label| name.contains(label)));
    let mut shares = vec![Vec::new(); options.jobs.max(1)];
    let count = shares.len();
    for (index, name) in together.into_iter().enumerate() {
        shares[index % count].push(name);
    }
    let mut outcomes = side_by_side(options, &shares)?;
    outcomes.extend(side_by_side(options, &[alone])?);
    conclude(&list, before, &outcomes)
}

/// The names of all tests.
fn all(options: &Conformance) -> anyhow::Result<Vec<String>> {
    let mut process = start(options, "list", &regex::escape(CONFORMANCE), &["--ginkgo.dry-run"])?;
    ensure!(process.wait()?.success(), "{} cannot list its tests", options.e2e_test.display());
    Ok(read(&options.report.join("list.json"))?.into_keys().collect())
}

/// Runs shares of the tests in a process each.
fn side_by_side(options: &Conformance, shares: &[Vec<String>]) -> anyhow::Result<Outcomes> {
    let mut running = Vec::new();
    for share in shares.iter().filter(|share| !share.is_empty()) {
        let names: Vec<_> = share.iter().map(|name| regex::escape(name)).collect();
        let label = format!(
            "{}-{}",
            if ALONE.iter().any(|one| share[0].contains(one)) { "alone" } else { "share" },
            running.len()
        );
        let process = start(options, &label, &format!("({})$", names.join("|")), &[])?;
        running.push((label, share, process));
    }
    let mut outcomes = Outcomes::new();
    for (label, share, mut process) in running {
        // Fails whenever a test does.
        process.wait()?;
        let report = read(&options.report.join(format!("{label}.json"))).unwrap_or_default();
        let missing = || Outcome { passed: false, message: format!("did not end; see {label}.log") };
        let find = |name: &String| (name.clone(), report.get(name).map_or_else(missing, Outcome::clone));
        outcomes.extend(share.iter().map(find));
    }
    Ok(outcomes)
}

fn start(options: &Conformance, label: &str, focus: &str, further: &[&str]) -> anyhow::Result<Child> {
    let log = File::create(options.report.join(format!("{label}.log")))?;
    Command::new(&options.e2e_test)
        .args(["--provider=skeleton", "--ginkgo.no-color", "--ginkgo.focus", focus])
        .arg("--kubeconfig")
        .arg(&options.kubeconfig)
        .arg(format!("--ginkgo.timeout={}", options.timeout))
        .arg("--ginkgo.json-report")
        .arg(options.report.join(format!("{label}.json")))
        .args(further)
        .stdout(log.try_clone()?)
        .stderr(log)
        .spawn()
        .with_context(|| format!("cannot run {}", options.e2e_test.display()))
}

/// Reads one of Ginkgo's reports.
fn read(path: &Path) -> anyhow::Result<Outcomes> {
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    parse(&text).with_context(|| format!("{} is no report of Ginkgo", path.display()))
}

/// The parts of Ginkgo's report that count here: <https://pkg.go.dev/github.com/onsi/ginkgo/v2/types#Report>.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Report {
    spec_reports: Vec<Spec>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Spec {
    #[serde(default)]
    container_hierarchy_texts: Option<Vec<String>>,
    leaf_node_text: String,
    leaf_node_type: String,
    state: String,
    #[serde(default)]
    failure: Failure,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Failure {
    #[serde(default)]
    message: String,
}

fn parse(text: &str) -> anyhow::Result<Outcomes> {
    let reports: Vec<Report> = serde_json::from_str(text)?;
    let specs = reports.into_iter().flat_map(|report| report.spec_reports);
    let ran = specs.filter(|spec| spec.leaf_node_type == "It" && spec.state != "skipped");
    Ok(ran
        .map(|spec| {
            let containers = spec.container_hierarchy_texts.unwrap_or_default();
            let name = containers.into_iter().chain([spec.leaf_node_text]).collect::<Vec<_>>().join(" ");
            (name, Outcome { passed: spec.state == "passed", message: spec.failure.message })
        })
        .collect())
}

/// Prints what failed, writes the longer list, and fails if it would have become shorter.
fn conclude(list: &Path, mut before: BTreeSet<String>, outcomes: &Outcomes) -> anyhow::Result<()> {
    let mut regressed = 0;
    for (name, outcome) in outcomes.iter().filter(|(_, outcome)| !outcome.passed) {
        let lost = before.contains(name);
        regressed += usize::from(lost);
        let message: String = outcome.message.replace('\n', " ").chars().take(MESSAGE_CHARS).collect();
        println!("{} {name}\n      {message}", if lost { "LOST" } else { "FAIL" });
    }
    let passed: BTreeSet<String> =
        outcomes.iter().filter(|(_, outcome)| outcome.passed).map(|(name, _)| name.clone()).collect();
    let new = passed.difference(&before).count();
    println!("{} of {} passed, {new} of them for the first time", passed.len(), outcomes.len());
    before.extend(passed);
    if let Some(folder) = list.parent() {
        std::fs::create_dir_all(folder)?;
    }
    let text: String = before.iter().map(|name| format!("{name}\n")).collect();
    std::fs::write(list, text).with_context(|| format!("cannot write {}", list.display()))?;
    if regressed > 0 {
        bail!("{regressed} tests passed before and do not now");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_tells_how_each_test_ended() {
        let text = r#"[{"SpecReports": [
            {"LeafNodeType": "SynchronizedBeforeSuite", "LeafNodeText": "", "State": "passed"},
            {"ContainerHierarchyTexts": ["[sig-a] A"], "LeafNodeType": "It", "LeafNodeText": "works", "State": "passed"},
            {"ContainerHierarchyTexts": ["[sig-a] A"], "LeafNodeType": "It", "LeafNodeText": "fails", "State": "failed",
             "Failure": {"Message": "no"}},
            {"ContainerHierarchyTexts": ["[sig-a] A"], "LeafNodeType": "It", "LeafNodeText": "rests", "State": "skipped"}
        ]}]"#;
        let outcome = |passed, message: &str| Outcome { passed, message: message.to_owned() };
        let expected =
            [("[sig-a] A fails".to_owned(), outcome(false, "no")), ("[sig-a] A works".to_owned(), outcome(true, ""))];
        assert_eq!(parse(text).expect("a report"), expected.into());
    }

    #[test]
    fn the_list_only_grows() {
        let folder = tempfile::tempdir().expect("a folder");
        let list = folder.path().join("new/passed.txt");
        let ended = |names: [(&str, bool); 2]| -> Outcomes {
            names
                .into_iter()
                .map(|(name, passed)| (name.to_owned(), Outcome { passed, message: String::new() }))
                .collect()
        };
        conclude(&list, BTreeSet::new(), &ended([("a", true), ("b", false)])).expect("nothing lost");
        assert_eq!(std::fs::read_to_string(&list).expect("the list"), "a\n");
        let before = BTreeSet::from(["a".to_owned()]);
        conclude(&list, before, &ended([("a", false), ("b", true)])).expect_err("one is lost");
        assert_eq!(std::fs::read_to_string(&list).expect("the list"), "a\nb\n");
    }
}
