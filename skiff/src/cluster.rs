//! Putting the parts together. What `skiff server` runs, and what tests start in their own process.
//!
//! The order: lock, store and keys side by side, API server, and when it can be read, everything that is a client of
//! it. A part that fails is started again; only the API server's own end is the end of the cluster.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use anyhow::Context;
use arc_swap::ArcSwap;
use jiff::{SignedDuration, Timestamp};
use kube::Client;
use skiff_apiserver::authentication::service_account::TokenKeys;
use skiff_apiserver::pki::kubeconfig::Kubeconfig;
use skiff_apiserver::pki::rotation::keep_current;
use skiff_apiserver::pki::{Identity, Pki, PkiConfig};
use skiff_apiserver::server::{Listener, Service};
use skiff_apiserver::{ApiServer, Config, Security};
use skiff_component_base::supervise::keep_running;
use skiff_controller_manager::controllers::certificates::Signing;
use skiff_controller_manager::controllers::service_account_tokens::{TokenOf, TokenSigner};
use skiff_storage::{HistoryLimits, Storage};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::instance::Instance;
use crate::layout::{Layout, write_private};
use crate::settings::Component;
use crate::{Settings, in_process, machine, node, store};

/// Longest life of the certificates that the cluster signs (upstream's `--cluster-signing-duration`).
const CERTIFICATE_LIFE: SignedDuration = SignedDuration::from_hours(365 * 24);

/// A running cluster.
pub struct Cluster {
    /// What it was started with, with nothing left open: names, addresses and ports are those in use.
    pub settings: Settings,
    /// Where everything lies.
    pub layout: Layout,
    /// Keys and certificates.
    pub pki: Arc<Pki>,
    /// Name of this node.
    pub node_name: String,
    /// Address of this node.
    pub node_ip: IpAddr,
    server: Arc<ApiServer>,
    shutdown: CancellationToken,
    tasks: TaskTracker,
    _instance: Instance,
}

impl Cluster {
    /// Starts a cluster, and returns when its API server is ready. It runs until `shutdown`.
    pub async fn start(mut settings: Settings, shutdown: CancellationToken) -> anyhow::Result<Self> {
        // Fails if there is one already, which is as good.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let layout = Layout::new(&settings);
        layout.create()?;
        let instance = Instance::acquire(&layout.lock(), &settings.name)?;
        let node_name = settings.node_name.clone().map_or_else(machine::node_name, Ok)?;
        let node_ip = settings.node_ip.map_or_else(machine::node_ip, Ok)?;
        let address = SocketAddr::new(settings.bind_address, settings.secure_port);
        let tcp = TcpListener::bind(address).await.with_context(|| {
            format!("cannot listen on {address}; end what listens there, or choose another port with --secure-port")
        })?;
        settings.secure_port = tcp.local_addr()?.port();
        settings.node_name = Some(node_name.clone());
        settings.node_ip = Some(node_ip);

        let (storage, pki) =
            tokio::try_join!(store::open(&settings, &layout), open_pki(&settings, &layout, &node_name, node_ip))?;
        let tasks = TaskTracker::new();
        let server = serve(&settings, storage, pki.clone(), node_ip, tcp, &tasks, &shutdown).await?;
        let cluster = Self { settings, layout, pki, node_name, node_ip, server, shutdown, tasks, _instance: instance };
        cluster.write_files()?;
        cluster.server.ready().await;
        cluster.keep_bootstrapped().await;
        cluster.start_components()?;
        Ok(cluster)
    }

    /// URL of the API server on this machine.
    pub fn url(&self) -> String {
        format!("https://{}", SocketAddr::new(local(self.settings.bind_address), self.settings.secure_port))
    }

    /// A client in memory with this identity.
    pub fn client(&self, identity: &Identity) -> Client {
        in_process::client(self.service(), identity)
    }

    /// The administrator's kubeconfig; its one context has the name of the cluster.
    pub fn admin_kubeconfig(&self) -> anyhow::Result<String> {
        let credential = self.pki.client(&Identity::Admin, Timestamp::now())?;
        let name = &self.settings.name;
        let (user, server) = (format!("{name}-admin"), self.url());
        let ca_pem = self.pki.ca().certificate_pem();
        let config =
            Kubeconfig { cluster: name, context: name, user: &user, server: &server, ca_pem, credential: &credential };
        Ok(config.render())
    }

    /// Waits for the shutdown, and then for every part to end.
    pub async fn ended(self) {
        self.shutdown.cancelled().await;
        self.tasks.close();
        self.tasks.wait().await;
    }

    pub(crate) fn service(&self) -> Service {
        self.server.service()
    }

    pub(crate) fn shutdown(&self) -> &CancellationToken {
        &self.shutdown
    }

    /// Runs a part until shutdown, again when it fails.
    pub(crate) fn supervise<F>(&self, name: &'static str, make: impl FnMut() -> F + Send + 'static)
    where
        F: Future<Output = anyhow::Result<()>> + Send + 'static,
    {
        let shutdown = self.shutdown.clone();
        self.tasks.spawn(async move { keep_running(name, &shutdown, make).await });
    }

