//! Measured values and the arithmetic on them.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

/// What a value says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Metric {
    /// Operations per second.
    Rate,
    /// Half of the operations took at most this long, in seconds.
    P50,
    /// All but a hundredth of the operations took at most this long, in seconds.
    P99,
    /// CPU time of the server per operation, in seconds.
    CpuPerOp,
    /// Share of one core.
    Cores,
    /// Bytes.
    Bytes,
}

impl Metric {
    /// Whether a larger value is a better one.
    pub fn larger_is_better(self) -> bool {
        self == Metric::Rate
    }

    /// A value of this metric as people write it.
    pub fn show(self, value: f64) -> String {
        match self {
            Metric::Rate if value >= 100.0 => format!("{value:.0}/s"),
            Metric::Rate => format!("{value:.1}/s"),
            Metric::P50 | Metric::P99 | Metric::CpuPerOp => show_seconds(value),
            Metric::Cores => format!("{:.2} % of a core", value * 100.0),
            Metric::Bytes if value.abs() < 1e5 => format!("{:.1} KiB", value / 1024.0),
            Metric::Bytes => format!("{:.1} MB", value / 1e6),
        }
    }
}

impl fmt::Display for Metric {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Metric::Rate => "rate",
            Metric::P50 => "p50",
            Metric::P99 => "p99",
            Metric::CpuPerOp => "CPU per operation",
            Metric::Cores => "CPU",
            Metric::Bytes => "bytes",
        })
    }
}

fn show_seconds(seconds: f64) -> String {
    if seconds < 0.001 {
        format!("{:.0} µs", seconds * 1e6)
    } else if seconds < 0.1 {
        format!("{:.2} ms", seconds * 1e3)
    } else if seconds < 10.0 {
        format!("{:.0} ms", seconds * 1e3)
    } else {
        format!("{seconds:.1} s")
    }
}

/// The values of one run.
pub type Sample = BTreeMap<Metric, f64>;

/// The values of one run of a load.
pub fn of_load(latencies: &mut [Duration], elapsed: Duration, cpu: Option<Duration>) -> Sample {
    latencies.sort_unstable();
    let mut sample = Sample::new();
    if latencies.is_empty() {
        return sample;
    }
    let count = latencies.len() as f64;
    sample.insert(Metric::Rate, count / elapsed.as_secs_f64());
    sample.insert(Metric::P50, percentile(latencies, 0.50).as_secs_f64());
    sample.insert(Metric::P99, percentile(latencies, 0.99).as_secs_f64());
    if let Some(cpu) = cpu {
        sample.insert(Metric::CpuPerOp, cpu.as_secs_f64() / count);
    }
    sample
}

/// The smallest of sorted values that at least this share of them does not exceed.
pub fn percentile(sorted: &[Duration], share: f64) -> Duration {
    let rank = (share * sorted.len() as f64).ceil() as usize;
    sorted[rank.clamp(1, sorted.len()) - 1]
}

/// The middle of some values; `None` if there are none.
pub fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() {
        0 => None,
        count if count % 2 == 1 => Some(values[middle]),
        _ => Some((values[middle - 1] + values[middle]) / 2.0),
    }
}

/// The median of each metric over several runs.
pub fn medians(samples: &[Sample]) -> Sample {
    let metrics = samples.iter().flat_map(|sample| sample.keys().copied());
    metrics
        .filter_map(|metric| {
            let values = samples.iter().filter_map(|sample| sample.get(&metric).copied()).collect();
            Some((metric, median(values)?))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_values_that_occurred() {
        let sorted: Vec<_> = (1..=100).map(Duration::from_millis).collect();
        assert_eq!(percentile(&sorted, 0.50), Duration::from_millis(50));
        assert_eq!(percentile(&sorted, 0.99), Duration::from_millis(99));
        assert_eq!(percentile(&sorted[..1], 0.99), Duration::from_millis(1));
    }

    #[test]
    fn medians_are_taken_metric_by_metric() {
        let sample = |rate, p50| Sample::from([(Metric::Rate, rate), (Metric::P50, p50)]);
        let medians = medians(&[sample(1.0, 9.0), sample(3.0, 7.0), sample(2.0, 8.0)]);
        assert_eq!(medians, sample(2.0, 8.0));
        assert_eq!(median(vec![1.0, 2.0]), Some(1.5));
        assert_eq!(median(vec![]), None);
    }

    #[test]
    fn a_load_counts_what_was_done_in_its_time() {
        let mut latencies = vec![Duration::from_millis(2); 10];
        let sample = of_load(&mut latencies, Duration::from_secs(2), Some(Duration::from_millis(30)));
        assert_eq!(sample[&Metric::Rate], 5.0);
        assert_eq!(Metric::CpuPerOp.show(sample[&Metric::CpuPerOp]), "3.00 ms");
        assert_eq!(Metric::P50.show(0.000_25), "250 µs");
    }
}
