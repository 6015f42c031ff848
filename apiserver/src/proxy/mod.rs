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

/// How this server calls kubelets and pods.
#[derive(Clone)]
pub struct ProxyTls {
    /// Shows our kubelet client certificate and trusts the cluster's authority.
    pub kubelet: Arc<rustls::ClientConfig>,
    /// Trusts anybody: for `https:` pods and Services, whose certificates nobody here can know.
    pub insecure: Arc<rustls::ClientConfig>,
}
