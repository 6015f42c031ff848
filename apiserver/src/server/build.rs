//! Puts the server together.

use std::sync::Arc;

use skiff_storage::Storage;

use super::quota::RegistryQuotas;
use super::security::ESCALATION;
use super::{ApiServer, Settings};
use crate::admission::policy::{MutatingPolicies, ValidatingPolicies};
use crate::admission::webhook::{MutatingWebhooks, ValidatingWebhooks, WebhookConfig};
use crate::admission::{Plugin, ResourceQuota};
use crate::aggregator::{self, Aggregator};
use crate::apiextensions::Controller;
use crate::cacher::Cacher;
use crate::config::Config;
use crate::flow_control::FlowControl;
use crate::flow_control::metrics::FlowControlMetrics;
use crate::impersonation::Impersonation;
use crate::metrics::Metrics;
use crate::objects::Objects;
use crate::proxy::transport::Address;
use crate::registry::core::service::allocation::ServiceAllocation;
use crate::registry::hook::Hook;
use crate::registry::others::devices::admin_access::AdminAccess;
use crate::registry::{Hooks, Registry};
use crate::routes::discovery::Documents;
use crate::routes::health::Health;
use crate::routes::zpages;
use crate::runtime_config::RuntimeConfig;
use crate::webhook::{Client, ClusterIps};

impl ApiServer {
    /// A server over this store. Reads work once [`ApiServer::ready`] has returned.
    pub async fn build(config: Config, storage: Arc<dyn Storage>) -> anyhow::Result<Arc<Self>> {
        zpages::started();
        storage.healthy().await?;
        let allocation =
            ServiceAllocation::load(storage.clone(), config.service_cidr, config.node_ports.clone()).await?;
        let hooks = Hooks::from([
            (("", "services"), allocation as Arc<dyn Hook>),
            (("resource.k8s.io", "resourceclaims"), Arc::new(AdminAccess::of_claims(storage.clone()))),
            (("resource.k8s.io", "resourceclaimtemplates"), Arc::new(AdminAccess::of_templates(storage.clone()))),
        ]);
        let cacher = Cacher::new(storage, config.history, config.shutdown.clone());
        let versions = RuntimeConfig::parse(&config.runtime_config).map_err(anyhow::Error::msg)?;
        let registry = Arc::new(Registry::new(&cacher, &hooks, |info| versions.serves(info)));
        let security = (config.security)(cacher.clone())?;
        let mut admission = security.admission;
        let own = Address { host: config.advertise_address.to_string(), port: config.advertise_port };
        let services = config.services.unwrap_or_else(|| Arc::new(ClusterIps::new(cacher.clone(), own)));
        let webhooks = Arc::new(Client::new(services.clone()));
        let asking = WebhookConfig {
            objects: Objects::new(cacher.clone(), cacher.storage().clone()),
            registry: registry.clone(),
            client: webhooks.clone(),
            authorizer: security.authorizer.clone(),
        };
        add_webhooks(&mut admission, asking);
        if let Some(quotas) = registry.store("", "resourcequotas") {
            // Last of all: what is charged is stored, unless the store itself refuses.
            admission.push(Arc::new(ResourceQuota::new(Arc::new(RegistryQuotas::new(quotas.clone())))));
        }
        let health = Health::default();
        health.store_ok.store(true, std::sync::atomic::Ordering::Relaxed);
        let flow_control = Arc::new(FlowControl::new(cacher.clone()));
        let metrics = Metrics::new(vec![Box::new(FlowControlMetrics(flow_control.clone()))]);
        let server = Arc::new(Self {
            settings: Settings {
                advertise_address: config.advertise_address,
                advertise_port: config.advertise_port,
                service_cidr: config.service_cidr,
                node_ports: config.node_ports,
                runtime_config: config.runtime_config,
            },
            registry,
            cacher,
            authenticator: security.authenticator,
            authorizer: security.authorizer,
            impersonation: Impersonation::default(),
            admission,
            token_review: security.token_review,
            token_issuer: security.token_issuer,
            oidc: security.oidc,
            proxy_tls: security.proxy_tls,
            published: security.published,
            services,
            webhooks,
            aggregator: Aggregator::default(),
            audit: config.audit,
            flow_control,
            metrics,
            openapi: Default::default(),
            discovery: Documents::default(),
            health,
            definitions_loaded: tokio::sync::watch::Sender::new(false),
            shutdown: config.shutdown,
        });
        Controller::start(&server);
        aggregator::Controller::start(&server);
        Ok(server)
    }
}

/// Adds the plugins that ask policies and webhooks, in upstream's order: behind all that change objects, before those that look at the
/// result.
fn add_webhooks(admission: &mut Vec<Arc<dyn Plugin>>, config: WebhookConfig) {
    let WebhookConfig { objects, registry, authorizer, .. } = config.clone();
    let last_change = admission.iter().position(|plugin| plugin.name() == ESCALATION).unwrap_or(admission.len());
    let policies = MutatingPolicies::new(objects.clone(), registry.clone(), authorizer.clone());
    admission.insert(last_change, Arc::new(policies));
    admission.insert(last_change + 1, Arc::new(MutatingWebhooks::new(config.clone())));
    admission.push(Arc::new(ValidatingPolicies::new(objects, registry, authorizer)));
    admission.push(Arc::new(ValidatingWebhooks::new(config)));
}
