//! The kubelet's serving certificate, renewed while it runs.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use arc_swap::ArcSwap;
use jiff::Timestamp;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use skiff_apiserver::pki::{Credential, Pki};
use tokio_util::sync::CancellationToken;

/// How often expiry is looked at: months are left when the last third of a certificate's life begins.
const PERIOD: Duration = Duration::from_secs(12 * 3600);

/// Serves the certificate as it is now.
#[derive(Debug)]
pub(crate) struct KubeletCertificate(ArcSwap<CertifiedKey>);

impl KubeletCertificate {
    /// The certificate of this node, made if there is none, and kept current until `shutdown`.
    pub(crate) fn start(
        pki: Arc<Pki>,
        node: String,
        ips: Vec<IpAddr>,
        shutdown: CancellationToken,
    ) -> anyhow::Result<Arc<Self>> {
        let credential = pki.kubelet_serving(&node, &ips, Timestamp::now())?;
        let resolver = Arc::new(Self(ArcSwap::from_pointee(certified(&credential)?)));
        let kept = resolver.clone();
        tokio::spawn(async move {
            while shutdown.run_until_cancelled(tokio::time::sleep(PERIOD)).await.is_some() {
                let (pki, node, ips) = (pki.clone(), node.clone(), ips.clone());
                let renewed = tokio::task::spawn_blocking(move || {
                    anyhow::Ok(certified(pki.kubelet_serving(&node, &ips, Timestamp::now())?.as_ref())?)
                });
                match renewed.await.map_err(anyhow::Error::from).flatten() {
                    Ok(key) => kept.0.store(Arc::new(key)),
                    // The old one is good for months; the next round tries again.
                    Err(error) => tracing::error!("cannot renew the kubelet's certificate: {error:#}"),
                }
            }
        });
        Ok(resolver)
    }
}

impl ResolvesServerCert for KubeletCertificate {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.load_full())
    }
}

fn certified(credential: &Credential) -> anyhow::Result<CertifiedKey> {
    let chain = CertificateDer::pem_slice_iter(credential.certificate_pem.as_bytes())
        .collect::<Result<Vec<_>, _>>()
        .context("the kubelet's certificate cannot be read")?;
    let key = PrivateKeyDer::from_pem_slice(credential.key_pem.as_bytes())
        .context("the key of the kubelet's certificate cannot be read")?;
    let key = rustls::crypto::aws_lc_rs::sign::any_supported_type(&key)?;
    Ok(CertifiedKey::new(chain, key))
}
