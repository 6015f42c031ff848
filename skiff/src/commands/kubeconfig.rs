//! `skiff kubeconfig`: the administrator's kubeconfig.

use std::path::PathBuf;

use clap::Args;

use crate::layout::Layout;
use crate::terminal::{bytes, note};
use crate::{Settings, endpoint, kubeconfig};

/// Flags of `skiff kubeconfig`.
#[derive(Debug, Args)]
pub(crate) struct Kubeconfig {
    #[command(flatten)]
    settings: Settings,
    /// Add the context to your kubeconfig instead of printing it.
    #[arg(long)]
    merge: bool,
    /// The kubeconfig for --merge [default: $KUBECONFIG, else ~/.kube/config]
    #[arg(long, requires = "merge")]
    kubeconfig: Option<PathBuf>,
}

impl Kubeconfig {
    /// Prints or merges.
    pub(crate) fn run(self) -> anyhow::Result<()> {
        let text = endpoint::admin_kubeconfig(&Layout::new(&self.settings))?;
        if !self.merge {
            return Ok(bytes(text.as_bytes())?);
        }
        let path = self.kubeconfig.map_or_else(kubeconfig::default_path, Ok)?;
        kubeconfig::merge(&path, &text)?;
        note(format_args!("Context {} is in {}", self.settings.name, path.display()));
        Ok(())
    }
}
