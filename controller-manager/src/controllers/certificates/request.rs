//! What a certificate signing request asks for, and whether a signer of `kubernetes.io` gives it.
//!
//! Follows `pkg/apis/certificates/helpers.go` and `pkg/controller/certificates/signer`.

use std::collections::BTreeSet;

use anyhow::{Context, anyhow, ensure};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use x509_parser::prelude::{FromDer, GeneralName, ParsedExtension, Pem, X509CertificationRequest};

/// Clients of the API server.
pub(super) const API_CLIENT: &str = "kubernetes.io/kube-apiserver-client";
/// Kubelets as clients of the API server.
pub(super) const KUBELET_CLIENT: &str = "kubernetes.io/kube-apiserver-client-kubelet";
/// Kubelets as servers.
pub(super) const KUBELET_SERVING: &str = "kubernetes.io/kubelet-serving";
/// Whatever clients of long ago asked for.
pub(super) const LEGACY: &str = "kubernetes.io/legacy-unknown";

const NODES: &str = "system:nodes";
const NODE_PREFIX: &str = "system:node:";

/// The request in DER, as `spec.request` has it: PEM in base64.
pub(super) fn der_of(request: &str) -> anyhow::Result<Vec<u8>> {
    let pem = STANDARD.decode(request).context("not base64")?;
    let first = Pem::iter_from_buffer(&pem).next().and_then(Result::ok);
    let block = first.filter(|block| block.label == "CERTIFICATE REQUEST");
    Ok(block.ok_or_else(|| anyhow!("PEM block type must be CERTIFICATE REQUEST"))?.contents)
}

/// A request as far as signers look at it.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Asked {
    pub(super) common_name: String,
    pub(super) organizations: Vec<String>,
    pub(super) dns_names: usize,
    pub(super) emails: usize,
    pub(super) ips: usize,
    pub(super) uris: usize,
}

impl Asked {
    pub(super) fn of(der: &[u8]) -> anyhow::Result<Self> {
        let (_, request) = X509CertificationRequest::from_der(der).map_err(|error| anyhow!("asn1: {error}"))?;
        let subject = &request.certification_request_info.subject;
        let text =
            |attribute: &x509_parser::x509::AttributeTypeAndValue<'_>| attribute.as_str().unwrap_or("").to_owned();
        let mut asked = Self {
            common_name: subject.iter_common_name().last().map(text).unwrap_or_default(),
            organizations: subject.iter_organization().map(text).collect(),
            ..Self::default()
        };
        for extension in request.requested_extensions().into_iter().flatten() {
            let ParsedExtension::SubjectAlternativeName(names) = extension else { continue };
            for name in &names.general_names {
                match name {
                    GeneralName::DNSName(_) => asked.dns_names += 1,
                    GeneralName::RFC822Name(_) => asked.emails += 1,
                    GeneralName::IPAddress(_) => asked.ips += 1,
                    GeneralName::URI(_) => asked.uris += 1,
                    _ => {}
                }
            }
        }
        Ok(asked)
    }

    /// Whether a signer signs this; the error says why not, in upstream's words. `None` for signers elsewhere.
    pub(super) fn suits(&self, signer: &str, usages: &[String]) -> Option<Result<(), String>> {
        let check = match signer {
            KUBELET_CLIENT => self.suits_kubelet_client(usages),
            KUBELET_SERVING => self.suits_kubelet_serving(usages),
            API_CLIENT => suits_api_client(usages),
            LEGACY => Ok(()),
            _ => return None,
        };
        Some(check.map_err(|error| error.to_string()))
    }

    pub(super) fn suits_kubelet_client(&self, usages: &[String]) -> anyhow::Result<()> {
        self.is_of_nodes()?;
        ensure!(self.dns_names == 0, "DNS subjectAltNames are not allowed");
        ensure!(self.emails == 0, "Email subjectAltNames are not allowed");
        ensure!(self.ips == 0, "IP subjectAltNames are not allowed");
        ensure!(self.uris == 0, "URI subjectAltNames are not allowed");
        self.is_named_as_node()?;
        has_usages(usages, "client auth")
    }

