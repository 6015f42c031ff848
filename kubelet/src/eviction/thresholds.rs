//! When the node is short of something (upstream: `pkg/kubelet/eviction/helpers.go`, `api/types.go`). Pure.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

use crate::quantity;

/// Free bytes of a disk that are always enough for the default thresholds: a tenth of a large disk that is used for other
/// things, too, is much more than pods need (kind turns them off for that reason). Thresholds that are set hold as set.
const DISK_FREE_ENOUGH: u64 = 1 << 30;

/// What may run short.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Signal {
    // Memory comes first: it is reclaimed first.
    MemoryAvailable,
    NodeFsAvailable,
    NodeFsInodesFree,
    ImageFsAvailable,
    ImageFsInodesFree,
    PidAvailable,
}

const SIGNALS: [(&str, Signal); 6] = [
    ("memory.available", Signal::MemoryAvailable),
    ("nodefs.available", Signal::NodeFsAvailable),
    ("nodefs.inodesFree", Signal::NodeFsInodesFree),
    ("imagefs.available", Signal::ImageFsAvailable),
    ("imagefs.inodesFree", Signal::ImageFsInodesFree),
    ("pid.available", Signal::PidAvailable),
];

/// The condition of the node that goes with a signal, in the order in which they are named in messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[allow(clippy::enum_variant_names, reason = "the names of the API")]
pub(crate) enum Condition {
    MemoryPressure,
    DiskPressure,
    PidPressure,
}

/// What pods are ended for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Resource {
    Memory,
    EphemeralStorage,
    Inodes,
    Pids,
}

impl Signal {
    fn parse(name: &str) -> anyhow::Result<Self> {
        let found = SIGNALS.iter().find(|(known, _)| *known == name);
        found.map(|(_, signal)| *signal).with_context(|| format!("unsupported eviction signal {name}"))
    }

    pub(crate) fn condition(self) -> Condition {
        match self {
            Signal::MemoryAvailable => Condition::MemoryPressure,
            Signal::PidAvailable => Condition::PidPressure,
            _ => Condition::DiskPressure,
        }
    }

    pub(crate) fn resource(self) -> Resource {
        match self {
            Signal::MemoryAvailable => Resource::Memory,
            Signal::NodeFsAvailable | Signal::ImageFsAvailable => Resource::EphemeralStorage,
            Signal::NodeFsInodesFree | Signal::ImageFsInodesFree => Resource::Inodes,
            Signal::PidAvailable => Resource::Pids,
        }
    }
}

impl Condition {
    /// The type in the Node.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Condition::MemoryPressure => "MemoryPressure",
            Condition::DiskPressure => "DiskPressure",
            Condition::PidPressure => "PIDPressure",
        }
    }
}

impl Resource {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Resource::Memory => "memory",
            Resource::EphemeralStorage => "ephemeral-storage",
            Resource::Inodes => "inodes",
            Resource::Pids => "pids",
        }
    }
}

/// An amount of something of which there is a certain amount in all.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Amount {
    Units(u64),
    Percent(f64),
    /// A share, but never more than so many units.
    PercentAtMost(f64, u64),
}

impl Amount {
    fn parse(text: &str) -> anyhow::Result<Self> {
        if let Some(number) = text.strip_suffix('%') {
            let percent: f64 = number.parse().with_context(|| format!("{text:?} is no percentage"))?;
            ensure!((0.0..=100.0).contains(&percent), "{text} is not between 0% and 100%");
            return Ok(Self::Percent(percent));
        }
        let units = quantity::value(&Quantity(text.to_owned()));
        match u64::try_from(units) {
            Ok(units) if units > 0 => Ok(Self::Units(units)),
            _ => bail!("{text:?} is no positive quantity"),
        }
    }

    /// In units, out of a capacity.
    #[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a share")]
    pub(crate) fn of(self, capacity: u64) -> u64 {
        let share = |percent: f64| (capacity as f64 * percent / 100.0) as u64;
        match self {
            Amount::Units(units) => units,
            Amount::Percent(percent) => share(percent),
            Amount::PercentAtMost(percent, most) => share(percent).min(most),
        }
    }
}

/// How much of something has to be left.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Threshold {
    pub(crate) signal: Signal,
    pub(crate) value: Amount,
    /// How long it may be short before pods are ended.
    pub(crate) grace: Duration,
    /// How much more than the threshold is freed.
    pub(crate) reclaim: Option<Amount>,
    /// Pods are ended at once.
    pub(crate) hard: bool,
}

/// Thresholds as they are written in flags, such as `memory.available` and `100Mi` or `5%`.
pub type Thresholds = BTreeMap<String, String>;

/// When pods are ended because the node is short of something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EvictionPolicy {
    /// Thresholds at which pods are ended at once; `None` for the defaults.
    pub hard: Option<Thresholds>,
    /// Thresholds that have to be passed for a while.
    pub soft: Thresholds,
    /// How long, for each of the soft ones.
    pub soft_grace_period: BTreeMap<String, Duration>,
    /// How much more is freed once a threshold was passed.
    pub minimum_reclaim: Thresholds,
    /// Longest grace period, in seconds, of pods that are ended for soft thresholds.
    pub max_pod_grace_period: i64,
    /// How long the node keeps a condition after the last time it was short.
    pub pressure_transition_period: Duration,
}