    fn write_files(&self) -> anyhow::Result<()> {
        let settings = serde_json::to_vec_pretty(&self.settings).context("cannot write the settings")?;
        write_private(&self.layout.settings(), &settings)?;
        write_private(&self.layout.admin_kubeconfig(), self.admin_kubeconfig()?.as_bytes())
    }

    /// Returns when what must exist at start exists, and goes on looking after it.
    async fn keep_bootstrapped(&self) {
        if let Err(error) = self.server.bootstrap().await {
            tracing::warn!(%error, "what must exist could not be made; trying again");
        }
        self.tasks.spawn(self.server.clone().keep_bootstrapped());
    }

    fn start_components(&self) -> anyhow::Result<()> {
        if self.settings.runs(Component::ControllerManager) {
            self.start_controllers()?;
        }
        if self.settings.runs(Component::Scheduler) {
            let client = self.client(&Identity::Scheduler);
            let shutdown = self.shutdown.clone();
            self.supervise("scheduler", move || {
                skiff_scheduler::run(skiff_scheduler::Config::default(), client.clone(), shutdown.clone())
            });
        }
        if self.settings.runs(Component::Node) {
            node::start(self)?;
        }
        if self.settings.runs(Component::Dns) {
            node::start_dns(self);
        }
        Ok(())
    }

    fn start_controllers(&self) -> anyhow::Result<()> {
        let service = self.service();
        let accounts = {
            let service = service.clone();
            Arc::new(move |name: &str| in_process::service_account(service.clone(), "kube-system", name))
        };
        let authority = self.pki.ca();
        let key = authority.key_path();
        let signing = Signing {
            certificate_pem: authority.certificate_pem().to_owned(),
            key_pem: std::fs::read_to_string(key).with_context(|| format!("cannot read {}", key.display()))?,
            duration: CERTIFICATE_LIFE,
        };
        let keys = TokenKeys::new(self.pki.service_account_key_pem(), &[])?;
        let token_signer: TokenSigner =
            Arc::new(move |of: &TokenOf<'_>| Ok(keys.legacy_token(of.namespace, of.account, of.uid, of.secret)?));
        let config = skiff_controller_manager::Config {
            token_signer: Some(token_signer),
            accounts: Some(accounts),
            signing: Some(signing),
            cluster_cidr: self.settings.cluster_cidr.to_string(),
            root_ca: self.pki.ca().certificate_pem().to_owned(),
            ..skiff_controller_manager::Config::default()
        };
        let client = in_process::client(service, &Identity::ControllerManager);
        let shutdown = self.shutdown.clone();
        self.supervise("controller-manager", move || {
            skiff_controller_manager::run(config.clone(), client.clone(), shutdown.clone())
        });
        Ok(())
    }
}

/// The address that clients on this machine use for a listener.
fn local(bind: IpAddr) -> IpAddr {
    if bind.is_unspecified() { IpAddr::from([127, 0, 0, 1]) } else { bind }
}

async fn open_pki(settings: &Settings, layout: &Layout, node_name: &str, node_ip: IpAddr) -> anyhow::Result<Arc<Pki>> {
    let config = PkiConfig {
        dir: layout.pki(),
        node_name: node_name.to_owned(),
        cluster_domain: settings.cluster_domain.clone(),
        service_ip: settings.service_ip(1).into(),
        node_ips: vec![node_ip],
        extra_sans: settings.tls_san.clone(),
    };
    let pki = tokio::task::spawn_blocking(move || Pki::open(&config, Timestamp::now())).await??;
    Ok(Arc::new(pki))
}

async fn serve(
    settings: &Settings,
    storage: Arc<dyn Storage>,
    pki: Arc<Pki>,
    node_ip: IpAddr,
    tcp: TcpListener,
    tasks: &TaskTracker,
    shutdown: &CancellationToken,
) -> anyhow::Result<Arc<ApiServer>> {
    let url = format!("https://{}", SocketAddr::new(node_ip, settings.secure_port));
    let tls = Arc::new(ArcSwap::from_pointee(pki.server_config()?));
    let clock: skiff_apiserver::authentication::Clock = Arc::new(Timestamp::now);
    tasks.spawn(keep_current(pki.clone(), tls.clone(), clock, shutdown.clone()));
    let (first, last) = settings.service_node_port_range;
    let config = Config {
        advertise_address: node_ip,
        advertise_port: settings.secure_port,
        service_cidr: settings.service_cluster_ip_range,
        node_ports: first..=last,
        runtime_config: settings.runtime_config.clone(),
        services: None,
        history: HistoryLimits::default(),
        audit: settings.audit.open()?,
        security: Security::from_pki(&pki, storage.clone(), &url)?,
        shutdown: shutdown.clone(),
    };
    let server = ApiServer::build(config, storage).await?;
    let (running, shutdown) = (server.clone(), shutdown.clone());
    tasks.spawn(async move {
        if let Err(error) = running.run(vec![Listener { tcp, tls }]).await {
            tracing::error!("the API server failed: {error:#}");
            shutdown.cancel();
        }
    });
    tracing::info!(%url, "the API server listens");
    Ok(server)
}
