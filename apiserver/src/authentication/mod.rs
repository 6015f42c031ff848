//! Who is asking.

use std::collections::BTreeMap;

use skiff_apimachinery::status::Status;

/// An authenticated identity (`user.Info` upstream).
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct UserInfo {
    /// Name, e.g. `system:serviceaccount:demo:web`.
    pub name: String,
    /// UID, if the authenticator knows one.
    pub uid: String,
    /// Groups, including `system:authenticated` or `system:unauthenticated`.
    pub groups: Vec<String>,
    /// Extra attributes, e.g. `authentication.kubernetes.io/pod-name`.
    pub extra: BTreeMap<String, Vec<String>>,
}

/// An identity that only this process can put on a request (as an extension): in-process components carry it, network
/// requests cannot.
#[derive(Clone, Debug)]
pub struct InProcessIdentity(pub std::sync::Arc<UserInfo>);

/// The client certificates that TLS verified for this connection, leaf first (DER). A connection extension.
#[derive(Clone, Debug, Default)]
pub struct PeerCertificates(pub std::sync::Arc<Vec<Vec<u8>>>);

/// One way to find out who is asking.
#[async_trait::async_trait]
pub trait Authenticator: Send + Sync + 'static {
    /// `Ok(None)`: no credentials of this kind. `Err`: credentials of this kind that do not hold (401).
    async fn authenticate(&self, request: &http::request::Parts) -> Result<Option<UserInfo>, Status>;
}
