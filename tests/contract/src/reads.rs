//! How kinds are read: the columns of their tables with the cells of our samples, and the fields that select.

use std::sync::Arc;

use anyhow::{Context, ensure};
use serde_json::{Value, json};

use crate::facts::Facts;
use crate::target::Target;
use crate::verbs::resources::{self, Resource};
use crate::verbs::samples::Samples;

/// Fields that some kind or other is selected by; every kind is asked for all of them.
const FIELDS: &[&str] = &[
    "action",
    "driverName",
    "involvedObject.apiVersion",
    "involvedObject.fieldPath",
    "involvedObject.kind",
    "involvedObject.name",
    "involvedObject.namespace",
    "involvedObject.resourceVersion",
    "involvedObject.uid",
    "metadata.generateName",
    "metadata.name",
    "metadata.namespace",
    "metadata.uid",
    "name",
    "reason",
    "regarding.kind",
    "regarding.name",
    "reportingComponent",
    "reportingController",
    "source",
    "spec.clusterIP",
    "spec.driver",
    "spec.hostNetwork",
    "spec.nodeName",
    "spec.parentRef.name",
    "spec.pool.name",
    "spec.restartPolicy",
    "spec.schedulerName",
    "spec.serviceAccountName",
    "spec.signerName",
    "spec.type",
    "spec.unschedulable",
    "status.conditions",
    "status.nominatedNodeName",
    "status.phase",
    "status.podIP",
    "status.podIPs",
    "status.replicas",
    "status.successful",
    "type",
];

const TABLE: &str = "application/json;as=Table;v=v1;g=meta.k8s.io";
/// Namespace of the samples.
const NAMESPACE: &str = "reads";
/// A number that no other run uses.
const NUMBER: usize = 777;

/// Makes a sample of every kind that is kept, and reads it.
pub async fn condense(target: &Arc<Target>) -> anyhow::Result<Facts> {
    let samples = Samples::read()?;
    let more = Samples::more()?;
    let (mut facts, mut problems) = (Facts::default(), Vec::new());
    for (path, body) in [
        ("/api/v1/namespaces".to_owned(), json!({"metadata": {"name": NAMESPACE}})),
        (format!("/api/v1/namespaces/{NAMESPACE}/serviceaccounts"), json!({"metadata": {"name": "default"}})),
    ] {
        send(target, "POST", &path, "application/json", &body).await?;
    }
    for resource in resources::all(&Facts::read("discovery")?)? {
        if !resource.has("create") || !resource.has("get") {
            continue;
        }
        let title = resource.title();
        let entry = &resource.entry;
        let (api_version, kind) = (entry.api_version(), &entry.kind);
        let sample = samples.of(&api_version, kind)?;
        let others = more.iter().filter(|(name, _)| *name == format!("{api_version}/{kind}"));
        let all = std::iter::once(sample).chain(others.map(|(_, sample)| sample));
        for (index, sample) in all.enumerate() {
            let object = sample.object(&api_version, kind, NAMESPACE, NUMBER + index);
            if let Err(error) = row(target, &resource, index, object, &sample.status, &mut facts).await {
                problems.push(format!("{title} {index}: {error}"));
            }
        }
        fields(target, &resource, &mut facts).await.with_context(|| title.clone())?;
    }
    ensure!(problems.is_empty(), "{}", problems.join("\n"));
    Ok(facts)
}

async fn send(target: &Target, method: &str, path: &str, media: &str, body: &Value) -> anyhow::Result<Value> {
    let answer = target.send(method, path, &[("content-type", media)], body.to_string()).await?;
    ensure!(answer.code.is_success() || answer.code == 409, "{method} {path}: {}", answer.text());
    answer.json()
}

fn collection(resource: &Resource) -> String {
    let (base, name) = (&resource.base, &resource.entry.name);
    if resource.namespaced { format!("{base}/namespaces/{NAMESPACE}/{name}") } else { format!("{base}/{name}") }
}

