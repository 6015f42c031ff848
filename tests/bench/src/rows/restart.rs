//! The server is killed while it writes, and started again on what it left.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, ensure};
use hyper::{Method, StatusCode};
use serde_json::Value;

use super::{Settings, pods_path};
use crate::client::{Call, Connection};
use crate::objects::Pods;
use crate::sample::{self, Metric, Sample};
use crate::target::Server;

/// Kills.
const KILLS: usize = 3;
/// Clients that create pods when the server is killed, and how long they do.
const WRITERS: usize = 8;
const WRITE_FOR: Duration = Duration::from_millis(500);

/// Kills the server during writes, again and again; returns how long it takes to be ready, and fails if a write that was
/// answered is lost. The server has its pods already.
pub async fn measure(program: &Path, mut server: Server, settings: &Settings) -> anyhow::Result<Sample> {
    let mut latencies = Vec::new();
    let mut expected = count(&mut server.target().await?.endpoint.connect().await?).await?;
    ensure!(expected >= settings.many, "the server has {expected} pods only");
    for kill in 0..KILLS {
        let mut writers = tokio::task::JoinSet::new();
        for (writer, connection) in server.target().await?.endpoint.connect_many(WRITERS).await?.into_iter().enumerate()
        {
            writers.spawn(write(connection, settings.small.clone(), format!("kill-{kill}-{writer}")));
        }
        tokio::time::sleep(WRITE_FOR).await;
        let left = server.kill();
        let mut answered = Vec::new();
        while let Some(names) = writers.join_next().await {
            answered.extend(names?);
        }
        server = left.start(program).await?;
        latencies.push(server.ready_after);
        let mut connection = server.target().await?.endpoint.connect().await?;
        for name in &answered {
            let path = format!("{}/{name}", pods_path());
            connection.expect(StatusCode::OK, Call::new(Method::GET, &path)).await.context("a write is lost")?;
        }
        let there = count(&mut connection).await?;
        // What was under way may be there or not.
        let most = expected + answered.len() + WRITERS;
        ensure!(
            (expected + answered.len()..=most).contains(&there),
            "{there} pods instead of {expected} and {}",
            answered.len()
        );
        expected = there;
    }
    let total = latencies.iter().sum();
    let mut sample = sample::of_load(&mut latencies, total, None);
    sample.remove(&Metric::Rate);
    Ok(sample)
}

/// Creates pods until the server is gone; the names of those that were answered.
async fn write(mut connection: Connection, pods: Arc<Pods>, prefix: String) -> Vec<String> {
    let mut names = Vec::new();
    loop {
        let name = format!("{prefix}-{}", names.len());
        let body = pods.body(names.len(), &name);
        match connection.send(Call::new(Method::POST, &pods_path()).json(body)).await {
            Ok((StatusCode::CREATED, _)) => names.push(name),
            _ => return names,
        }
    }
}

async fn count(connection: &mut Connection) -> anyhow::Result<usize> {
    let path = format!("{}?limit=1", pods_path());
    let page: Value = serde_json::from_slice(&connection.expect(StatusCode::OK, Call::new(Method::GET, &path)).await?)?;
    let remaining = page["metadata"]["remainingItemCount"].as_u64().context("the page says nothing of the rest")?;
    Ok(remaining as usize + 1)
}
