//! The API server as a process of its own: from flags to serving.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use anyhow::Context;
use arc_swap::ArcSwap;
use jiff::Timestamp;
use skiff_storage::{HistoryLimits, Storage};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::config::{Config, Security};
use crate::options::Options;
use crate::pki::kubeconfig::Kubeconfig;
use crate::pki::rotation::keep_current;
use crate::pki::{Identity, Pki, PkiConfig};
use crate::server::{ApiServer, Listener};

/// Serves until `shutdown`.
pub async fn run(options: Options, storage: Arc<dyn Storage>, shutdown: CancellationToken) -> anyhow::Result<()> {
    let tcp =
        TcpListener::bind(options.listen()).await.with_context(|| format!("cannot listen on {}", options.listen()))?;
    let port = tcp.local_addr()?.port();
    let first = u32::from(options.service_cluster_ip_range.network()) + 1;
    let pki = Pki::open(
        &PkiConfig {
            dir: options.cert_dir.clone(),
            node_name: "localhost".to_owned(),
            cluster_domain: "cluster.local".to_owned(),
            service_ip: std::net::Ipv4Addr::from(first).into(),
            node_ips: vec![options.advertise_address],
            extra_sans: Vec::new(),
        },
        Timestamp::now(),
    )?;
    let url = format!("https://127.0.0.1:{port}");
    if let Some(path) = &options.write_kubeconfig {
        write_kubeconfig(&pki, &url, path)?;
    }
    let tls = Arc::new(ArcSwap::from_pointee(pki.server_config()?));
    let (first, last) = options.service_node_port_range;
    let clock: crate::authentication::Clock = Arc::new(Timestamp::now);
    let pki = Arc::new(pki);
    tokio::spawn(keep_current(pki.clone(), tls.clone(), clock, shutdown.clone()));
    let config = Config {
        advertise_address: options.advertise_address,
        advertise_port: port,
        service_cidr: options.service_cluster_ip_range,
        node_ports: first..=last,
        runtime_config: options.runtime_config.clone(),
        services: None,
        history: HistoryLimits::default(),
        audit: options.audit.open()?,
        security: Security::from_pki(&pki, storage.clone(), &url)?,
        shutdown: shutdown.clone(),
    };
    let server = ApiServer::build(config, storage).await?;
    let readying = server.clone();
    tokio::spawn(async move {
        readying.ready().await;
        readying.keep_bootstrapped().await;
    });
    tracing::info!(%url, "serving");
    let result = server.clone().run(vec![Listener { tcp, tls }]).await;
    server.health.caches_ready.store(false, Ordering::Relaxed);
    result
}

fn write_kubeconfig(pki: &Pki, url: &str, path: &std::path::Path) -> anyhow::Result<()> {
    let credential = pki.client(&Identity::Admin, Timestamp::now())?;
    let text = Kubeconfig {
        cluster: "skiff",
        context: "skiff",
        user: "skiff-admin",
        server: url,
        ca_pem: pki.ca().certificate_pem(),
        credential: &credential,
    }
    .render();
    let temporary = path.with_extension("tmp");
    std::fs::write(&temporary, text).with_context(|| format!("cannot write {}", temporary.display()))?;
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(&temporary, std::fs::Permissions::from_mode(0o600))?;
    std::fs::rename(&temporary, path).with_context(|| format!("cannot write {}", path.display()))
}
