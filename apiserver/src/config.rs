//! How an API server is set up.

use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::sync::Arc;

use ipnet::Ipv4Net;
use skiff_apimachinery::value::Value;
use skiff_storage::HistoryLimits;
use tokio_util::sync::CancellationToken;

use crate::admission::Plugin;
use crate::audit::Audit;
use crate::authentication::service_account::{OidcDocuments, TokenIssuer};
use crate::authentication::{Authentication, Authenticator};
use crate::authorization::Authorizer;
use crate::cacher::SharedReader;
use crate::proxy::ProxyTls;
use crate::webhook::ServiceResolver;

/// Settings of an API server.
pub struct Config {
    /// Address that the `kubernetes` Service leads to.
    pub advertise_address: IpAddr,
    /// Port that the `kubernetes` Service leads to.
    pub advertise_port: u16,
    /// Range of cluster IPs.
    pub service_cidr: Ipv4Net,
    /// Range of node ports.
    pub node_ports: RangeInclusive<u16>,
    /// Which group versions are served beside those without alpha or beta in their name, or not, as in
    /// `--runtime-config`: `resource.k8s.io/v1beta1`, `api/all=true`, `batch/v1=false`.
    pub runtime_config: Vec<String>,
    /// How much history the watch caches keep.
    pub history: HistoryLimits,
    /// Who may do what: made from the caches, which it reads.
    pub security: SecurityBuilder,
    /// Finds Services for webhooks and aggregated API servers; by their cluster IPs if none is given.
    pub services: Option<Arc<dyn ServiceResolver>>,
    /// What is kept of requests, and where; nothing without.
    pub audit: Option<Audit>,
    /// Ends the server.
    pub shutdown: CancellationToken,
}

/// Makes [`Security`] once there are caches to read.
pub type SecurityBuilder = Box<dyn FnOnce(SharedReader) -> anyhow::Result<Security> + Send>;

/// Who is asking, what they may, and what is changed or refused on the way in.
pub struct Security {
    /// Who is asking.
    pub authenticator: Arc<dyn Authenticator>,
    /// Whether they may.
    pub authorizer: Arc<dyn Authorizer>,
    /// Admission plugins in order.
    pub admission: Vec<Arc<dyn Plugin>>,
    /// Whose token is this; TokenReviews are refused without.
    pub token_review: Option<Arc<Authentication>>,
    /// Tokens of ServiceAccounts; TokenRequests are refused without.
    pub token_issuer: Option<Arc<TokenIssuer>>,
    /// What verifiers of those tokens elsewhere need.
    pub oidc: Option<OidcDocuments>,
    /// How kubelets and pods are called; log, exec and proxies are refused without.
    pub proxy_tls: Option<ProxyTls>,
    /// ConfigMaps by which others know this server and its callers: aggregated API servers, machines that join.
    pub published: Vec<Value>,
}
