//! certificates.k8s.io.

use jiff::Timestamp;
use serde::Deserialize;

use super::{Meta, RawJson, kind, nullable};

/// `certificates.k8s.io/v1 CertificateSigningRequest`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct CertificateSigningRequest {
    /// Metadata.
    pub metadata: Meta,
    /// What is asked, and by whom.
    pub spec: CertificateSigningRequestSpec,
    /// What came of it.
    pub status: CertificateSigningRequestStatus,
}
kind!(
    CertificateSigningRequest,
    "certificates.k8s.io",
    "v1",
    "certificatesigningrequests",
    "CertificateSigningRequest",
    false
);

impl CertificateSigningRequest {
    /// Whether it has a condition of this type.
    pub fn has(&self, condition: &str) -> bool {
        self.status.conditions.iter().any(|one| one.type_ == condition && one.status != "False")
    }

    /// Whether there is a certificate.
    pub fn is_issued(&self) -> bool {
        !self.status.certificate.is_empty()
    }
}

/// `certificates.k8s.io/v1 CertificateSigningRequestSpec`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct CertificateSigningRequestSpec {
    /// The request: PEM in base64.
    pub request: String,
    /// Who is to sign.
    pub signer_name: String,
    /// Asked life in seconds.
    pub expiration_seconds: Option<i64>,
    /// What the certificate is for.
    #[serde(deserialize_with = "nullable")]
    pub usages: Vec<String>,
    /// Who asks.
    #[serde(deserialize_with = "nullable")]
    pub username: String,
    /// UID of who asks.
    #[serde(deserialize_with = "nullable")]
    pub uid: String,
    /// Groups of who asks.
    #[serde(deserialize_with = "nullable")]
    pub groups: Vec<String>,
    /// Extra attributes of who asks.
    pub extra: RawJson,
}

/// `certificates.k8s.io/v1 CertificateSigningRequestStatus`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct CertificateSigningRequestStatus {
    /// Decisions and failures.
    #[serde(deserialize_with = "nullable")]
    pub conditions: Vec<RequestCondition>,
    /// The certificate: PEM in base64.
    #[serde(deserialize_with = "nullable")]
    pub certificate: String,
}

/// `certificates.k8s.io/v1 CertificateSigningRequestCondition`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct RequestCondition {
    /// `Approved`, `Denied` or `Failed`, or another's.
    #[serde(rename = "type")]
    pub type_: String,
    /// `True` for those three.
    pub status: String,
    /// When it was written last.
    pub last_update_time: Option<Timestamp>,
}
