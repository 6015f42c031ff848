//! A proxy in front that has authenticated the user already and says so in headers.
//!
//! Follows `k8s.io/apiserver/pkg/authentication/request/headerrequest`. The headers count only from a client whose
//! certificate the front-proxy authority signed for an allowed name.

use std::collections::BTreeMap;

use http::HeaderMap;
use jiff::Timestamp;
use skiff_apimachinery::value;
use skiff_apimachinery::value::Value;

use super::UserInfo;
use super::x509::ClientCertificates;

/// Whom to believe, and which headers (`--requestheader-*`).
#[derive(Clone, Debug)]
pub struct FrontProxyConfig {
    /// Authorities of the proxies' certificates, PEM.
    pub ca_pem: String,
    /// Common names that a proxy may have; empty for any.
    pub allowed_names: Vec<String>,
    /// Headers with the user's name; the first that is there counts.
    pub username_headers: Vec<String>,
    /// Headers with the user's UID.
    pub uid_headers: Vec<String>,
    /// Headers with groups; all values of all of them count.
    pub group_headers: Vec<String>,
    /// Beginnings of headers with extra attributes.
    pub extra_header_prefixes: Vec<String>,
}

impl FrontProxyConfig {
    /// The names that kubeadm sets, with this authority.
    pub fn new(ca_pem: impl Into<String>) -> Self {
        let one = |text: &str| vec![text.to_owned()];
        Self {
            ca_pem: ca_pem.into(),
            allowed_names: one("front-proxy-client"),
            username_headers: one("X-Remote-User"),
            uid_headers: one("X-Remote-Uid"),
            group_headers: one("X-Remote-Group"),
            extra_header_prefixes: one("X-Remote-Extra-"),
        }
    }
}

/// What extension API servers must know to believe the same clients and proxies as this server: the ConfigMap
/// `extension-apiserver-authentication` of kube-system (`pkg/controlplane/controller/clusterauthenticationtrust`).
pub fn extension_apiserver_authentication(client_ca_pem: &str, proxy: &FrontProxyConfig) -> Value {
    let list = |texts: &[String]| serde_json::Value::from(texts).to_string();
    value!({
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "extension-apiserver-authentication", "namespace": "kube-system"},
        "data": {
            "client-ca-file": client_ca_pem,
            "requestheader-allowed-names": (list(&proxy.allowed_names)),
            "requestheader-client-ca-file": (proxy.ca_pem.as_str()),
            "requestheader-extra-headers-prefix": (list(&proxy.extra_header_prefixes)),
            "requestheader-group-headers": (list(&proxy.group_headers)),
            "requestheader-uid-headers": (list(&proxy.uid_headers)),
            "requestheader-username-headers": (list(&proxy.username_headers))
        }
    })
}

pub(super) struct FrontProxy {
    certificates: ClientCertificates,
    config: FrontProxyConfig,
}

impl FrontProxy {
    pub(super) fn new(config: FrontProxyConfig) -> Result<Self, String> {
        Ok(Self { certificates: ClientCertificates::new(&config.ca_pem)?, config })
    }

    /// The user that a proxy names; `Ok(None)` when there is no proxy or it names none.
    pub(super) fn authenticate(
        &self,
        headers: &HeaderMap,
        chain: &[Vec<u8>],
        now: Timestamp,
    ) -> Result<Option<UserInfo>, String> {
        if chain.is_empty() || self.first(headers, &self.config.username_headers).is_empty() {
            return Ok(None);
        }
        let proxy = self.certificates.verify(chain, now)?;
        let name = proxy.user.as_ref().map_or("", |user| &user.name);
        if !self.config.allowed_names.is_empty() && !self.config.allowed_names.iter().any(|allowed| allowed == name) {
            return Err(format!("x509: subject with cn={name} is not in the allowed list"));
        }
        Ok(Some(UserInfo {
            name: self.first(headers, &self.config.username_headers),
            uid: self.first(headers, &self.config.uid_headers),
            groups: self.config.group_headers.iter().flat_map(|header| values(headers, header)).collect(),
            extra: self.extra(headers),
        }))
    }

    fn first(&self, headers: &HeaderMap, names: &[String]) -> String {
        names.iter().flat_map(|name| values(headers, name)).find(|text| !text.is_empty()).unwrap_or_default()
    }

    fn extra(&self, headers: &HeaderMap) -> BTreeMap<String, Vec<String>> {
        let mut extra: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for prefix in &self.config.extra_header_prefixes {
            let prefix = prefix.to_ascii_lowercase();
            for (name, value) in headers {
                let Some(key) = name.as_str().strip_prefix(&prefix) else { continue };
                let value = String::from_utf8_lossy(value.as_bytes()).into_owned();
                extra.entry(percent_decoded(key)).or_default().push(value);
            }
        }
        extra
    }
}

fn values<'a>(headers: &'a HeaderMap, name: &str) -> impl Iterator<Item = String> + use<'a> {
    let all = headers.get_all(name.to_ascii_lowercase()).into_iter();
    all.map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned())
}

/// Undoes percent encoding; a key that is not well encoded is taken as it is.
fn percent_decoded(key: &str) -> String {
    let mut bytes = Vec::with_capacity(key.len());
    let mut rest = key.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        if byte != b'%' {
            bytes.push(byte);
            rest = after;
            continue;
        }
        let digits = after.get(..2).and_then(|hex| std::str::from_utf8(hex).ok());
        let Some(decoded) = digits.and_then(|hex| u8::from_str_radix(hex, 16).ok()) else { return key.to_owned() };
        bytes.push(decoded);
        rest = &after[2..];
    }
    String::from_utf8(bytes).unwrap_or_else(|_| key.to_owned())
}