/// Columns, and the cells of one object.
async fn row(
    target: &Target,
    resource: &Resource,
    index: usize,
    object: Value,
    status: &Value,
    facts: &mut Facts,
) -> anyhow::Result<()> {
    let path = collection(resource);
    let name = object["metadata"]["name"].as_str().context("a name")?.to_owned();
    send(target, "POST", &path, "application/json", &object).await?;
    let item = format!("{path}/{name}");
    if resource.subresource("status").is_some() && !status.is_null() {
        let body = json!({ "status": status });
        send(target, "PATCH", &format!("{item}/status"), "application/merge-patch+json", &body).await?;
    }
    let answer = target.send("GET", &item, &[("accept", TABLE)], Vec::new()).await?;
    ensure!(answer.code == 200, "{item}: {}", answer.text());
    let table = answer.json()?;
    let group = format!("table {}", resource.title());
    let mut order = Vec::new();
    for column in table["columnDefinitions"].as_array().context("columns")? {
        let name = column["name"].as_str().context("a name")?;
        let said = format!("{} format={} priority={}", column["type"], column["format"], column["priority"]);
        facts.add(&group, &format!("column {name}"), said)?;
        order.push(name);
    }
    facts.add(&group, "columns", order.join(","))?;
    // What is beyond the columns is upstream's mistake, and nothing that a client would show.
    let cells = table["rows"][0]["cells"].as_array().context("cells")?.iter().take(order.len()).map(cell);
    facts.add(&group, &format!("cells {index}"), Value::from(cells.collect::<Vec<_>>()).to_string())?;
    facts.add(&group, &format!("conditions {index}"), table["rows"][0]["conditions"].to_string())
}

/// A cell without what depends on the time, the address and the uid.
fn cell(cell: &Value) -> Value {
    let Some(text) = cell.as_str() else { return cell.clone() };
    if is_age(text) {
        return "(age)".into();
    }
    if is_time(text) {
        return "(time)".into();
    }
    if text.starts_with("10.96.") && !text.contains('/') {
        return "(address)".into();
    }
    match text.split_once("controller-uid=") {
        Some((before, _)) => format!("{before}controller-uid=(uid)").into(),
        // Restarts are followed by how long ago they were.
        None => match text.split_once(" (") {
            Some((before, rest)) if rest.ends_with(" ago)") => format!("{before} ((age) ago)").into(),
            _ => text.into(),
        },
    }
}

/// A duration as people read it, e.g. `5s` or `2d3h`.
fn is_age(text: &str) -> bool {
    !text.is_empty()
        && text.split_inclusive(['s', 'm', 'h', 'd', 'y']).all(|part| {
            let digits = part.trim_end_matches(['s', 'm', 'h', 'd', 'y']);
            part.len() == digits.len() + 1 && !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit())
        })
}

/// A moment as in `creationTimestamp`.
fn is_time(text: &str) -> bool {
    text.len() == 20 && text.ends_with('Z') && text.as_bytes()[10] == b'T'
}

/// Which fields select, and what is said of one that does not.
async fn fields(target: &Target, resource: &Resource, facts: &mut Facts) -> anyhow::Result<()> {
    let group = format!("fields {}", resource.title());
    let mut selecting = Vec::new();
    for field in FIELDS {
        let path = format!("{}?fieldSelector={field}%3Dnothing", collection(resource));
        let answer = target.send("GET", &path, &[], Vec::new()).await?;
        match answer.code.as_u16() {
            200 => selecting.push(*field),
            400 if *field == "status.conditions" => {
                let status = answer.json()?;
                facts.add(&group, "(refusal)", format!("{} {}", status["reason"], status["message"]))?;
            }
            400 => {}
            code => anyhow::bail!("{path}: {code} {}", answer.text()),
        }
    }
    facts.add(&group, "(selecting)", selecting.join(","))
}
