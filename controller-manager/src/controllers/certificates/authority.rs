//! Makes certificates for requests.
//!
//! Follows `pkg/controller/certificates/authority`: subject and alternative names are those of the request, whatever they
//! are, since somebody has approved them; usages and life are the policy's. The subject is taken over byte by byte, so
//! that no group of a user is lost.

use anyhow::{Context, anyhow, bail, ensure};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jiff::{SignedDuration, Timestamp};
use rcgen::{KeyPair, PublicKeyData, SigningKey};
use x509_parser::oid_registry::OID_X509_EXT_SUBJECT_ALT_NAME;
use x509_parser::prelude::{FromDer, ParsedExtension, Pem, X509Certificate, X509CertificationRequest};

use super::der;

/// How far back validity begins, for clocks that are behind ours.
const BACKDATE: SignedDuration = SignedDuration::from_mins(5);
/// Certificates that live shorter end when they were asked to, counted from now.
const SHORT: SignedDuration = SignedDuration::from_hours(8);
/// Shortest life.
const MIN_LIFE: SignedDuration = SignedDuration::from_mins(10);
const SERIAL_BYTES: usize = 16;

/// The authority that signs, and for how long.
#[derive(Clone)]
pub struct Signing {
    /// Its certificate, PEM (`--cluster-signing-cert-file`).
    pub certificate_pem: String,
    /// Its key, PEM (`--cluster-signing-key-file`).
    pub key_pem: String,
    /// Longest life of what it signs (`--cluster-signing-duration`).
    pub duration: SignedDuration,
}

/// An authority, ready to sign.
pub(super) struct Authority {
    key: KeyPair,
    /// DER of the name.
    subject: Vec<u8>,
    key_id: Option<Vec<u8>>,
    not_after: Timestamp,
    certificate: Vec<u8>,
    duration: SignedDuration,
}

impl Authority {
    pub(super) fn open(signing: &Signing) -> anyhow::Result<Self> {
        let key = KeyPair::from_pem(&signing.key_pem).context("cannot use the key of the signing authority")?;
        let pem = Pem::iter_from_buffer(signing.certificate_pem.as_bytes()).next().and_then(Result::ok);
        let der = pem.context("the certificate of the signing authority is not PEM")?.contents;
        let (subject, key_id, not_after) = {
            let (_, certificate) = X509Certificate::from_der(&der).map_err(|error| anyhow!("{error}"))?;
            ensure!(
                certificate.public_key().raw == key.subject_public_key_info(),
                "certificate and key of the signing authority do not belong together"
            );
            let key_id = certificate.extensions().iter().find_map(|extension| match extension.parsed_extension() {
                ParsedExtension::SubjectKeyIdentifier(id) => Some(id.0.to_vec()),
                _ => None,
            });
            let not_after = Timestamp::from_second(certificate.validity().not_after.timestamp())?;
            (certificate.subject().as_raw().to_vec(), key_id, not_after)
        };
        Ok(Self { key, subject, key_id, not_after, certificate: der, duration: signing.duration })
    }

    /// The certificate for a request (DER), as `status.certificate` has it: PEM in base64.
    pub(super) fn sign(
        &self,
        request: &[u8],
        usages: &[String],
        seconds: Option<i64>,
        now: Timestamp,
    ) -> anyhow::Result<String> {
        ensure!(now < self.not_after, "the signing authority expired on {}", self.not_after);
        let (_, request) = X509CertificationRequest::from_der(request).map_err(|error| anyhow!("asn1: {error}"))?;
        request.verify_signature().map_err(|error| anyhow!("the request is not signed by its key: {error}"))?;
        let info = &request.certification_request_info;
        let algorithm = self.algorithm()?;
        let serial = rand::random::<[u8; SERIAL_BYTES]>();
        let life = life(seconds, self.duration);
        let end = if life < SHORT { now + life } else { now + life - BACKDATE };
        let extensions = self.extensions(&request, usages)?;
        let certificate = der::sequence(&[
            der::explicit(0, &der::integer(&[2])),
            der::integer(&serial),
            algorithm.clone(),
            self.subject.clone(),
            der::sequence(&[der::time(now - BACKDATE), der::time(end.min(self.not_after))]),
            info.subject.as_raw().to_vec(),
            info.subject_pki.raw.to_vec(),
            der::explicit(3, &der::sequence(&extensions)),
        ]);
        let signature = self.key.sign(&certificate).context("cannot sign")?;
        let signed = der::sequence(&[certificate, algorithm, der::bits(&signature)]);
        self.verify(&signed)?;
        let body = STANDARD.encode(&signed);
        let lines = body.as_bytes().chunks(64).map(String::from_utf8_lossy).collect::<Vec<_>>().join("\n");
        let pem = format!("-----BEGIN CERTIFICATE-----\n{lines}\n-----END CERTIFICATE-----\n");
        Ok(STANDARD.encode(pem))
    }

    /// What was made must be readable by others.
    fn verify(&self, der: &[u8]) -> anyhow::Result<()> {
        let (_, ca) = X509Certificate::from_der(&self.certificate).map_err(|error| anyhow!("{error}"))?;
        let (_, made) = X509Certificate::from_der(der).map_err(|error| anyhow!("made a bad certificate: {error}"))?;
        made.verify_signature(Some(ca.public_key())).map_err(|error| anyhow!("made a bad signature: {error}"))
    }

