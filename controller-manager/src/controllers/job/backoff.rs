//! The pause before failed pods are replaced: 10 s after the first failure, doubled with each further one since the last
//! success, up to 10 minutes (upstream `backoff_utils.go`).

use std::sync::Arc;
use std::time::Duration;

use skiff_client::types::Pod;

use super::observe::{FAILURES, IGNORED_FAILURES, Observed, annotation, finished_at};
use super::plan::latest_end;

const FIRST: Duration = Duration::from_secs(10);
const LONGEST: Duration = Duration::from_secs(600);

/// What is left of the pause after these pods' failures; `None` if there is none.
pub(super) fn remaining<'a>(pods: impl Iterator<Item = &'a Arc<Pod>> + Clone, observed: &Observed) -> Option<Duration> {
    let last_success = latest_end(pods.clone().filter(|pod| pod.status.phase == "Succeeded"));
    let failures = pods.filter(|pod| {
        let since = last_success.is_none_or(|success| finished_at(pod).is_some_and(|end| end > success));
        observed.failed(pod) && since
    });
    let failed: Vec<&Arc<Pod>> = failures.collect();
    let last = latest_end(failed.iter().copied())?;
    // A pod of an index says itself how many went before it.
    let before = failed.iter().map(|pod| annotation(pod, FAILURES) + annotation(pod, IGNORED_FAILURES)).max();
    let doublings = u32::try_from(failed.len() - 1).unwrap_or(u32::MAX).max(before.unwrap_or(0).unsigned_abs());
    let pause = FIRST.saturating_mul(1 << doublings.min(16)).min(LONGEST);
    let passed = Duration::try_from(observed.now.duration_since(last)).unwrap_or_default();
    pause.checked_sub(passed).filter(|left| !left.is_zero())
}
