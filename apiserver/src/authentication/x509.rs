//! Client certificates: the common name is the user, organizations are groups.
//!
//! Follows `k8s.io/apiserver/pkg/authentication/request/x509`.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use quick_cache::sync::Cache;
use rustls::RootCertStore;
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, UnixTime};
use sha2::{Digest, Sha256};
use x509_parser::oid_registry::Oid;
use x509_parser::prelude::{FromDer, X509Certificate};

use super::{CREDENTIAL_ID, UserInfo};

/// Certificates whose verification is remembered.
const REMEMBERED: usize = 1024;
/// Attribute that carries the user's UID: 1.3.6.1.4.1.57683.2.
const UID_OID: &[u64] = &[1, 3, 6, 1, 4, 1, 57683, 2];

/// Verifies client certificates of one set of authorities.
pub(super) struct ClientCertificates {
    verifier: Arc<dyn ClientCertVerifier>,
    /// By the leaf's bytes. Only what verified; the end of validity is looked at each time.
    verified: Cache<Vec<u8>, Arc<Verified>>,
}

/// A certificate that one of our authorities signed for a client.
pub(super) struct Verified {
    /// Whom it names; `None` without a common name.
    pub(super) user: Option<UserInfo>,
    not_after: Timestamp,
}

impl ClientCertificates {
    /// Trusts these authorities (PEM).
    pub(super) fn new(authorities_pem: &str) -> Result<Self, String> {
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(authorities_pem.as_bytes()) {
            let certificate = certificate.map_err(|error| error.to_string())?;
            roots.add(certificate).map_err(|error| error.to_string())?;
        }
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
            .build()
            .map_err(|error| error.to_string())?;
        Ok(Self { verifier, verified: Cache::new(REMEMBERED) })
    }

    /// Whom a chain (leaf first) speaks for; the error says why it does not hold.
    pub(super) fn verify(&self, chain: &[Vec<u8>], now: Timestamp) -> Result<Arc<Verified>, String> {
        let Some((leaf, intermediates)) = chain.split_first() else { return Err("no certificate".into()) };
        if let Some(verified) = self.verified.get(leaf)
            && now <= verified.not_after
        {
            return Ok(verified);
        }
        let intermediates = intermediates.iter().map(|der| CertificateDer::from(der.as_slice())).collect::<Vec<_>>();
        let seconds = u64::try_from(now.as_second()).map_err(|_| "the clock is before 1970")?;
        let now = UnixTime::since_unix_epoch(Duration::from_secs(seconds));
        self.verifier
            .verify_client_cert(&CertificateDer::from(leaf.as_slice()), &intermediates, now)
            .map_err(|error| format!("x509: {error}"))?;
        let verified = Arc::new(read(leaf)?);
        self.verified.insert(leaf.clone(), verified.clone());
        Ok(verified)
    }
}

fn read(leaf: &[u8]) -> Result<Verified, String> {
    let (_, certificate) = X509Certificate::from_der(leaf).map_err(|error| format!("x509: {error}"))?;
    let subject = certificate.subject();
    let not_after = Timestamp::from_second(certificate.validity().not_after.timestamp()).map_err(|e| e.to_string())?;
    let text = |attribute: &x509_parser::x509::AttributeTypeAndValue<'_>| {
        attribute.as_str().map(str::to_owned).map_err(|_| "x509: a name in the subject is not text".to_owned())
    };
    // Of several common names the last counts, as in Go.
    let name = subject.iter_common_name().last().map(text).transpose()?.unwrap_or_default();
    if name.is_empty() {
        return Ok(Verified { user: None, not_after });
    }
    let groups = subject.iter_organization().map(text).collect::<Result<Vec<_>, _>>()?;
    let oid = Oid::from(UID_OID).map_err(|_| "x509: the object identifier of UIDs is not one")?;
    let uids = subject.iter_by_oid(&oid).map(text).collect::<Result<Vec<_>, _>>()?;
    let uid = match uids.as_slice() {
        [] => String::new(),
        [uid] if !uid.is_empty() => uid.clone(),
        [_] => return Err("UID cannot be an empty string".into()),
        _ => return Err(format!("expected 1 UID, but found multiple: {uids:?}")),
    };
    let fingerprint = Sha256::digest(leaf).iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let extra = BTreeMap::from([(CREDENTIAL_ID.to_owned(), vec![format!("X509SHA256={fingerprint}")])]);
    Ok(Verified { user: Some(UserInfo { name, uid, groups, extra }), not_after })
}
