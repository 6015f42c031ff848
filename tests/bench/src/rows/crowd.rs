//! Several clients that list everything at once: what that adds to the server's memory.

use std::time::{Duration, Instant};

use anyhow::ensure;
use hyper::Method;

use super::{Settings, pods_path};
use crate::client::{Call, JSON, PROTOBUF};
use crate::process;
use crate::sample::{self, Metric, Sample};
use crate::target::Target;

/// Lists at once.
const LISTS: usize = 8;
/// How often memory is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// Lists in JSON, then in protobuf, eight at once; returns how long each took and the most that either added.
pub async fn measure(target: &Target, settings: &Settings) -> anyhow::Result<Sample> {
    ensure!(!target.pids.is_empty(), "the processes of {} are not known", target.name);
    let (mut latencies, mut added, begun) = (Vec::new(), 0, Instant::now());
    for accept in [JSON, PROTOBUF] {
        let before = process::rss(&target.pids)?;
        let mut lists = tokio::task::JoinSet::new();
        for mut connection in target.endpoint.connect_many(LISTS).await? {
            let least = settings.many;
            lists.spawn(async move {
                let begun = Instant::now();
                let length = connection.drain(Call { accept, ..Call::new(Method::GET, &pods_path()) }).await?;
                ensure!(length > least, "the list has {length} bytes only");
                anyhow::Ok(begun.elapsed())
            });
        }
        while !lists.is_empty() {
            tokio::select! {
                Some(done) = lists.join_next() => latencies.push(done??),
                () = tokio::time::sleep(LOOK_EVERY) => {}
            }
            added = added.max(process::rss(&target.pids)?.saturating_sub(before));
        }
    }
    let mut sample = sample::of_load(&mut latencies, begun.elapsed(), None);
    sample.remove(&Metric::Rate);
    sample.insert(Metric::Bytes, added as f64);
    Ok(sample)
}
