//! Calls that this server makes to others: admission webhooks and conversion webhooks.
//!
//! [`client`] makes a call and says in Go's words what went wrong; [`connector`] opens the connection; [`resolver`] knows
//! where a Service is; [`trust`] whose certificates count. Follows `k8s.io/apiserver/pkg/util/webhook`.

pub mod client;
pub mod connector;
pub mod go_errors;
pub mod resolver;
pub mod trust;

use base64::Engine;
use skiff_apimachinery::value::Value;

pub use self::client::{CallError, Client};
pub use self::resolver::{ClusterIps, ServiceResolver};

/// Port of a Service that names none.
const DEFAULT_PORT: u16 = 443;

/// Whom to call (`WebhookClientConfig` of admission and conversion webhooks).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ClientConfig {
    /// Where it listens.
    pub endpoint: Endpoint,
    /// Authorities of its certificate (PEM); empty for those of the machine.
    pub ca_bundle: Vec<u8>,
}

/// Where a webhook listens.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Endpoint {
    /// At an address that anybody can resolve.
    Url(String),
    /// Behind a Service.
    Service {
        /// Namespace of the Service.
        namespace: String,
        /// Its name.
        name: String,
        /// Path of the requests.
        path: String,
        /// Port of the Service.
        port: u16,
    },
}

impl ClientConfig {
    /// From `clientConfig` of a webhook; `None` when it names neither a URL nor a Service.
    pub fn parse(config: &Value) -> Option<Self> {
        let bundle = config.str_at(&["caBundle"]).unwrap_or("");
        // Validation has seen to it that this is base64.
        let ca_bundle = base64::engine::general_purpose::STANDARD.decode(bundle).unwrap_or_default();
        let service = |field: &str| config.str_at(&["service", field]).unwrap_or("").to_owned();
        let endpoint = match (config.get("service"), config.str_at(&["url"])) {
            (Some(_), _) => Endpoint::Service {
                namespace: service("namespace"),
                name: service("name"),
                path: service("path"),
                port: config
                    .i64_at(&["service", "port"])
                    .and_then(|port| u16::try_from(port).ok())
                    .filter(|port| *port != 0)
                    .unwrap_or(DEFAULT_PORT),
            },
            (None, Some(url)) => Endpoint::Url(url.to_owned()),
            (None, None) => return None,
        };
        Some(Self { endpoint, ca_bundle })
    }
}
