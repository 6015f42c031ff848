//! Does everything that can be done on every resource that kube-apiserver v1.36 serves, in JSON and in protobuf, and
//! prints the table.
//!
//! `cargo test -p skiff-contract --test verbs -- pods` does so for the resources whose title has `pods` in it.

use std::process::ExitCode;
use std::sync::Arc;

use skiff_contract::facts::Facts;
use skiff_contract::target::Target;
use skiff_contract::verbs::codec::Encoding;
use skiff_contract::verbs::samples::Samples;
use skiff_contract::verbs::{self, resources, table};

/// Numbers that one run may use: a pair of encodings with three objects each.
const NUMBERS: usize = 3;

#[tokio::main]
async fn main() -> ExitCode {
    let filters = std::env::args().skip(1).filter(|argument| !argument.starts_with('-')).collect::<Vec<_>>();
    let target = Arc::new(Target::from_environment().await.expect("a server"));
    let samples = Arc::new(Samples::read().expect("samples"));
    let facts = Facts::read("discovery").expect("facts");
    let mut runs = Vec::new();
    let mut number = 0;
    for resource in resources::all(&facts).expect("resources") {
        for encoding in [Encoding::Json, Encoding::Protobuf] {
            number += NUMBERS;
            if filters.is_empty() || filters.iter().any(|filter| resource.title().contains(filter.as_str())) {
                let run =
                    verbs::run(target.clone(), samples.clone(), resource.clone(), encoding, number, std::process::id());
                runs.push(tokio::spawn(run));
            }
        }
    }
    let mut cells = Vec::new();
    for run in runs {
        cells.extend(run.await.expect("the run ended"));
    }
    let mut failed = 0;
    for cell in &cells {
        if let Some(failure) = &cell.failure {
            failed += 1;
            println!("{} · {} · {:?}: {failure}", cell.resource, cell.verb, cell.encoding);
        }
    }
    println!("{}", table::render(&cells));
    let resources = cells.iter().map(|cell| &cell.resource).collect::<std::collections::BTreeSet<_>>().len();
    println!("{resources} resources, {} of {} cells passed", cells.len() - failed, cells.len());
    if failed == 0 && !cells.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
