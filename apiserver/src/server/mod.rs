//! The server: what it is made of, and how it runs.

mod bootstrap;
mod build;
mod flow_configuration;
mod flow_schemas;
mod listen;
mod quota;
mod security;
mod standing;
mod unread;

use std::convert::Infallible;
use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};

use axum::body::Body;
use http::Request;
use ipnet::Ipv4Net;
use skiff_apimachinery::value::Value;
use tokio_util::sync::CancellationToken;

pub(crate) use bootstrap::Own;
pub use listen::Listener;

use crate::admission::Plugin;
use crate::aggregator::Aggregator;
use crate::audit::Audit;
use crate::authentication::service_account::{OidcDocuments, TokenIssuer};
use crate::authentication::{Authentication, Authenticator};
use crate::authorization::Authorizer;
use crate::cacher::Cacher;
use crate::flow_control::FlowControl;
use crate::impersonation::Impersonation;
use crate::metrics::Metrics;
use crate::openapi::OpenApi;
use crate::proxy::ProxyTls;
use crate::registry::Registry;
use crate::response::Response;
use crate::routes::discovery::Documents;
use crate::routes::health::Health;
use crate::webhook::{Client, ServiceResolver};

/// The API server. Made by [`ApiServer::build`], shared by every connection and in-process client.
pub struct ApiServer {
    /// How it was asked to be.
    pub settings: Settings,
    /// The resources.
    pub registry: Arc<Registry>,
    /// Reads for authorizers and admission.
    pub cacher: Arc<Cacher>,
    /// Who is asking.
    pub authenticator: Arc<dyn Authenticator>,
    /// Whether they may.
    pub authorizer: Arc<dyn Authorizer>,
    /// Who may act as whom.
    pub impersonation: Impersonation,
    /// What is changed or refused on the way in, in order.
    pub admission: Vec<Arc<dyn Plugin>>,
    /// Whose token is this.
    pub token_review: Option<Arc<Authentication>>,
    /// Tokens of ServiceAccounts.
    pub token_issuer: Option<Arc<TokenIssuer>>,
    /// What verifiers of those tokens elsewhere need.
    pub oidc: Option<OidcDocuments>,
    /// How kubelets and pods are called; those who ask for them are refused without.
    pub proxy_tls: Option<ProxyTls>,
    /// ConfigMaps by which others know this server and its callers; entries that they have beside these stay.
    pub published: Vec<Value>,
    /// Where Services are, for calls by this server.
    pub services: Arc<dyn ServiceResolver>,
    /// Group versions that others serve.
    pub aggregator: Aggregator,
    /// Calls webhooks.
    pub webhooks: Arc<Client>,
    /// What is kept of requests.
    pub audit: Option<Audit>,
    /// How many requests at once.
    pub flow_control: Arc<FlowControl>,
    /// What Prometheus sees.
    pub metrics: Metrics,
    /// OpenAPI documents.
    pub openapi: OpenApi,
    /// Discovery documents.
    pub discovery: Documents,
    /// What the health endpoints look at.
    pub health: Health,
    /// Whether the custom resources that are stored are served.
    pub definitions_loaded: tokio::sync::watch::Sender<bool>,
    /// Ends watches and listeners.
    pub shutdown: CancellationToken,
}

/// What is left of the configuration once the server is made.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Address that the `kubernetes` Service leads to.
    pub advertise_address: IpAddr,
    /// Port that the `kubernetes` Service leads to.
    pub advertise_port: u16,
    /// Range of cluster IPs.
    pub service_cidr: Ipv4Net,
    /// Range of node ports.
    pub node_ports: RangeInclusive<u16>,
    /// Group versions that are served or not other than by default.
    pub runtime_config: Vec<String>,
}

impl ApiServer {
    /// The chain as a service in memory: for clients of the same process, which carry
    /// [`InProcessIdentity`](crate::authentication::InProcessIdentity) as a request extension.
    pub fn service(self: &Arc<Self>) -> Service {
        Service(self.clone())
    }

    /// Returns once reads work: custom resources are served, and every watch cache has its first list.
    pub async fn ready(&self) {
        let mut loaded = self.definitions_loaded.subscribe();
        // The sender is our own: it cannot be gone.
        let _ = loaded.wait_for(|loaded| *loaded).await;
        self.cacher.ready().await;
        self.health.caches_ready.store(true, Ordering::Relaxed);
    }
}

/// The server as a tower service.
#[derive(Clone)]
pub struct Service(Arc<ApiServer>);

impl tower::Service<Request<Body>> for Service {
    type Response = Response;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let server = self.0.clone();
        Box::pin(async move { Ok(server.handle(request).await) })
    }
}
