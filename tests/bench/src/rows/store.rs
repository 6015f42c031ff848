//! The embedded store alone, as the public etcd benchmark puts load on etcd: small values under new keys.

use std::sync::Arc;
use std::time::Instant;

use anyhow::Context;
use skiff_storage::embedded::{self, Config};
use skiff_storage::{Draft, Storage};

use super::Settings;
use crate::process;
use crate::sample::{self, Sample};

/// Bytes of a value.
const VALUE_BYTES: usize = 256;

/// Puts by so many clients in this process, each durable before the next. The CPU is that of the store and its clients.
pub async fn measure(clients: usize, settings: &Settings) -> anyhow::Result<Sample> {
    let folder = tempfile::tempdir()?;
    let storage: Arc<dyn Storage> =
        Arc::new(embedded::open(&Config::new(folder.path())).context("cannot open a store")?);
    let this = [std::process::id()];
    let (before, begun) = (process::cpu(&this)?, Instant::now());
    let until = begun + settings.measured;
    let mut tasks = tokio::task::JoinSet::new();
    for client in 0..clients {
        let storage = storage.clone();
        tasks.spawn(async move {
            let mut latencies = Vec::new();
            while Instant::now() < until {
                let key = format!("/registry/bench/default/{client}-{}", latencies.len());
                let put = Instant::now();
                storage.create(&key, draft(), None).await?;
                latencies.push(put.elapsed());
            }
            anyhow::Ok(latencies)
        });
    }
    let mut latencies = Vec::new();
    while let Some(done) = tasks.join_next().await {
        latencies.append(&mut done??);
    }
    let cpu = process::cpu(&this)? - before;
    Ok(sample::of_load(&mut latencies, begun.elapsed(), Some(cpu)))
}

fn draft() -> Draft {
    let head = r#"{"metadata":{"resourceVersion":""#;
    let tail = r#""},"value":""#;
    let value = "v".repeat(VALUE_BYTES - head.len() - tail.len() - 2);
    Draft { json: format!("{head}{tail}{value}\"}}").into_bytes(), rv_at: head.len() as u32 }
}