impl Default for EvictionPolicy {
    fn default() -> Self {
        Self {
            hard: None,
            soft: Thresholds::new(),
            soft_grace_period: BTreeMap::new(),
            minimum_reclaim: Thresholds::new(),
            max_pod_grace_period: 0,
            pressure_transition_period: Duration::from_secs(5 * 60),
        }
    }
}

impl EvictionPolicy {
    /// All thresholds. The error names what is wrong.
    pub(crate) fn thresholds(&self) -> anyhow::Result<Vec<Threshold>> {
        let mut all = match &self.hard {
            None => defaults(),
            Some(written) => parse(written, true)?,
        };
        for mut soft in parse(&self.soft, false)? {
            let name = SIGNALS.iter().find(|(_, signal)| *signal == soft.signal).map_or("", |(name, _)| name);
            let grace = self.soft_grace_period.get(name);
            soft.grace = *grace
                .with_context(|| format!("grace period must be specified for the soft eviction threshold {name}"))?;
            all.push(soft);
        }
        for (name, written) in &self.minimum_reclaim {
            let (signal, amount) = (Signal::parse(name)?, Amount::parse(written)?);
            for threshold in all.iter_mut().filter(|threshold| threshold.signal == signal) {
                threshold.reclaim = Some(amount);
            }
        }
        all.sort_by_key(|threshold| (threshold.signal, !threshold.hard));
        Ok(all)
    }
}

fn parse(written: &Thresholds, hard: bool) -> anyhow::Result<Vec<Threshold>> {
    let mut thresholds = Vec::new();
    for (name, text) in written {
        let signal = Signal::parse(name)?;
        // Upstream's way of turning one off.
        if text != "0%" && text != "100%" {
            let value = Amount::parse(text).with_context(|| format!("eviction threshold {name}"))?;
            thresholds.push(Threshold { signal, value, grace: Duration::ZERO, reclaim: None, hard });
        }
    }
    Ok(thresholds)
}

fn defaults() -> Vec<Threshold> {
    let threshold = |signal, value| Threshold { signal, value, grace: Duration::ZERO, reclaim: None, hard: true };
    vec![
        threshold(Signal::MemoryAvailable, Amount::Units(100 << 20)),
        threshold(Signal::NodeFsAvailable, Amount::PercentAtMost(10.0, DISK_FREE_ENOUGH)),
        threshold(Signal::NodeFsInodesFree, Amount::Percent(5.0)),
        threshold(Signal::ImageFsAvailable, Amount::PercentAtMost(15.0, DISK_FREE_ENOUGH)),
        threshold(Signal::ImageFsInodesFree, Amount::Percent(5.0)),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(pairs: &[(&str, &str)]) -> Thresholds {
        pairs.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect()
    }

    #[test]
    fn the_defaults_are_upstreams_but_for_large_disks() {
        let all = EvictionPolicy::default().thresholds().expect("thresholds");
        let at = |signal: Signal, capacity: u64| {
            all.iter().find(|threshold| threshold.signal == signal).map(|threshold| threshold.value.of(capacity))
        };
        assert_eq!(at(Signal::MemoryAvailable, 1 << 40), Some(100 << 20));
        assert_eq!(at(Signal::NodeFsAvailable, 1000), Some(100));
        assert_eq!(at(Signal::ImageFsAvailable, 1000), Some(150));
        assert_eq!(at(Signal::NodeFsAvailable, 1 << 40), Some(1 << 30));
        assert_eq!(at(Signal::NodeFsInodesFree, 1000), Some(50));
        assert_eq!(at(Signal::PidAvailable, 1000), None);
    }

    #[test]
    fn flags_are_read() {
        let policy = EvictionPolicy {
            hard: Some(written(&[("memory.available", "1Gi"), ("nodefs.available", "0%"), ("pid.available", "10%")])),
            soft: written(&[("memory.available", "2Gi")]),
            soft_grace_period: [("memory.available".to_owned(), Duration::from_secs(90))].into(),
            minimum_reclaim: written(&[("memory.available", "500Mi")]),
            ..EvictionPolicy::default()
        };
        let all = policy.thresholds().expect("thresholds");
        let shown: Vec<_> = all.iter().map(|t| (t.signal, t.value.of(1000), t.grace.as_secs(), t.hard)).collect();
        assert_eq!(
            shown,
            [
                (Signal::MemoryAvailable, 1 << 30, 0, true),
                (Signal::MemoryAvailable, 2 << 30, 90, false),
                (Signal::PidAvailable, 100, 0, true)
            ]
        );
        assert_eq!(all[0].reclaim, Some(Amount::Units(500 << 20)));
    }

    #[test]
    fn what_is_wrong_is_named() {
        let error = |policy: EvictionPolicy| format!("{:#}", policy.thresholds().expect_err("wrong"));
        let hard = |pairs: &[(&str, &str)]| EvictionPolicy { hard: Some(written(pairs)), ..EvictionPolicy::default() };
        assert_eq!(error(hard(&[("disk", "1%")])), "unsupported eviction signal disk");
        assert!(error(hard(&[("memory.available", "101%")])).contains("is not between 0% and 100%"));
        assert!(error(hard(&[("memory.available", "-1")])).contains("eviction threshold memory.available"));
        let soft = EvictionPolicy { soft: written(&[("pid.available", "1")]), ..EvictionPolicy::default() };
        assert_eq!(error(soft), "grace period must be specified for the soft eviction threshold pid.available");
    }
}
