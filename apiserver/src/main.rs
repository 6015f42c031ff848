//! The API server alone, on a memory store: for development.

use std::sync::Arc;

use clap::Parser;
use skiff_apiserver::options::Options;
use skiff_storage::HistoryLimits;
use tokio_util::sync::CancellationToken;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let options = Options::parse();
    let storage = Arc::new(skiff_storage::memory::open(HistoryLimits::default())?);
    let shutdown = CancellationToken::new();
    let stop = shutdown.clone();
    tokio::spawn(async move {
        let _ = tokio::signal::ctrl_c().await;
        stop.cancel();
    });
    skiff_apiserver::standalone::run(options, storage, shutdown).await
}
