//! Ten thousand watchers: what each costs when nothing happens, and how fast events reach all of them.

use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context, ensure};
use hyper::{Method, StatusCode};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::fanout::{Board, SEEN_WITHIN, WATCHES_PER_CONNECTION, follow, prepare, watch_path, write};
use crate::client::Call;
use crate::process;
use crate::sample::{Metric, Sample};
use crate::target::Target;

/// Watchers, and events that each gets.
const WATCHERS: usize = 10_000;
const EVENTS: usize = 20;

/// Opens the watches, then writes the events one after the other without waiting for the watchers. The rate is of
/// deliveries, the CPU per delivery, and the bytes what one watcher that waits adds to the server.
pub async fn measure(target: &Target) -> anyhow::Result<Sample> {
    let mut writer = target.endpoint.connect().await?;
    let path = watch_path(&prepare(&mut writer).await?);
    let (complete, mut completed) = mpsc::channel(EVENTS + 2);
    let board = Arc::new(Board::new(EVENTS + 1));
    let before = memory(target)?;
    let mut watchers = JoinSet::new();
    let connections = target.endpoint.connect_many(WATCHERS.div_ceil(WATCHES_PER_CONNECTION)).await?;
    for watcher in 0..WATCHERS {
        let mut connection = connections[watcher / WATCHES_PER_CONNECTION].clone();
        let answer = connection.open(Call::new(Method::GET, &path)).await?;
        ensure!(answer.status() == StatusCode::OK, "watch: {}", answer.status());
        watchers.spawn(follow(answer.into_body(), board.clone(), WATCHERS, complete.clone()));
    }
    // The first event shows that all are there.
    write(&mut writer, 1).await?;
    wait(&mut completed, 1).await?;
    let waiting = memory(target)?;
    let (cpu, begun) = (target.cpu()?, Instant::now());
    for number in 2..=EVENTS + 1 {
        write(&mut writer, number).await?;
    }
    wait(&mut completed, EVENTS + 1).await?;
    let deliveries = (WATCHERS * EVENTS) as f64;
    let mut sample = Sample::from([(Metric::Rate, deliveries / begun.elapsed().as_secs_f64())]);
    if let Some((before, after)) = cpu.zip(target.cpu()?) {
        sample.insert(Metric::CpuPerOp, (after - before).as_secs_f64() / deliveries);
    }
    if let Some((before, waiting)) = before.zip(waiting) {
        sample.insert(Metric::Bytes, waiting.saturating_sub(before) as f64 / WATCHERS as f64);
    }
    watchers.shutdown().await;
    Ok(sample)
}

fn memory(target: &Target) -> anyhow::Result<Option<u64>> {
    if target.pids.is_empty() { Ok(None) } else { process::rss(&target.pids).map(Some) }
}

/// Returns when all watchers have had this event.
async fn wait(completed: &mut mpsc::Receiver<(usize, Instant)>, number: usize) -> anyhow::Result<()> {
    let seen = async {
        while let Some((seen, _)) = completed.recv().await {
            if seen == number {
                return Ok(());
            }
        }
        anyhow::bail!("the watchers ended")
    };
    tokio::time::timeout(SEEN_WITHIN, seen)
        .await
        .with_context(|| format!("event {number} was not seen by all within {SEEN_WITHIN:?}"))?
}
