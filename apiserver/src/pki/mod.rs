//! The cluster's own PKI: made once under a directory, kept, and renewed before it expires.
//!
//! What it promises:
//!
//! - The certificate authorities and the ServiceAccount key are made at the first [`Pki::open`] and never replaced:
//!   whoever trusts the cluster today trusts it tomorrow. An expired or damaged authority is an error that says what to
//!   do, not a reason to make another one.
//! - A leaf certificate is issued again when less than a third of its life is left, when the names it must carry have
//!   changed, or when it does not fit its key or its authority. That happens at [`Pki::open`] and, for a server that
//!   runs for years, at [`Pki::renew`].
//! - The directory is 0700, files are 0600 and are replaced atomically; a crash at any moment leaves a directory that
//!   opens.
//!
//! File names follow `kubeadm` (`cmd/kubeadm/app/constants`), so that people find what they expect.

mod authority;
mod files;
mod inspect;
pub mod kubeconfig;
pub mod rotation;
pub mod tls;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use parking_lot::Mutex;

pub use authority::Authority;
pub use inspect::{CertificateFacts, inspect_pem};

/// Life of a certificate authority.
pub const AUTHORITY_LIFE: SignedDuration = SignedDuration::from_hours(10 * 365 * 24);
/// Life of every other certificate.
pub const LEAF_LIFE: SignedDuration = SignedDuration::from_hours(365 * 24);
/// How long before its end an authority, which is not renewed by itself, is warned about.
pub const AUTHORITY_WARNING: SignedDuration = SignedDuration::from_hours(180 * 24);

/// What the PKI is made for.
#[derive(Clone, Debug)]
pub struct PkiConfig {
    /// Where it lives; created with its parents.
    pub dir: PathBuf,
    /// Name of the node that the API server runs on.
    pub node_name: String,
    /// DNS zone of the cluster, e.g. `cluster.local`.
    pub cluster_domain: String,
    /// Address of Service default/kubernetes, the first of the service range.
    pub service_ip: IpAddr,
    /// Addresses that clients reach the API server at, beside 127.0.0.1.
    pub node_ips: Vec<IpAddr>,
    /// Further names or addresses for the serving certificate.
    pub extra_sans: Vec<String>,
}

/// Why the PKI cannot be used. Every text says what to do.
#[derive(Debug, thiserror::Error)]
pub enum PkiError {
    /// A file or directory could not be read or written.
    #[error("cannot {action} {}", path.display())]
    Io {
        /// What was tried, e.g. `read`.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// A file that is never replaced cannot be used.
    #[error("{} {problem}; restore it from a backup, or move {} away to start with a new PKI (every client needs new credentials then)", path.display(), dir.display())]
    Unusable {
        /// The file.
        path: PathBuf,
        /// The whole PKI.
        dir: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// The cryptography refused.
    #[error("cannot make {what}: {problem}")]
    Crypto {
        /// What was to be made.
        what: String,
        /// Why not.
        problem: String,
    },
    /// A second process has the directory open for changes.
    #[error("{} is being changed by another process", .0.display())]
    Busy(PathBuf),
}

/// A certificate with its key.
#[derive(Clone, PartialEq, Eq)]
pub struct Credential {
    /// The certificate, PEM.
    pub certificate_pem: String,
    /// Its private key, PKCS#8 PEM.
    pub key_pem: String,
}

impl std::fmt::Debug for Credential {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Credential").field("certificate_pem", &self.certificate_pem).finish_non_exhaustive()
    }
}

/// Whom a client certificate speaks for: upstream's well-known identities.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Identity {
    /// `kubernetes-admin` of group `kubeadm:cluster-admins`: a person, bound to cluster-admin, revocable.
    Admin,
    /// `system:kube-scheduler`.
    Scheduler,
    /// `system:kube-controller-manager`.
    ControllerManager,
    /// `system:kube-proxy`.
    Proxy,
    /// `system:node:NAME` of group `system:nodes`.
    Node(String),
    /// `kube-apiserver-kubelet-client` of group `system:masters`: how the API server calls kubelets.
    KubeletClient,
}

impl Identity {
    /// The common name, which becomes the user name.
    pub fn user(&self) -> String {
        match self {
            Identity::Admin => "kubernetes-admin".into(),
            Identity::Scheduler => "system:kube-scheduler".into(),
            Identity::ControllerManager => "system:kube-controller-manager".into(),
            Identity::Proxy => "system:kube-proxy".into(),
            Identity::Node(name) => format!("system:node:{name}"),
            Identity::KubeletClient => "kube-apiserver-kubelet-client".into(),
        }
    }

