//! `kube-proxy`: the service proxy alone.

use anyhow::Context;
use clap::Parser;
use skiff_proxy::options::Options;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let options = Options::parse();
    skiff_component_base::logging::to_stderr(skiff_component_base::logging::SERVER_FILTER);
    let config = options.config()?;
    if options.cleanup {
        return skiff_proxy::cleanup(&config.cluster, config.service_range).await.context("cannot clean up");
    }
    let shutdown = skiff_component_base::shutdown::on_signals()?;
    let client = skiff_client::connect(options.kubeconfig.as_deref(), options.master.as_deref()).await?;
    skiff_proxy::run(config, client, shutdown).await
}
