//! Whether a token holds: signature, issuer, audience, time, and the objects it stands on.

use std::collections::BTreeMap;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use jiff::{SignedDuration, Timestamp};
use quick_cache::sync::Cache;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use sha2::{Digest, Sha256};
use skiff_apimachinery::value::Value;

use super::claims::{Claims, Reference};
use super::keys::{TokenHeader, TokenKeys};
use super::{groups, legacy, user_name};
use crate::authentication::{CREDENTIAL_ID, UserInfo};
use crate::objects::Objects;

/// Clocks may be this far apart; a deleted object's token holds this much longer, so that shutting down works.
const LEEWAY: SignedDuration = SignedDuration::from_secs(60);
/// How long a verification is believed without looking at anything but whether the objects are the same bytes.
const REMEMBERED_FOR: SignedDuration = SignedDuration::from_secs(10);
/// Verifications that are remembered.
const REMEMBERED: usize = 4096;
/// Longest token that is looked at.
const MAX_TOKEN_BYTES: usize = 16 * 1024;

/// A token that holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenUser {
    /// Whose it is.
    pub user: UserInfo,
    /// The audiences that were asked for and that it is for.
    pub audiences: Vec<String>,
}

/// A verification to be believed for a while.
struct Remembered {
    holds: Arc<TokenUser>,
    until: Timestamp,
    /// What was looked at: it must still be the same.
    stands_on: Vec<(&'static str, String, String, Bytes)>,
}

/// Verifies ServiceAccount tokens.
pub struct ServiceAccountTokens {
    keys: Arc<TokenKeys>,
    issuer: String,
    api_audiences: Vec<String>,
    objects: Objects,
    remembered: Cache<[u8; 32], Arc<Remembered>>,
}

/// What a token says before anything is verified.
#[derive(Deserialize)]
struct Unverified {
    #[serde(default)]
    iss: String,
}

impl ServiceAccountTokens {
    /// Accepts tokens of this issuer and these keys, for the API server's audiences unless asked otherwise.
    pub fn new(keys: Arc<TokenKeys>, issuer: String, api_audiences: Vec<String>, objects: Objects) -> Self {
        Self { keys, issuer, api_audiences, objects, remembered: Cache::new(REMEMBERED) }
    }

    /// The audiences of this API server.
    pub fn api_audiences(&self) -> &[String] {
        &self.api_audiences
    }

    /// Whose token this is, as a credential for this API server. `Ok(None)`: not a token of this issuer. The error
    /// says why a token of this issuer does not hold.
    pub async fn authenticate(&self, token: &str, now: Timestamp) -> Result<Option<Arc<TokenUser>>, String> {
        let digest: [u8; 32] = Sha256::digest(token).into();
        if let Some(remembered) = self.remembered.get(&digest) {
            if now < remembered.until && self.unchanged(&remembered) {
                return Ok(Some(remembered.holds.clone()));
            }
            self.remembered.remove(&digest);
        }
        let Some(claims) = self.verified_claims::<Claims>(token, &self.issuer)? else {
            return Ok(self.legacy(token, &self.api_audiences).await?.map(Arc::new));
        };
        let audiences = self.common_audiences(&claims, &self.api_audiences)?;
        let (user, stands_on) = self.validate(&claims, now).await?;
        let holds = Arc::new(TokenUser { user, audiences });
        if let Some(stands_on) = stands_on {
            let expires = claims.exp.and_then(|exp| Timestamp::from_second(exp).ok()).unwrap_or(Timestamp::MAX);
            let until = (now + REMEMBERED_FOR).min(expires);
            self.remembered.insert(digest, Arc::new(Remembered { holds: holds.clone(), until, stands_on }));
        }
        Ok(Some(holds))
    }

