//! Runs a case against a server.

use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use serde_json::{Value, json};

use crate::case::{Case, Request, expand, expand_text};
use crate::change;
use crate::normal;
use crate::server::{Raw, Server};

/// How long the set-up of a case waits for what it asked for.
const SET_UP_DEADLINE: Duration = Duration::from_secs(30);
const USER_AGENT: &str = "recorded/1";

/// Asks everything in order; returns the answers that are compared, normalised.
pub async fn run(server: &Server, case: &Case) -> anyhow::Result<Vec<Value>> {
    let namespace = format!("c{:07x}", rand::random::<u32>() >> 4);
    prepare(server, case, &namespace).await?;
    let written = written(case, &namespace);
    let context = normal::Context { namespace: &namespace, written: &written, managed_fields: case.managed_fields };
    let mut bodies: Vec<Value> = Vec::new();
    let mut answers = Vec::new();
    for request in &case.setup {
        let raw = set_up(server, request, &namespace).await?;
        if raw.code >= 300 && raw.code != 409 {
            bail!("set-up failed: {} {}", raw.code, String::from_utf8_lossy(&raw.body));
        }
    }
    for request in &case.requests {
        let raw = send(server, request, &namespace, &bodies).await?;
        if !request.compare && raw.code >= 300 {
            bail!("a request before the compared one failed: {} {}", raw.code, String::from_utf8_lossy(&raw.body));
        }
        let body = serde_json::from_slice(&raw.body)
            .unwrap_or_else(|_| Value::String(String::from_utf8_lossy(&raw.body).into_owned()));
        bodies.push(body.clone());
        if request.compare {
            answers.push(answer(raw, body, &context));
        }
    }
    Ok(answers)
}

/// A request of the set-up, asked again where the case says so.
async fn set_up(server: &Server, request: &Request, namespace: &str) -> anyhow::Result<Raw> {
    let deadline = Instant::now() + SET_UP_DEADLINE;
    loop {
        let raw = send(server, request, namespace, &[]).await?;
        if raw.code < 300 || !request.wait || Instant::now() > deadline {
            return Ok(raw);
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

fn answer(raw: Raw, mut body: Value, context: &normal::Context<'_>) -> Value {
    context.value(&mut body);
    let mut answer = json!({"code": raw.code, "body": body});
    if !raw.warnings.is_empty() {
        let mut warnings = json!(raw.warnings);
        context.value(&mut warnings);
        answer["warnings"] = warnings;
    }
    answer
}

/// The namespace of the case with what every namespace has.
async fn prepare(server: &Server, case: &Case, namespace: &str) -> anyhow::Result<()> {
    if !case.setup.iter().chain(&case.requests).any(|request| request.path.contains("<ns>")) {
        return Ok(());
    }
    let objects = [
        (
            "/api/v1/namespaces".to_owned(),
            json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}}),
        ),
        (
            format!("/api/v1/namespaces/{namespace}/serviceaccounts"),
            json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default"}}),
        ),
    ];
    for (path, body) in objects {
        let request = Request { method: "POST".into(), path, body: Some(body), ..Request::default() };
        let raw = send(server, &request, namespace, &[]).await?;
        if raw.code != 201 {
            bail!("the namespace could not be made: {}", String::from_utf8_lossy(&raw.body));
        }
    }
    Ok(())
}

/// All texts of the case, to tell what the server made from what the case wrote.
fn written(case: &Case, namespace: &str) -> String {
    let bodies = case.setup.iter().chain(&case.requests).filter_map(|request| request.body.clone());
    let texts = bodies.map(|mut body| {
        expand(&mut body, namespace);
        body.to_string()
    });
    texts.collect::<Vec<_>>().join("\n")
}

async fn send(server: &Server, request: &Request, namespace: &str, answers: &[Value]) -> anyhow::Result<Raw> {
    let mut path = expand_text(&request.path, namespace);
    if path.contains("$name") {
        let name = answers.first().and_then(|answer| answer["metadata"]["name"].as_str());
        path = path.replace("$name", name.context("no answer with a name yet")?);
    }
    if !request.query.is_empty() {
        path = format!("{path}?{}", expand_text(&request.query, namespace));
    }
    let mut sent = http::Request::builder().method(request.method.as_str()).uri(path).header("user-agent", USER_AGENT);
    if let Some(accept) = &request.accept {
        sent = sent.header("accept", accept);
    }
    if let Some(user) = &request.user {
        sent = sent.header("impersonate-user", expand_text(user, namespace));
        for group in &request.groups {
            sent = sent.header("impersonate-group", expand_text(group, namespace));
        }
    }
    let body = match &request.body {
        None => Vec::new(),
        Some(body) => {
            sent = sent.header("content-type", request.content_type.as_deref().unwrap_or("application/json"));
            bytes(body, namespace, answers)?
        }
    };
    server.send(sent.body(body)?).await
}

fn bytes(body: &Value, namespace: &str, answers: &[Value]) -> anyhow::Result<Vec<u8>> {
    let mut body = body.clone();
    expand(&mut body, namespace);
    let number = body.get("$answer").cloned();
    let origin = match (number, body.get_mut("$body")) {
        (Some(number), _) => {
            let number = number.as_u64().and_then(|number| usize::try_from(number).ok());
            Some(number.and_then(|number| answers.get(number)).context("no such answer yet")?.clone())
        }
        (None, base) => base.map(Value::take),
    };
    if let Some(mut origin) = origin {
        if let Some(changes) = body["set"].as_object() {
            change::apply(&mut origin, changes)?;
        }
        body = origin;
    }
    Ok(match body {
        Value::String(text) => text.into_bytes(),
        other => other.to_string().into_bytes(),
    })
}
