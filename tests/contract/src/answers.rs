//! What a server answers to requests of ours that are about the protocol itself: paths and methods that there are and are
//! not, media types, ways to ask for health.
//!
//! `requests.txt` has a request on each line: method and path, then headers, then a body, ` | ` between them.

use anyhow::{Context, ensure};
use serde_json::Value;

use crate::facts::Facts;
use crate::target::{Answer, Target};

/// Headers that are facts.
const HEADERS: [&str; 7] =
    ["content-type", "vary", "allow", "location", "warning", "retry-after", "x-content-type-options"];

/// Longest text that is a fact as a whole.
const LONGEST: usize = 600;

/// What every request is about: a ConfigMap.
const SETUP: [(&str, &str); 2] = [
    ("/api/v1/namespaces", r#"{"metadata":{"name":"q"}}"#),
    ("/api/v1/namespaces/q/configmaps", r#"{"metadata":{"name":"c"},"data":{"a":"b"}}"#),
];

/// Sends all requests.
pub async fn condense(target: &Target) -> anyhow::Result<Facts> {
    for (path, body) in SETUP {
        let answer = target.send("POST", path, &[("content-type", "application/json")], body).await?;
        ensure!(matches!(answer.code.as_u16(), 201 | 409), "{path}: {}", answer.text());
    }
    let mut facts = Facts::default();
    for line in include_str!("../requests.txt").lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        let mut parts = line.split(" | ");
        let (method, path) = parts.next().and_then(|first| first.split_once(' ')).context("a method and a path")?;
        let (mut headers, mut body) = (vec![("user-agent", "contract/1")], "");
        for part in parts {
            match part.split_once(": ") {
                Some((name, value)) if !part.starts_with('{') => headers.push((name, value)),
                _ => body = part,
            }
        }
        let answer = target.send(method, path, &headers, body).await.with_context(|| line.to_owned())?;
        add(line, &answer, &mut facts)?;
    }
    Ok(facts)
}

fn add(line: &str, answer: &Answer, facts: &mut Facts) -> anyhow::Result<()> {
    facts.add(line, "code", answer.code.as_u16().to_string())?;
    for header in HEADERS {
        let mut values = answer.headers.get_all(header).iter().filter_map(|value| value.to_str().ok());
        if let Some(first) = values.next() {
            let all = values.fold(first.to_owned(), |all, value| format!("{all}, {value}"));
            // A hash is of this server's own document.
            let known = all.split_once("?hash=").map_or(all.as_str(), |(before, _)| before).to_owned();
            facts.add(line, header, known)?;
        }
    }
    facts.add(line, "body", body(answer))
}

/// A Status as it is, of other objects what they are, of short texts all.
fn body(answer: &Answer) -> String {
    let text = answer.text();
    let read = match answer.header("content-type") {
        "application/yaml" => serde_saphyr::from_str::<Value>(&text).map_err(|error| error.to_string()),
        _ => serde_json::from_slice::<Value>(&answer.body).map_err(|error| error.to_string()),
    };
    match read {
        Ok(status) if status["kind"] == "Status" && status["status"] == "Failure" => status.to_string(),
        Ok(object) => format!("{} {}", object["apiVersion"], object["kind"]),
        Err(_) if text.len() > LONGEST || answer.body.starts_with(b"k8s\0") => "(long)".to_owned(),
        Err(_) => format!("{text:?}"),
    }
}
