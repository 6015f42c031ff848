//! Who may approve and sign which certificates, and which nobody may ask for.
//!
//! Follows `plugin/pkg/admission/certificates/{approval,signing,subjectrestriction}`.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use skiff_apimachinery::status::Status;
use skiff_apimachinery::value::Value;
use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::prelude::FromDer;
use x509_parser::x509::X509Name;

use super::{Operation, Plugin, Request};
use crate::authorization::{Attributes, Authorizer, Decision};

const GROUP: &str = "certificates.k8s.io";
const RESOURCE: &str = "certificatesigningrequests";
/// The signer of ordinary clients.
const CLIENT_SIGNER: &str = "kubernetes.io/kube-apiserver-client";
const SUPERUSERS: &str = "system:masters";
const NOT_A_REQUEST: &str = "PEM block type must be CERTIFICATE REQUEST";

/// What a CertificateSigningRequest asks to be called.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Subject {
    /// The last common name, as in Go.
    pub(super) common_name: String,
    pub(super) organizations: Vec<String>,
}

/// The subject of a CertificateSigningRequest; the error says why it cannot be read.
pub(super) fn subject(csr: &Value) -> Result<Subject, String> {
    let encoded = csr.str_at(&["spec", "request"]).unwrap_or("");
    let pem = STANDARD.decode(encoded).map_err(|error| error.to_string())?;
    let (_, pem) = x509_parser::pem::parse_x509_pem(&pem).map_err(|_| NOT_A_REQUEST)?;
    if pem.label != "CERTIFICATE REQUEST" {
        return Err(NOT_A_REQUEST.into());
    }
    let (_, request) = X509CertificationRequest::from_der(&pem.contents).map_err(|error| error.to_string())?;
    let subject: &X509Name<'_> = &request.certification_request_info.subject;
    let text = |attribute: &x509_parser::x509::AttributeTypeAndValue<'_>| {
        attribute.as_str().map(str::to_owned).map_err(|error| error.to_string())
    };
    Ok(Subject {
        common_name: subject.iter_common_name().last().map(text).transpose()?.unwrap_or_default(),
        organizations: subject.iter_organization().map(text).collect::<Result<_, _>>()?,
    })
}

/// Whether the user has this verb for the signer, or for all signers of its domain.
fn authorized(authorizer: &dyn Authorizer, request: &Request<'_>, verb: &str, signer: &str) -> bool {
    let domain = signer.split_once('/').map_or(signer, |(domain, _)| domain);
    [signer.to_owned(), format!("{domain}/*")].into_iter().any(|name| {
        let asked = Attributes {
            user: request.user.clone(),
            verb: verb.into(),
            is_resource_request: true,
            api_group: GROUP.into(),
            api_version: "*".into(),
            resource: "signers".into(),
            name,
            ..Attributes::default()
        };
        matches!(authorizer.authorize(&asked), Decision::Allow(_))
    })
}

/// Approving a request needs the verb `approve` for its signer.
pub(super) struct CertificateApproval {
    authorizer: Arc<dyn Authorizer>,
}

impl CertificateApproval {
    pub(super) fn new(authorizer: Arc<dyn Authorizer>) -> Self {
        Self { authorizer }
    }
}

#[async_trait::async_trait]
impl Plugin for CertificateApproval {
    fn name(&self) -> &'static str {
        "CertificateApproval"
    }

    fn handles(&self, operation: Operation, group: &str, resource: &str, subresource: &str) -> bool {
        (operation, group, resource, subresource) == (Operation::Update, GROUP, RESOURCE, "approval")
    }

    async fn validate(&self, request: &mut Request<'_>) -> Result<(), Status> {
        // The stored object's signer: the new one's is not to be trusted yet.
        let signer = request.old().str_at(&["spec", "signerName"]).unwrap_or("");
        if authorized(self.authorizer.as_ref(), request, "approve", signer) {
            return Ok(());
        }
        Err(request.forbidden(&format!("user not permitted to approve requests with signerName {signer:?}")))
    }
}

/// Issuing a certificate needs the verb `sign` for its signer.
pub(super) struct CertificateSigning {
    authorizer: Arc<dyn Authorizer>,
}

impl CertificateSigning {
    pub(super) fn new(authorizer: Arc<dyn Authorizer>) -> Self {
        Self { authorizer }
    }
}

#[async_trait::async_trait]
impl Plugin for CertificateSigning {
    fn name(&self) -> &'static str {
        "CertificateSigning"
    }

    fn handles(&self, operation: Operation, group: &str, resource: &str, subresource: &str) -> bool {
        (operation, group, resource, subresource) == (Operation::Update, GROUP, RESOURCE, "status")
    }

    async fn validate(&self, request: &mut Request<'_>) -> Result<(), Status> {
        let (old, new) = (request.old(), request.object());
        let changed = old.at(&["status", "certificate"]) != new.at(&["status", "certificate"])
            || old.array_at(&["status", "conditions"]) != new.array_at(&["status", "conditions"]);
        let signer = old.str_at(&["spec", "signerName"]).unwrap_or("");
        if !changed || authorized(self.authorizer.as_ref(), request, "sign", signer) {
            return Ok(());
        }
        Err(request.forbidden(&format!("user not permitted to sign requests with signerName {signer:?}")))
    }
}

