//! What a token says.

use serde::{Deserialize, Deserializer, Serialize};

/// The claims of a bound ServiceAccount token (`pkg/serviceaccount/claims.go`). Times are Unix seconds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Claims {
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "one_or_many")]
    pub(super) aud: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "seconds")]
    pub(super) exp: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "seconds")]
    pub(super) iat: Option<i64>,
    #[serde(default)]
    pub(super) iss: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(super) jti: String,
    #[serde(rename = "kubernetes.io", default)]
    pub(super) kubernetes: Kubernetes,
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "seconds")]
    pub(super) nbf: Option<i64>,
    #[serde(default)]
    pub(super) sub: String,
}

/// The part of the claims that is Kubernetes' own.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Kubernetes {
    #[serde(default)]
    pub(super) namespace: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) node: Option<Reference>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) pod: Option<Reference>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) secret: Option<Reference>,
    #[serde(default)]
    pub(super) serviceaccount: Reference,
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "seconds")]
    pub(super) warnafter: Option<i64>,
}

/// A name with the UID of the object that had it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Reference {
    #[serde(default)]
    pub(super) name: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(super) uid: String,
}

/// `aud` is a text or a list of them.
fn one_or_many<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    match serde_json::Value::deserialize(deserializer)? {
        serde_json::Value::String(one) => Ok(vec![one]),
        serde_json::Value::Null => Ok(Vec::new()),
        many => serde_json::from_value(many).map_err(serde::de::Error::custom),
    }
}

/// Times are numbers, perhaps with a fraction, which does not matter here.
fn seconds<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<i64>, D::Error> {
    // Saturates: a time beyond all times is one that never comes.
    Ok(Option::<f64>::deserialize(deserializer)?.map(|seconds| seconds as i64))
}
