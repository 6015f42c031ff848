//! Tokens that stand in Secrets of the type `kubernetes.io/service-account-token` and have no end: they hold as long as
//! the Secret has them and the account is there.
//!
//! Follows `pkg/serviceaccount/legacy.go`.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

use super::keys::{KeyError, TokenKeys};
use super::{groups, user_name};
use crate::authentication::UserInfo;
use crate::objects::Objects;

/// Who issues them, in every cluster.
pub(super) const ISSUER: &str = "kubernetes/serviceaccount";

/// Since when a token is not to be used any more, on its Secret.
const INVALID_SINCE: &str = "kubernetes.io/legacy-token-invalid-since";

/// What such a token says.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Claims {
    #[serde(default)]
    iss: String,
    #[serde(rename = "kubernetes.io/serviceaccount/namespace", default)]
    namespace: String,
    #[serde(rename = "kubernetes.io/serviceaccount/secret.name", default)]
    secret: String,
    #[serde(rename = "kubernetes.io/serviceaccount/service-account.name", default)]
    account: String,
    #[serde(rename = "kubernetes.io/serviceaccount/service-account.uid", default)]
    uid: String,
    #[serde(default)]
    sub: String,
}

impl TokenKeys {
    /// The token of a Secret for a ServiceAccount of its namespace.
    pub fn legacy_token(&self, namespace: &str, account: &str, uid: &str, secret: &str) -> Result<String, KeyError> {
        self.sign(&Claims {
            iss: ISSUER.into(),
            namespace: namespace.into(),
            secret: secret.into(),
            account: account.into(),
            uid: uid.into(),
            sub: user_name(namespace, account),
        })
    }
}

/// Whose token it is, if the objects it stands on are there.
pub(super) async fn validate(objects: &Objects, token: &str, claims: &Claims) -> Result<UserInfo, String> {
    let said = [
        ("sub", &claims.sub),
        ("namespace", &claims.namespace),
        ("secretName", &claims.secret),
        ("serviceAccountName", &claims.account),
        ("serviceAccountUID", &claims.uid),
    ];
    if let Some((missing, _)) = said.into_iter().find(|(_, text)| text.is_empty()) {
        return Err(format!("{missing} claim is missing"));
    }
    let name = user_name(&claims.namespace, &claims.account);
    if claims.sub != name {
        return Err("sub claim is invalid".into());
    }
    let live = async |resource: &'static str, name: &str| {
        objects.live("", resource, &claims.namespace, name).await.map_err(|status| status.message)
    };
    let invalidated = || "service account token has been invalidated".to_owned();
    let secret = live("secrets", &claims.secret).await?.ok_or_else(invalidated)?;
    let is_deleted =
        |object: &skiff_apimachinery::value::Value| object.at(&["metadata", "deletionTimestamp"]).is_some();
    if is_deleted(&secret) {
        return Err(invalidated());
    }
    let kept = secret.str_at(&["data", "token"]).and_then(|text| STANDARD.decode(text).ok());
    if kept.is_none_or(|kept| kept != token.as_bytes()) {
        return Err("service account token does not match server's copy".into());
    }
    let account = live("serviceaccounts", &claims.account).await?;
    let account = account.ok_or_else(|| format!("serviceaccounts {:?} not found", claims.account))?;
    if is_deleted(&account) {
        return Err(format!("service account {}/{} has been deleted", claims.namespace, claims.account));
    }
    let uid = account.str_at(&["metadata", "uid"]).unwrap_or("");
    if uid != claims.uid {
        return Err(format!("service account UID ({uid}) does not match claim ({})", claims.uid));
    }
    if secret.at(&["metadata", "labels", INVALID_SINCE]).is_some() {
        return Err(format!(
            "the token in secret {}/{} for service account {}/{} has been marked invalid. Use tokens from the TokenRequest \
             API or manually created secret-based tokens, or remove the '{INVALID_SINCE}' label from the secret to \
             temporarily allow use of this token",
            claims.namespace, claims.secret, claims.namespace, claims.account
        ));
    }
    Ok(UserInfo { name, uid: uid.into(), groups: groups(&claims.namespace), ..UserInfo::default() })
}
