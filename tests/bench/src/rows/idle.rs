//! What processes take while nobody asks them for anything.

use std::time::{Duration, Instant};

use crate::process;
use crate::sample::{Metric, Sample};

/// Watches processes for a while and returns their memory (PSS at its end) and their share of a core.
pub async fn measure(pids: &[u32], window: Duration) -> anyhow::Result<Sample> {
    let (before, begun) = (process::cpu(pids)?, Instant::now());
    tokio::time::sleep(window).await;
    let cores = (process::cpu(pids)? - before).as_secs_f64() / begun.elapsed().as_secs_f64();
    Ok(Sample::from([(Metric::Bytes, process::pss(pids)? as f64), (Metric::Cores, cores)]))
}
