//! Starts everything: sockets, informers, publication.

use std::sync::Arc;

use anyhow::Context;
use http::StatusCode;
use kube::Client;
use parking_lot::RwLock;
use skiff_client::SharedInformers;
use skiff_client::informer::{Event, Informer};
use skiff_client::types::{EndpointSlice, Namespace, Service};
use skiff_component_base::pages;
use tokio::net::TcpListener;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tracing::info;

use crate::answer::Responder;
use crate::config::Config;
use crate::forward::Forwarder;
use crate::index;
use crate::metrics::Metrics;
use crate::publish::{self, Publisher};
use crate::server::{Known, Server, Sockets};

/// Runs the cluster's DNS until shutdown. It is published once it knows everything, so that nobody is sent to a server
/// that cannot answer yet.
pub async fn run(config: Config, client: Client, shutdown: CancellationToken) -> anyhow::Result<()> {
    let before = if config.port == 0 { publish::previous_port(&client, &config.node_name).await } else { None };
    let ports: Vec<u16> = before.into_iter().chain([config.port]).collect();
    let sockets = Sockets::bind(config.node_address.into(), &ports)
        .await
        .with_context(|| format!("cannot listen for DNS on {} port {}", config.node_address, config.port))?;
    let address = sockets.address().context("cannot tell the port of DNS")?;
    let metrics_listener = TcpListener::bind((config.node_address, config.metrics_port))
        .await
        .with_context(|| format!("cannot listen for metrics of DNS on {}", config.node_address))?;
    let metrics_port = metrics_listener.local_addr().context("cannot tell the port of metrics")?.port();
    info!(%address, metrics_port, "DNS is listening");

    let known = Arc::new(RwLock::new(Known::default()));
    let own = vec![address, (config.service_ip, 53).into()];
    let server = Server {
        known: known.clone(),
        responder: Arc::new(Responder::new(&config.cluster_domain, config.service_ip)?),
        forwarder: Forwarder::new(config.upstream, own),
        metrics: Metrics::default(),
    };
    let stop = shutdown.child_token();
    let _stop_all = stop.clone().drop_guard();
    tokio::spawn(pages::serve(metrics_listener, pages_of(&server), stop.clone()));
    let serving = tokio::spawn(server.run(sockets, stop.clone()));

    let changed = Arc::new(Notify::new());
    let informers = SharedInformers::new(client.clone(), stop.clone());
    let publisher = Publisher {
        client,
        node_name: config.node_name,
        node_address: config.node_address,
        service_ip: config.service_ip,
        port: address.port(),
        metrics_port,
    };
    tokio::select! {
        () = shutdown.cancelled() => {}
        () = follow(&informers, &known, &changed) => {
            known.write().complete = true;
            info!("DNS knows all Services");
            publisher.run(&changed, shutdown).await;
        }
    }
    stop.cancel();
    serving.await.context("the DNS server ended badly")
}

/// Feeds the index, and returns when everything has been seen once.
async fn follow(informers: &SharedInformers, known: &Arc<RwLock<Known>>, changed: &Arc<Notify>) {
    let services: Informer<Service> = informers.get();
    let slices: Informer<EndpointSlice> = informers.get();
    let namespaces: Informer<Namespace> = informers.get();
    let own =
        |namespace: &str, service: Option<&str>| namespace == publish::NAMESPACE && service == Some(publish::SERVICE);

    let (index, notify) = (known.clone(), changed.clone());
    services.add_handler(move |event| {
        service_event(&mut index.write(), &event);
        if own(&event.object().metadata.namespace, Some(&event.object().metadata.name)) {
            notify.notify_one();
        }
    });
    let (index, notify) = (known.clone(), changed.clone());
    slices.add_handler(move |event| {
        slice_event(&mut index.write(), &event);
        if own(&event.object().metadata.namespace, event.object().service_name()) {
            notify.notify_one();
        }
    });
    let index = known.clone();
    namespaces.add_handler(move |event| {
        let exists = !matches!(event, Event::Deleted(_));
        index.write().index.set_namespace(&event.object().metadata.name, exists);
    });
    tokio::join!(services.wait_synced(), slices.wait_synced(), namespaces.wait_synced());
}

fn service_event(known: &mut Known, event: &Event<'_, Service>) {
    let object = event.object();
    let service = if matches!(event, Event::Deleted(_)) { None } else { index::service(object) };
    known.index.set_service(&index::key(&object.metadata), service);
}

fn slice_event(known: &mut Known, event: &Event<'_, EndpointSlice>) {
    let (old, new) = match event {
        Event::Added(new) => (None, index::slice(new)),
        Event::Updated(old, new) => (index::slice(old), index::slice(new)),
        Event::Deleted(old) => (index::slice(old), None),
    };
    let name = &event.object().metadata.name;
    if let Some((service, _)) = old
        && new.as_ref().is_none_or(|(to, _)| *to != service)
    {
        known.index.set_slice(&service, name, None);
    }
    if let Some((service, slice)) = new {
        known.index.set_slice(&service, name, Some(slice));
    }
}

/// `/metrics`, `/health` and `/ready`, as CoreDNS has them.
fn pages_of(server: &Server) -> impl Fn(&str) -> http::Response<String> + Clone + Send + Sync + 'static {
    let (metrics, known) = (server.metrics.clone(), server.known.clone());
    move |path| match path {
        "/metrics" => pages::metrics(metrics.text()),
        "/health" => pages::text(StatusCode::OK, "OK"),
        "/ready" if known.read().complete => pages::text(StatusCode::OK, "OK"),
        "/ready" => pages::text(StatusCode::SERVICE_UNAVAILABLE, "kubernetes"),
        _ => pages::not_found(),
    }
}
