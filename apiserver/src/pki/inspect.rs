//! What a certificate says.

use std::net::IpAddr;

use jiff::Timestamp;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};

/// The parts of a certificate that decide whether it serves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateFacts {
    /// Common name of the subject; empty when there is none.
    pub common_name: String,
    /// Organizations of the subject, in order.
    pub organizations: Vec<String>,
    /// DNS names, sorted.
    pub dns_names: Vec<String>,
    /// Addresses, sorted.
    pub ips: Vec<IpAddr>,
    /// Begin of validity.
    pub not_before: Timestamp,
    /// End of validity.
    pub not_after: Timestamp,
    /// Whether it may sign certificates.
    pub is_ca: bool,
    /// The public key (DER SubjectPublicKeyInfo).
    pub public_key: Vec<u8>,
}

/// Reads the first certificate of a PEM text; the error says what is wrong.
pub fn inspect_pem(pem: &str) -> Result<CertificateFacts, String> {
    inspect_der(&der_of(pem)?)
}

pub(super) fn der_of(pem: &str) -> Result<CertificateDer<'static>, String> {
    CertificateDer::from_pem_slice(pem.as_bytes()).map_err(|error| format!("is not a PEM certificate ({error})"))
}

pub(super) fn inspect_der(der: &[u8]) -> Result<CertificateFacts, String> {
    let certificate = parse(der)?;
    let subject = certificate.subject();
    let (mut dns_names, mut ips) = (Vec::new(), Vec::new());
    let names = certificate.subject_alternative_name().ok().flatten();
    for name in names.iter().flat_map(|names| &names.value.general_names) {
        match name {
            GeneralName::DNSName(name) => dns_names.push((*name).to_owned()),
            GeneralName::IPAddress(bytes) => ips.extend(ip_address(bytes)),
            _ => {}
        }
    }
    dns_names.sort_unstable();
    ips.sort_unstable();
    let time = |seconds: i64| Timestamp::from_second(seconds).map_err(|error| format!("has a bad validity ({error})"));
    Ok(CertificateFacts {
        common_name: subject.iter_common_name().next().and_then(|cn| cn.as_str().ok()).unwrap_or("").to_owned(),
        organizations: subject.iter_organization().filter_map(|o| o.as_str().ok()).map(str::to_owned).collect(),
        dns_names,
        ips,
        not_before: time(certificate.validity().not_before.timestamp())?,
        not_after: time(certificate.validity().not_after.timestamp())?,
        is_ca: certificate.is_ca(),
        public_key: certificate.public_key().raw.to_vec(),
    })
}

pub(super) fn parse(der: &[u8]) -> Result<X509Certificate<'_>, String> {
    match X509Certificate::from_der(der) {
        Ok((_, certificate)) => Ok(certificate),
        Err(error) => Err(format!("is not a certificate ({error})")),
    }
}

fn ip_address(bytes: &[u8]) -> Option<IpAddr> {
    if let Ok(v4) = <[u8; 4]>::try_from(bytes) {
        return Some(IpAddr::from(v4));
    }
    <[u8; 16]>::try_from(bytes).ok().map(IpAddr::from)
}
