//! Whether a certificate and a key belong together, with the words of Go's `tls.X509KeyPair`.

use rcgen::PublicKeyData;
use x509_parser::prelude::{FromDer, Pem, X509Certificate};

/// What is wrong with the pair, both in PEM; `None` if nothing is.
pub(super) fn fault(certificate: &[u8], key: &[u8]) -> Option<String> {
    let (leaf, skipped) = first_block(certificate, |label| label == "CERTIFICATE");
    let Some(leaf) = leaf else {
        return Some(match &skipped[..] {
            [] => "tls: failed to find any PEM data in certificate input".to_owned(),
            [one] if one.ends_with("PRIVATE KEY") => "tls: failed to find certificate PEM data in certificate input, but did find a private key; PEM inputs may have been switched".to_owned(),
            some => format!(
                "tls: failed to find \"CERTIFICATE\" PEM block in certificate input after skipping PEM blocks of the following types: [{}]",
                some.join(" ")
            ),
        });
    };
    let (private, skipped) = first_block(key, |label| label == "PRIVATE KEY" || label.ends_with(" PRIVATE KEY"));
    let Some(private) = private else {
        return Some(match &skipped[..] {
            [] => "tls: failed to find any PEM data in key input".to_owned(),
            [one] if one == "CERTIFICATE" => {
                "tls: found a certificate rather than a key in the PEM for the private key".to_owned()
            }
            some => format!(
                "tls: failed to find PEM block with type ending in \"PRIVATE KEY\" in key input after skipping PEM blocks of the following types: [{}]",
                some.join(" ")
            ),
        });
    };
    let Ok((_, leaf)) = X509Certificate::from_der(&leaf.contents) else {
        return Some("x509: malformed certificate".to_owned());
    };
    let Ok(pair) = rcgen::KeyPair::try_from(&private.contents[..]) else {
        return Some("tls: failed to parse private key".to_owned());
    };
    let matches = leaf.public_key().raw == pair.subject_public_key_info();
    (!matches).then(|| "tls: private key does not match public key".to_owned())
}

/// The first block of this kind, and the kinds of those before it.
fn first_block(text: &[u8], wanted: fn(&str) -> bool) -> (Option<Pem>, Vec<String>) {
    let mut skipped = Vec::new();
    for block in Pem::iter_from_buffer(text).map_while(Result::ok) {
        if wanted(&block.label) {
            return (Some(block), skipped);
        }
        skipped.push(block.label);
    }
    (None, skipped)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs() {
        let key = rcgen::KeyPair::generate().expect("a key");
        let other = rcgen::KeyPair::generate().expect("a key").serialize_pem();
        let names = vec!["a.b".to_owned()];
        let certificate = rcgen::CertificateParams::new(names).expect("names").self_signed(&key).expect("signed").pem();
        let key = key.serialize_pem();
        let fault = |certificate: &str, key: &str| fault(certificate.as_bytes(), key.as_bytes());
        assert_eq!(fault(&certificate, &key), None);
        assert_eq!(fault(&certificate, &other).as_deref(), Some("tls: private key does not match public key"));
        assert_eq!(fault("x", &key).as_deref(), Some("tls: failed to find any PEM data in certificate input"));
        assert!(fault(&key, &certificate).is_some_and(|fault| fault.ends_with("PEM inputs may have been switched")));
        assert!(fault(&certificate, &certificate).is_some_and(|fault| fault.starts_with("tls: found a certificate")));
    }
}
