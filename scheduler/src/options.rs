//! The command line of the scheduler when it runs on its own, under upstream's names and with upstream's defaults
//! (`cmd/kube-scheduler/app/options`).

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, bail};
use clap::{ArgAction, Parser};
use skiff_client::leader_election;

use crate::Config;
use crate::config_file;

/// Gives every pod a node.
#[derive(Clone, Debug, Parser)]
#[command(name = "kube-scheduler", version)]
pub struct Options {
    /// Path to the kubeconfig; without it, the scheduler must run in a pod
    #[arg(long)]
    pub kubeconfig: Option<PathBuf>,
    /// URL of the API server, in place of the kubeconfig's
    #[arg(long)]
    pub master: Option<String>,
    /// Path to a KubeSchedulerConfiguration (kubescheduler.config.k8s.io/v1); what it says goes before flags
    #[arg(long)]
    config: Option<PathBuf>,
    /// Schedule only while holding the lease, so that several schedulers may be started
    #[arg(long, default_value_t = true, action = ArgAction::Set, num_args = 0..=1, default_missing_value = "true", require_equals = true)]
    leader_elect: bool,
    /// How long others wait for the leader after its last sign
    #[arg(long, default_value = "15s", value_parser = parse_duration)]
    leader_elect_lease_duration: Duration,
    /// How long the leader goes on without renewing
    #[arg(long, default_value = "10s", value_parser = parse_duration)]
    leader_elect_renew_deadline: Duration,
    /// Time between tries to take or renew the lease
    #[arg(long, default_value = "2s", value_parser = parse_duration)]
    leader_elect_retry_period: Duration,
    /// Name of the lease
    #[arg(long, default_value = "kube-scheduler")]
    leader_elect_resource_name: String,
    /// Namespace of the lease
    #[arg(long, default_value = "kube-system")]
    leader_elect_resource_namespace: String,
    /// After this a pod is tried again although nothing happened that could help it
    #[arg(long, default_value = "5m", value_parser = parse_duration)]
    pod_max_in_unschedulable_pods_duration: Duration,
}

impl Options {
    /// The settings that options and configuration file stand for. Takes the kubeconfig over from the file.
    pub fn config(&mut self) -> anyhow::Result<Config> {
        let mut config =
            Config { pod_max_unschedulable: self.pod_max_in_unschedulable_pods_duration, ..Config::default() };
        if let Some(path) = &self.config {
            let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
            let file = config_file::parse(&text).with_context(|| format!("cannot use {}", path.display()))?;
            file.apply(&mut config);
            self.leader_elect = file.leader_election.leader_elect.unwrap_or(self.leader_elect);
            if !file.client_connection.kubeconfig.is_empty() {
                self.kubeconfig = Some(file.client_connection.kubeconfig.into());
            }
        }
        if self.leader_elect {
            config.leader_election = Some(self.election()?);
        }
        config.validate()?;
        Ok(config)
    }

    fn election(&self) -> anyhow::Result<leader_election::Config> {
        let (namespace, name) = (&self.leader_elect_resource_namespace, &self.leader_elect_resource_name);
        let election = leader_election::Config {
            lease_duration: self.leader_elect_lease_duration,
            renew_deadline: self.leader_elect_renew_deadline,
            retry_period: self.leader_elect_retry_period,
            ..leader_election::Config::new(namespace, name, &identity()?)
        };
        if election.lease_duration <= election.renew_deadline {
            bail!("leaderElection.leaseDuration must be greater than RenewDeadline");
        }
        if election.renew_deadline <= election.retry_period || election.retry_period.is_zero() {
            bail!("leaderElection.renewDeadline must be greater than RetryPeriod, and that greater than zero");
        }
        Ok(election)
    }
}

/// Who we are among the candidates: the host's name, and an identifier of this process.
fn identity() -> anyhow::Result<String> {
    let read = |name: &str| std::fs::read_to_string(format!("/proc/sys/kernel/{name}"));
    let host = read("hostname").context("cannot read the host's name")?;
    let random = read("random/uuid").context("cannot read a random identifier")?;
    Ok(format!("{}_{}", host.trim(), random.trim()))
}

/// A duration in Go's form, such as `1m30s` or `500ms`.
fn parse_duration(text: &str) -> Result<Duration, String> {
    let invalid = || format!("invalid duration {text:?}, expected a form such as 1m30s");
    let mut rest = text;
    let mut total = Duration::ZERO;
    if rest.is_empty() {
        return Err(invalid());
    }
    while !rest.is_empty() {
        let digits = rest.find(|character: char| !character.is_ascii_digit()).ok_or_else(invalid)?;
        let amount: u32 = rest[..digits].parse().map_err(|_| invalid())?;
        rest = &rest[digits..];
        let unit = rest.find(|character: char| character.is_ascii_digit()).unwrap_or(rest.len());
        let one = match &rest[..unit] {
            "ms" => Duration::from_millis(1),
            "s" => Duration::from_secs(1),
            "m" => Duration::from_secs(60),
            "h" => Duration::from_secs(3600),
            _ => return Err(invalid()),
        };
        total = one.checked_mul(amount).and_then(|part| total.checked_add(part)).ok_or_else(invalid)?;
        rest = &rest[unit..];
    }
    Ok(total)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(flags: &[&str]) -> Result<Options, clap::Error> {
        Options::try_parse_from(std::iter::once(&"kube-scheduler").chain(flags))
    }

    #[test]
    fn upstreams_flags_become_settings() {
        let config = parse(&[]).expect("no flags").config().expect("settings");
        let election = config.leader_election.expect("on by default");
        assert_eq!((election.namespace.as_str(), election.name.as_str()), ("kube-system", "kube-scheduler"));
        let flags = ["--leader-elect=false", "--pod-max-in-unschedulable-pods-duration=1m30s", "--kubeconfig=/k"];
        let config = parse(&flags).expect("known flags").config().expect("settings");
        assert!(config.leader_election.is_none());
        assert_eq!(config.pod_max_unschedulable, Duration::from_secs(90));
        assert!(parse(&["--leader-elect-retry-period=2"]).is_err());
        let late = parse(&["--leader-elect-renew-deadline=20s"]).expect("known flags").config();
        let error = late.err().expect("the lease would be lost first");
        assert_eq!(error.to_string(), "leaderElection.leaseDuration must be greater than RenewDeadline");
    }
}