    /// The organization, which becomes the group.
    pub fn group(&self) -> Option<&'static str> {
        match self {
            Identity::Admin => Some("kubeadm:cluster-admins"),
            Identity::Node(_) => Some("system:nodes"),
            Identity::KubeletClient => Some("system:masters"),
            Identity::Scheduler | Identity::ControllerManager | Identity::Proxy => None,
        }
    }

    fn file_stem(&self) -> String {
        match self {
            Identity::Admin => "admin".into(),
            Identity::Scheduler => "scheduler".into(),
            Identity::ControllerManager => "controller-manager".into(),
            Identity::Proxy => "proxy".into(),
            Identity::Node(name) => format!("node-{name}-client"),
            Identity::KubeletClient => "apiserver-kubelet-client".into(),
        }
    }
}

/// What a leaf certificate is for.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Usage {
    Client,
    Server,
}

/// What a leaf certificate must say.
#[derive(Clone, Debug, PartialEq, Eq)]
struct LeafSpec {
    common_name: String,
    organization: Option<&'static str>,
    usage: Usage,
    dns_names: Vec<String>,
    ips: Vec<IpAddr>,
}

impl LeafSpec {
    fn client(identity: &Identity) -> Self {
        Self {
            common_name: identity.user(),
            organization: identity.group(),
            usage: Usage::Client,
            dns_names: Vec::new(),
            ips: Vec::new(),
        }
    }

    fn server(
        common_name: &str,
        names: impl IntoIterator<Item = String>,
        ips: impl IntoIterator<Item = IpAddr>,
    ) -> Self {
        let mut spec = Self {
            common_name: common_name.into(),
            organization: None,
            usage: Usage::Server,
            dns_names: names.into_iter().collect(),
            ips: ips.into_iter().collect(),
        };
        spec.dns_names.sort_unstable();
        spec.dns_names.dedup();
        spec.ips.sort_unstable();
        spec.ips.dedup();
        spec
    }
}

struct Leaf {
    spec: LeafSpec,
    front_proxy: bool,
    credential: Arc<Credential>,
}

/// An opened PKI.
pub struct Pki {
    dir: PathBuf,
    ca: Authority,
    front_proxy_ca: Authority,
    service_account_key_pem: String,
    /// Every leaf that was asked for, by file stem: what [`Pki::renew`] watches over.
    leaves: Mutex<BTreeMap<String, Leaf>>,
}

const SERVING: &str = "apiserver";
const FRONT_PROXY_CLIENT: &str = "front-proxy-client";
const SERVICE_ACCOUNT_KEY: &str = "sa.key";
const SERVICE_ACCOUNT_PUBLIC_KEY: &str = "sa.pub";

impl Pki {
    /// Opens the PKI, making what does not exist and renewing what is about to expire as of `now`.
    pub fn open(config: &PkiConfig, now: Timestamp) -> Result<Self, PkiError> {
        files::create_private_dir(&config.dir)?;
        let _lock = files::lock(&config.dir)?;
        let ca = Authority::open(&config.dir, "ca", "kubernetes", now)?;
        let front_proxy_ca = Authority::open(&config.dir, "front-proxy-ca", "front-proxy-ca", now)?;
        let service_account_key_pem = service_account_key(&config.dir)?;
        let pki =
            Self { dir: config.dir.clone(), ca, front_proxy_ca, service_account_key_pem, leaves: Mutex::default() };
        pki.ensure(SERVING, serving_spec(config), false, now)?;
        let front_proxy = LeafSpec {
            common_name: FRONT_PROXY_CLIENT.into(),
            organization: None,
            usage: Usage::Client,
            dns_names: Vec::new(),
            ips: Vec::new(),
        };
        pki.ensure(FRONT_PROXY_CLIENT, front_proxy, true, now)?;
        for identity in [Identity::Admin, Identity::KubeletClient] {
            pki.ensure(&identity.file_stem(), LeafSpec::client(&identity), false, now)?;
        }
        Ok(pki)
    }

    /// Directory of the files.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Signs clients, kubelets and the serving certificate; what kubeconfigs and `kube-root-ca.crt` carry.
    pub fn ca(&self) -> &Authority {
        &self.ca
    }

    /// Signs front proxies, and nothing else.
    pub fn front_proxy_ca(&self) -> &Authority {
        &self.front_proxy_ca
    }

    /// The key that signs ServiceAccount tokens, PKCS#8 PEM (ECDSA P-256).
    pub fn service_account_key_pem(&self) -> &str {
        &self.service_account_key_pem
    }

    /// The API server's serving certificate as it is now.
    pub fn serving(&self) -> Arc<Credential> {
        self.existing(SERVING)
    }

    /// What the API server shows to aggregated API servers.
    pub fn front_proxy_client(&self) -> Arc<Credential> {
        self.existing(FRONT_PROXY_CLIENT)
    }

    fn existing(&self, stem: &str) -> Arc<Credential> {
        // `open` made these before anybody could ask.
        self.leaves
            .lock()
            .get(stem)
            .map(|leaf| leaf.credential.clone())
            .unwrap_or_else(|| Arc::new(Credential { certificate_pem: String::new(), key_pem: String::new() }))
    }

