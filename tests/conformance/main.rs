//! The scenarios of the official conformance suite that an API server and its controllers must pass, without any node
//! agent, by the names that the suite gives them. What they do is our own; `cargo xtask conformance` runs the official
//! ones where the test binary is at hand.
//!
//! They play side by side on one control plane, each in a namespace of its own, and one table is printed at the end.
//! `CONFORMANCE_SCENARIOS=text` chooses those whose name contains the text.

mod api;
mod auth;
mod cli;
mod kinds;
mod life;
mod network;
mod node;
mod nodes;
mod scenarios;
mod scene;

use futures::{FutureExt, StreamExt};
use skiff_tests::kubectl;
use skiff_tests::rest::Rest;
use skiff_tests::stage::Stage;
use skiff_tests::table::Table;
use skiff_tests::with_control_plane;

use crate::scene::Scene;

/// How many scenarios play at a time.
const SIDE_BY_SIDE: usize = 12;

#[test]
fn the_control_plane_does_what_the_suite_asks() {
    with_control_plane("conformance", async |cluster| {
        let chosen = std::env::var("CONFORMANCE_SCENARIOS").unwrap_or_default();
        let rest = Rest::new(cluster.client());
        let kubectl = kubectl::newest();
        nodes::register(&rest).await;
        let scenarios = scenarios::all().into_iter().filter(|(name, _)| name.contains(&chosen)).enumerate();
        let playing = scenarios.map(|(number, (name, scenario))| {
            let (client, url, rest) = (cluster.client(), cluster.url(), rest.clone());
            let (kubectl, kubeconfig, folder) = (kubectl.clone(), cluster.kubeconfig(), cluster.folder.clone());
            async move {
                let stage = Stage::set(client, url, &format!("scene-{number}")).await;
                let scene = Scene { stage: stage.clone(), rest, kubectl, kubeconfig, folder };
                (name, stage.end_with(scenario(scene)).await)
            }
        });
        let all = futures::stream::iter(playing).buffer_unordered(SIDE_BY_SIDE).collect::<Vec<_>>();
        let outcomes = futures::select! {
            outcomes = all.fuse() => outcomes,
            () = nodes::keep_ready(&rest).fuse() => unreachable!("nodes are kept ready for ever"),
        };
        let mut table = Table::new();
        for (name, outcome) in outcomes {
            table.add("suite", name, outcome);
        }
        table.print();
        let failures = table.failures();
        assert!(failures.is_empty(), "{} failed:\n{}", failures.len(), failures.join("\n"));
    });
}
