//! TLS of the API server's listeners.
//!
//! Client certificates are asked for and optional. As upstream, the handshake only makes sure that the client holds the
//! key of what it shows; whether the certificate is one of ours is decided per request by
//! [`authentication`](crate::authentication), so that a foreign or expired certificate is answered with 401 and does
//! not get in the way of a good token.

use std::sync::Arc;

use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{DigitallySignedStruct, DistinguishedName, ServerConfig, SignatureScheme};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, UnixTime};

use super::{Credential, Pki, PkiError};

impl Pki {
    /// The TLS configuration with the serving certificate as it is now. Build it again after [`Pki::renew`] and swap it
    /// in: connections that are open stay.
    pub fn server_config(&self) -> Result<ServerConfig, PkiError> {
        server_config(&self.serving(), &[self.ca().certificate_pem(), self.front_proxy_ca().certificate_pem()])
    }
}

/// A configuration that serves this certificate over HTTP/2 and HTTP/1.1 and asks clients for certificates of these
/// authorities (PEM).
pub fn server_config(serving: &Credential, client_authorities: &[&str]) -> Result<ServerConfig, PkiError> {
    let refused = |problem: String| PkiError::Crypto { what: "the TLS configuration".into(), problem };
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let hints = client_authorities
        .iter()
        .map(|pem| super::inspect::der_of(pem).and_then(|der| subject_of(&der)))
        .collect::<Result<Vec<_>, _>>()
        .map_err(refused)?;
    let chain = CertificateDer::pem_slice_iter(serving.certificate_pem.as_bytes())
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| refused(error.to_string()))?;
    let key = PrivateKeyDer::from_pem_slice(serving.key_pem.as_bytes()).map_err(|error| refused(error.to_string()))?;
    let mut config = ServerConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .map_err(|error| refused(error.to_string()))?
        .with_client_cert_verifier(Arc::new(KeyHolder { provider, hints }))
        .with_single_cert(chain, key)
        .map_err(|error| refused(error.to_string()))?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(config)
}

fn subject_of(der: &[u8]) -> Result<DistinguishedName, String> {
    Ok(super::inspect::parse(der)?.subject().as_raw().to_vec().into())
}

/// Accepts any client certificate, or none, from a client that proves to hold its key.
#[derive(Debug)]
struct KeyHolder {
    provider: Arc<CryptoProvider>,
    hints: Vec<DistinguishedName>,
}

impl ClientCertVerifier for KeyHolder {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &self.hints
    }

    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn verify_client_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signature, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signature, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
