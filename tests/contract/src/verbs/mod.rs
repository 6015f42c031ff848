//! Everything that can be done, on every resource there is, in both encodings.
//!
//! The resources are those that the facts of kube-apiserver name; [`samples`] has an object of each kind. What is checked
//! is the same for all: [`stored`] for what is kept, [`virtual_kinds`] for what is only asked.

pub mod codec;
pub mod events;
pub mod resources;
pub mod samples;
pub mod session;
mod stored;
mod subresources;
pub mod table;
mod virtual_kinds;

use std::sync::Arc;

use serde_json::json;

use self::codec::Encoding;
use self::resources::Resource;
use self::samples::Samples;
use self::session::Session;
use self::table::Cell;
use crate::target::Target;

/// Does everything with one resource in one encoding. `number` is this call's own, `run` that of this test.
pub async fn run(
    target: Arc<Target>,
    samples: Arc<Samples>,
    resource: Resource,
    encoding: Encoding,
    number: usize,
    run: u32,
) -> Vec<Cell> {
    let namespace = format!("verbs-{run}-{number}");
    let session = Session { target, encoding, resource, namespace, number };
    let mut cells = Vec::new();
    if let Err(error) = prepare(&session).await {
        cells.push(Cell::new(&session, "namespace", Err(error)));
        return cells;
    }
    if session.resource.has("create") && session.resource.has("get") {
        stored::check(&session, &samples, &mut cells).await;
    } else {
        virtual_kinds::check(&session, &samples, &mut cells).await;
    }
    cells
}

/// A namespace with what every namespace has.
async fn prepare(session: &Session) -> anyhow::Result<()> {
    let name = &session.namespace;
    for (path, body) in [
        ("/api/v1/namespaces".to_owned(), json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})),
        (
            format!("/api/v1/namespaces/{name}/serviceaccounts"),
            json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default"}}),
        ),
    ] {
        let headers = [("content-type", "application/json"), ("accept", "application/json")];
        let answer = session.target.send("POST", &path, &headers, body.to_string()).await?;
        anyhow::ensure!(matches!(answer.code.as_u16(), 201 | 409), "{path}: {}", answer.text());
    }
    Ok(())
}
