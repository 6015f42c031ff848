//! `skiff server`: a cluster in the foreground.

use std::path::PathBuf;

use anyhow::Context;
use clap::Args;
use skiff_component_base::{logging, shutdown};

use crate::layout::Layout;
use crate::{Cluster, Settings, doctor};

/// Flags of `skiff server`.
#[derive(Debug, Args)]
pub(crate) struct Server {
    #[command(flatten)]
    settings: Settings,
    /// Settings in a file instead of flags: how `skiff up` passes them on.
    #[arg(long, hide = true)]
    settings_file: Option<PathBuf>,
    /// Leave the terminal, and log to a file.
    #[arg(long, hide = true)]
    background: bool,
}

impl Server {
    /// Runs until a signal.
    pub(crate) fn run(self) -> anyhow::Result<()> {
        let settings = match &self.settings_file {
            None => self.settings,
            Some(path) => {
                let text = std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
                serde_json::from_slice(&text).with_context(|| format!("cannot understand {}", path.display()))?
            }
        };
        if self.background {
            nix::unistd::setsid().context("cannot leave the terminal")?;
            let layout = Layout::new(&settings);
            logging::to_file(&layout.server_log())?;
        } else {
            logging::to_stderr(logging::SERVER_FILTER);
        }
        doctor::require(&settings)?;
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
        runtime.block_on(async {
            let shutdown = shutdown::on_signals()?;
            let cluster = Cluster::start(settings, shutdown).await?;
            tracing::info!(url = cluster.url(), "the cluster runs");
            cluster.ended().await;
            Ok(())
        })
    }
}