/// Nobody becomes a superuser by a signing request.
pub(super) struct CertificateSubjectRestriction;

#[async_trait::async_trait]
impl Plugin for CertificateSubjectRestriction {
    fn name(&self) -> &'static str {
        "CertificateSubjectRestriction"
    }

    fn handles(&self, operation: Operation, group: &str, resource: &str, subresource: &str) -> bool {
        (operation, group, resource, subresource) == (Operation::Create, GROUP, RESOURCE, "")
    }

    async fn validate(&self, request: &mut Request<'_>) -> Result<(), Status> {
        let csr = request.object();
        if csr.str_at(&["spec", "signerName"]) != Some(CLIENT_SIGNER) {
            return Ok(());
        }
        let subject = subject(csr).map_err(|error| request.forbidden(&format!("failed to parse CSR: {error}")))?;
        if subject.organizations.iter().any(|group| group == SUPERUSERS) {
            let text = format!("use of {CLIENT_SIGNER} signer with {SUPERUSERS} group is not allowed");
            return Err(request.forbidden(&text));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use skiff_apimachinery::value;

    use super::super::testing::{Case, Fixture};
    use super::*;
    use crate::authorization::Authorization;

    fn authorizer() -> Arc<dyn Authorizer> {
        const RBAC: &str = "rbac.authorization.k8s.io";
        let fixture = Fixture::new();
        let rules = value!([
            {"verbs": ["approve"], "apiGroups": [GROUP], "resources": ["signers"], "resourceNames": ["example.com/*"]},
            {"verbs": ["sign"], "apiGroups": [GROUP], "resources": ["signers"], "resourceNames": ["example.com/one"]}
        ]);
        fixture.put(RBAC, "clusterroles", value!({"metadata": {"name": "signer"}, "rules": rules}));
        let binding = value!({
            "metadata": {"name": "signer"}, "roleRef": {"kind": "ClusterRole", "name": "signer"},
            "subjects": [{"kind": "User", "name": "jane"}]
        });
        fixture.put(RBAC, "clusterrolebindings", binding);
        Arc::new(Authorization::build(fixture.reader))
    }

    fn csr(signer: &str, certificate: &str) -> Value {
        value!({"metadata": {"name": "c"}, "spec": {"signerName": signer}, "status": {"certificate": certificate}})
    }

    fn update(subresource: &str, old: Value, new: Value) -> Case {
        Case::update(GROUP, RESOURCE, "", old, new).sub(subresource)
    }

    #[tokio::test]
    async fn approving_and_signing_are_rights() {
        let (approval, signing) = (CertificateApproval::new(authorizer()), CertificateSigning::new(authorizer()));
        let approve = |signer: &str| update("approval", csr(signer, ""), csr("example.com/one", ""));
        assert!(approve("example.com/one").admit(&approval).await.is_ok());
        assert!(approve("example.com/two").admit(&approval).await.is_ok());
        let refused = "certificatesigningrequests.certificates.k8s.io \"c\" is forbidden: user not permitted to approve \
                       requests with signerName \"kubernetes.io/legacy-unknown\"";
        assert_eq!(approve("kubernetes.io/legacy-unknown").admit(&approval).await, Err((403, refused.into())));
        let sign = |signer: &str| update("status", csr(signer, ""), csr(signer, "new"));
        assert!(sign("example.com/one").admit(&signing).await.is_ok());
        assert!(sign("example.com/two").admit(&signing).await.is_err());
        // Without a new certificate nothing is signed.
        let other = update("status", csr("example.com/two", "a"), csr("example.com/two", "a"));
        assert!(other.admit(&signing).await.is_ok());
    }

    #[tokio::test]
    async fn nobody_asks_to_be_a_superuser() {
        let key = rcgen::KeyPair::generate().expect("a key");
        let ask = |group: &str, signer: &str| {
            let mut params = rcgen::CertificateParams::default();
            params.distinguished_name = rcgen::DistinguishedName::new();
            params.distinguished_name.push(rcgen::DnType::CommonName, "jane");
            params.distinguished_name.push(rcgen::DnType::OrganizationName, group);
            let pem = params.serialize_request(&key).expect("a request").pem().expect("PEM");
            let spec = value!({"signerName": signer, "request": (STANDARD.encode(pem))});
            Case::create(GROUP, RESOURCE, "", value!({"metadata": {"name": "c"}, "spec": spec}))
        };
        let plugin = CertificateSubjectRestriction;
        assert!(ask("devs", CLIENT_SIGNER).admit(&plugin).await.is_ok());
        assert!(ask("system:masters", "example.com/own").admit(&plugin).await.is_ok());
        let refused = "certificatesigningrequests.certificates.k8s.io \"c\" is forbidden: use of \
                       kubernetes.io/kube-apiserver-client signer with system:masters group is not allowed";
        assert_eq!(ask("system:masters", CLIENT_SIGNER).admit(&plugin).await, Err((403, refused.into())));
        let nonsense = value!({"metadata": {"name": "c"}, "spec": {"signerName": CLIENT_SIGNER, "request": "AAAA"}});
        let refused = Case::create(GROUP, RESOURCE, "", nonsense).admit(&plugin).await.expect_err("nonsense");
        assert!(
            refused.1.ends_with("failed to parse CSR: PEM block type must be CERTIFICATE REQUEST"),
            "{}",
            refused.1
        );
    }
}
