//! Putting the parts together: build, then run.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};

use anyhow::Context as _;
use k8s_openapi::api::core::v1::Pod;
use kube::Client;
use skiff_client::watch::Source;
use skiff_client::{Event, EventRecorder, Informer, Kind, types};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::admission::Admission;
use crate::backoff::Backoff;
use crate::cgroups::Cgroups;
use crate::config::Config;
use crate::context::{Context, Settings};
use crate::events::Events;
use crate::eviction::Eviction;
use crate::housekeeping;
use crate::images::Images;
use crate::images::gc::ImageGc;
use crate::logs::rotate;
use crate::node::machine::default_address;
use crate::node::{NodeAgent, NodeConfig};
use crate::pleg;
use crate::pod_workers::PodWorkers;
use crate::probes::{ProbeKind, ProbeResult, Probes};
use crate::runtime::Runtime;
use crate::server::Server;
use crate::spec::dns::{NodeDns, parse_resolv_conf};
use crate::status::manager::StatusManager;
use crate::volumes::{Volumes, make_dir};

/// Runs a kubelet until `shutdown`. Containers go on running afterwards.
///
/// `client` speaks as the node (`system:node:NAME`, group `system:nodes`).
pub async fn run(config: Config, client: Client, shutdown: CancellationToken) -> anyhow::Result<()> {
    config.validate()?;
    for dir in [&config.root_dir, &config.pod_logs_dir] {
        make_dir(dir, 0o755).with_context(|| format!("cannot make {}", dir.display()))?;
    }
    let listener = match &config.serving {
        Some(_) => Some(
            TcpListener::bind(config.listen).await.with_context(|| format!("cannot listen on {}", config.listen))?,
        ),
        None => None,
    };
    let address = listener.as_ref().and_then(|listener| listener.local_addr().ok());
    let kubelet = Kubelet::build(&config, client, address, &shutdown)?;
    kubelet.run(config, listener, shutdown).await
}

struct Kubelet {
    ctx: Arc<Context>,
    workers: PodWorkers,
    node: NodeAgent,
    pods: Informer<Pod>,
    images: ImageGc,
    eviction: Eviction,
}

impl Kubelet {
    fn build(
        config: &Config,
        client: Client,
        address: Option<SocketAddr>,
        shutdown: &CancellationToken,
    ) -> anyhow::Result<Self> {
        let runtime = Runtime::new(match &config.runtime_client {
            Some(client) => client.clone(),
            None => skiff_cri::Client::connect_lazy(&config.container_runtime_endpoint)?,
        });
        let recorder = EventRecorder::spawn(client.clone(), "kubelet", &config.node_name, shutdown.clone());
        let events = Events::new(recorder);
        let port = address.map_or(config.listen.port(), |address| address.port());
        let node_config = node_config(config, port);
        let (pressed, conditions) = watch::channel(BTreeSet::new());
        let (node, facts) =
            NodeAgent::new(client.clone(), runtime.clone(), events.clone(), node_config, conditions.clone());
        // The workers are made last, but are woken by parts that are made before them.
        let workers: Arc<OnceLock<PodWorkers>> = Arc::default();
        let status = StatusManager::new(client.clone());
        let probes = Probes::new(runtime.clone(), events.clone(), probe_listener(status.clone(), workers.clone()));
        let woken = workers.clone();
        let admission_wake = Arc::new(move |uid: &str| {
            if let Some(workers) = woken.get() {
                workers.wake(uid);
            }
        });
        let woken = workers.clone();
        let evict = Arc::new(move |uid: &str, verdict, grace_override| {
            if let Some(workers) = woken.get() {
                workers.evict(uid, verdict, grace_override);
            }
        });
        let woken = workers.clone();
        let changed = Arc::new(move |uids: &_| {
            if let Some(workers) = woken.get() {
                workers.volumes_changed(uids);
            }
        });
        let volumes = Volumes::new(client.clone(), config.root_dir.clone(), config.tmpfs, changed);
        let services =
            Informer::<types::Service>::spawn(client.clone(), Source::all(types::Service::RESOURCE), shutdown.clone());
        let mut of_node = Source::all(<Pod as Kind>::RESOURCE);
        of_node.field_selector = format!("spec.nodeName={}", config.node_name);
        let pods = Informer::<Pod>::spawn(client.clone(), of_node, shutdown.clone());
        let ctx = Arc::new(Context {
            settings: settings(config),
            client,
            images: Images::new(runtime.clone(), events.clone()),
            runtime,
            events,
            volumes,
            probes,
            status,
            cgroups: config.cgroup_root.as_deref().map(Cgroups::new),
            admission: Admission::new(admission_wake),
            conditions,
            evict,
            restarts: Backoff::default(),
            services,
            node: facts,
            dns: node_dns(config),
        });
        let made = PodWorkers::new(ctx.clone(), shutdown.clone());
        let workers = workers.get_or_init(|| made).clone();
        let images = ImageGc::new(ctx.runtime.clone(), ctx.events.clone(), config.node_name.clone(), config.image_gc);
        let eviction = Eviction {
            ctx: ctx.clone(),
            workers: workers.clone(),
            images: images.clone(),
            root: config.root_dir.clone(),
            policy: config.eviction.clone(),
            conditions: pressed,
        };
        Ok(Self { ctx, workers, node, pods, images, eviction })
    }

