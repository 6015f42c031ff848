//! Certificates as others read them.

use rcgen::{CertificateParams, DistinguishedName, DnType, IsCa};
use std::net::IpAddr;

use super::super::request::der_of;
use super::*;

fn signing(key: &KeyPair) -> Signing {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, "test-ca");
    params.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    params.not_after = rcgen::date_time_ymd(2040, 1, 1);
    let certificate = params.self_signed(key).expect("a certificate");
    Signing {
        certificate_pem: certificate.pem(),
        key_pem: key.serialize_pem(),
        duration: SignedDuration::from_hours(8760),
    }
}

fn request(key: &KeyPair) -> Vec<u8> {
    let mut params = CertificateParams::new(vec!["n1.local".to_owned(), "192.0.2.7".to_owned()]).expect("names");
    let mut subject = DistinguishedName::new();
    subject.push(DnType::OrganizationName, "system:nodes");
    // The same attribute under another name: requests may have several organizations.
    subject.push(DnType::CustomDnType(vec![2, 5, 4, 10]), "more");
    subject.push(DnType::CommonName, "system:node:n1");
    params.distinguished_name = subject;
    let pem = params.serialize_request(key).expect("a request").pem().expect("pem");
    der_of(&STANDARD.encode(pem)).expect("der")
}

fn open(certificate: &str) -> Vec<u8> {
    let pem = STANDARD.decode(certificate).expect("base64");
    Pem::iter_from_buffer(&pem).next().expect("a block").expect("pem").contents
}

#[test]
fn a_certificate_says_what_the_request_asks_for() {
    let now: Timestamp = "2026-01-02T03:04:05Z".parse().expect("a time");
    for algorithm in [&rcgen::PKCS_ECDSA_P256_SHA256, &rcgen::PKCS_ECDSA_P384_SHA384, &rcgen::PKCS_ED25519] {
        let authority = Authority::open(&signing(&KeyPair::generate_for(algorithm).expect("a key"))).expect("opened");
        let key = KeyPair::generate().expect("a key");
        let usages = ["digital signature", "key encipherment", "server auth", "client auth"].map(str::to_owned);
        let der = open(&authority.sign(&request(&key), &usages, None, now).expect("signed"));
        let (_, certificate) = X509Certificate::from_der(&der).expect("a certificate");
        let organizations = certificate.subject().iter_organization().map(|o| o.as_str().expect("text"));
        assert_eq!(organizations.collect::<Vec<_>>(), ["system:nodes", "more"]);
        assert_eq!(certificate.issuer().to_string(), "CN=test-ca");
        assert_eq!(certificate.public_key().raw, key.subject_public_key_info());
        assert!(!certificate.is_ca());
        let usage = certificate.key_usage().expect("valid").expect("there").value;
        assert!(usage.digital_signature() && usage.key_encipherment() && !usage.key_cert_sign());
        let purposes = certificate.extended_key_usage().expect("valid").expect("there").value;
        assert!(purposes.server_auth && purposes.client_auth && !purposes.any);
        let names = certificate.subject_alternative_name().expect("valid").expect("there").value;
        let ip: IpAddr = "192.0.2.7".parse().expect("an address");
        let IpAddr::V4(ip) = ip else { panic!("not of version 4") };
        use x509_parser::prelude::GeneralName;
        assert_eq!(names.general_names, [GeneralName::DNSName("n1.local"), GeneralName::IPAddress(&ip.octets())]);
        let validity = certificate.validity();
        let times = [validity.not_before, validity.not_after].map(|at| at.timestamp() - now.as_second());
        assert_eq!(times, [-300, 365 * 24 * 3600 - 300]);
    }
}

#[test]
fn life_is_as_long_as_asked_within_bounds() {
    let year = SignedDuration::from_hours(8760);
    assert_eq!(life(None, year), year);
    assert_eq!(life(Some(3600), year), SignedDuration::from_secs(3600));
    assert_eq!(life(Some(60), year), SignedDuration::from_secs(600));
    assert_eq!(life(Some(i64::MAX), year), year);
}

#[test]
fn what_does_not_belong_together_is_refused() {
    let [one, other] = [KeyPair::generate().expect("a key"), KeyPair::generate().expect("a key")];
    let mixed = Signing { key_pem: other.serialize_pem(), ..signing(&one) };
    assert!(Authority::open(&mixed).is_err());
    let authority = Authority::open(&signing(&one)).expect("opened");
    let late = "2041-01-01T00:00:00Z".parse().expect("a time");
    assert!(authority.sign(&request(&other), &[], None, late).is_err());
    let mut forged = request(&other);
    *forged.last_mut().expect("a byte") ^= 1;
    assert!(authority.sign(&forged, &[], None, "2026-01-01T00:00:00Z".parse().expect("a time")).is_err());
}
