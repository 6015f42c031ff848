//! What the scheduler runs and how.

use std::sync::Arc;
use std::time::Duration;

use anyhow::ensure;
use skiff_client::{Clock, SharedInformers, SystemClock, leader_election};

/// Configuration of the scheduler. The defaults are upstream's.
#[derive(Clone)]
pub struct Config {
    /// Name by which pods choose this scheduler.
    pub scheduler_name: String,
    /// First pause of a pod after a failed attempt.
    pub pod_initial_backoff: Duration,
    /// Longest pause of a pod after failed attempts.
    pub pod_max_backoff: Duration,
    /// After this a pod that no event made schedulable is tried again all the same.
    pub pod_max_unschedulable: Duration,
    /// Share of nodes, in percent, that is enough to find feasible; 0: chosen by the size of the cluster.
    pub percentage_of_nodes_to_score: u32,
    /// Bindings that may be written at a time.
    pub parallel_bindings: usize,
    /// Wins the right to run first, if several processes may run.
    pub leader_election: Option<leader_election::Config>,
    /// The process's shared informers; without, the scheduler has its own.
    pub informers: Option<SharedInformers>,
    /// Wall clock.
    pub clock: Arc<dyn Clock>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            scheduler_name: "default-scheduler".into(),
            pod_initial_backoff: Duration::from_secs(1),
            pod_max_backoff: Duration::from_secs(10),
            pod_max_unschedulable: Duration::from_secs(300),
            percentage_of_nodes_to_score: 0,
            parallel_bindings: 64,
            leader_election: None,
            informers: None,
            clock: Arc::new(SystemClock),
        }
    }
}

impl Config {
    /// Refuses a configuration that cannot work, saying which part.
    pub fn validate(&self) -> anyhow::Result<()> {
        ensure!(!self.scheduler_name.is_empty(), "the scheduler must have a name");
        ensure!(!self.pod_initial_backoff.is_zero(), "podInitialBackoffSeconds must be greater than 0");
        ensure!(
            self.pod_max_backoff >= self.pod_initial_backoff,
            "podMaxBackoffSeconds must be greater than or equal to podInitialBackoffSeconds"
        );
        ensure!(self.percentage_of_nodes_to_score <= 100, "percentageOfNodesToScore must be from 0 to 100");
        ensure!((1..=10_000).contains(&self.parallel_bindings), "parallel bindings must be from 1 to 10000");
        Ok(())
    }
}
