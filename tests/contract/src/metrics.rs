//! What a server tells Prometheus: names, types, labels and bounds of metrics that clients may rely on.
//!
//! Those are the metrics that upstream calls stable or beta, and those of its process. Values are no facts.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, ensure};
use serde_json::{Value, json};

use crate::facts::Facts;
use crate::target::Target;

const LEVELS: [&str; 2] = ["STABLE", "BETA"];

/// Metrics of a server that has been asked a few things.
pub async fn condense(target: &Target) -> anyhow::Result<Facts> {
    traffic(target).await?;
    let mut facts = Facts::default();
    for path in ["/metrics", "/metrics/slis"] {
        let answer = target.send("GET", path, &[], Vec::new()).await?;
        ensure!(answer.code == 200, "{path}: {}", answer.code);
        facts.extend(read(&answer.text()).with_context(|| path.to_owned())?)?;
    }
    Ok(facts)
}

/// Does what is counted: reads, writes, expressions, refusals.
async fn traffic(target: &Target) -> anyhow::Result<()> {
    let json = [("content-type", "application/json")];
    let group = "metrics.example.com";
    let map = json!({"metadata": {"generateName": "m-"}});
    let schema = json!({
        "type": "object",
        "x-kubernetes-validations": [{"rule": "!has(self.a) || self.a < 5"}],
        "properties": {"a": {"type": "integer"}}
    });
    let definition = json!({
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": format!("ms.{group}")},
        "spec": {
            "group": group,
            "scope": "Cluster",
            "names": {"plural": "ms", "kind": "M"},
            "versions": [{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": schema}}]
        }
    });
    let requests: [(&str, &str, &Value); 6] = [
        ("POST", "/api/v1/namespaces/default/configmaps?dryRun=All", &map),
        ("POST", "/apis/apiextensions.k8s.io/v1/customresourcedefinitions", &definition),
        ("GET", "/apis/apps/v1/deployments", &Value::Null),
        ("GET", "/api/v1/endpoints", &Value::Null),
        ("GET", "/api/v1/limitranges?watch=true&timeoutSeconds=1", &Value::Null),
        ("GET", "/readyz?verbose", &Value::Null),
    ];
    for (method, path, body) in requests {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let answer = target.send(method, path, &json, body).await?;
        ensure!(answer.code.as_u16() < 300 || answer.code == 409, "{path}: {}", answer.text());
    }
    // The administrator's requests are exempt; somebody else's are queued.
    let others = [("impersonate-user", "jane"), ("impersonate-group", "devs")];
    target.send("GET", "/api/v1/pods", &others, Vec::new()).await?;
    Ok(())
}

/// Reads Prometheus text.
fn read(text: &str) -> anyhow::Result<Facts> {
    let (mut levels, mut types) = (BTreeMap::new(), BTreeMap::new());
    let mut labels: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
    let mut bounds: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for line in text.lines() {
        if let Some((name, help)) = line.strip_prefix("# HELP ").and_then(|rest| rest.split_once(' ')) {
            let level = LEVELS.into_iter().find(|level| help.starts_with(&format!("[{level}]")));
            levels.insert(name, level.or(name.starts_with("process_").then_some("process")));
        } else if let Some((name, ty)) = line.strip_prefix("# TYPE ").and_then(|rest| rest.split_once(' ')) {
            types.insert(name, ty);
        } else if !line.starts_with('#') {
            let name = &line[..line.find(['{', ' ']).context("a sample")?];
            let base = ["_bucket", "_sum", "_count"].into_iter().find_map(|end| name.strip_suffix(end));
            let base = base.filter(|base| types.get(base) == Some(&"histogram")).unwrap_or(name);
            let pairs = pairs(line)?;
            let names = pairs.iter().map(|(name, _)| *name).filter(|name| *name != "le").collect::<BTreeSet<_>>();
            labels.entry(base).or_default().insert(names.into_iter().collect::<Vec<_>>().join(","));
            let bounds = bounds.entry(base).or_default();
            bounds.extend(pairs.iter().filter(|(name, _)| *name == "le").map(|(_, bound)| (*bound).to_owned()));
        }
    }
    let mut facts = Facts::default();
    for (name, ty) in types {
        let Some(level) = levels.get(name).copied().flatten() else { continue };
        facts.add(name, "type", ty.to_owned())?;
        facts.add(name, "level", level.to_owned())?;
        let labels = labels.get(name).into_iter().flatten().cloned().collect::<Vec<_>>();
        facts.add(name, "labels", labels.join(" or "))?;
        let mut seen = BTreeSet::new();
        let bounds = bounds.remove(name).unwrap_or_default();
        let bounds = bounds.into_iter().filter(|bound| seen.insert(bound.clone())).collect::<Vec<_>>();
        if !bounds.is_empty() {
            facts.add(name, "bounds", bounds.join(" "))?;
        }
    }
    Ok(facts)
}

/// The labels of a sample.
fn pairs(line: &str) -> anyhow::Result<Vec<(&str, &str)>> {
    let Some(start) = line.find('{') else { return Ok(Vec::new()) };
    let mut rest = &line[start + 1..];
    let mut pairs = Vec::new();
    while !rest.starts_with('}') {
        let (name, value) = rest.split_once("=\"").with_context(|| line.to_owned())?;
        let mut escaped = false;
        let end = value.find(|c: char| {
            let ends = c == '"' && !escaped;
            escaped = c == '\\' && !escaped;
            ends
        });
        let end = end.with_context(|| line.to_owned())?;
        pairs.push((name.trim_start_matches(','), &value[..end]));
        rest = value[end + 1..].trim_start_matches(',');
    }
    Ok(pairs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_are_read() {
        let text = "# HELP a [BETA] A.\n# TYPE a histogram\na_bucket{x=\"1,\\\"}\",le=\"1\"} 0\na_bucket{x=\"2\",le=\"+Inf\"} 1\n\
                    a_sum{x=\"2\"} 1\n# HELP b [ALPHA] B.\n# TYPE b gauge\nb 1\n# HELP process_x X.\n# TYPE process_x gauge\nprocess_x 1\n";
        let facts = read(text).expect("facts");
        assert_eq!(facts.get("a", "labels"), Some("x"));
        assert_eq!(facts.get("a", "bounds"), Some("1 +Inf"));
        assert_eq!(facts.get("b", "type"), None);
        assert_eq!(facts.get("process_x", "level"), Some("process"));
    }
}