    /// The same for other audiences (TokenReview).
    pub async fn review(&self, token: &str, audiences: &[String], now: Timestamp) -> Result<Option<TokenUser>, String> {
        let Some(claims) = self.verified_claims::<Claims>(token, &self.issuer)? else {
            return self.legacy(token, audiences).await;
        };
        let audiences = self.common_audiences(&claims, audiences)?;
        let (user, _) = self.validate(&claims, now).await?;
        Ok(Some(TokenUser { user, audiences }))
    }

    /// Whose token of a Secret this is. It is for this API server alone.
    async fn legacy(&self, token: &str, audiences: &[String]) -> Result<Option<TokenUser>, String> {
        let Some(claims) = self.verified_claims::<legacy::Claims>(token, legacy::ISSUER)? else { return Ok(None) };
        let audiences = self.common_audiences(&Claims::default(), audiences)?;
        let user = legacy::validate(&self.objects, token, &claims).await?;
        Ok(Some(TokenUser { user, audiences }))
    }

    fn unchanged(&self, remembered: &Remembered) -> bool {
        remembered.stands_on.iter().all(|(resource, namespace, name, before)| {
            let now = self.objects.reader().get("", resource, namespace, name);
            now.is_some_and(|now| now.as_ptr() == before.as_ptr() && now.len() == before.len())
        })
    }

    /// The claims of a token that one of our keys signed; `None` when another issuer made it.
    fn verified_claims<C: DeserializeOwned>(&self, token: &str, issuer: &str) -> Result<Option<C>, String> {
        if token.len() > MAX_TOKEN_BYTES {
            return Ok(None);
        }
        let Some((message, signature)) = token.rsplit_once('.') else { return Ok(None) };
        let Some((header, payload)) = message.split_once('.') else { return Ok(None) };
        let Ok(payload) = URL_SAFE_NO_PAD.decode(payload) else { return Ok(None) };
        match serde_json::from_slice::<Unverified>(&payload) {
            Ok(unverified) if unverified.iss == issuer => {}
            _ => return Ok(None),
        }
        let Ok(header) = URL_SAFE_NO_PAD.decode(header) else { return Ok(None) };
        let Ok(header) = serde_json::from_slice::<TokenHeader>(&header) else { return Ok(None) };
        self.keys.verify(&header, message, signature)?;
        serde_json::from_slice(&payload).map(Some).map_err(|error| error.to_string())
    }

    fn common_audiences(&self, claims: &Claims, wanted: &[String]) -> Result<Vec<String>, String> {
        let of_token = if claims.aud.is_empty() { &self.api_audiences } else { &claims.aud };
        let common = of_token.iter().filter(|audience| wanted.contains(audience)).cloned().collect::<Vec<_>>();
        if common.is_empty() && !self.api_audiences.is_empty() {
            return Err(format!(
                "token audiences {} is invalid for the target audiences {}",
                quoted(of_token),
                quoted(wanted)
            ));
        }
        Ok(common)
    }

