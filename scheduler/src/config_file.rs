//! `--config`: a KubeSchedulerConfiguration (`kubescheduler.config.k8s.io/v1`), as far as there is something to set.
//! A field that would be ignored is refused, so that nobody believes it works.

use std::time::Duration;

use anyhow::{bail, ensure};
use serde::Deserialize;

use crate::Config;

const API_VERSION: &str = "kubescheduler.config.k8s.io/v1";

/// The file.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct File {
    api_version: String,
    kind: String,
    /// How to reach the API server.
    pub(crate) client_connection: ClientConnection,
    /// Whether to hold a lease.
    pub(crate) leader_election: LeaderElection,
    pod_initial_backoff_seconds: Option<u64>,
    pod_max_backoff_seconds: Option<u64>,
    percentage_of_nodes_to_score: Option<u32>,
    profiles: Vec<ProfileSettings>,
}

/// `clientConnection`.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct ClientConnection {
    /// Path.
    pub(crate) kubeconfig: String,
}

/// `leaderElection`; its times are flags.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct LeaderElection {
    /// Whether to elect; `None` leaves it to the flag.
    pub(crate) leader_elect: Option<bool>,
}

/// One of `profiles`.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
struct ProfileSettings {
    scheduler_name: String,
    percentage_of_nodes_to_score: Option<u32>,
}

/// Reads a file.
pub(crate) fn parse(text: &str) -> anyhow::Result<File> {
    let file: File = serde_saphyr::from_str(text)?;
    if (file.api_version.as_str(), file.kind.as_str()) != (API_VERSION, "KubeSchedulerConfiguration") {
        bail!(
            "expected kind KubeSchedulerConfiguration of {API_VERSION}, not {:?} of {:?}",
            file.kind,
            file.api_version
        );
    }
    ensure!(file.profiles.len() <= 1, "profiles: there may be one, not {}", file.profiles.len());
    Ok(file)
}

impl File {
    /// Sets what the file says.
    pub(crate) fn apply(&self, config: &mut Config) {
        let seconds = |field: Option<u64>, value: &mut Duration| {
            if let Some(seconds) = field {
                *value = Duration::from_secs(seconds);
            }
        };
        seconds(self.pod_initial_backoff_seconds, &mut config.pod_initial_backoff);
        seconds(self.pod_max_backoff_seconds, &mut config.pod_max_backoff);
        let profile = self.profiles.first();
        let percentage = profile.and_then(|profile| profile.percentage_of_nodes_to_score);
        if let Some(percentage) = percentage.or(self.percentage_of_nodes_to_score) {
            config.percentage_of_nodes_to_score = percentage;
        }
        if let Some(profile) = profile.filter(|profile| !profile.scheduler_name.is_empty()) {
            config.scheduler_name.clone_from(&profile.scheduler_name);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: &str = "apiVersion: kubescheduler.config.k8s.io/v1\nkind: KubeSchedulerConfiguration\n";

    #[test]
    fn a_file_sets_what_it_says_and_nothing_else() {
        let text = "podMaxBackoffSeconds: 20\nprofiles:\n- schedulerName: mine\n  percentageOfNodesToScore: 30\n";
        let file = parse(&format!("{HEADER}{text}")).expect("a file");
        let mut config = Config::default();
        file.apply(&mut config);
        assert_eq!((config.scheduler_name.as_str(), config.percentage_of_nodes_to_score), ("mine", 30));
        assert_eq!(config.pod_max_backoff, Duration::from_secs(20));
        assert_eq!(config.pod_initial_backoff, Config::default().pod_initial_backoff);
    }

    #[test]
    fn what_would_be_ignored_is_refused() {
        for (text, expected) in [
            ("extenders: []\n", "extenders"),
            ("profiles: [{}, {}]\n", "profiles: there may be one, not 2"),
            ("profiles: [{plugins: {}}]\n", "plugins"),
        ] {
            let error = parse(&format!("{HEADER}{text}")).expect_err(text);
            assert!(format!("{error:#}").contains(expected), "{error:#}");
        }
        assert!(parse("kind: Pod\napiVersion: v1\n").is_err());
    }
}
