//! The API server alone, on the embedded store or in memory.

use std::sync::Arc;

use clap::Parser;
use skiff_apiserver::options::Options;
use skiff_storage::{HistoryLimits, LocalStorage, StorageError, embedded, memory};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let options = Options::parse();
    let storage = Arc::new(open(&options)?);
    let shutdown = CancellationToken::new();
    let stop = shutdown.clone();
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = tokio::signal::ctrl_c() => {}
        }
        stop.cancel();
    });
    skiff_apiserver::standalone::run(options, storage, shutdown).await
}

/// Blocks while the store is read, before there is anything to serve.
fn open(options: &Options) -> Result<LocalStorage, StorageError> {
    match &options.data_dir {
        Some(folder) => embedded::open(&embedded::Config::new(folder)),
        None => memory::open(HistoryLimits::default()),
    }
}
