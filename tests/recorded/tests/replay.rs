//! Asks our server what a real kube-apiserver was asked, and compares the answers.
//!
//! `cargo test -p skiff-recorded --test replay -- core/pod` does so for the cases whose names begin so.

use std::collections::BTreeMap;
use std::process::ExitCode;

use serde_json::Value;
use skiff_apiserver::registry::unenforced;
use skiff_recorded::server::Server;
use skiff_recorded::store::{self, CaseFile};
use skiff_recorded::{diff, run};

/// What came of one area.
#[derive(Default)]
struct Outcome {
    compared: usize,
    differing: Vec<String>,
    reports: Vec<String>,
}

#[tokio::main]
async fn main() -> ExitCode {
    let filters = std::env::args().skip(1).filter(|argument| !argument.starts_with('-')).collect::<Vec<_>>();
    let mut areas: BTreeMap<String, Vec<CaseFile>> = BTreeMap::new();
    for file in store::files(&filters).expect("the cases can be read") {
        areas.entry(file.area().to_owned()).or_default().push(file);
    }
    let known = store::known().expect("known.yaml can be read");
    let tasks =
        areas.into_iter().map(|(area, files)| (area.clone(), tokio::spawn(replay(area, files)))).collect::<Vec<_>>();
    let mut failed = false;
    let (mut compared, mut differing) = (0, Vec::new());
    let mut table = Vec::new();
    for (area, task) in tasks {
        let outcome = task.await.expect("the area ran");
        table.push(format!("{area:<16} {:>6} compared {:>5} differing", outcome.compared, outcome.differing.len()));
        for (name, report) in outcome.differing.iter().zip(outcome.reports) {
            if !known.contains_key(name) {
                println!("{report}\n");
                failed = true;
            }
        }
        compared += outcome.compared;
        differing.extend(outcome.differing);
    }
    if filters.is_empty() {
        for name in known.keys().filter(|name| !differing.contains(name)) {
            println!("{name}: known.yaml says that it differs, and it does not");
            failed = true;
        }
    }
    println!("{}", table.join("\n"));
    let unknown = differing.iter().filter(|name| !known.contains_key(*name)).count();
    println!("{compared} cases compared, {} differing ({} known)", differing.len(), differing.len() - unknown);
    if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

/// Replays the files of an area on one server.
async fn replay(area: String, files: Vec<CaseFile>) -> Outcome {
    let server = Server::ours(&area).await;
    let mut outcome = Outcome::default();
    for file in files {
        let answers = file.answers().expect("the answers can be read");
        for case in &file.cases {
            outcome.compared += 1;
            let problem = match (answers.get(&case.name), run::run(&server, case).await) {
                (None, _) => vec!["  never recorded: see CONTRIBUTING.md".to_owned()],
                (Some(_), Err(error)) => vec![format!("  {error:#}")],
                (Some(theirs), Ok(ours)) => differences(theirs, ours),
            };
            if !problem.is_empty() {
                outcome.differing.push(case.name.clone());
                outcome.reports.push(format!("{}\n{}", case.name, problem.join("\n")));
            }
        }
    }
    outcome
}

fn differences(theirs: &[Value], ours: Vec<Value>) -> Vec<String> {
    let mut found = Vec::new();
    for (index, (theirs, mut ours)) in theirs.iter().zip(ours).enumerate() {
        drop_own_warnings(&mut ours);
        found.extend(diff::lines(theirs, &ours).into_iter().map(|line| format!("  [{index}]{line}")));
    }
    found
}

/// We say what we do not act on yet, which upstream has no reason to.
fn drop_own_warnings(answer: &mut Value) {
    let Some(warnings) = answer.get_mut("warnings").and_then(Value::as_array_mut) else { return };
    warnings.retain(|warning| !warning.as_str().is_some_and(unenforced::is_ours));
    if warnings.is_empty()
        && let Some(answer) = answer.as_object_mut()
    {
        answer.remove("warnings");
    }
}
