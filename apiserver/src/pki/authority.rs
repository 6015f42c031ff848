//! A certificate authority: opened or made, and what it signs.

use std::path::{Path, PathBuf};

use jiff::{SignedDuration, Timestamp};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SanType, SerialNumber,
};
use time::OffsetDateTime;

use super::inspect::{CertificateFacts, der_of, inspect_der, parse};
use super::{AUTHORITY_LIFE, AUTHORITY_WARNING, Credential, LEAF_LIFE, LeafSpec, PkiError, Usage, files};

/// How far back validity begins, for clocks that are behind ours.
const BACKDATE: SignedDuration = SignedDuration::from_mins(5);
/// Bytes of a serial number: 159 random bits.
const SERIAL_BYTES: usize = 20;

/// A certificate authority with its key.
pub struct Authority {
    certificate_path: PathBuf,
    key_path: PathBuf,
    certificate_pem: String,
    facts: CertificateFacts,
    key: KeyPair,
}

impl Authority {
    /// Opens `STEM.crt` and `STEM.key`, or makes them when there is no certificate.
    pub(super) fn open(dir: &Path, stem: &str, common_name: &str, now: Timestamp) -> Result<Self, PkiError> {
        let (certificate_path, key_path) = (dir.join(format!("{stem}.crt")), dir.join(format!("{stem}.key")));
        let unusable =
            |path: &Path, problem: String| PkiError::Unusable { path: path.to_owned(), dir: dir.to_owned(), problem };
        let key = match files::read(&key_path)? {
            Some(pem) => {
                KeyPair::from_pem(&pem).map_err(|e| unusable(&key_path, format!("is not a private key ({e})")))?
            }
            None if files::read(&certificate_path)?.is_some() => {
                return Err(unusable(&key_path, format!("is missing beside {}", certificate_path.display())));
            }
            None => {
                let key = new_key()?;
                files::write(&key_path, &key.serialize_pem())?;
                key
            }
        };
        let certificate_pem = match files::read(&certificate_path)? {
            Some(pem) => pem,
            // Also after a crash between the two files: nobody has seen a certificate of this key yet.
            None => {
                let pem = self_signed(common_name, &key, now)?;
                files::write(&certificate_path, &pem)?;
                pem
            }
        };
        let facts = der_of(&certificate_pem)
            .and_then(|der| inspect_der(&der))
            .map_err(|problem| unusable(&certificate_path, problem))?;
        if !facts.is_ca {
            return Err(unusable(&certificate_path, "is not a certificate authority".into()));
        }
        if facts.public_key != key.public_key_der_info() {
            return Err(unusable(&certificate_path, format!("does not belong to {}", key_path.display())));
        }
        if facts.not_after <= now {
            return Err(unusable(&certificate_path, format!("expired on {}", facts.not_after)));
        }
        let authority = Self { certificate_path, key_path, certificate_pem, facts, key };
        authority.warn_before_expiry(now);
        Ok(authority)
    }

    /// The certificate, PEM.
    pub fn certificate_pem(&self) -> &str {
        &self.certificate_pem
    }

    /// File of the certificate.
    pub fn certificate_path(&self) -> &Path {
        &self.certificate_path
    }

    /// File of the key, for a controller that signs certificate requests.
    pub fn key_path(&self) -> &Path {
        &self.key_path
    }

    /// End of validity.
    pub fn not_after(&self) -> Timestamp {
        self.facts.not_after
    }

    /// Logs a warning in the last months, because an authority is never replaced by itself.
    pub(super) fn warn_before_expiry(&self, now: Timestamp) {
        if self.facts.not_after.duration_since(now) < AUTHORITY_WARNING {
            tracing::warn!(
                certificate = %self.certificate_path.display(),
                expires = %self.facts.not_after,
                "a certificate authority is about to expire; plan its replacement"
            );
        }
    }

