//! The client of a component that runs as a process of its own.

use std::path::Path;

use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};

/// Why there is no client.
#[derive(Debug)]
pub enum ConnectError {
    /// The kubeconfig cannot be used.
    Kubeconfig(kube::config::KubeconfigError),
    /// Neither was a kubeconfig given, nor does this process run in a pod.
    InCluster(kube::config::InClusterError),
    /// `--master` is not a URL.
    Server(http::uri::InvalidUri),
    /// What the settings say cannot be done.
    Client(kube::Error),
}

impl std::fmt::Display for ConnectError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            ConnectError::Kubeconfig(_) => "cannot use the kubeconfig",
            ConnectError::InCluster(_) => "no --kubeconfig was given, and this is not a pod",
            ConnectError::Server(_) => "--master is not a URL",
            ConnectError::Client(_) => "cannot make a client",
        })
    }
}

impl std::error::Error for ConnectError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(match self {
            ConnectError::Kubeconfig(error) => error,
            ConnectError::InCluster(error) => error,
            ConnectError::Server(error) => error,
            ConnectError::Client(error) => error,
        })
    }
}

/// Makes a client from upstream's flags `--kubeconfig` (without it: as a pod) and `--master` (another server's URL).
pub async fn connect(kubeconfig: Option<&Path>, master: Option<&str>) -> Result<Client, ConnectError> {
    let mut config = match kubeconfig {
        Some(path) => {
            let kubeconfig = Kubeconfig::read_from(path).map_err(ConnectError::Kubeconfig)?;
            let options = KubeConfigOptions::default();
            Config::from_custom_kubeconfig(kubeconfig, &options).await.map_err(ConnectError::Kubeconfig)?
        }
        None => Config::incluster().map_err(ConnectError::InCluster)?,
    };
    if let Some(master) = master {
        config.cluster_url = master.parse().map_err(ConnectError::Server)?;
    }
    // A watch may be silent for minutes.
    config.read_timeout = None;
    Client::try_from(config).map_err(ConnectError::Client)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn without_a_kubeconfig_it_says_what_is_missing() {
        let missing = connect(Some(Path::new("/nonexistent/kubeconfig")), None).await;
        assert!(matches!(missing, Err(ConnectError::Kubeconfig(_))));
    }
}
