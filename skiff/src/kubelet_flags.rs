//! What can be chosen for the kubelet. Flags carry upstream's names.

use std::collections::BTreeMap;
use std::time::Duration;

use clap::Args;
use serde::{Deserialize, Serialize};
use skiff_apimachinery::quantity::Quantity;
use skiff_kubelet::{EvictionPolicy, ImageGcPolicy, Thresholds};

/// Settings of the kubelet. What is not set has the kubelet's default.
#[derive(Clone, Debug, Default, PartialEq, Eq, Args, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct KubeletFlags {
    /// Thresholds at which pods are evicted at once, e.g. memory.available<100Mi,nodefs.available<10%
    #[arg(long, value_delimiter = ',', value_parser = below)]
    pub eviction_hard: Option<Vec<(String, String)>>,
    /// Thresholds at which pods are evicted after a while.
    #[arg(long, value_delimiter = ',', value_parser = below)]
    pub eviction_soft: Vec<(String, String)>,
    /// How long soft thresholds may be passed, e.g. memory.available=1m30s
    #[arg(long, value_delimiter = ',', value_parser = period)]
    pub eviction_soft_grace_period: Vec<(String, Duration)>,
    /// How much more is freed once a threshold was passed, e.g. imagefs.available=2Gi
    #[arg(long, value_delimiter = ',', value_parser = equals)]
    pub eviction_minimum_reclaim: Vec<(String, String)>,
    /// Longest grace period, in seconds, of pods that are evicted for soft thresholds [default: 0]
    #[arg(long)]
    pub eviction_max_pod_grace_period: Option<i64>,
    /// How long the node keeps a pressure condition [default: 5m]
    #[arg(long, value_parser = duration)]
    pub eviction_pressure_transition_period: Option<Duration>,
    /// Use of the images' disk, in percent, from which on unused images are removed; 100 turns it off [default: 85]
    #[arg(long)]
    pub image_gc_high_threshold: Option<u8>,
    /// Use of the images' disk, in percent, down to which they are removed [default: 80]
    #[arg(long)]
    pub image_gc_low_threshold: Option<u8>,
    /// Least age of an image that is removed [default: 2m]
    #[arg(long, value_parser = duration)]
    pub minimum_image_ttl_duration: Option<Duration>,
    /// Size from which on a container's log is rotated [default: 10Mi]
    #[arg(long, value_parser = size)]
    pub container_log_max_size: Option<u64>,
    /// Log files kept of each container, at least 2 [default: 5]
    #[arg(long)]
    pub container_log_max_files: Option<usize>,
}

impl KubeletFlags {
    /// The kubelet's configuration with what was chosen.
    pub fn apply(&self, config: skiff_kubelet::Config) -> skiff_kubelet::Config {
        let map = |pairs: &[(String, String)]| -> Thresholds { pairs.iter().cloned().collect() };
        let (eviction, images) = (config.eviction, config.image_gc);
        let chosen = self.image_gc_high_threshold.or(self.image_gc_low_threshold).is_some();
        skiff_kubelet::Config {
            eviction: EvictionPolicy {
                hard: self.eviction_hard.as_deref().map(map).or(eviction.hard),
                soft: map(&self.eviction_soft),
                soft_grace_period: self.eviction_soft_grace_period.iter().cloned().collect::<BTreeMap<_, _>>(),
                minimum_reclaim: map(&self.eviction_minimum_reclaim),
                max_pod_grace_period: self.eviction_max_pod_grace_period.unwrap_or(eviction.max_pod_grace_period),
                pressure_transition_period: self
                    .eviction_pressure_transition_period
                    .unwrap_or(eviction.pressure_transition_period),
            },
            image_gc: ImageGcPolicy {
                high_threshold_percent: self.image_gc_high_threshold.unwrap_or(images.high_threshold_percent),
                low_threshold_percent: self.image_gc_low_threshold.unwrap_or(images.low_threshold_percent),
                minimum_age: self.minimum_image_ttl_duration.unwrap_or(images.minimum_age),
                counted_size: if chosen { u64::MAX } else { images.counted_size },
                ..images
            },
            container_log_max_size: self.container_log_max_size.unwrap_or(config.container_log_max_size),
            container_log_max_files: self.container_log_max_files.unwrap_or(config.container_log_max_files),
            ..config
        }
    }
}

