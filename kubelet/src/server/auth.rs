//! Who asks, and whether they may (upstream: `pkg/kubelet/server/auth.go`): client certificates and bearer tokens, then
//! a SubjectAccessReview on `nodes/SUBRESOURCE`. There is no anonymous access.

use std::collections::HashMap;
use std::hash::Hash;
use std::time::Duration;

use http::{HeaderMap, Method, header};
use k8s_openapi::api::authentication::v1::{TokenReview, TokenReviewSpec};
use k8s_openapi::api::authorization::v1::{ResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec};
use kube::Client;
use parking_lot::Mutex;
use rustls_pki_types::CertificateDer;
use sha2::{Digest, Sha256};
use skiff_client::{Objects, ResourceType};
use tokio::time::Instant;
use x509_parser::prelude::{FromDer, X509Certificate};

/// How long answers are believed (upstream's defaults).
const TOKEN_TTL: Duration = Duration::from_secs(10);
const ALLOWED_TTL: Duration = Duration::from_secs(5 * 60);
const DENIED_TTL: Duration = Duration::from_secs(30);
/// Answers that are remembered per cache.
const CACHE_MAX: usize = 1024;

const TOKEN_REVIEWS: ResourceType =
    ResourceType::new("authentication.k8s.io", "v1", "tokenreviews", "TokenReview", false);
const ACCESS_REVIEWS: ResourceType =
    ResourceType::new("authorization.k8s.io", "v1", "subjectaccessreviews", "SubjectAccessReview", false);

/// Who asks.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct User {
    pub(crate) name: String,
    pub(crate) uid: String,
    pub(crate) groups: Vec<String>,
}

/// Why a request is not served.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    Unauthorized,
    Forbidden(String),
    /// The API server could not be asked.
    Unknown(String),
}

/// Authenticates and authorizes, remembering answers for a while.
pub(crate) struct Auth {
    client: Client,
    node_name: String,
    tokens: Cache<[u8; 32], Option<User>>,
    decisions: Cache<(User, &'static str, &'static str), bool>,
}

impl Auth {
    pub(crate) fn new(client: Client, node_name: String) -> Self {
        Self { client, node_name, tokens: Cache::default(), decisions: Cache::default() }
    }

    /// Lets a request pass or says why not. `certificate` has been verified by the handshake.
    pub(crate) async fn check(
        &self,
        certificate: Option<&CertificateDer<'_>>,
        headers: &HeaderMap,
        method: &Method,
        path: &str,
    ) -> Result<User, Refused> {
        let user = match certificate.and_then(|certificate| certificate_user(certificate)) {
            Some(user) => user,
            None => self.token_user(headers).await?,
        };
        let verb = verb(method);
        for subresource in subresources(path) {
            if self.allowed(&user, verb, subresource).await? {
                return Ok(user);
            }
        }
        let subresource = subresources(path).last().copied().unwrap_or("proxy");
        Err(Refused::Forbidden(format!(
            "Forbidden (user={}, verb={verb}, resource=nodes, subresource(s)=[{subresource}])\n",
            user.name
        )))
    }

    async fn token_user(&self, headers: &HeaderMap) -> Result<User, Refused> {
        let value = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let (scheme, token) = value.split_once(' ').unwrap_or_default();
        let token = token.trim();
        if !scheme.eq_ignore_ascii_case("bearer") || token.is_empty() {
            return Err(Refused::Unauthorized);
        }
        // Tokens are not kept in memory, only what tells them apart.
        let key: [u8; 32] = Sha256::digest(token.as_bytes()).into();
        if let Some(known) = self.tokens.get(&key) {
            return known.ok_or(Refused::Unauthorized);
        }
        let review = TokenReview {
            spec: TokenReviewSpec { token: token.to_owned(), ..Default::default() },
            ..Default::default()
        };
        let reviews = Objects::<TokenReview>::of(&self.client, TOKEN_REVIEWS, "");
        let answer = reviews.create(&review).await.map_err(|error| Refused::Unknown(error.to_string()))?;
        let status = answer.status.unwrap_or_default();
        let user = status.user.filter(|_| status.authenticated == Some(true)).map(|user| User {
            name: user.username.unwrap_or_default(),
            uid: user.uid.unwrap_or_default(),
            groups: user.groups.unwrap_or_default(),
        });
        self.tokens.put(key, user.clone(), TOKEN_TTL);
        user.ok_or(Refused::Unauthorized)
    }

    async fn allowed(&self, user: &User, verb: &'static str, subresource: &'static str) -> Result<bool, Refused> {
        let key = (user.clone(), verb, subresource);
        if let Some(known) = self.decisions.get(&key) {
            return Ok(known);
        }
        let review = SubjectAccessReview {
            spec: SubjectAccessReviewSpec {
                user: Some(user.name.clone()),
                uid: Some(user.uid.clone()).filter(|uid| !uid.is_empty()),
                groups: Some(user.groups.clone()),
                resource_attributes: Some(ResourceAttributes {
                    version: Some("v1".into()),
                    resource: Some("nodes".into()),
                    subresource: Some(subresource.into()),
                    name: Some(self.node_name.clone()),
                    verb: Some(verb.into()),
                    ..Default::default()
                }),
                ..Default::default()
            },
            ..Default::default()
        };
        let reviews = Objects::<SubjectAccessReview>::of(&self.client, ACCESS_REVIEWS, "");
        let answer = reviews.create(&review).await.map_err(|error| Refused::Unknown(error.to_string()))?;
        let allowed = answer.status.is_some_and(|status| status.allowed);
        self.decisions.put(key, allowed, if allowed { ALLOWED_TTL } else { DENIED_TTL });
        Ok(allowed)
    }
}

