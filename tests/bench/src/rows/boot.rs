//! From nothing to ready.

use std::path::Path;

use crate::sample::{self, Metric, Sample};
use crate::target::Server;

/// Starts on empty folders.
const STARTS: usize = 5;

/// Starts the server on an empty folder several times, its PKI and its bootstrap objects included.
pub async fn measure(program: &Path) -> anyhow::Result<Sample> {
    let mut latencies = Vec::new();
    for _ in 0..STARTS {
        latencies.push(Server::start(program).await?.ready_after);
    }
    let total = latencies.iter().sum();
    let mut sample = sample::of_load(&mut latencies, total, None);
    sample.remove(&Metric::Rate);
    Ok(sample)
}
