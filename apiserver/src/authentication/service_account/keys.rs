//! The keys of ServiceAccount tokens: one that signs, and all whose signatures hold.
//!
//! Follows `pkg/serviceaccount/jwt.go`: a key is known by the hash of its public half.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, crypto};
use rcgen::PublicKeyData;
use serde::Serialize;
use sha2::{Digest, Sha256};
use x509_parser::prelude::FromDer;
use x509_parser::public_key::PublicKey;
use x509_parser::x509::SubjectPublicKeyInfo;

/// Bytes of a P-256 and of a P-384 point without compression.
const P256_POINT: usize = 65;
const P384_POINT: usize = 97;

/// Why a key cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("cannot use a ServiceAccount key: {0}")]
pub struct KeyError(String);

/// A public key as OpenID discovery publishes it.
#[derive(Clone, Debug, Serialize)]
pub(super) struct JsonWebKey {
    #[serde(rename = "use")]
    usage: &'static str,
    kty: &'static str,
    pub(super) kid: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    crv: Option<&'static str>,
    pub(super) alg: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    n: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    e: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    x: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    y: Option<String>,
}

struct VerifyingKey {
    algorithm: Algorithm,
    key: DecodingKey,
    jwk: JsonWebKey,
}

/// The keys of one token issuer.
pub struct TokenKeys {
    id: String,
    algorithm: Algorithm,
    signing: EncodingKey,
    verifying: Vec<VerifyingKey>,
}

impl TokenKeys {
    /// Signs with this private key (PKCS#8 PEM, ECDSA P-256 or P-384, or RSA) and accepts its signatures and those of
    /// further public keys (PEM).
    pub fn new(signing_pem: &str, further_public_pems: &[&str]) -> Result<Self, KeyError> {
        let fail = |error: &dyn std::fmt::Display| KeyError(error.to_string());
        let pair = rcgen::KeyPair::from_pem(signing_pem).map_err(|error| fail(&error))?;
        let own = VerifyingKey::new(&pair.subject_public_key_info())?;
        let signing = match own.algorithm {
            Algorithm::RS256 => EncodingKey::from_rsa_pem(signing_pem.as_bytes()),
            _ => EncodingKey::from_ec_pem(signing_pem.as_bytes()),
        };
        let signing = signing.map_err(|error| fail(&error))?;
        let (id, algorithm) = (own.jwk.kid.clone(), own.algorithm);
        let mut verifying = vec![own];
        for pem in further_public_pems {
            let key = rcgen::SubjectPublicKeyInfo::from_pem(pem).map_err(|error| fail(&error))?;
            let key = VerifyingKey::new(&key.subject_public_key_info())?;
            if verifying.iter().all(|known| known.jwk.kid != key.jwk.kid) {
                verifying.push(key);
            }
        }
        Ok(Self { id, algorithm, signing, verifying })
    }

    /// A token with these claims.
    pub(super) fn sign(&self, claims: &impl Serialize) -> Result<String, KeyError> {
        let fail = |error: &dyn std::fmt::Display| KeyError(error.to_string());
        let algorithm = name(self.algorithm);
        let header = format!(r#"{{"alg":"{algorithm}","kid":"{}"}}"#, self.id);
        let claims = serde_json::to_vec(claims).map_err(|error| fail(&error))?;
        let message = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims));
        let signature =
            crypto::sign(message.as_bytes(), &self.signing, self.algorithm).map_err(|error| fail(&error))?;
        Ok(format!("{message}.{signature}"))
    }

    /// Whether one of the keys made this signature; the error is for the log.
    pub(super) fn verify(&self, header: &TokenHeader, message: &str, signature: &str) -> Result<(), String> {
        let fits = |key: &&VerifyingKey| header.kid.is_empty() || key.jwk.kid == header.kid;
        let candidates = self.verifying.iter().filter(fits).collect::<Vec<_>>();
        if candidates.is_empty() {
            return Err("invalid signature, no keys found".into());
        }
        // The algorithm is the key's, never the token's choice.
        let holds = |key: &&VerifyingKey| {
            header.alg == name(key.algorithm)
                && crypto::verify(signature, message.as_bytes(), &key.key, key.algorithm).unwrap_or(false)
        };
        if candidates.iter().any(holds) {
            return Ok(());
        }
        Err("go-jose/go-jose: error in cryptographic primitive".into())
    }

    /// The public keys, the signing one first.
    pub(super) fn published(&self) -> impl Iterator<Item = &JsonWebKey> {
        self.verifying.iter().map(|key| &key.jwk)
    }
}

/// The header of a token.
#[derive(Debug, serde::Deserialize)]
pub(super) struct TokenHeader {
    pub(super) alg: String,
    #[serde(default)]
    pub(super) kid: String,
}

fn name(algorithm: Algorithm) -> &'static str {
    match algorithm {
        Algorithm::ES384 => "ES384",
        Algorithm::RS256 => "RS256",
        _ => "ES256",
    }
}

impl VerifyingKey {
    fn new(public_key: &[u8]) -> Result<Self, KeyError> {
        let unusable = || KeyError("it is neither ECDSA P-256 or P-384 nor RSA".into());
        let (_, info) = SubjectPublicKeyInfo::from_der(public_key).map_err(|_| unusable())?;
        let encode = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        let mut jwk = JsonWebKey {
            usage: "sig",
            kty: "EC",
            kid: encode(&Sha256::digest(public_key)),
            crv: None,
            alg: "ES256",
            n: None,
            e: None,
            x: None,
            y: None,
        };
        let broken = |error: jsonwebtoken::errors::Error| KeyError(error.to_string());
        match info.parsed().map_err(|_| unusable())? {
            PublicKey::EC(point) => {
                let point = point.data();
                let (algorithm, curve) = match point.len() {
                    P256_POINT => (Algorithm::ES256, "P-256"),
                    P384_POINT => (Algorithm::ES384, "P-384"),
                    _ => return Err(unusable()),
                };
                let (x, y) = point[1..].split_at(point.len() / 2);
                let (x, y) = (encode(x), encode(y));
                let key = DecodingKey::from_ec_components(&x, &y).map_err(broken)?;
                jwk.alg = name(algorithm);
                (jwk.crv, jwk.x, jwk.y) = (Some(curve), Some(x), Some(y));
                Ok(Self { algorithm, key, jwk })
            }
            PublicKey::RSA(rsa) => {
                let plain = |bytes: &[u8]| encode(&bytes[bytes.iter().take_while(|b| **b == 0).count()..]);
                let (n, e) = (plain(rsa.modulus), plain(rsa.exponent));
                let key = DecodingKey::from_rsa_components(&n, &e).map_err(broken)?;
                (jwk.kty, jwk.alg) = ("RSA", "RS256");
                (jwk.n, jwk.e) = (Some(n), Some(e));
                Ok(Self { algorithm: Algorithm::RS256, key, jwk })
            }
            _ => Err(unusable()),
        }
    }
}