/// User and groups of a client certificate: common name and organizations.
fn certificate_user(certificate: &CertificateDer<'_>) -> Option<User> {
    let (_, parsed) = X509Certificate::from_der(certificate).ok()?;
    let subject = parsed.subject();
    let name = subject.iter_common_name().next()?.as_str().ok()?.to_owned();
    let mut groups: Vec<String> =
        subject.iter_organization().filter_map(|group| group.as_str().ok().map(str::to_owned)).collect();
    groups.push("system:authenticated".to_owned());
    Some(User { name, uid: String::new(), groups })
}

fn verb(method: &Method) -> &'static str {
    match *method {
        Method::POST => "create",
        Method::GET | Method::HEAD => "get",
        Method::PUT => "update",
        Method::PATCH => "patch",
        Method::DELETE => "delete",
        _ => "",
    }
}

/// The subresources of a node of which one must be allowed for a path.
fn subresources(path: &str) -> &'static [&'static str] {
    let below = |root: &str| path.strip_prefix(root).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
    if below("/pods") || below("/runningpods") {
        &["pods", "proxy"]
    } else if below("/healthz") {
        &["healthz", "proxy"]
    } else if below("/configz") {
        &["configz", "proxy"]
    } else if below("/stats") {
        &["stats"]
    } else if below("/metrics") {
        &["metrics"]
    } else if below("/logs") {
        &["log"]
    } else if below("/checkpoint") {
        &["checkpoint"]
    } else if below("/statusz") {
        &["statusz"]
    } else if below("/flagz") {
        &["configz"]
    } else {
        &["proxy"]
    }
}

/// Answers that hold for a while.
struct Cache<K, V> {
    entries: Mutex<HashMap<K, (V, Instant)>>,
}

impl<K, V> Default for Cache<K, V> {
    fn default() -> Self {
        Self { entries: Mutex::default() }
    }
}

impl<K: Eq + Hash, V: Clone> Cache<K, V> {
    fn get(&self, key: &K) -> Option<V> {
        let entries = self.entries.lock();
        let (value, until) = entries.get(key)?;
        (Instant::now() < *until).then(|| value.clone())
    }

    fn put(&self, key: K, value: V, ttl: Duration) {
        let mut entries = self.entries.lock();
        let now = Instant::now();
        if entries.len() >= CACHE_MAX {
            entries.retain(|_, (_, until)| now < *until);
            if entries.len() >= CACHE_MAX {
                entries.clear();
            }
        }
        entries.insert(key, (value, now + ttl));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_have_subresources() {
        for (path, expected) in [
            ("/pods", &["pods", "proxy"][..]),
            ("/podsx", &["proxy"]),
            ("/runningpods/", &["pods", "proxy"]),
            ("/healthz/ping", &["healthz", "proxy"]),
            ("/metrics/resource", &["metrics"]),
            ("/stats/summary", &["stats"]),
            ("/logs/", &["log"]),
            ("/checkpoint/n/p/c", &["checkpoint"]),
            ("/flagz", &["configz"]),
            ("/statusz", &["statusz"]),
            ("/exec/n/p/c", &["proxy"]),
            ("/containerLogs/n/p/c", &["proxy"]),
        ] {
            assert_eq!(subresources(path), expected, "{path}");
        }
    }

    #[test]
    fn certificates_name_users_and_groups() {
        let mut params = rcgen::CertificateParams::new(Vec::<String>::new()).expect("parameters");
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(rcgen::DnType::CommonName, "kube-apiserver-kubelet-client");
        params.distinguished_name.push(rcgen::DnType::OrganizationName, "system:masters");
        let key = rcgen::KeyPair::generate().expect("a key");
        let certificate = params.self_signed(&key).expect("a certificate");
        let user = certificate_user(certificate.der()).expect("a user");
        assert_eq!(user.name, "kube-apiserver-kubelet-client");
        assert_eq!(user.groups, ["system:masters", "system:authenticated"]);
        assert_eq!(certificate_user(&CertificateDer::from(vec![1, 2, 3])), None);
    }

    #[tokio::test(start_paused = true)]
    async fn caches_forget_and_are_bounded() {
        let cache = Cache::<usize, usize>::default();
        cache.put(1, 10, Duration::from_secs(1));
        assert_eq!(cache.get(&1), Some(10));
        tokio::time::advance(Duration::from_secs(2)).await;
        assert_eq!(cache.get(&1), None);
        for key in 0..CACHE_MAX * 2 {
            cache.put(key, 0, Duration::from_secs(100));
        }
        assert!(cache.entries.lock().len() <= CACHE_MAX);
    }
}
