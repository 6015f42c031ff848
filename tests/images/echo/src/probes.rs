//! What the probe endpoints answer: yes, unless told to fail or ending.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// The three probes, named as their addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Probe {
    Startup,
    Readiness,
    Liveness,
}

/// How long a probe is told to fail.
#[derive(Clone, Copy, Debug)]
enum Failure {
    Until(Instant),
    ForGood,
}

/// What the probes were told.
#[derive(Default)]
pub(crate) struct Probes(Mutex<[Option<Failure>; 3]>);

// === impl Probe ===

impl Probe {
    pub(crate) fn parse(name: &str) -> Option<Self> {
        match name {
            "startupz" => Some(Self::Startup),
            "readyz" => Some(Self::Readiness),
            "healthz" => Some(Self::Liveness),
            _ => None,
        }
    }
}

// === impl Probes ===

impl Probes {
    /// Makes `probe` fail for `time` from `now` on, or for good.
    pub(crate) fn fail(&self, probe: Probe, time: Option<Duration>, now: Instant) {
        // A time beyond what the clock can say is for good.
        let until = time.and_then(|time| now.checked_add(time));
        self.lock()[probe as usize] = Some(until.map_or(Failure::ForGood, Failure::Until));
    }

    /// All probes succeed again.
    pub(crate) fn recover(&self) {
        *self.lock() = Default::default();
    }

    /// Why `probe` fails at `now`, if it does. A server that ends is not ready, but alive.
    pub(crate) fn failing(&self, probe: Probe, ending: bool, now: Instant) -> Option<&'static str> {
        let told = match self.lock()[probe as usize] {
            Some(Failure::ForGood) => true,
            Some(Failure::Until(end)) => now < end,
            None => false,
        };
        match told {
            true => Some("failing as told"),
            false => (probe == Probe::Readiness && ending).then_some("ending"),
        }
    }

    fn lock(&self) -> MutexGuard<'_, [Option<Failure>; 3]> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn probes_fail_when_told_and_while_ending() {
        let now = Instant::now();
        let at = |seconds| now + Duration::from_secs(seconds);
        let probes = Probes::default();
        let failing = |probe, ending, seconds| probes.failing(probe, ending, at(seconds)).is_some();

        assert!(!failing(Probe::Readiness, false, 0));
        assert!(failing(Probe::Readiness, true, 0));
        assert!(!failing(Probe::Liveness, true, 0));
        assert!(!failing(Probe::Startup, true, 0));

        probes.fail(Probe::Readiness, Some(Duration::from_secs(5)), at(10));
        assert!(failing(Probe::Readiness, false, 14));
        assert!(!failing(Probe::Liveness, false, 14));
        assert!(!failing(Probe::Readiness, false, 15));

        for time in [None, Some(Duration::MAX)] {
            probes.fail(Probe::Liveness, time, at(20));
            assert!(failing(Probe::Liveness, false, 1_000_000));
            probes.recover();
            assert!(!failing(Probe::Liveness, false, 21));
        }
    }
}
