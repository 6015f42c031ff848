//! `skiff status`: how a cluster is.

use std::process::ExitCode;

use clap::Args;
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::Api;
use kube::api::ListParams;

use crate::layout::Layout;
use crate::terminal::{line, table};
use crate::{Settings, endpoint, instance};

/// Flags of `skiff status`.
#[derive(Debug, Args)]
pub(crate) struct Status {
    #[command(flatten)]
    settings: Settings,
}

impl Status {
    /// Prints it. 0: runs and is ready. 3: does not run, as init scripts say it. 1: runs, but is not ready.
    pub(crate) async fn run(self) -> anyhow::Result<ExitCode> {
        let layout = Layout::new(&self.settings);
        let name = &self.settings.name;
        let Some(pid) = instance::running(&layout.lock()) else {
            line(format_args!("Cluster {name} does not run."));
            return Ok(ExitCode::from(3));
        };
        let saved = endpoint::saved_settings(&self.settings)?;
        let client = Box::pin(endpoint::admin_client(&layout)).await?;
        let ready = endpoint::is_ready(&client).await;
        let mut rows = vec![
            vec!["cluster".to_owned(), name.clone()],
            vec!["process".to_owned(), pid.to_string()],
            vec!["version".to_owned(), skiff_apiserver::routes::version::git_version()],
            vec!["API server".to_owned(), format!("https://127.0.0.1:{} {}", saved.secure_port, word(ready))],
        ];
        let mut all_ready = ready;
        if ready {
            let nodes = Api::<Node>::all(client.clone()).list(&ListParams::default()).await?;
            for node in nodes {
                let node_ready = condition(
                    node.status.iter().flat_map(|s| s.conditions.iter().flatten()).map(|c| (&c.type_, &c.status)),
                );
                all_ready &= node_ready;
                rows.push(vec![
                    format!("node {}", node.metadata.name.unwrap_or_default()),
                    word(node_ready).to_owned(),
                ]);
            }
            let pods = Api::<Pod>::all(client).list(&ListParams::default()).await?;
            let ready = pods.iter().filter(|pod| {
                condition(pod.status.iter().flat_map(|s| s.conditions.iter().flatten()).map(|c| (&c.type_, &c.status)))
            });
            rows.push(vec!["pods".to_owned(), format!("{} of {} ready", ready.count(), pods.items.len())]);
        }
        table(&rows);
        Ok(if all_ready { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}

fn word(ready: bool) -> &'static str {
    if ready { "ready" } else { "not ready" }
}

fn condition<'a>(mut conditions: impl Iterator<Item = (&'a String, &'a String)>) -> bool {
    conditions.any(|(kind, status)| kind == "Ready" && status == "True")
}
