//! The security of a server that has its own PKI.

use std::sync::Arc;

use anyhow::Context;
use jiff::Timestamp;
use skiff_storage::Storage;

use crate::admission::{AdmissionChain, AdmissionConfig, Operation, Plugin, Request};
use crate::authentication::service_account::{OidcDocuments, TokenIssuer, TokenIssuerConfig, TokenKeys};
use crate::authentication::{
    Authentication, AuthenticationConfig, Clock, FrontProxyConfig, extension_apiserver_authentication,
};
use crate::authorization::Authorization;
use crate::authorization::rbac::RbacWrite;
use crate::cacher::SharedReader;
use crate::config::{Security, SecurityBuilder};
use crate::objects::Objects;
use crate::pki::kubeconfig::cluster_info;
use crate::pki::{Identity, Pki};
use crate::proxy::{FrontProxyIdentity, ProxyTls};

/// Issuer of ServiceAccount tokens, and their default audience.
pub(super) const ISSUER: &str = "https://kubernetes.default.svc.cluster.local";

/// The check that nobody gives away rights; what changes objects comes before it.
pub(super) const ESCALATION: &str = "RBACEscalation";
const RBAC: &str = "rbac.authorization.k8s.io";

impl Security {
    /// Certificates, tokens, RBAC and the usual admission plugins, from this PKI.
    pub fn from_pki(pki: &Pki, storage: Arc<dyn Storage>, external_url: &str) -> anyhow::Result<SecurityBuilder> {
        let keys =
            Arc::new(TokenKeys::new(pki.service_account_key_pem(), &[]).context("cannot use the ServiceAccount key")?);
        let kubelet_client = pki.client(&Identity::KubeletClient, Timestamp::now())?;
        let proxy_tls =
            ProxyTls::new(&kubelet_client.certificate_pem, &kubelet_client.key_pem, pki.ca().certificate_pem())?;
        let front_proxy = pki.front_proxy_client();
        let front_proxy = FrontProxyIdentity::new(&front_proxy.certificate_pem, &front_proxy.key_pem);
        let proxy_tls = proxy_tls.with_front_proxy(front_proxy);
        let proxies = FrontProxyConfig::new(pki.front_proxy_ca().certificate_pem());
        let published = vec![
            extension_apiserver_authentication(pki.ca().certificate_pem(), &proxies),
            cluster_info(pki.ca().certificate_pem(), external_url),
        ];
        let authentication = AuthenticationConfig {
            client_ca_pem: Some(pki.ca().certificate_pem().to_owned()),
            front_proxy: Some(proxies),
            service_account_keys: keys.clone(),
            service_account_issuer: ISSUER.to_owned(),
            api_audiences: vec![ISSUER.to_owned()],
            bootstrap_tokens: true,
            anonymous: true,
        };
        let oidc = OidcDocuments::new(ISSUER, &format!("{external_url}{}", OidcDocuments::JWKS_PATH), &keys);
        Ok(Box::new(move |reader: SharedReader| {
            let clock: Clock = Arc::new(Timestamp::now);
            let objects = Objects::new(reader.clone(), storage);
            let authentication = Arc::new(Authentication::build(authentication, objects.clone(), clock.clone())?);
            let authorization = Arc::new(Authorization::build(reader));
            let issuer = TokenIssuerConfig {
                issuer: ISSUER.to_owned(),
                api_audiences: vec![ISSUER.to_owned()],
                max_expiration: None,
                extend_expiration: true,
            };
            let admission = AdmissionConfig { objects: objects.clone(), authorizer: authorization.clone() };
            let mut plugins = AdmissionChain::default_plugins(&admission).plugins().to_vec();
            plugins.push(Arc::new(NoEscalation(authorization.clone())));
            Ok(Security {
                authenticator: authentication.clone(),
                authorizer: authorization,
                admission: plugins,
                token_review: Some(authentication),
                token_issuer: Some(Arc::new(TokenIssuer::new(keys, issuer, objects, clock))),
                oidc: Some(oidc),
                proxy_tls: Some(proxy_tls),
                published,
            })
        }))
    }
}

/// Nobody gives away rights that they do not have. Upstream does this in the storage of the rbac kinds, after all
/// plugins have changed the object and before it is validated.
struct NoEscalation(Arc<Authorization>);

#[async_trait::async_trait]
impl Plugin for NoEscalation {
    fn name(&self) -> &'static str {
        ESCALATION
    }

    fn handles(&self, operation: Operation, group: &str, _resource: &str, subresource: &str) -> bool {
        matches!(operation, Operation::Create | Operation::Update) && group == RBAC && subresource.is_empty()
    }

    async fn admit(&self, request: &mut Request<'_>) -> Result<(), skiff_apimachinery::status::Status> {
        let Some(object) = request.object.as_deref() else {
            return Ok(());
        };
        let write = RbacWrite {
            resource: request.resource,
            namespace: request.namespace,
            request_name: if request.operation == Operation::Create { "" } else { request.name },
            name: request.name,
            object,
            old: request.old_object,
        };
        self.0.check_escalation(request.user, &write)
    }
}