fn pair(text: &str, separator: char) -> Result<(String, String), String> {
    match text.split_once(separator) {
        Some((name, value)) if !name.is_empty() && !value.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err(format!("expected NAME{separator}VALUE")),
    }
}

fn below(text: &str) -> Result<(String, String), String> {
    pair(text, '<')
}

fn equals(text: &str) -> Result<(String, String), String> {
    pair(text, '=')
}

fn period(text: &str) -> Result<(String, Duration), String> {
    let (name, value) = equals(text)?;
    Ok((name, duration(&value)?))
}

/// A duration as Go writes it: `1h2m3s`, `500ms`.
fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || format!("{text:?} is no duration such as 90s or 1m30s");
    let (mut rest, mut total) = (text, Duration::ZERO);
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).filter(|length| *length > 0).ok_or_else(wrong)?;
        let (number, after) = rest.split_at(digits);
        let end = after.find(|c: char| c.is_ascii_digit()).unwrap_or(after.len());
        let (unit, after) = after.split_at(end);
        let milliseconds: u64 = match unit {
            "ms" => 1,
            "s" => 1000,
            "m" => 60_000,
            "h" => 3_600_000,
            _ => return Err(wrong()),
        };
        let number: u64 = number.parse().map_err(|_| wrong())?;
        total += Duration::from_millis(number.checked_mul(milliseconds).ok_or_else(wrong)?);
        rest = after;
    }
    if text.is_empty() { Err(wrong()) } else { Ok(total) }
}

/// Bytes as a quantity: `10Mi`, `1000000`.
fn size(text: &str) -> Result<u64, String> {
    let quantity = Quantity::parse(text).map_err(|_| format!("{text:?} is no size such as 10Mi"))?;
    u64::try_from(quantity.value()).ok().filter(|bytes| *bytes > 0).ok_or_else(|| format!("{text} is not positive"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(clap::Parser)]
    struct Flags {
        #[command(flatten)]
        kubelet: KubeletFlags,
    }

    fn config(flags: &[&str]) -> Result<skiff_kubelet::Config, String> {
        let flags = std::iter::once(&"skiff").chain(flags);
        let Flags { kubelet } = clap::Parser::try_parse_from(flags).map_err(|error: clap::Error| error.to_string())?;
        let text = serde_json::to_string(&kubelet).expect("serialized");
        assert_eq!(serde_json::from_str::<KubeletFlags>(&text).expect("read again"), kubelet);
        Ok(kubelet.apply(skiff_kubelet::Config::new("node", "skiff")))
    }

    #[test]
    fn without_flags_the_kubelets_defaults_hold() {
        let (set, default) = (config(&[]).expect("a configuration"), skiff_kubelet::Config::new("node", "skiff"));
        assert_eq!((set.eviction, set.image_gc), (default.eviction, default.image_gc));
        assert_eq!(set.container_log_max_size, 10 << 20);
        assert_eq!(serde_json::from_str::<KubeletFlags>("{}").expect("an older file"), KubeletFlags::default());
    }

    #[test]
    fn flags_are_written_as_upstreams() {
        let set = config(&[
            "--eviction-hard=memory.available<1Gi,nodefs.available<5%",
            "--eviction-soft=memory.available<2Gi",
            "--eviction-soft-grace-period=memory.available=1m30s",
            "--image-gc-high-threshold=100",
            "--minimum-image-ttl-duration=1h",
            "--container-log-max-size=1Mi",
            "--container-log-max-files=3",
        ])
        .expect("a configuration");
        let hard = set.eviction.hard.expect("set");
        assert_eq!((hard["memory.available"].as_str(), hard["nodefs.available"].as_str()), ("1Gi", "5%"));
        assert_eq!(set.eviction.soft_grace_period["memory.available"], Duration::from_secs(90));
        assert_eq!((set.image_gc.high_threshold_percent, set.image_gc.minimum_age), (100, Duration::from_secs(3600)));
        assert_eq!((set.container_log_max_size, set.container_log_max_files), (1 << 20, 3));
        for wrong in
            ["--eviction-hard=memory.available", "--minimum-image-ttl-duration=5", "--container-log-max-size=x"]
        {
            config(&[wrong]).expect_err(wrong);
        }
    }
}
