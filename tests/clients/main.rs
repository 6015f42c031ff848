//! Clients that nobody here wrote, beside `kubectl` (see `compat`): kube-rs, the Python client, client-go, Helm.
//!
//! Every client does its scenarios against one cluster, each in a namespace of its own, and one table is printed at the
//! end. `CLIENT_SCENARIOS=a,b` chooses scenarios by name.

mod client_go;
mod helm;
mod kube_rs;
mod program;
mod python;

use skiff_tests::table::Table;
use skiff_tests::with_cluster;

#[test]
fn every_client_does_its_scenarios() {
    with_cluster("clients", async |cluster| {
        let mut table = Table::new();
        kube_rs::run(cluster, &mut table).await;
        python::run(cluster, &mut table).await;
        client_go::run(cluster, &mut table).await;
        helm::run(cluster, &mut table).await;
        table.print();
        let failures = table.failures();
        assert!(failures.is_empty(), "{} failed:\n{}", failures.len(), failures.join("\n"));
    });
}
