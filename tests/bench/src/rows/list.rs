//! Lists of all pods.

use std::time::Instant;

use anyhow::ensure;
use hyper::Method;

use super::{Settings, pods_path};
use crate::client::Call;
use crate::sample::{self, Metric, Sample};
use crate::target::Target;

/// Lists that do not count, and lists that do.
const WARM_UP: usize = 2;
const MEASURED: usize = 10;

/// No pod is smaller than this in any encoding.
const LEAST_BYTES: usize = 500;

/// Lists the pods of the namespace in one encoding, one list after the other.
pub async fn measure(target: &Target, accept: &'static str, settings: &Settings) -> anyhow::Result<Sample> {
    let mut connection = target.endpoint.connect().await?;
    let path = pods_path();
    let (mut latencies, mut bytes, mut before) = (Vec::new(), 0, None);
    let mut first = Instant::now();
    for number in 0..WARM_UP + MEASURED {
        if number == WARM_UP {
            before = target.cpu()?;
            first = Instant::now();
        }
        let begun = Instant::now();
        let length = connection.drain(Call { accept, ..Call::new(Method::GET, &path) }).await?;
        ensure!(length > settings.many * LEAST_BYTES, "the list of {} pods has {length} bytes only", settings.many);
        bytes = length;
        if number >= WARM_UP {
            latencies.push(begun.elapsed());
        }
    }
    let cpu = before.zip(target.cpu()?).map(|(before, after)| after - before);
    let mut sample = sample::of_load(&mut latencies, first.elapsed(), cpu);
    sample.insert(Metric::Bytes, bytes as f64);
    Ok(sample)
}
