//! Runs a case against a server.

use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use serde_json::{Map, Value, json};

use crate::case::{Case, Names, Request};
use crate::change;
use crate::normal;
use crate::server::{Raw, Server};

/// How long the set-up of a case waits for what it asked for.
const SET_UP_DEADLINE: Duration = Duration::from_secs(30);
const USER_AGENT: &str = "recorded/1";

/// Asks everything in order; returns the answers that are compared, normalised.
pub async fn run(server: &Server, case: &Case) -> anyhow::Result<Vec<Value>> {
    let namespace = format!("c{:07x}", rand::random::<u32>() >> 4);
    let mut names = Names::new(&namespace);
    prepare(server, case, &names).await?;
    let written = written(case, &names);
    let context = normal::Context { namespace: &namespace, written: &written, managed_fields: case.managed_fields };
    let mut bodies: Vec<Value> = Vec::new();
    let mut answers = Vec::new();
    for request in &case.setup {
        let raw = set_up(server, request, &names).await?;
        if raw.code >= 300 && raw.code != 409 {
            bail!("set-up failed: {} {}", raw.code, String::from_utf8_lossy(&raw.body));
        }
        save(request, &body(&raw), &mut names)?;
    }
    for request in &case.requests {
        let raw = send(server, request, &names, &bodies).await?;
        if !request.compare && raw.code >= 300 {
            bail!("a request before the compared one failed: {} {}", raw.code, String::from_utf8_lossy(&raw.body));
        }
        let body = body(&raw);
        save(request, &body, &mut names)?;
        bodies.push(body.clone());
        if request.compare {
            answers.push(answer(raw, body, request, &context)?);
        }
    }
    Ok(answers)
}

fn body(raw: &Raw) -> Value {
    serde_json::from_slice(&raw.body).unwrap_or_else(|_| Value::String(String::from_utf8_lossy(&raw.body).into_owned()))
}

/// Keeps what later requests use. Of an error nothing is kept.
fn save(request: &Request, body: &Value, names: &mut Names) -> anyhow::Result<()> {
    for (name, path) in &request.save {
        let found = match change::get(body, path)? {
            Some(Value::String(text)) => text.clone(),
            Some(other) => other.to_string(),
            None if body["kind"] == "Status" => continue,
            None => bail!("nothing at {path} of {body}"),
        };
        names.saved.insert(name.clone(), found);
    }
    Ok(())
}

/// A request of the set-up, asked again where the case says so.
async fn set_up(server: &Server, request: &Request, names: &Names) -> anyhow::Result<Raw> {
    let deadline = Instant::now() + SET_UP_DEADLINE;
    loop {
        let raw = send(server, request, names, &[]).await?;
        if raw.code < 300 || !request.wait || Instant::now() > deadline {
            return Ok(raw);
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

fn answer(raw: Raw, body: Value, request: &Request, context: &normal::Context<'_>) -> anyhow::Result<Value> {
    let mut answer = json!({"code": raw.code});
    let mut body = match &request.only {
        Some(paths) if raw.code < 300 => {
            let mut places = Map::new();
            for path in paths {
                places.insert(path.clone(), change::get(&body, path)?.cloned().unwrap_or_default());
            }
            Value::Object(places)
        }
        _ => body,
    };
    context.value(&mut body);
    answer["body"] = body;
    if !raw.warnings.is_empty() {
        let mut warnings = json!(raw.warnings);
        context.value(&mut warnings);
        answer["warnings"] = warnings;
    }
    for name in &request.show {
        let values = raw.headers.get_all(name).iter().map(|value| String::from_utf8_lossy(value.as_bytes()));
        let mut values = json!(values.collect::<Vec<_>>());
        context.value(&mut values);
        answer["headers"][name] = values;
    }
    Ok(answer)
}

/// The namespace of the case with what every namespace has.
async fn prepare(server: &Server, case: &Case, names: &Names) -> anyhow::Result<()> {
    let namespace = &names.namespace;
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
        let raw = send(server, &request, names, &[]).await?;
        if raw.code != 201 {
            bail!("the namespace could not be made: {}", String::from_utf8_lossy(&raw.body));
        }
    }
    Ok(())
}

/// All texts of the case, to tell what the server made from what the case wrote.
fn written(case: &Case, names: &Names) -> String {
    let bodies = case.setup.iter().chain(&case.requests).filter_map(|request| request.body.clone());
    let texts = bodies.map(|mut body| {
        names.expand(&mut body);
        body.to_string()
    });
    texts.collect::<Vec<_>>().join("\n")
}

async fn send(server: &Server, request: &Request, names: &Names, answers: &[Value]) -> anyhow::Result<Raw> {
    if let Some(seconds) = request.settle {
        server.settle(Duration::from_secs_f64(seconds)).await;
    }
    let mut path = names.text(&request.path);
    if path.contains("$name") {
        let name = answers.first().and_then(|answer| answer["metadata"]["name"].as_str());
        path = path.replace("$name", name.context("no answer with a name yet")?);
    }
    if !request.query.is_empty() {
        path = format!("{path}?{}", names.text(&request.query));
    }
    let mut sent = http::Request::builder().method(request.method.as_str()).uri(path).header("user-agent", USER_AGENT);
    if let Some(accept) = &request.accept {
        sent = sent.header("accept", accept);
    }
    if let Some(user) = &request.user {
        sent = sent.header("impersonate-user", names.text(user));
        for group in &request.groups {
            sent = sent.header("impersonate-group", names.text(group));
        }
    }
    for (name, values) in &request.headers {
        for value in values.all() {
            sent = sent.header(name, names.text(value));
        }
    }
    let body = match &request.body {
        None => Vec::new(),
        Some(body) => {
            sent = sent.header("content-type", request.content_type.as_deref().unwrap_or("application/json"));
            bytes(body, names, answers)?
        }
    };
    server.send(sent.body(body)?).await
}

fn bytes(body: &Value, names: &Names, answers: &[Value]) -> anyhow::Result<Vec<u8>> {
    let mut body = body.clone();
    names.expand(&mut body);
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