    /// A new certificate and key.
    pub(super) fn issue(&self, spec: &LeafSpec, now: Timestamp) -> Result<Credential, PkiError> {
        let refused =
            |problem: String| PkiError::Crypto { what: format!("a certificate for {:?}", spec.common_name), problem };
        let not_after = (now + LEAF_LIFE).min(self.facts.not_after);
        let mut params = params(&spec.common_name, spec.organization, now, not_after)?;
        params.is_ca = IsCa::ExplicitNoCa;
        params.use_authority_key_identifier_extension = true;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyEncipherment];
        params.extended_key_usages = vec![match spec.usage {
            Usage::Client => ExtendedKeyUsagePurpose::ClientAuth,
            Usage::Server => ExtendedKeyUsagePurpose::ServerAuth,
        }];
        for name in &spec.dns_names {
            let name = name.as_str().try_into().map_err(|error| refused(format!("{name:?}: {error}")))?;
            params.subject_alt_names.push(SanType::DnsName(name));
        }
        params.subject_alt_names.extend(spec.ips.iter().map(|ip| SanType::IpAddress(*ip)));
        let issuer =
            Issuer::from_ca_cert_pem(&self.certificate_pem, &self.key).map_err(|error| refused(error.to_string()))?;
        let key = new_key()?;
        let certificate = params.signed_by(&key, &issuer).map_err(|error| refused(error.to_string()))?;
        Ok(Credential { certificate_pem: certificate.pem(), key_pem: key.serialize_pem() })
    }

    /// Why a credential does not serve as this leaf; `None` when it does.
    pub(super) fn fault_of(&self, credential: &Credential, spec: &LeafSpec, now: Timestamp) -> Option<&'static str> {
        let Ok(der) = der_of(&credential.certificate_pem) else { return Some("it cannot be read") };
        let (Ok(facts), Ok(certificate)) = (inspect_der(&der), parse(&der)) else { return Some("it cannot be read") };
        let Ok(key) = KeyPair::from_pem(&credential.key_pem) else { return Some("its key cannot be read") };
        let life = facts.not_after.duration_since(facts.not_before);
        let organizations = spec.organization.into_iter().collect::<Vec<_>>();
        // An authority near its own end gives no longer life by issuing again.
        let capped = facts.not_after >= self.facts.not_after && now < facts.not_after;
        let signed_by_us = || {
            let Ok(der) = der_of(&self.certificate_pem) else { return false };
            parse(&der).is_ok_and(|ca| certificate.verify_signature(Some(ca.public_key())).is_ok())
        };
        if facts.public_key != key.public_key_der_info() {
            Some("it does not belong to its key")
        } else if facts.common_name != spec.common_name || facts.organizations != organizations {
            Some("it is for somebody else")
        } else if facts.dns_names != spec.dns_names || facts.ips != spec.ips {
            Some("the names it must carry have changed")
        } else if now < facts.not_before || (facts.not_after.duration_since(now) < life / 3 && !capped) {
            Some("less than a third of its life is left")
        } else if !signed_by_us() {
            Some("another authority signed it")
        } else {
            None
        }
    }
}

/// A new ECDSA P-256 key.
pub(super) fn new_key() -> Result<KeyPair, PkiError> {
    KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256)
        .map_err(|error| PkiError::Crypto { what: "a key".into(), problem: error.to_string() })
}

trait PublicKeyInfo {
    fn public_key_der_info(&self) -> Vec<u8>;
}

impl PublicKeyInfo for KeyPair {
    fn public_key_der_info(&self) -> Vec<u8> {
        rcgen::PublicKeyData::subject_public_key_info(self)
    }
}

fn self_signed(common_name: &str, key: &KeyPair, now: Timestamp) -> Result<String, PkiError> {
    let mut params = params(common_name, None, now, now + AUTHORITY_LIFE)?;
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages =
        vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyEncipherment, KeyUsagePurpose::KeyCertSign];
    let certificate = params.self_signed(key).map_err(|error| PkiError::Crypto {
        what: format!("the certificate authority {common_name:?}"),
        problem: error.to_string(),
    })?;
    Ok(certificate.pem())
}

/// At most one organization: rcgen keeps only the last of several, which would silently lose a group.
fn params(
    common_name: &str,
    organization: Option<&str>,
    now: Timestamp,
    not_after: Timestamp,
) -> Result<CertificateParams, PkiError> {
    let time = |at: Timestamp| {
        OffsetDateTime::from_unix_timestamp(at.as_second()).map_err(|error| PkiError::Crypto {
            what: format!("a certificate for {common_name:?}"),
            problem: error.to_string(),
        })
    };
    let mut subject = DistinguishedName::new();
    if let Some(organization) = organization {
        subject.push(DnType::OrganizationName, organization);
    }
    subject.push(DnType::CommonName, common_name);
    let mut serial = rand::random::<[u8; SERIAL_BYTES]>();
    // Positive, and of full length.
    serial[0] = serial[0] & 0x7f | 0x40;
    let mut params = CertificateParams::default();
    params.distinguished_name = subject;
    params.not_before = time(now - BACKDATE)?;
    params.not_after = time(not_after)?;
    params.serial_number = Some(SerialNumber::from_slice(&serial));
    Ok(params)
}
