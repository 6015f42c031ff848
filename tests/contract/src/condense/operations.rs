//! Paths and what can be done on them as lines, the same for both versions of OpenAPI.

use anyhow::{Context, ensure};
use serde_json::Value;

use super::{list, map, only, sorted, text};
use crate::facts::Facts;

const METHODS: [&str; 7] = ["get", "put", "post", "delete", "options", "head", "patch"];

/// Adds the paths of a document of version 3.
pub(super) fn version_3(paths: &Value, facts: &mut Facts) -> anyhow::Result<()> {
    each(paths, facts, |method, operation, facts| {
        only(
            operation,
            &["tags", "description", "operationId", "parameters", "requestBody", "responses", ACTION, KIND],
        )?;
        let mut said = common(operation, facts)?;
        if let Some(body) = operation.get("requestBody") {
            only(body, &["content", "required"])?;
            let (media, schema) = content(&body["content"])?;
            said.push(format!("body={schema}{}", if body["required"] == true { "!" } else { "" }));
            said.push(format!("consumes={media}"));
        }
        let (mut media, mut answer) = (String::new(), String::new());
        for response in map(&operation["responses"])?.values() {
            only(response, &["description", "content"])?;
            if let Some(found) = response.get("content") {
                (media, answer) = content(found)?;
            }
        }
        said.push(format!("produces={media}"));
        said.push(format!("answer={answer}"));
        let own = operation.get("parameters").map(|own| parameters(own, method, facts)).transpose()?;
        said.push(format!("parameters={}", own.unwrap_or_default()));
        Ok(said.join(" "))
    })
}

/// Adds the paths of a document of version 2, whose parameters may stand elsewhere in the document.
pub(super) fn version_2(paths: &Value, shared: &Value, facts: &mut Facts) -> anyhow::Result<()> {
    let mut paths = paths.clone();
    resolve(&mut paths, shared)?;
    each(&paths, facts, |method, operation, facts| {
        let known =
            ["tags", "description", "operationId", "parameters", "responses", "consumes", "produces", "schemes"];
        only(operation, &[&known[..], &[ACTION, KIND]].concat())?;
        let mut said = common(operation, facts)?;
        let (body, own): (Vec<_>, Vec<_>) =
            list(&operation["parameters"]).iter().cloned().partition(|parameter| parameter["in"] == "body");
        let consumes = media_list(&operation["consumes"]);
        if let Some(body) = body.first() {
            said.push(format!("body={}{}", schema(&body["schema"])?, if body["required"] == true { "!" } else { "" }));
        }
        // With a body, version 3 says the same; without, it says nothing, and so do we where it goes without saying.
        if !body.is_empty() || (consumes != "*/*" && operation.get(ACTION).is_some()) {
            said.push(format!("consumes={consumes}"));
        }
        let mut answer = String::new();
        for response in map(&operation["responses"])?.values() {
            only(response, &["description", "schema"])?;
            if let Some(found) = response.get("schema") {
                answer = schema(found)?;
            }
        }
        ensure!(operation["schemes"] == serde_json::json!(["https"]), "schemes {}", operation["schemes"]);
        said.push(format!("produces={}", media_list(&operation["produces"])));
        said.push(format!("answer={answer}"));
        said.push(format!("parameters={}", parameters(&own.into(), method, facts)?));
        Ok(said.join(" "))
    })
}

const ACTION: &str = "x-kubernetes-action";
const KIND: &str = "x-kubernetes-group-version-kind";

fn each(
    paths: &Value,
    facts: &mut Facts,
    line: impl Fn(&str, &Value, &mut Facts) -> anyhow::Result<String>,
) -> anyhow::Result<()> {
    for (path, item) in map(paths)? {
        let shown = if path.starts_with('/') { path.clone() } else { format!("/{path}") };
        let group = format!("path {shown}");
        for (method, operation) in map(item)? {
            if method == "parameters" {
                let shared = parameters(operation, &shown, facts)?;
                facts.add(&group, "(parameters)", shared)?;
                continue;
            }
            ensure!(METHODS.contains(&method.as_str()), "{path}: {method:?} is not understood");
            let said = line(method, operation, facts).with_context(|| format!("{method} {path}"))?;
            facts.add(&group, method, said)?;
        }
    }
    Ok(())
}

