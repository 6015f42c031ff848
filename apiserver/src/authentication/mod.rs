//! Who is asking.
//!
//! [`Authentication`] is the union of all ways to find out. Follows `pkg/kubeapiserver/authenticator/config.go` and
//! `k8s.io/apiserver/pkg/authentication`: a request with credentials that do not hold is refused, one without any is
//! anonymous.

pub(crate) mod bearer;
mod bootstrap_token;
mod front_proxy;
pub mod service_account;
mod token_review;
mod union;
mod x509;

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use skiff_apimachinery::status::Status;
use skiff_apimachinery::value::{Object, Value};

pub use self::front_proxy::{FrontProxyConfig, extension_apiserver_authentication};
pub use self::union::{Authentication, AuthenticationConfig, AuthenticationError};

/// Group of everybody with credentials.
pub const AUTHENTICATED: &str = "system:authenticated";
/// Group of everybody without.
pub const UNAUTHENTICATED: &str = "system:unauthenticated";
/// Name of everybody without credentials.
pub const ANONYMOUS: &str = "system:anonymous";
/// Extra attribute that names the credential which was used.
pub const CREDENTIAL_ID: &str = "authentication.kubernetes.io/credential-id";

/// What time it is. [`Timestamp::now`] outside of tests.
pub type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

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

impl UserInfo {
    /// Nobody in particular.
    pub fn anonymous() -> Self {
        Self { name: ANONYMOUS.into(), groups: vec![UNAUTHENTICATED.into()], ..Self::default() }
    }

    /// The identity as reviews show it (`authentication.k8s.io/v1` UserInfo).
    pub fn to_value(&self) -> Value {
        let mut object = Object::new();
        if !self.extra.is_empty() {
            let extra = self.extra.iter().map(|(key, values)| (key.as_str(), strings(values)));
            object.insert("extra", extra.collect::<Object>());
        }
        if !self.groups.is_empty() {
            object.insert("groups", strings(&self.groups));
        }
        if !self.uid.is_empty() {
            object.insert("uid", self.uid.as_str());
        }
        if !self.name.is_empty() {
            object.insert("username", self.name.as_str());
        }
        Value::Object(object)
    }

    /// Adds the group of everybody with credentials.
    fn authenticated(mut self) -> Self {
        if !self.groups.iter().any(|group| group == AUTHENTICATED || group == UNAUTHENTICATED) {
            self.groups.push(AUTHENTICATED.into());
        }
        self
    }
}

fn strings(texts: &[String]) -> Value {
    Value::from(texts.iter().map(String::as_str).collect::<Vec<_>>())
}

/// An identity that only this process can put on a request (as an extension): in-process components carry it, network
/// requests cannot.
#[derive(Clone, Debug)]
pub struct InProcessIdentity(pub Arc<UserInfo>);

/// The client certificates that TLS showed for this connection, leaf first (DER). A connection extension. The client
/// has proved that it holds the leaf's key; who signed it is checked here, per request.
#[derive(Clone, Debug, Default)]
pub struct PeerCertificates(pub Arc<Vec<Vec<u8>>>);

/// One way to find out who is asking.
#[async_trait::async_trait]
pub trait Authenticator: Send + Sync + 'static {
    /// `Ok(None)`: no credentials of this kind. `Err`: credentials of this kind that do not hold (401).
    async fn authenticate(&self, request: &http::request::Parts) -> Result<Option<UserInfo>, Status>;
}
