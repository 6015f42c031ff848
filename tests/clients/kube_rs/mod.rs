//! kube-rs: typed and dynamic objects, subresources, watches, controllers, leases and streams.

mod controllers;
mod discovery;
mod errors;
mod leases;
mod paging;
mod patches;
mod streams;
mod subresources;
mod typed;
mod watches;

use futures::future::join_all;
use skiff_tests::Cluster;
use skiff_tests::table::Table;

use skiff_tests::stage::{Scenario, Stage};

const SCENARIOS: [Scenario; 14] = [
    ("typed objects", |stage| Box::pin(typed::objects(stage))),
    ("typed preconditions", |stage| Box::pin(typed::preconditions(stage))),
    ("patch types", |stage| Box::pin(patches::types(stage))),
    ("apply", |stage| Box::pin(patches::apply(stage))),
    ("paging", |stage| Box::pin(paging::pages(stage))),
    ("errors", |stage| Box::pin(errors::statuses(stage))),
    ("discovery", |stage| Box::pin(discovery::groups(stage))),
    ("dynamic objects", |stage| Box::pin(discovery::dynamic(stage))),
    ("subresources", |stage| Box::pin(subresources::all(stage))),
    ("watch with list", |stage| Box::pin(watches::listing(stage))),
    ("watch with streamed list", |stage| Box::pin(watches::streaming(stage))),
    ("controller", |stage| Box::pin(controllers::copies(stage))),
    ("lease", |stage| Box::pin(leases::leader(stage))),
    ("streams", |stage| Box::pin(streams::all(stage))),
];

/// Plays all scenarios side by side.
pub(crate) async fn run(cluster: &Cluster, table: &mut Table) {
    let chosen = std::env::var("CLIENT_SCENARIOS").ok();
    let chosen = |name: &str| chosen.as_ref().is_none_or(|names| names.split(',').any(|one| one == name));
    let playing = SCENARIOS.into_iter().filter(|(name, _)| chosen(name)).map(|(name, scenario)| {
        let (client, url) = (cluster.client(), cluster.url());
        async move { (name, Stage::set(client, url, name).await.play(scenario).await) }
    });
    for (name, outcome) in join_all(playing).await {
        table.add("kube-rs", name, outcome);
    }
}