    fn suits_kubelet_serving(&self, usages: &[String]) -> anyhow::Result<()> {
        self.is_of_nodes()?;
        ensure!(self.dns_names + self.ips > 0, "DNS or IP subjectAltName is required");
        ensure!(self.emails == 0, "Email subjectAltNames are not allowed");
        ensure!(self.uris == 0, "URI subjectAltNames are not allowed");
        has_usages(usages, "server auth")?;
        self.is_named_as_node()
    }

    fn is_of_nodes(&self) -> anyhow::Result<()> {
        ensure!(self.organizations == [NODES], "subject organization is not system:nodes");
        Ok(())
    }

    fn is_named_as_node(&self) -> anyhow::Result<()> {
        ensure!(self.common_name.starts_with(NODE_PREFIX), "subject common name does not begin with system:node:");
        Ok(())
    }
}

/// Signatures and one purpose; encrypting keys is for RSA only and may be left out.
fn has_usages(usages: &[String], purpose: &str) -> anyhow::Result<()> {
    let given = usages.iter().map(String::as_str).collect::<BTreeSet<_>>();
    let wanted = BTreeSet::from([purpose, "digital signature", "key encipherment"]);
    let without_rsa = BTreeSet::from([purpose, "digital signature"]);
    let listed = || wanted.iter().copied().collect::<Vec<_>>().join(" ");
    ensure!(given == wanted || given == without_rsa, "usages did not match [{}]", listed());
    Ok(())
}

fn suits_api_client(usages: &[String]) -> anyhow::Result<()> {
    for usage in usages {
        let known = matches!(usage.as_str(), "digital signature" | "key encipherment" | "client auth");
        ensure!(known, "invalid usage for client certificate: {usage}");
    }
    let is_client = usages.iter().any(|usage| usage == "client auth");
    ensure!(is_client, "missing required usage for client certificate: client auth");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn usages(list: &[&str]) -> Vec<String> {
        list.iter().map(|usage| usage.to_string()).collect()
    }

    #[test]
    fn signers_know_their_own() {
        let node = || Asked {
            common_name: "system:node:n1".into(),
            organizations: vec!["system:nodes".into()],
            ..Asked::default()
        };
        let client = usages(&["digital signature", "client auth"]);
        let server = usages(&["digital signature", "key encipherment", "server auth"]);
        let no = |text: &str| Some(Err(text.to_owned()));
        assert_eq!(node().suits(KUBELET_CLIENT, &client), Some(Ok(())));
        assert_eq!(node().suits(KUBELET_SERVING, &server), no("DNS or IP subjectAltName is required"));
        assert_eq!(Asked { ips: 1, ..node() }.suits(KUBELET_SERVING, &server), Some(Ok(())));
        assert_eq!(Asked { ips: 1, ..node() }.suits(KUBELET_CLIENT, &client), no("IP subjectAltNames are not allowed"));
        let text = "usages did not match [client auth digital signature key encipherment]";
        assert_eq!(node().suits(KUBELET_CLIENT, &server), no(text));
        let other = Asked { common_name: "jane".into(), ..node() };
        assert_eq!(other.suits(KUBELET_CLIENT, &client), no("subject common name does not begin with system:node:"));
        let plural = Asked { organizations: vec!["system:nodes".into(), "x".into()], ..node() };
        assert_eq!(plural.suits(KUBELET_CLIENT, &client), no("subject organization is not system:nodes"));
        assert_eq!(other.suits(API_CLIENT, &client), Some(Ok(())));
        assert_eq!(other.suits(API_CLIENT, &server), no("invalid usage for client certificate: server auth"));
        let none = usages(&["digital signature"]);
        assert_eq!(other.suits(API_CLIENT, &none), no("missing required usage for client certificate: client auth"));
        assert_eq!(other.suits(LEGACY, &none), Some(Ok(())));
        assert_eq!(other.suits("example.com/x", &none), None);
    }
}
