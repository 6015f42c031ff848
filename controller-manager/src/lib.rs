//! The controllers of the control plane: upstream's kube-controller-manager.
//!
//! Every controller is a folder of [`controllers`] with the same anatomy: *observe* reads informers into plain data,
//! *plan* is a pure function from that data to what should be done, *apply* does it. A plan can be printed, and is in
//! the tests: `goldens/*.txt` beside each controller hold objects and the plan they lead to.
//!
//! In reading order: [`config`] says what runs and how fast, [`controllers::ALL`] lists what there is, [`run`] starts
//! them; [`context`] is what each gets, [`control_loop`] drives it. [`ownership`] and [`pods`] are shared by the
//! controllers that own pods.

pub mod conditions;
pub mod config;
pub mod context;
pub mod control_loop;
pub mod controllers;
pub mod discovery;
pub mod ownership;
pub mod percent;
pub mod pod_control;
pub mod pods;
pub mod revisions;
pub mod service_backends;
mod template_hash;

#[cfg(test)]
mod golden;

use anyhow::bail;
use futures::stream::{FuturesUnordered, StreamExt};
use kube::Client;
use skiff_client::{SharedInformers, leader_election};
use tokio_util::sync::CancellationToken;
use tracing::info;

pub use config::Config;
use context::Context;

/// Runs the controllers until shutdown; with leader election, while this process leads.
pub async fn run(config: Config, client: Client, shutdown: CancellationToken) -> anyhow::Result<()> {
    config.validate()?;
    let Some(election) = config.leader_election.clone() else {
        return run_controllers(config, client, shutdown).await;
    };
    let (failed, mut failure) = tokio::sync::mpsc::channel(1);
    leader_election::run(election, client.clone(), shutdown, |leading| {
        let (config, client, failed) = (config.clone(), client.clone(), failed.clone());
        async move {
            if let Err(error) = Box::pin(run_controllers(config, client, leading)).await {
                // One slot is enough: the process ends with the first failure.
                drop(failed.try_send(error));
            }
        }
    })
    .await;
    failure.try_recv().map_or(Ok(()), Err)
}

/// Starts every enabled controller and waits for all of them. The first that fails stops the others.
async fn run_controllers(config: Config, client: Client, shutdown: CancellationToken) -> anyhow::Result<()> {
    let shutdown = shutdown.child_token();
    let informers = config.informers.clone();
    let informers = informers.unwrap_or_else(|| SharedInformers::new(client.clone(), shutdown.clone()));
    let context = Context::new(config, client, informers, shutdown.clone());
    let mut running = FuturesUnordered::new();
    for descriptor in controllers::ALL.iter().filter(|descriptor| context.config.is_enabled(descriptor.name)) {
        let controller = tokio::spawn((descriptor.start)(context.of(descriptor.account)));
        running.push(async move { (descriptor.name, controller.await) });
    }
    info!(controllers = running.len(), "controllers started");
    let mut first_failure = None;
    while let Some((name, ended)) = running.next().await {
        let failure = match ended {
            Ok(Ok(())) if shutdown.is_cancelled() => continue,
            Ok(Ok(())) => anyhow::anyhow!("controller {name} ended by itself"),
            Ok(Err(error)) => error.context(format!("controller {name}")),
            Err(panic) => anyhow::anyhow!("controller {name}: {panic}"),
        };
        shutdown.cancel();
        first_failure.get_or_insert(failure);
    }
    if let Some(failure) = first_failure {
        bail!(failure);
    }
    Ok(())
}
