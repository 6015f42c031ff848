//! What others need to verify our tokens: OpenID Connect discovery.
//!
//! Follows `pkg/serviceaccount/openidmetadata.go`. Served at [`OidcDocuments::CONFIGURATION_PATH`] and
//! [`OidcDocuments::JWKS_PATH`].

use bytes::Bytes;

use super::keys::TokenKeys;

/// The two documents, ready to be served.
#[derive(Clone, Debug)]
pub struct OidcDocuments {
    /// The issuer's metadata (`application/json`).
    pub configuration: Bytes,
    /// The public keys (`application/jwk-set+json`).
    pub jwks: Bytes,
}

impl OidcDocuments {
    /// Where the metadata is served.
    pub const CONFIGURATION_PATH: &str = "/.well-known/openid-configuration";
    /// Where the keys are served.
    pub const JWKS_PATH: &str = "/openid/v1/jwks";
    /// `Cache-Control` of both.
    pub const CACHE_CONTROL: &str = "public, max-age=3600";

    /// The documents of an issuer whose keys are at `jwks_uri`, e.g. `https://192.0.2.7:6443/openid/v1/jwks`.
    pub fn new(issuer: &str, jwks_uri: &str, keys: &TokenKeys) -> Self {
        let published = keys.published().collect::<Vec<_>>();
        let mut algorithms = published.iter().map(|key| key.alg).collect::<Vec<_>>();
        algorithms.sort_unstable();
        algorithms.dedup();
        let configuration = serde_json::json!({
            "issuer": issuer,
            "jwks_uri": jwks_uri,
            "response_types_supported": ["id_token"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": algorithms,
        });
        let jwks = serde_json::json!({ "keys": published });
        Self { configuration: configuration.to_string().into(), jwks: jwks.to_string().into() }
    }
}
