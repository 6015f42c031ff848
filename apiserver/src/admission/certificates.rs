//! Certificate signing requests.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use skiff_apimachinery::value::Value;

/// The request of a CertificateSigningRequest, DER.
pub(super) fn request_der(csr: &Value) -> Result<Vec<u8>, String> {
    let encoded = csr.str_at(&["spec", "request"]).unwrap_or("");
    let pem = STANDARD.decode(encoded).map_err(|error| error.to_string())?;
    let (_, pem) = x509_parser::pem::parse_x509_pem(&pem).map_err(|_| NOT_A_REQUEST.to_owned())?;
    if !matches!(pem.label.as_str(), "CERTIFICATE REQUEST" | "NEW CERTIFICATE REQUEST") {
        return Err(NOT_A_REQUEST.into());
    }
    Ok(pem.contents)
}

const NOT_A_REQUEST: &str = "PEM block type must be CERTIFICATE REQUEST";
