//! What is measured: one file per kind of load.

pub mod boot;
pub mod create;
pub mod crowd;
pub mod fanout;
pub mod get;
pub mod idle;
pub mod lease;
pub mod list;
pub mod patch;
pub mod restart;
pub mod store;
pub mod storm;

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use hyper::{Method, StatusCode};
use serde_json::json;

use crate::client::{Call, Connection};
use crate::objects::Pods;
use crate::sample::{self, Sample};
use crate::target::Target;

/// Where the objects of a run live; made on every server and emptied after each load.
pub const NAMESPACE: &str = "skiff-bench";

/// How long loads last and what they write.
#[derive(Clone)]
pub struct Settings {
    /// How long a load runs before it counts.
    pub warm_up: Duration,
    /// How long it counts.
    pub measured: Duration,
    /// Pods that are there to be read and patched one by one.
    pub seeded: usize,
    /// Small pods that are there to be listed.
    pub many: usize,
    /// Watches that are open at once.
    pub watchers: usize,
    /// Writes that the watchers see.
    pub events: usize,
    /// Pods as people write them.
    pub pods: Arc<Pods>,
    /// Pods of 2 KB.
    pub small: Arc<Pods>,
}

/// Path of the pods of [`NAMESPACE`].
pub fn pods_path() -> String {
    format!("/api/v1/namespaces/{NAMESPACE}/pods")
}

/// Makes the namespace, the service account that its pods run as, and the exemption of what is measured from the limits
/// of priority and fairness: a thousand clients share one identity here. Harmless where they are already.
pub async fn prepare(target: &Target) -> anyhow::Result<()> {
    let mut connection = target.endpoint.connect().await?;
    let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}});
    let account = json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default"}});
    let accounts = format!("/api/v1/namespaces/{NAMESPACE}/serviceaccounts");
    let everything =
        json!({"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"], "clusterScope": true, "namespaces": ["*"]});
    let exempt = json!({
        "apiVersion": "flowcontrol.apiserver.k8s.io/v1",
        "kind": "FlowSchema",
        "metadata": {"name": NAMESPACE},
        "spec": {
            "matchingPrecedence": 2,
            "priorityLevelConfiguration": {"name": "exempt"},
            "rules": [{
                "subjects": [{"kind": "Group", "group": {"name": "system:authenticated"}}],
                "resourceRules": [everything],
            }],
        },
    });
    let schemas = "/apis/flowcontrol.apiserver.k8s.io/v1/flowschemas";
    for (path, object) in [(schemas, exempt), ("/api/v1/namespaces", namespace), (&accounts, account)] {
        let (status, body) = connection.send(Call::new(Method::POST, path).json(object.to_string())).await?;
        let there = status == StatusCode::CREATED || status == StatusCode::CONFLICT;
        anyhow::ensure!(there, "POST {path}: {status}: {}", String::from_utf8_lossy(&body));
    }
    empty(&mut connection).await
}

/// Deletes the pods of [`NAMESPACE`].
pub async fn empty(connection: &mut Connection) -> anyhow::Result<()> {
    let path = format!("{}?gracePeriodSeconds=0", pods_path());
    connection.expect(StatusCode::OK, Call::new(Method::DELETE, &path)).await.context("emptying the namespace")?;
    Ok(())
}

/// Writes pods in place of those that are there. Their names are `seed-0` and so on.
pub async fn seed(target: &Target, pods: &Arc<Pods>, count: usize) -> anyhow::Result<()> {
    const WRITERS: usize = 32;
    let mut connection = target.endpoint.connect().await?;
    empty(&mut connection).await?;
    let mut writers = tokio::task::JoinSet::new();
    for (writer, mut connection) in target.endpoint.connect_many(WRITERS).await?.into_iter().enumerate() {
        let pods = pods.clone();
        writers.spawn(async move {
            for number in (writer..count).step_by(WRITERS) {
                let body = pods.body(number, &format!("seed-{number}"));
                connection.expect(StatusCode::CREATED, Call::new(Method::POST, &pods_path()).json(body)).await?;
            }
            anyhow::Ok(())
        });
    }
    while let Some(done) = writers.join_next().await {
        done??;
    }
    Ok(())
}

/// What a client of [`closed_loop`] does: one operation, given the number of the client and of the operation.
pub trait Operation: Clone + Send + 'static {
    /// Does it, or says why it did not work; that ends the load.
    fn run(
        &self,
        connection: &mut Connection,
        client: usize,
        number: usize,
    ) -> impl Future<Output = anyhow::Result<()>> + Send;
}

/// Lets clients, each on a connection of its own, do one operation after the other, and times them.
pub async fn closed_loop(
    target: &Target,
    clients: usize,
    settings: &Settings,
    operation: impl Operation,
) -> anyhow::Result<Sample> {
    let connections = target.endpoint.connect_many(clients).await?;
    let from = Instant::now() + settings.warm_up;
    let until = from + settings.measured;
    let mut tasks = tokio::task::JoinSet::new();
    for (client, mut connection) in connections.into_iter().enumerate() {
        let operation = operation.clone();
        tasks.spawn(async move {
            let mut latencies = Vec::with_capacity(1 << 16);
            let mut number = 0;
            loop {
                let begun = Instant::now();
                if begun >= until {
                    return anyhow::Ok(latencies);
                }
                operation.run(&mut connection, client, number).await?;
                number += 1;
                let ended = Instant::now();
                if ended >= from && ended < until {
                    latencies.push(ended - begun);
                }
            }
        });
    }
    tokio::time::sleep_until(from.into()).await;
    let before = target.cpu()?;
    let begun = Instant::now();
    tokio::time::sleep_until(until.into()).await;
    let elapsed = begun.elapsed();
    let after = target.cpu()?;
    let mut latencies = Vec::new();
    while let Some(done) = tasks.join_next().await {
        latencies.append(&mut done??);
    }
    let cpu = before.zip(after).map(|(before, after)| after - before);
    Ok(sample::of_load(&mut latencies, elapsed, cpu))
}
