//! What tests of whole clusters need: a network namespace, the built `skiff` in it, clients, and waiting.
//!
//! ```ignore
//! #[test]
//! fn it_works() {
//!     skiff_tests::with_cluster("works", async |cluster| {
//!         let pods: kube::Api<Pod> = kube::Api::namespaced(cluster.client(), "demo");
//!         ...
//!     });
//! }
//! ```
//!
//! Every test has a cluster of its own: name, folders and network namespace. All of the test's own code runs in that
//! namespace too, so 127.0.0.1 is the cluster's machine, and tests run side by side. Everything is removed at the end,
//! also when the test panics.

pub mod application;
pub mod cluster;
pub mod http1;
pub mod kubectl;
pub mod nameserver;
pub mod network;
pub mod processes;
pub mod rest;
pub mod stage;
pub mod table;
pub mod wait;

use std::panic::AssertUnwindSafe;

use futures::FutureExt;

pub use cluster::Cluster;
pub use wait::{eventually, eventually_within};

/// Threads of a test's own code.
const THREADS: usize = 4;

/// Runs a test in a network namespace of its own, with nothing in it yet.
pub fn with_network<T: Send>(test: impl AsyncFnOnce(&network::Namespace) -> T + Send) -> T {
    // Fails if another test has done it, which is as good.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let namespace = network::Namespace::create().expect("a network namespace; tests of clusters run as root");
    // The namespace of a thread cannot be lent, so this thread is given away afterwards.
    let result = std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            namespace.enter().expect("entered the network namespace");
            let inside = namespace.handle();
            let runtime = tokio::runtime::Builder::new_multi_thread()
                .worker_threads(THREADS)
                .enable_all()
                .on_thread_start(move || inside.enter().expect("entered the network namespace"))
                .build()
                .expect("a runtime");
            runtime.block_on(test(&namespace))
        });
        thread.join()
    });
    result.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

/// Runs a test with a cluster whose node is ready and has the images of the samples.
pub fn with_cluster(name: &str, test: impl AsyncFnOnce(&mut Cluster) + Send) {
    with_cluster_of(name, &[], test);
}

/// Likewise, with further flags of `skiff server`.
pub fn with_cluster_of(name: &str, flags: &[&str], test: impl AsyncFnOnce(&mut Cluster) + Send) {
    with_network(async |network| {
        let mut cluster = Cluster::start_with(name, network, flags).await.expect("a cluster");
        cluster.until_node_ready().await;
        cluster.load_images().await;
        run(&mut cluster, test).await;
    });
}

/// Runs a test with an API server and controllers only: no node.
pub fn with_control_plane(name: &str, test: impl AsyncFnOnce(&mut Cluster) + Send) {
    with_network(async |network| {
        let mut cluster = Cluster::start_with(name, network, &["--disable", "node,dns"]).await.expect("a cluster");
        run(&mut cluster, test).await;
    });
}

/// Runs the test, and shows what the server said if it fails.
async fn run(cluster: &mut Cluster, test: impl AsyncFnOnce(&mut Cluster)) {
    if let Err(panic) = AssertUnwindSafe(test(cluster)).catch_unwind().await {
        cluster.describe().await;
        std::panic::resume_unwind(panic);
    }
}
