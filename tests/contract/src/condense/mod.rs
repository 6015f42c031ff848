//! Documents of a server as facts: everything in them but sentences. What is not understood is an error, so that nothing
//! is passed over.

mod discovery;
mod operations;
mod schemas;

use anyhow::{Context, ensure};
use serde_json::{Map, Value};

use crate::facts::Facts;
use crate::target::Target;

/// What discovery says, in both forms.
pub async fn discovery(target: &Target) -> anyhow::Result<Facts> {
    discovery::condense(target).await
}

/// What the documents of OpenAPI v3 say.
pub async fn version_3(target: &Target) -> anyhow::Result<Facts> {
    let index = target.get("/openapi/v3").await?;
    let mut facts = Facts::default();
    for (name, entry) in map(&index["paths"])? {
        let url = text(&entry["serverRelativeURL"])?;
        ensure!(url.starts_with(&format!("/openapi/v3/{name}?hash=")), "{name} is at {url}");
        let document = target.get(url).await?;
        facts.extend(document_3(name, &document).with_context(|| name.clone())?)?;
    }
    Ok(facts)
}

/// What one document of OpenAPI v3 says.
pub fn document_3(name: &str, document: &Value) -> anyhow::Result<Facts> {
    only(document, &["openapi", "info", "paths", "components"])?;
    only(&document["components"], &["schemas", "securitySchemes"])?;
    let none = Value::Object(Map::new());
    let schemas = document["components"].get("schemas").unwrap_or(&none);
    let mut facts = Facts::default();
    let said = format!(
        "openapi {} {} {} schemas {} paths {}",
        text(&document["openapi"])?,
        text(&document["info"]["title"])?,
        text(&document["info"]["version"])?,
        map(schemas)?.len(),
        map(&document["paths"])?.len(),
    );
    facts.add("security", "v3", document["components"]["securitySchemes"].to_string())?;
    facts.add("document", name, said)?;
    schemas::condense(schemas, &mut facts)?;
    operations::version_3(&document["paths"], &mut facts)?;
    Ok(facts)
}

/// What the document of OpenAPI v2 says, in the words of version 3.
pub fn document_2(document: &Value) -> anyhow::Result<Facts> {
    only(document, &["swagger", "info", "paths", "definitions", "parameters", "securityDefinitions", "security"])?;
    let mut facts = Facts::default();
    let said = format!(
        "swagger {} {} {} security {} {}",
        text(&document["swagger"])?,
        text(&document["info"]["title"])?,
        text(&document["info"]["version"])?,
        document["securityDefinitions"],
        document["security"],
    );
    facts.add("document", "v2", said)?;
    schemas::condense(&document["definitions"], &mut facts)?;
    operations::version_2(&document["paths"], &document["parameters"], &mut facts)?;
    Ok(facts)
}

/// What of the facts of version 3 is to be expected in version 2, which knows no defaults.
pub fn as_version_2(facts: &Facts) -> Facts {
    let mut expected = facts.clone();
    expected.0.remove("document");
    expected.0.remove("security");
    for (group, entries) in &mut expected.0 {
        if group.starts_with("type ") {
            entries.values_mut().for_each(|value| *value = schemas::without_defaults(value));
        }
    }
    expected
}

/// Fails if an object has other members than these.
fn only(object: &Value, known: &[&str]) -> anyhow::Result<()> {
    match map(object)?.keys().find(|key| !known.contains(&key.as_str())) {
        Some(key) => anyhow::bail!("{key:?} is not understood in {object}"),
        None => Ok(()),
    }
}

fn map(value: &Value) -> anyhow::Result<&Map<String, Value>> {
    value.as_object().with_context(|| format!("not an object: {value}"))
}

fn text(value: &Value) -> anyhow::Result<&str> {
    value.as_str().with_context(|| format!("not a text: {value}"))
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

/// The texts of a list, sorted, with commas between.
fn sorted(value: &Value) -> String {
    let mut texts = list(value).iter().filter_map(Value::as_str).collect::<Vec<_>>();
    texts.sort_unstable();
    texts.join(",")
}
