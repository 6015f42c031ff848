//! Kinds that are not kept: they are asked, and that is all.

use anyhow::{Context, ensure};
use serde_json::{Value, json};

use super::samples::Samples;
use super::session::Session;
use super::table::Cell;

/// Asks.
pub(super) async fn check(session: &Session, samples: &Samples, cells: &mut Vec<Cell>) {
    let mut add = |verb, outcome| cells.push(Cell::new(session, verb, outcome));
    if session.resource.has("create") {
        add("create", ask(session, samples).await);
        add("dry run of create", dry(session, samples).await);
    }
    if session.resource.has("list") {
        add("list", list(session).await);
    }
    add("others refused", others(session).await);
}

fn body(session: &Session, samples: &Samples) -> anyhow::Result<Value> {
    let entry = &session.resource.entry;
    let sample = samples.of(&entry.api_version(), &entry.kind)?;
    Ok(sample.object(&entry.api_version(), &entry.kind, &session.namespace, session.number))
}

async fn ask(session: &Session, samples: &Samples) -> anyhow::Result<()> {
    let mut body = body(session, samples)?;
    if session.resource.entry.name == "bindings" {
        return bind(session, &mut body).await;
    }
    body["metadata"] = json!({});
    let found = session.send("POST", &session.collection(), Some(&body)).await?.expect(201)?;
    ensure!(found["kind"] == body["kind"] && found["apiVersion"] == body["apiVersion"], "{found}");
    ensure!(found["status"].is_object(), "no status in {found}");
    Ok(())
}

/// A binding is of a pod that there is.
async fn bind(session: &Session, body: &mut Value) -> anyhow::Result<()> {
    let pods = format!("/api/v1/namespaces/{}/pods", session.namespace);
    let name = body["metadata"]["name"].as_str().context("a name")?.to_owned();
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": name},
        "spec": {"containers": [{"name": "a", "image": "example.com/a:1"}]},
    });
    session.send("POST", &pods, Some(&pod)).await?.expect(201)?;
    let done = session.send("POST", &session.collection(), Some(body)).await?.expect(201)?;
    ensure!(done["kind"] == "Status" && done["status"] == "Success", "{done}");
    let bound = session.get(&format!("{pods}/{name}")).await?.expect(200)?;
    ensure!(bound["spec"]["nodeName"] == body["target"]["name"], "{bound}");
    session.send("POST", &session.collection(), Some(body)).await?.refused(409, "Conflict")
}

async fn dry(session: &Session, samples: &Samples) -> anyhow::Result<()> {
    let mut body = body(session, samples)?;
    let path = format!("{}?dryRun=All", session.collection());
    if session.resource.entry.name == "bindings" {
        // The pod is bound by now, which a dry run finds as well.
        return session.send("POST", &path, Some(&body)).await?.refused(409, "Conflict");
    }
    body["metadata"] = json!({});
    session.send("POST", &path, Some(&body)).await?.expect(201).map(drop)
}

async fn list(session: &Session) -> anyhow::Result<()> {
    let list = session.get(&session.collection()).await?.expect(200)?;
    ensure!(list["kind"] == format!("{}List", session.resource.entry.kind), "{list}");
    Ok(())
}

/// What the resource does not have is refused.
async fn others(session: &Session) -> anyhow::Result<()> {
    let collection = session.collection();
    for (verb, method) in [("list", "GET"), ("create", "POST"), ("deletecollection", "DELETE")] {
        if !session.resource.has(verb) {
            let reply = session.send(method, &collection, None).await?;
            reply.refused(405, "MethodNotAllowed").with_context(|| verb.to_owned())?;
        }
    }
    Ok(())
}