    async fn run(
        self,
        config: Config,
        listener: Option<TcpListener>,
        shutdown: CancellationToken,
    ) -> anyhow::Result<()> {
        let Self { ctx, workers, node, pods, images, eviction } = self;
        // Pods that run must not look lost for the moment that a runtime needs to start.
        ctx.runtime.until_there().await;
        node.look().await;
        let tasks = tokio_util::task::TaskTracker::new();
        tasks.spawn(node.run(shutdown.clone()));
        tasks.spawn(ctx.status.clone().run(shutdown.clone()));
        tasks.spawn(pleg::run(ctx.runtime.clone(), workers.clone(), shutdown.clone()));
        let logs =
            rotate::Policy { max_size: config.container_log_max_size, max_files: config.container_log_max_files };
        tasks.spawn(rotate::run(ctx.runtime.clone(), logs, shutdown.clone()));
        tasks.spawn(images.run(shutdown.clone()));
        if let Some((listener, tls)) = listener.zip(config.serving) {
            let server = Server::new(ctx.clone(), workers.clone(), tls)?;
            tasks.spawn(server.run(listener, shutdown.clone()));
        }
        let dispatched = workers.clone();
        pods.add_handler(move |event| match event {
            Event::Added(pod) | Event::Updated(_, pod) => dispatched.update(pod.clone()),
            Event::Deleted(pod) => dispatched.removed(pod),
        });
        let (cleaned, cleaner, stopped) = (ctx.clone(), workers.clone(), shutdown.clone());
        tasks.spawn(async move {
            tokio::select! {
                () = stopped.cancelled() => return,
                () = pods.wait_synced() => {}
            }
            tokio::join!(housekeeping::run(cleaned, cleaner, stopped.clone()), eviction.run(stopped));
        });
        tracing::info!(node = %ctx.settings.node_name, "the kubelet is running");
        shutdown.cancelled().await;
        tasks.close();
        tasks.wait().await;
        workers.join().await;
        Ok(())
    }
}

/// A readiness result goes straight into the status; the worker is woken for all of them.
fn probe_listener(
    status: StatusManager,
    workers: Arc<OnceLock<PodWorkers>>,
) -> Arc<dyn Fn(&ProbeResult) + Send + Sync> {
    Arc::new(move |result| {
        if result.kind == ProbeKind::Readiness {
            let is_ready = result.verdict == crate::actions::Verdict::Success;
            status.set_readiness(&result.uid, &result.container, &result.container_id, is_ready);
        }
        if let Some(workers) = workers.get() {
            workers.wake(&result.uid);
        }
    })
}

fn settings(config: &Config) -> Settings {
    Settings {
        node_name: config.node_name.clone(),
        cluster_domain: config.cluster_domain.clone(),
        logs_root: config.pod_logs_dir.clone(),
        seccomp_root: config.root_dir.join("seccomp"),
        seccomp_default: config.seccomp_default,
    }
}

fn node_config(config: &Config, port: u16) -> NodeConfig {
    let addresses = if config.node_ips.is_empty() { vec![default_address()] } else { config.node_ips.clone() };
    NodeConfig {
        name: config.node_name.clone(),
        addresses: addresses.iter().map(ToString::to_string).collect(),
        labels: config.node_labels.clone(),
        taints: config.register_with_taints.clone(),
        max_pods: config.max_pods,
        port,
        version: config.version.clone(),
        root: config.root_dir.clone(),
    }
}

fn node_dns(config: &Config) -> NodeDns {
    let host = config.resolv_conf.as_ref().and_then(|path| match std::fs::read_to_string(path) {
        Ok(text) => Some(parse_resolv_conf(&text)),
        Err(error) => {
            tracing::warn!(path = %path.display(), %error, "cannot read the node's resolver file, pods do without");
            None
        }
    });
    NodeDns {
        cluster_servers: config.cluster_dns.iter().map(ToString::to_string).collect(),
        cluster_domain: config.cluster_domain.clone(),
        host,
    }
}