    /// Checks time and objects. The second part is what was looked at, unless the cache did not have all of it.
    async fn validate(&self, claims: &Claims, now: Timestamp) -> Result<(UserInfo, Option<StandsOn>), String> {
        check_times(claims, now)?;
        let k = &claims.kubernetes;
        let (namespace, account) = (k.namespace.as_str(), &k.serviceaccount);
        let mut look = Look { objects: &self.objects, now, stands_on: Some(Vec::new()) };
        look.service_account(namespace, account).await?;
        if let Some(secret) = &k.secret {
            look.bound("secrets", "secret", namespace, secret).await?;
        }
        let mut extra = BTreeMap::new();
        let mut note = |key: &str, text: &str| {
            if !text.is_empty() {
                extra.insert(format!("authentication.kubernetes.io/{key}"), vec![text.to_owned()]);
            }
        };
        if let Some(pod) = &k.pod {
            look.bound("pods", "pod", namespace, pod).await?;
            note("pod-name", &pod.name);
            note("pod-uid", &pod.uid);
        }
        if let Some(node) = &k.node {
            // With a pod, the node is information; alone, the token stands on it.
            if k.pod.is_none() {
                look.bound("nodes", "node", "", node).await?;
            }
            note("node-name", &node.name);
            note("node-uid", &node.uid);
        }
        if !claims.jti.is_empty() {
            extra.insert(CREDENTIAL_ID.to_owned(), vec![format!("JTI={}", claims.jti)]);
        }
        let user = UserInfo {
            name: user_name(namespace, &account.name),
            uid: account.uid.clone(),
            groups: groups(namespace),
            extra,
        };
        Ok((user, look.stands_on))
    }
}

type StandsOn = Vec<(&'static str, String, String, Bytes)>;

fn quoted(texts: &[String]) -> String {
    let texts = texts.iter().map(|text| format!("{text:?}")).collect::<Vec<_>>();
    format!("[{}]", texts.join(" "))
}

fn check_times(claims: &Claims, now: Timestamp) -> Result<(), String> {
    let now = now.as_second();
    let leeway = LEEWAY.as_secs();
    if claims.nbf.is_some_and(|nbf| now.saturating_add(leeway) < nbf) {
        return Err("service account token is not valid yet".into());
    }
    if claims.exp.is_some_and(|exp| now.saturating_sub(leeway) > exp) {
        return Err("service account token has expired".into());
    }
    if claims.iat.is_some_and(|iat| now.saturating_add(leeway) < iat) {
        return Err("service account token is issued in the future".into());
    }
    Ok(())
}

/// One validation's reads.
struct Look<'a> {
    objects: &'a Objects,
    now: Timestamp,
    stands_on: Option<StandsOn>,
}

impl Look<'_> {
    async fn find(
        &mut self,
        resource: &'static str,
        namespace: &str,
        name: &str,
    ) -> Result<Option<Arc<Value>>, String> {
        if let Some(json) = self.objects.reader().get("", resource, namespace, name) {
            let object = self.objects.tree(json.clone());
            if let Some(list) = &mut self.stands_on {
                list.push((resource, namespace.to_owned(), name.to_owned(), json));
            }
            return Ok(object);
        }
        // Perhaps it was created a moment ago.
        self.stands_on = None;
        self.objects.live("", resource, namespace, name).await.map_err(|status| status.message)
    }

    fn is_deleted(&self, object: &Value) -> bool {
        let deletion = object.str_at(&["metadata", "deletionTimestamp"]).and_then(|at| at.parse::<Timestamp>().ok());
        deletion.is_some_and(|at| at < self.now - LEEWAY)
    }

    async fn service_account(&mut self, namespace: &str, account: &Reference) -> Result<(), String> {
        let Some(object) = self.find("serviceaccounts", namespace, &account.name).await? else {
            return Err(format!("serviceaccounts {:?} not found", account.name));
        };
        let uid = object.str_at(&["metadata", "uid"]).unwrap_or("");
        if uid != account.uid {
            return Err(format!("service account UID ({uid}) does not match claim ({})", account.uid));
        }
        if self.is_deleted(&object) {
            return Err(format!("service account {namespace}/{} has been deleted", account.name));
        }
        Ok(())
    }

    async fn bound(
        &mut self,
        resource: &'static str,
        kind: &str,
        namespace: &str,
        reference: &Reference,
    ) -> Result<(), String> {
        const INVALIDATED: &str = "service account token has been invalidated";
        let Some(object) = self.find(resource, namespace, &reference.name).await? else {
            return Err(INVALIDATED.into());
        };
        let uid = object.str_at(&["metadata", "uid"]).unwrap_or("");
        if uid != reference.uid {
            return Err(format!(
                "{kind} UID ({uid}) does not match service account {kind} ref claim ({})",
                reference.uid
            ));
        }
        if self.is_deleted(&object) {
            return Err(INVALIDATED.into());
        }
        Ok(())
    }
}
