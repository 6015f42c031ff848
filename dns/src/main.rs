//! `skiff-dns`: the cluster's DNS alone.

use clap::Parser;
use skiff_dns::options::Options;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let options = Options::parse();
    skiff_component_base::logging::to_stderr(skiff_component_base::logging::SERVER_FILTER);
    let shutdown = skiff_component_base::shutdown::on_signals()?;
    let client = skiff_client::connect(options.kubeconfig.as_deref(), options.master.as_deref()).await?;
    skiff_dns::run(options.config(), client, shutdown).await
}
