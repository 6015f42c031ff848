//! What our server says of itself, against the facts of kube-apiserver v1.36: discovery in both forms, and OpenAPI in
//! both versions and both encodings. Prints how much was compared, and every difference.

use std::collections::BTreeMap;
use std::process::ExitCode;

use anyhow::{Context, ensure};
use serde_json::Value;
use skiff_contract::facts::Facts;
use skiff_contract::target::Target;
use skiff_contract::{condense, gnostic};

const PROTOBUF_V2: &str = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf";
const PROTOBUF_V3: &str = "application/com.github.proto-openapi.spec.v3.v1.0+protobuf";

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

/// Prints the table; returns the number of differences.
async fn compare() -> anyhow::Result<usize> {
    let target = Target::from_environment().await?;
    let mut differences = Vec::new();
    let mut table = Vec::new();
    let mut row = |what: &str, counts: String, found: Vec<String>| {
        table.push(format!("{what:<20} {:>3} differences, compared: {counts}", found.len()));
        differences.extend(found);
    };

    let theirs = Facts::read("discovery")?;
    let ours = condense::discovery(&target).await.context("discovery")?;
    row("discovery", counts(&theirs), theirs.differences(&ours));

    let theirs_3 = Facts::read("openapi")?;
    let ours = condense::version_3(&target).await.context("OpenAPI v3")?;
    row("OpenAPI v3", counts(&theirs_3), theirs_3.differences(&ours));

    let theirs_2 = Facts::read("openapi-v2")?.over(&condense::as_version_2(&theirs_3));
    let document = target.get("/openapi/v2").await?;
    let ours = condense::document_2(&document).context("OpenAPI v2")?;
    row("OpenAPI v2", counts(&theirs_2), theirs_2.differences(&ours));

    let found = protobuf(&target, &theirs_2, &theirs_3).await.context("protobuf")?;
    row("OpenAPI in protobuf", "the same of both, read by the facts of their messages".to_owned(), found);

    println!("{}", differences.join("\n"));
    println!("{}", table.join("\n"));
    Ok(differences.len())
}

/// The documents in protobuf say the same.
async fn protobuf(target: &Target, theirs_2: &Facts, theirs_3: &Facts) -> anyhow::Result<Vec<String>> {
    let messages = Facts::read("gnostic")?;
    let mut ours = Facts::default();
    let index = target.get("/openapi/v3").await?;
    for (name, entry) in index["paths"].as_object().context("paths")? {
        let document = read(target, entry["serverRelativeURL"].as_str().unwrap_or_default(), PROTOBUF_V3).await?;
        let document = gnostic::read("v3", &messages, &document).with_context(|| name.clone())?;
        ours.extend(condense::document_3(name, &document).with_context(|| name.clone())?)?;
    }
    let mut found = theirs_3.differences(&ours);
    let document = gnostic::read("v2", &messages, &read(target, "/openapi/v2", PROTOBUF_V2).await?)?;
    found.extend(theirs_2.differences(&condense::document_2(&document)?));
    Ok(found)
}

async fn read(target: &Target, path: &str, media: &str) -> anyhow::Result<Vec<u8>> {
    let answer = target.send("GET", path, &[("accept", media)], Vec::new()).await?;
    ensure!(answer.code == 200 && answer.header("content-type") == media, "{path}: {}", answer.header("content-type"));
    Ok(answer.body.into())
}

/// How many facts of which sort.
fn counts(facts: &Facts) -> String {
    let mut counts = BTreeMap::<&str, usize>::new();
    for (group, entries) in &facts.0 {
        let sort = group.split(' ').next().unwrap_or_default();
        for (name, value) in entries {
            for (what, number) in count(facts, sort, name, value) {
                *counts.entry(what).or_default() += number;
            }
        }
    }
    let counts = counts.iter().filter(|(_, number)| **number > 0).map(|(what, number)| format!("{number} {what}"));
    counts.collect::<Vec<_>>().join(", ")
}

/// What one fact counts for.
fn count(facts: &Facts, sort: &str, name: &str, value: &str) -> Vec<(&'static str, usize)> {
    match sort {
        "resources" | "aggregated" if !name.starts_with(['(', '/']) => vec![
            (if name.contains('/') { "subresources" } else { "resources" }, 1),
            ("verbs", words(value, "verbs=")),
            ("short names", words(value, "short=")),
            ("categories", words(value, "categories=")),
        ],
        "type" if name == "(self)" => vec![("types", 1)],
        "type" if name.starts_with("(kind") => vec![("kinds", value.split_whitespace().count())],
        "type" => {
            let merging = ["list-type=", "map-type=", "merge-key=", "patch-strategy=", "map-keys="];
            vec![
                ("fields", 1),
                ("defaults", usize::from(value.contains(" default="))),
                ("merge rules", merging.iter().filter(|rule| value.contains(*rule)).count()),
                ("values of enumerations", values(value)),
            ]
        }
        "path" if name.starts_with('(') => vec![("parameters", list_length(facts, value))],
        "path" => {
            let own = value.rsplit("parameters=").next().unwrap_or_default();
            vec![("operations", 1), ("parameters", list_length(facts, own))]
        }
        _ => vec![("others", 1)],
    }
}

/// How many words stand behind a key, commas between them.
fn words(line: &str, key: &str) -> usize {
    let rest = line.split(key).nth(1).and_then(|rest| rest.split(' ').next()).unwrap_or_default();
    rest.split(',').filter(|word| !word.is_empty()).count()
}

/// How many values an enumeration has.
fn values(line: &str) -> usize {
    let Some((_, rest)) = line.split_once("enum=") else { return 0 };
    let values = serde_json::Deserializer::from_str(rest).into_iter::<Value>().next();
    values.and_then(Result::ok).and_then(|values| values.as_array().map(Vec::len)).unwrap_or_default()
}

/// How many parameters a list has, or one that stands once under a short name.
fn list_length(facts: &Facts, list: &str) -> usize {
    let list = facts.get("parameter lists", list).unwrap_or(list);
    list.split(',').filter(|name| !name.is_empty()).count()
}
