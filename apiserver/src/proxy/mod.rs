//! Requests that end elsewhere: at a kubelet, in a pod, behind a Service.
//!
//! [`target`] finds the place, [`transport`] connects to it, [`forward`] sends the request on and the answer back, [`links`]
//! makes the links in it lead back here. What
//! flows after an upgrade (exec, attach, port-forward) is copied, not understood.

pub mod forward;
mod frames;
pub mod links;
pub mod target;
pub mod transport;

use std::sync::Arc;

use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

/// The certificate by which other API servers know this one, and believe what it says of users.
#[derive(Clone)]
pub struct FrontProxyIdentity {
    certificate_pem: String,
    key_pem: String,
}

impl FrontProxyIdentity {
    /// Of PEM.
    pub fn new(certificate_pem: &str, key_pem: &str) -> Self {
        Self { certificate_pem: certificate_pem.to_owned(), key_pem: key_pem.to_owned() }
    }

    /// As TLS takes it.
    pub fn parts(&self) -> anyhow::Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>)> {
        let chain = CertificateDer::pem_slice_iter(self.certificate_pem.as_bytes()).collect::<Result<Vec<_>, _>>()?;
        Ok((chain, PrivateKeyDer::from_pem_slice(self.key_pem.as_bytes())?))
    }
}

/// How this server calls kubelets and pods.
#[derive(Clone)]
pub struct ProxyTls {
    /// Shows our kubelet client certificate and trusts the cluster's authority.
    pub kubelet: Arc<rustls::ClientConfig>,
    /// Trusts anybody: for `https:` pods and Services, whose certificates nobody here can know.
    pub insecure: Arc<rustls::ClientConfig>,
    /// Shown to aggregated API servers.
    pub front_proxy: Option<FrontProxyIdentity>,
}

impl ProxyTls {
    /// The same with an identity for aggregated API servers.
    pub fn with_front_proxy(self, identity: FrontProxyIdentity) -> Self {
        Self { front_proxy: Some(identity), ..self }
    }
}
