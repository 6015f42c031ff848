//! The cluster that the scripts are run against.

use std::path::PathBuf;

use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use skiff_tests::Cluster;

/// A cluster, and where homes for its users can be made.
pub(crate) struct Target {
    /// Where it is and who asks.
    pub(crate) kubeconfig: PathBuf,
    /// A folder for homes.
    pub(crate) folder: PathBuf,
    /// The client that reads back.
    pub(crate) client: Client,
    /// Removes the folder of a cluster that is not ours.
    _folder: Option<tempfile::TempDir>,
}

impl Target {
    /// The cluster under test.
    pub(crate) fn ours(cluster: &Cluster) -> Target {
        let (kubeconfig, folder) = (cluster.kubeconfig(), cluster.folder.clone());
        Target { kubeconfig, folder, client: cluster.client(), _folder: None }
    }

    /// One that runs already.
    pub(crate) async fn other(kubeconfig: PathBuf) -> Target {
        let config = Kubeconfig::read_from(&kubeconfig).expect("a kubeconfig");
        let config = Config::from_custom_kubeconfig(config, &KubeConfigOptions::default()).await.expect("a context");
        let folder = tempfile::tempdir().expect("a folder");
        let client = Client::try_from(config).expect("a client");
        Target { kubeconfig, folder: folder.path().to_owned(), client, _folder: Some(folder) }
    }
}
