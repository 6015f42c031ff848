//! `kube-scheduler`: the scheduler alone.

use clap::Parser;
use skiff_scheduler::options::Options;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let mut options = Options::parse();
    skiff_component_base::logging::to_stderr(skiff_component_base::logging::SERVER_FILTER);
    let config = options.config()?;
    let shutdown = skiff_component_base::shutdown::on_signals()?;
    let client = skiff_client::connect(options.kubeconfig.as_deref(), options.master.as_deref()).await?;
    skiff_scheduler::run(config, client, shutdown).await
}