/// Name, tag, action, kind and codes of an operation.
fn common(operation: &Value, facts: &mut Facts) -> anyhow::Result<Vec<String>> {
    let kind = operation.get(KIND).map(|kind| {
        let word = |field: &str| kind[field].as_str().unwrap_or("?").to_owned();
        format!("{}/{}/{}", word("group"), word("version"), word("kind"))
    });
    let mut codes = Vec::new();
    for (code, response) in map(&operation["responses"])? {
        facts.add("codes", code, text(&response["description"])?.to_owned())?;
        codes.push(code.as_str());
    }
    Ok(vec![
        text(&operation["operationId"])?.to_owned(),
        format!("tags={}", sorted(&operation["tags"])),
        format!("action={}", operation.get(ACTION).and_then(Value::as_str).unwrap_or_default()),
        format!("kind={}", kind.unwrap_or_default()),
        format!("codes={}", codes.join(",")),
    ])
}

/// Names of parameters, those of the path in braces; what they are is a fact of its own.
fn parameters(parameters: &Value, place: &str, facts: &mut Facts) -> anyhow::Result<String> {
    let mut names = Vec::new();
    for parameter in list(parameters) {
        only(parameter, &["name", "in", "description", "required", "schema", "type", "uniqueItems"])?;
        let name = text(&parameter["name"])?;
        let ty = parameter.get("schema").unwrap_or(parameter);
        if parameter.get("schema").is_some() {
            only(ty, &["type", "uniqueItems"])?;
        }
        let shown = if parameter["in"] == "path" { format!("{{{name}}}") } else { name.to_owned() };
        let said = format!("{} required={} unique={}", ty["type"], parameter["required"], ty["uniqueItems"]);
        facts.add("parameters", &shown, said).with_context(|| place.to_owned())?;
        names.push(shown);
    }
    names.sort();
    // Lists of many stand once and are named by their ends.
    let names = match &names[..] {
        [first, .., last] if names.len() > FEW => {
            let short = format!("{first}..{last}#{}", names.len());
            facts.add("parameter lists", &short, names.join(","))?;
            short
        }
        _ => names.join(","),
    };
    Ok(names)
}

/// As many parameters are shown where they stand.
const FEW: usize = 3;

/// The media types of a body and its schema, which is the same in all of them.
fn content(content: &Value) -> anyhow::Result<(String, String)> {
    let mut schemas = Vec::new();
    for media in map(content)?.values() {
        only(media, &["schema"])?;
        schemas.push(schema(&media["schema"])?);
    }
    schemas.dedup();
    ensure!(schemas.len() == 1, "one schema for all media types: {content}");
    let mut media = map(content)?.keys().map(String::as_str).collect::<Vec<_>>();
    Ok((media_types(&mut media), schemas.remove(0)))
}

/// Media types, sorted and without what nearly all of them begin with.
fn media_types(media: &mut Vec<&str>) -> String {
    media.sort_unstable();
    let short = |media: &&str| media.trim_start_matches("application/").replace("vnd.kubernetes.", "");
    media.iter().map(short).collect::<Vec<_>>().join(",")
}

fn media_list(value: &Value) -> String {
    media_types(&mut list(value).iter().filter_map(Value::as_str).collect())
}

fn schema(schema: &Value) -> anyhow::Result<String> {
    only(schema, &["$ref", "type"])?;
    match schema.get("$ref") {
        Some(reference) => super::schemas::reference_name(reference),
        None => Ok(text(&schema["type"])?.to_owned()),
    }
}

/// Puts shared parameters where they are referred to.
fn resolve(value: &mut Value, shared: &Value) -> anyhow::Result<()> {
    match value {
        Value::Array(items) => items.iter_mut().try_for_each(|item| resolve(item, shared)),
        Value::Object(object) => {
            let name = object.get("$ref").and_then(Value::as_str).and_then(|name| name.strip_prefix("#/parameters/"));
            if let Some(name) = name {
                *value = shared.get(name).with_context(|| format!("no parameter {name}"))?.clone();
                return Ok(());
            }
            object.values_mut().try_for_each(|member| resolve(member, shared))
        }
        _ => Ok(()),
    }
}