    /// The client certificate of an identity, made at the first call and kept.
    pub fn client(&self, identity: &Identity, now: Timestamp) -> Result<Arc<Credential>, PkiError> {
        let _lock = files::lock(&self.dir)?;
        self.ensure(&identity.file_stem(), LeafSpec::client(identity), false, now)
    }

    /// The serving certificate of a kubelet, made at the first call and kept.
    pub fn kubelet_serving(&self, node: &str, ips: &[IpAddr], now: Timestamp) -> Result<Arc<Credential>, PkiError> {
        let _lock = files::lock(&self.dir)?;
        let mut spec = LeafSpec::server(&format!("system:node:{node}"), [node.to_owned()], ips.iter().copied());
        spec.organization = Some("system:nodes");
        self.ensure(&format!("node-{node}-serving"), spec, false, now)
    }

    /// Issues again what is about to expire; returns the file stems of what is new. Also warns of an authority's end.
    pub fn renew(&self, now: Timestamp) -> Result<Vec<String>, PkiError> {
        let _lock = files::lock(&self.dir)?;
        self.ca.warn_before_expiry(now);
        self.front_proxy_ca.warn_before_expiry(now);
        let known = self
            .leaves
            .lock()
            .iter()
            .map(|(stem, leaf)| (stem.clone(), leaf.spec.clone(), leaf.front_proxy, leaf.credential.clone()))
            .collect::<Vec<_>>();
        let mut renewed = Vec::new();
        for (stem, spec, front_proxy, before) in known {
            if self.ensure(&stem, spec, front_proxy, now)? != before {
                renewed.push(stem);
            }
        }
        Ok(renewed)
    }

    /// The leaf of these files if it serves, else a new one in its place.
    fn ensure(
        &self,
        stem: &str,
        spec: LeafSpec,
        front_proxy: bool,
        now: Timestamp,
    ) -> Result<Arc<Credential>, PkiError> {
        let authority = if front_proxy { &self.front_proxy_ca } else { &self.ca };
        let (certificate_path, key_path) = (self.dir.join(format!("{stem}.crt")), self.dir.join(format!("{stem}.key")));
        let kept = match (files::read(&certificate_path)?, files::read(&key_path)?) {
            (Some(certificate_pem), Some(key_pem)) => {
                let credential = Credential { certificate_pem, key_pem };
                match authority.fault_of(&credential, &spec, now) {
                    None => Some(credential),
                    Some(fault) => {
                        tracing::info!(certificate = %certificate_path.display(), reason = fault, "issuing a certificate again");
                        None
                    }
                }
            }
            _ => None,
        };
        let credential = match kept {
            Some(credential) => credential,
            None => {
                let credential = authority.issue(&spec, now)?;
                // The key first: a certificate without its key would be found not to fit, and issued again.
                files::write(&key_path, &credential.key_pem)?;
                files::write(&certificate_path, &credential.certificate_pem)?;
                credential
            }
        };
        let credential = Arc::new(credential);
        let leaf = Leaf { spec, front_proxy, credential: credential.clone() };
        self.leaves.lock().insert(stem.to_owned(), leaf);
        Ok(credential)
    }
}

/// Names and addresses of the API server (`cmd/kubeadm/app/util/pkiutil`, GetAPIServerAltNames).
fn serving_spec(config: &PkiConfig) -> LeafSpec {
    let mut names = vec![
        "kubernetes".to_owned(),
        "kubernetes.default".to_owned(),
        "kubernetes.default.svc".to_owned(),
        format!("kubernetes.default.svc.{}", config.cluster_domain),
        "localhost".to_owned(),
        config.node_name.clone(),
    ];
    let mut ips = vec![config.service_ip, IpAddr::from([127, 0, 0, 1])];
    ips.extend(&config.node_ips);
    for san in &config.extra_sans {
        match san.parse() {
            Ok(ip) => ips.push(ip),
            Err(_) => names.push(san.clone()),
        }
    }
    LeafSpec::server("kube-apiserver", names, ips)
}

fn service_account_key(dir: &Path) -> Result<String, PkiError> {
    let path = dir.join(SERVICE_ACCOUNT_KEY);
    let pem = match files::read(&path)? {
        Some(pem) => pem,
        None => {
            let pem = authority::new_key()?.serialize_pem();
            files::write(&path, &pem)?;
            pem
        }
    };
    let key = rcgen::KeyPair::from_pem(&pem).map_err(|error| PkiError::Unusable {
        path: path.clone(),
        dir: dir.to_owned(),
        problem: format!("is not a private key ({error})"),
    })?;
    // For other verifiers; ours reads the private key.
    let public = dir.join(SERVICE_ACCOUNT_PUBLIC_KEY);
    if files::read(&public)?.as_deref() != Some(&key.public_key_pem()) {
        files::write(&public, &key.public_key_pem())?;
    }
    Ok(pem)
}

#[cfg(test)]
mod tests;