    fn algorithm(&self) -> anyhow::Result<Vec<u8>> {
        let null = vec![5, 0];
        let algorithm = self.key.algorithm();
        Ok(if algorithm == &rcgen::PKCS_ECDSA_P256_SHA256 {
            der::sequence(&[der::oid(&[1, 2, 840, 10045, 4, 3, 2])])
        } else if algorithm == &rcgen::PKCS_ECDSA_P384_SHA384 {
            der::sequence(&[der::oid(&[1, 2, 840, 10045, 4, 3, 3])])
        } else if algorithm == &rcgen::PKCS_RSA_SHA256 {
            der::sequence(&[der::oid(&[1, 2, 840, 113_549, 1, 1, 11]), null])
        } else if algorithm == &rcgen::PKCS_ED25519 {
            der::sequence(&[der::oid(&[1, 3, 101, 112])])
        } else {
            bail!("the key of the signing authority is neither ECDSA (P-256, P-384), RSA nor Ed25519")
        })
    }

    fn extensions(&self, request: &X509CertificationRequest<'_>, usages: &[String]) -> anyhow::Result<Vec<Vec<u8>>> {
        let critical = || vec![1, 1, 0xff];
        let extension = |arc: u64, is_critical: bool, value: &[u8]| {
            let mut parts = vec![der::oid(&[2, 5, 29, arc])];
            parts.extend(is_critical.then(critical));
            parts.push(der::octets(value));
            der::sequence(&parts)
        };
        let (key_usage, purposes) = usages_of(usages)?;
        let mut all = Vec::new();
        if key_usage != 0 {
            all.push(extension(15, true, &der::flags(key_usage)));
        }
        if !purposes.is_empty() {
            all.push(extension(37, false, &der::sequence(&purposes)));
        }
        all.push(extension(19, true, &der::sequence(&[])));
        if let Some(id) = &self.key_id {
            all.push(extension(35, false, &der::sequence(&[der::implicit(0, id)])));
        }
        if let Some(names) = alternative_names(request) {
            let anonymous = request.certification_request_info.subject.iter().next().is_none();
            all.push(extension(17, anonymous, &names));
        }
        Ok(all)
    }
}

fn life(seconds: Option<i64>, longest: SignedDuration) -> SignedDuration {
    seconds.map_or(longest, |seconds| SignedDuration::from_secs(seconds).max(MIN_LIFE).min(longest))
}

/// The alternative names as the request has them.
fn alternative_names(request: &X509CertificationRequest<'_>) -> Option<Vec<u8>> {
    use x509_parser::cri_attributes::ParsedCriAttribute;
    let attributes = request.certification_request_info.iter_attributes();
    let mut extensions = attributes.filter_map(|attribute| match attribute.parsed_attribute() {
        ParsedCriAttribute::ExtensionRequest(requested) => Some(&requested.extensions),
        _ => None,
    });
    let names = extensions.find_map(|list| list.iter().find(|e| e.oid == OID_X509_EXT_SUBJECT_ALT_NAME));
    names.map(|extension| extension.value.to_vec())
}

/// Key usage as flags, and the identifiers of extended usages, sorted as upstream's.
fn usages_of(usages: &[String]) -> anyhow::Result<(u16, Vec<Vec<u8>>)> {
    const PURPOSE: [u64; 8] = [1, 3, 6, 1, 5, 5, 7, 3];
    const ANY: [u64; 5] = [2, 5, 29, 37, 0];
    const MICROSOFT: [u64; 10] = [1, 3, 6, 1, 4, 1, 311, 10, 3, 3];
    const NETSCAPE: [u64; 7] = [2, 16, 840, 1, 113_730, 4, 1];
    let mut flags = 0u16;
    let mut purposes = Vec::new();
    for usage in usages {
        let flag = match usage.as_str() {
            "signing" | "digital signature" => Some(0),
            "content commitment" => Some(1),
            "key encipherment" => Some(2),
            "data encipherment" => Some(3),
            "key agreement" => Some(4),
            "cert sign" => Some(5),
            "crl sign" => Some(6),
            "encipher only" => Some(7),
            "decipher only" => Some(8),
            _ => None,
        };
        if let Some(flag) = flag {
            flags |= 1 << flag;
            continue;
        }
        let purpose = |last: u64| [&PURPOSE[..], &[last]].concat();
        purposes.push(match usage.as_str() {
            "any" => (0, ANY.to_vec()),
            "server auth" => (1, purpose(1)),
            "client auth" => (2, purpose(2)),
            "code signing" => (3, purpose(3)),
            "email protection" | "s/mime" => (4, purpose(4)),
            "ipsec end system" => (5, purpose(5)),
            "ipsec tunnel" => (6, purpose(6)),
            "ipsec user" => (7, purpose(7)),
            "timestamping" => (8, purpose(8)),
            "ocsp signing" => (9, purpose(9)),
            "microsoft sgc" => (10, MICROSOFT.to_vec()),
            "netscape sgc" => (11, NETSCAPE.to_vec()),
            other => bail!("unrecognized usage values: [{other:?}]"),
        });
    }
    purposes.sort_unstable();
    purposes.dedup();
    Ok((flags, purposes.iter().map(|(_, arcs)| der::oid(arcs)).collect()))
}

#[cfg(test)]
mod tests;
