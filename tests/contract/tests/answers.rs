//! Tables, selectable fields and the protocol's own answers, against the facts of kube-apiserver v1.36. Prints how much
//! was compared, and every difference that is not known.

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context;
use skiff_contract::facts::Facts;
use skiff_contract::target::Target;
use skiff_contract::{answers, reads};

#[tokio::main]
async fn main() -> ExitCode {
    match compare().await {
        Ok(0) => ExitCode::SUCCESS,
        Ok(differences) => {
            println!("{differences} differences");
            ExitCode::FAILURE
        }
        Err(error) => {
            println!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn compare() -> anyhow::Result<usize> {
    let target = Arc::new(Target::from_environment().await?);
    let mut differences = Vec::new();
    let theirs = Facts::read("reads")?;
    let ours = reads::condense(&target).await.context("reads")?;
    let found = theirs.differences(&ours);
    println!("tables and fields    {:>3} differences, compared: {}", found.len(), counts(&theirs));
    differences.extend(found);
    let theirs = Facts::read("answers")?;
    let ours = answers::condense(&target).await.context("answers")?;
    let found = theirs.differences(&ours);
    println!("answers              {:>3} differences, compared: {} answers", found.len(), theirs.0.len());
    differences.extend(found);
    println!("{}", differences.join("\n"));
    Ok(differences.len())
}

fn counts(facts: &Facts) -> String {
    let mut counts = BTreeMap::<&str, usize>::new();
    for (group, entries) in &facts.0 {
        let kinds = if group.starts_with("table") { "kinds with a table" } else { "kinds with fields" };
        *counts.entry(kinds).or_default() += 1;
        for (name, value) in entries {
            let (what, number) = match name.split(' ').next().unwrap_or_default() {
                "column" => ("columns", 1),
                "cells" => ("rows", 1),
                "(selecting)" => ("selectable fields", value.split(',').count()),
                _ => continue,
            };
            *counts.entry(what).or_default() += number;
        }
    }
    counts.iter().map(|(what, number)| format!("{number} {what}")).collect::<Vec<_>>().join(", ")
}
