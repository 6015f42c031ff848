//! What the controller manager runs and how fast.

use std::sync::Arc;
use std::time::Duration;

use anyhow::ensure;
use skiff_client::{Clock, SharedInformers, SystemClock, leader_election};

use crate::controllers;
use crate::controllers::certificates::Signing;
use crate::controllers::service_account_tokens::TokenSigner;

/// The client of a ServiceAccount of kube-system, by its name.
pub type Accounts = Arc<dyn Fn(&str) -> kube::Client + Send + Sync>;

/// Configuration of the controller manager. The defaults are upstream's.
#[derive(Clone)]
pub struct Config {
    /// Controllers that are left out, by name.
    pub disabled: Vec<String>,
    /// Keys that each controller works on at a time.
    pub workers: usize,
    /// Address range of pods, such as `10.244.0.0/16`.
    pub cluster_cidr: String,
    /// Prefix length of each node's part of it.
    pub node_cidr_mask_size: u8,
    /// PEM of the CA that pods find in the ConfigMap kube-root-ca.crt; empty: the ConfigMap is not published.
    pub root_ca: String,
    /// How often nodes are checked.
    pub node_monitor_period: Duration,
    /// How long a node may be silent before it counts as unreachable.
    pub node_monitor_grace_period: Duration,
    /// How long a new node may be silent.
    pub node_startup_grace_period: Duration,
    /// Nodes per second that are tainted NoExecute in a healthy zone.
    pub node_eviction_rate: f64,
    /// Finished pods that are kept.
    pub terminated_pod_gc_threshold: usize,
    /// How long a namespace's content is left alone after its deletion. Where several API servers share a store, each
    /// must have seen the deletion before the content is: 5 s, upstream's value, is safe there. One alone needs none.
    pub namespace_deletion_grace: Duration,
    /// Share of silent nodes from which on the fault is taken to be ours or the network's, and evictions slow down.
    pub unhealthy_zone_threshold: f64,
    /// The authority that signs certificate requests; without, they stay as they are.
    pub signing: Option<Signing>,
    /// Signs tokens of Secrets; without it they get none.
    pub token_signer: Option<TokenSigner>,
    /// Wins the right to run first, if several processes may run.
    pub leader_election: Option<leader_election::Config>,
    /// Makes the client of a controller that acts as a ServiceAccount of kube-system; without, all controllers act as
    /// the user of the process.
    pub accounts: Option<Accounts>,
    /// The process's shared informers; without, the controllers share one set among themselves.
    pub informers: Option<SharedInformers>,
    /// Wall clock.
    pub clock: Arc<dyn Clock>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            disabled: Vec::new(),
            workers: 5,
            cluster_cidr: "10.244.0.0/16".into(),
            node_cidr_mask_size: 24,
            root_ca: String::new(),
            node_monitor_period: Duration::from_secs(5),
            node_monitor_grace_period: Duration::from_secs(50),
            node_startup_grace_period: Duration::from_secs(60),
            node_eviction_rate: 0.1,
            terminated_pod_gc_threshold: 12_500,
            unhealthy_zone_threshold: 0.55,
            namespace_deletion_grace: Duration::ZERO,
            signing: None,
            token_signer: None,
            leader_election: None,
            accounts: None,
            informers: None,
            clock: Arc::new(SystemClock),
        }
    }
}

impl Config {
    /// Whether a controller is to run.
    pub fn is_enabled(&self, name: &str) -> bool {
        !self.disabled.iter().any(|disabled| disabled == name)
    }

    /// Refuses a configuration that cannot work, saying which part.
    pub fn validate(&self) -> anyhow::Result<()> {
        ensure!((1..=1000).contains(&self.workers), "workers must be from 1 to 1000, not {}", self.workers);
        ensure!(!self.node_monitor_period.is_zero(), "node-monitor-period must not be zero");
        for name in &self.disabled {
            let known = controllers::ALL.iter().any(|descriptor| descriptor.name == name);
            ensure!(known, "{name:?} is not the name of a controller");
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_controllers_are_refused() {
        let config = Config { disabled: vec!["replica-controller".into()], ..Config::default() };
        let error = config.validate().expect_err("an unknown name");
        assert_eq!(error.to_string(), r#""replica-controller" is not the name of a controller"#);
        Config::default().validate().expect("the default is valid");
    }
}
