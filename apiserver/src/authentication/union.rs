//! All ways to find out who is asking, in order.

use std::sync::Arc;

use http::request::Parts;
use jiff::Timestamp;
use skiff_apimachinery::status::{self, Status};

use super::front_proxy::FrontProxy;
use super::service_account::{ServiceAccountTokens, TokenKeys, TokenUser};
use super::x509::ClientCertificates;
use super::{
    Authenticator, Clock, FrontProxyConfig, InProcessIdentity, PeerCertificates, UserInfo, bearer, bootstrap_token,
};
use crate::objects::Objects;

/// Whom to believe.
#[derive(Clone)]
pub struct AuthenticationConfig {
    /// Authorities of client certificates, PEM (`--client-ca-file`).
    pub client_ca_pem: Option<String>,
    /// Proxies in front of this server.
    pub front_proxy: Option<FrontProxyConfig>,
    /// Keys of ServiceAccount tokens.
    pub service_account_keys: Arc<TokenKeys>,
    /// Issuer of ServiceAccount tokens (`--service-account-issuer`).
    pub service_account_issuer: String,
    /// Audiences of this API server (`--api-audiences`); upstream's default is the issuer.
    pub api_audiences: Vec<String>,
    /// Whether bootstrap tokens are accepted (`--enable-bootstrap-token-auth`).
    pub bootstrap_tokens: bool,
    /// Whether requests without credentials are let in as `system:anonymous` (`--anonymous-auth`).
    pub anonymous: bool,
}

/// The configuration cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("cannot use {what}: {problem}")]
pub struct AuthenticationError {
    what: &'static str,
    problem: String,
}

/// The authenticators of the API server.
pub struct Authentication {
    front_proxy: Option<FrontProxy>,
    certificates: Option<ClientCertificates>,
    pub(super) service_accounts: ServiceAccountTokens,
    pub(super) objects: Objects,
    bootstrap_tokens: bool,
    anonymous: bool,
    pub(super) clock: Clock,
}

impl Authentication {
    /// Puts the authenticators together.
    pub fn build(config: AuthenticationConfig, objects: Objects, clock: Clock) -> Result<Self, AuthenticationError> {
        let fail = |what: &'static str| move |problem: String| AuthenticationError { what, problem };
        Ok(Self {
            front_proxy: config
                .front_proxy
                .map(FrontProxy::new)
                .transpose()
                .map_err(fail("the front proxies' authorities"))?,
            certificates: config
                .client_ca_pem
                .as_deref()
                .map(ClientCertificates::new)
                .transpose()
                .map_err(fail("the clients' authorities"))?,
            service_accounts: ServiceAccountTokens::new(
                config.service_account_keys,
                config.service_account_issuer,
                config.api_audiences,
                objects.clone(),
            ),
            objects,
            bootstrap_tokens: config.bootstrap_tokens,
            anonymous: config.anonymous,
            clock,
        })
    }

    /// Who is asking; the error lists what does not hold. `Ok(None)` for no credentials.
    async fn identify(&self, request: &Parts) -> Result<Option<UserInfo>, Vec<String>> {
        if let Some(identity) = request.extensions.get::<InProcessIdentity>() {
            return Ok(Some(identity.0.as_ref().clone()));
        }
        let now = (self.clock)();
        let mut errors = Vec::new();
        let chain = request.extensions.get::<PeerCertificates>().map_or(&[][..], |peer| peer.0.as_slice());
        if let Some(proxy) = &self.front_proxy {
            match proxy.authenticate(&request.headers, chain, now) {
                Ok(Some(user)) => return Ok(Some(user.authenticated())),
                Ok(None) => {}
                Err(error) => errors.push(error),
            }
        }
        if let Some(certificates) = &self.certificates
            && !chain.is_empty()
        {
            match certificates.verify(chain, now) {
                Ok(verified) => {
                    if let Some(user) = &verified.user {
                        return Ok(Some(user.clone().authenticated()));
                    }
                }
                Err(error) => errors.push(error),
            }
        }
        match bearer::token(&request.headers) {
            Ok(None) => {}
            Ok(Some(token)) => match self.token_user(&token, now).await {
                Ok(found) => return Ok(Some(found.user.clone().authenticated())),
                Err(error) => errors.push(error),
            },
            Err(error) => errors.push(error),
        }
        if errors.is_empty() { Ok(None) } else { Err(errors) }
    }

    async fn token_user(&self, token: &str, now: Timestamp) -> Result<Arc<TokenUser>, String> {
        if let Some(found) = self.service_accounts.authenticate(token, now).await? {
            return Ok(found);
        }
        self.bootstrap_user(token, now).map(Arc::new).ok_or_else(|| "invalid bearer token".into())
    }

    pub(super) fn bootstrap_user(&self, token: &str, now: Timestamp) -> Option<TokenUser> {
        if !self.bootstrap_tokens {
            return None;
        }
        let user = bootstrap_token::authenticate(&self.objects, token, now)?;
        Some(TokenUser { user, audiences: self.service_accounts.api_audiences().to_vec() })
    }
}

#[async_trait::async_trait]
impl Authenticator for Authentication {
    async fn authenticate(&self, request: &Parts) -> Result<Option<UserInfo>, Status> {
        match self.identify(request).await {
            Ok(Some(user)) => Ok(Some(user)),
            Ok(None) if self.anonymous => Ok(Some(UserInfo::anonymous())),
            Ok(None) => Ok(None),
            Err(errors) => {
                // The client learns no more than that; the reason is for the operator.
                tracing::debug!(path = request.uri.path(), ?errors, "unable to authenticate the request");
                Err(status::unauthorized())
            }
        }
    }
}

#[cfg(test)]
mod tests;
