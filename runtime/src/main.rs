//! `skiff-runtime`: the container runtime alone, for use with other kubelets and for its own tests.

use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use ipnet::Ipv4Net;
use skiff_runtime::Config;
use tokio_util::sync::CancellationToken;

/// Serves CRI v1 on a unix socket.
#[derive(Parser)]
#[command(version)]
struct Options {
    /// Cluster name, part of every link, table and cgroup.
    #[arg(long, default_value = "skiff")]
    name: String,
    /// Images and records; survives a reboot [default: /var/lib/skiff/NAME/runtime]
    #[arg(long)]
    root_dir: Option<PathBuf>,
    /// Namespaces, mounts and shim sockets [default: /run/skiff/NAME/runtime]
    #[arg(long)]
    state_dir: Option<PathBuf>,
    /// The CRI socket [default: /run/skiff/NAME/cri.sock]
    #[arg(long)]
    socket: Option<PathBuf>,
    /// Range of all pods of the cluster.
    #[arg(long, default_value_t = Ipv4Net::new_assert(Ipv4Addr::new(10, 244, 0, 0), 16))]
    cluster_cidr: Ipv4Net,
    /// Range of this node's pods, if the kubelet does not set it.
    #[arg(long)]
    pod_cidr: Option<Ipv4Net>,
    /// Registries spoken to without TLS.
    #[arg(long, value_delimiter = ',')]
    insecure_registries: Vec<String>,
    /// Remove everything this cluster's runtime left on the machine but its images, and exit.
    #[arg(long)]
    cleanup: bool,
}

fn main() -> ExitCode {
    if let Some(code) = skiff_runtime::shim_main() {
        return code;
    }
    let options = Options::parse();
    let _ = tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .try_init();
    let served = tokio::runtime::Runtime::new()
        .map_err(Into::into)
        .and_then(|runtime| runtime.block_on(serve(options)));
    match served {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn serve(options: Options) -> anyhow::Result<()> {
    let default = Config::new(&options.name);
    let config = Config {
        root_dir: options.root_dir.unwrap_or(default.root_dir),
        state_dir: options.state_dir.unwrap_or(default.state_dir),
        socket: options.socket.unwrap_or(default.socket),
        cluster_range: options.cluster_cidr,
        pod_cidr: options.pod_cidr,
        insecure_registries: options.insecure_registries,
        ..Config::new(&options.name)
    };
    if options.cleanup {
        return skiff_runtime::cleanup_all(&config).await;
    }
    let shutdown = CancellationToken::new();
    let signalled = shutdown.clone();
    tokio::spawn(async move {
        let mut terminate =
            match tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()) {
                Ok(terminate) => terminate,
                Err(error) => return tracing::error!(%error, "SIGTERM cannot be handled"),
            };
        tokio::select! {
            _ = terminate.recv() => {}
            _ = tokio::signal::ctrl_c() => {}
        }
        signalled.cancel();
    });
    skiff_runtime::run(config, shutdown).await
}
