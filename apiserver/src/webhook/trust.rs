//! Whose certificates count when this server calls another.

use std::sync::Arc;

use jiff::Timestamp;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, DigitallySignedStruct, RootCertStore, SignatureScheme};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};

/// Where distributions keep the authorities that the machine trusts, in the order in which Go looks.
const SYSTEM_BUNDLES: [&str; 5] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// Trusts the certificates of a bundle: as authorities, and, as Go does, as they are.
#[derive(Debug)]
pub struct Bundle {
    authorities: Arc<WebPkiServerVerifier>,
    certificates: Vec<CertificateDer<'static>>,
}

impl Bundle {
    /// Of PEM; that of the machine when it is empty.
    pub fn new(pem: &[u8], provider: Arc<CryptoProvider>) -> Result<Self, String> {
        let certificates = if pem.is_empty() { system() } else { certificates(pem) };
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(certificates.iter().cloned());
        if roots.is_empty() {
            return Err("unable to load root certificates: unable to parse bytes as PEM block".to_owned());
        }
        let authorities = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider).build();
        // What the machine trusts are authorities only.
        let certificates = if pem.is_empty() { Vec::new() } else { certificates };
        Ok(Self { authorities: authorities.map_err(|error| error.to_string())?, certificates })
    }

    /// Whether a certificate is itself in the bundle, valid now and for this name.
    fn holds(&self, end_entity: &CertificateDer<'_>, name: &ServerName<'_>, now: UnixTime) -> bool {
        let listed = self.certificates.iter().any(|certificate| certificate == end_entity);
        let named = || {
            let parsed = ParsedCertificate::try_from(end_entity);
            parsed.is_ok_and(|parsed| rustls::client::verify_server_name(&parsed, name).is_ok())
        };
        listed && named() && is_valid_at(end_entity, now)
    }
}

fn certificates(pem: &[u8]) -> Vec<CertificateDer<'static>> {
    CertificateDer::pem_slice_iter(pem).filter_map(Result::ok).collect()
}

fn system() -> Vec<CertificateDer<'static>> {
    SYSTEM_BUNDLES.iter().find_map(|path| std::fs::read(path).ok()).map(|pem| certificates(&pem)).unwrap_or_default()
}

fn is_valid_at(certificate: &CertificateDer<'_>, now: UnixTime) -> bool {
    let Ok((_, parsed)) = x509_parser::parse_x509_certificate(certificate) else { return false };
    let now = i64::try_from(now.as_secs()).unwrap_or_else(|_| Timestamp::now().as_second());
    let validity = parsed.validity();
    (validity.not_before.timestamp()..=validity.not_after.timestamp()).contains(&now)
}

impl ServerCertVerifier for Bundle {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let verified = self.authorities.verify_server_cert(end_entity, intermediates, name, ocsp, now);
        match verified {
            Err(_) if self.holds(end_entity, name, now) => Ok(ServerCertVerified::assertion()),
            other => other,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.authorities.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.authorities.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.authorities.supported_verify_schemes()
    }
}

/// What Go says of a certificate that does not count.
pub fn certificate_problem(error: &CertificateError, host: &str) -> String {
    let problem = match error {
        CertificateError::UnknownIssuer | CertificateError::BadSignature => {
            "certificate signed by unknown authority".to_owned()
        }
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            "certificate has expired or is not yet valid".to_owned()
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            "certificate has expired or is not yet valid".to_owned()
        }
        CertificateError::NotValidForNameContext { presented, .. } => not_for(host, presented),
        CertificateError::NotValidForName => not_for(host, &[]),
        CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => {
            "certificate specifies an incompatible key usage".to_owned()
        }
        other => format!("{other}"),
    };
    format!("tls: failed to verify certificate: x509: {problem}")
}

/// What Go says of a certificate for others. Of names and addresses it speaks of those of the host's sort.
fn not_for(host: &str, presented: &[String]) -> String {
    let is_address = host.parse::<std::net::IpAddr>().is_ok();
    let names = presented.iter().filter_map(|name| {
        // `DnsName("a.b")` and `IpAddress(127.0.0.1)`.
        let (sort, name) = name.split_once('(')?;
        let ours = if is_address { sort == "IpAddress" } else { sort == "DnsName" };
        ours.then(|| name.trim_end_matches(')').trim_matches('"').to_owned())
    });
    let names = names.collect::<Vec<_>>();
    match (names.as_slice(), is_address) {
        ([], true) => format!("cannot validate certificate for {host} because it doesn't contain any IP SANs"),
        ([], false) => format!("certificate is not valid for any names, but wanted to match {host}"),
        _ => format!("certificate is valid for {}, not {host}", names.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_the_hosts_sort() {
        let presented = ["DnsName(\"a.svc\")".to_owned(), "IpAddress(10.0.0.1)".to_owned()];
        assert_eq!(not_for("b.svc", &presented), "certificate is valid for a.svc, not b.svc");
        assert_eq!(not_for("10.0.0.2", &presented), "certificate is valid for 10.0.0.1, not 10.0.0.2");
        let none = "certificate is not valid for any names, but wanted to match b.svc";
        assert_eq!(not_for("b.svc", &presented[1..]), none);
    }
}
