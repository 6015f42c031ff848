//! ServiceAccount tokens for volumes: asked of the API with TokenRequest, bound to the pod, and renewed well before they
//! expire (upstream: `pkg/kubelet/token/token_manager.go`).

use std::collections::HashMap;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::authentication::v1::{BoundObjectReference, TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::{Pod, ServiceAccount, ServiceAccountTokenProjection};
use kube::Client;
use parking_lot::Mutex;
use skiff_client::{Kind, Objects};

use crate::pod::PodExt;

/// A token is never used longer than this, however long it lives.
const AGE_MAX: SignedDuration = SignedDuration::from_hours(24);
/// Share of a token's life after which it is renewed.
const LIFE_USED_PERCENT: i64 = 80;
/// Life asked for if the pod does not say.
const DEFAULT_SECONDS: i64 = 3600;

/// Tokens in use.
pub(crate) struct Tokens {
    client: Client,
    cache: Mutex<HashMap<Key, Token>>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Key {
    uid: String,
    audience: String,
    seconds: i64,
}

#[derive(Clone, Debug)]
struct Token {
    text: String,
    asked: Timestamp,
    expires: Timestamp,
}

impl Token {
    /// Whether it is time for a new one.
    fn is_stale(&self, now: Timestamp) -> bool {
        let life = self.expires.duration_since(self.asked);
        let used = now.duration_since(self.asked);
        used > AGE_MAX || used.as_secs() * 100 >= life.as_secs() * LIFE_USED_PERCENT
    }
}

impl Tokens {
    pub(crate) fn new(client: Client) -> Self {
        Self { client, cache: Mutex::default() }
    }

    /// A token for a projection. If a new one cannot be had, a stale one that still holds is given.
    pub(crate) async fn get(&self, pod: &Pod, source: &ServiceAccountTokenProjection) -> Result<String, String> {
        let key = Key {
            uid: pod.uid().to_owned(),
            audience: source.audience.clone().unwrap_or_default(),
            seconds: source.expiration_seconds.unwrap_or(DEFAULT_SECONDS),
        };
        let known = self.cache.lock().get(&key).cloned();
        let now = Timestamp::now();
        if let Some(token) = known.as_ref().filter(|token| !token.is_stale(now)) {
            return Ok(token.text.clone());
        }
        match self.request(pod, &key, now).await {
            Ok(token) => {
                let text = token.text.clone();
                self.cache.lock().insert(key, token);
                Ok(text)
            }
            Err(error) => match known.filter(|token| now < token.expires) {
                Some(token) => {
                    tracing::warn!(pod = %pod.display(), %error, "the token cannot be renewed yet, the old one is kept");
                    Ok(token.text)
                }
                None => Err(format!("failed to fetch token: {error}")),
            },
        }
    }

    /// Forgets the tokens of a pod.
    pub(crate) fn release(&self, uid: &str) {
        self.cache.lock().retain(|key, _| key.uid != uid);
    }

    async fn request(&self, pod: &Pod, key: &Key, now: Timestamp) -> kube::Result<Token> {
        let request = TokenRequest {
            spec: Some(TokenRequestSpec {
                audiences: (!key.audience.is_empty()).then(|| vec![key.audience.clone()]),
                bound_object_ref: Some(BoundObjectReference {
                    api_version: Some("v1".into()),
                    kind: Some("Pod".into()),
                    name: Some(pod.name().into()),
                    uid: Some(pod.uid().into()),
                }),
                expiration_seconds: Some(key.seconds),
            }),
            ..Default::default()
        };
        let account = pod.pod_spec().service_account_name.as_deref().unwrap_or("default");
        let accounts = Objects::<ServiceAccount>::of(&self.client, <ServiceAccount as Kind>::RESOURCE, pod.namespace());
        let answer: TokenRequest = accounts.create_subresource(account, "token", &request).await?;
        let status = answer.status.unwrap_or_default();
        let (Some(text), Some(expires)) = (status.token, status.expiration_timestamp) else {
            return Err(kube::Error::Service("the answer to TokenRequest has no token".into()));
        };
        Ok(Token { text, asked: now, expires: expires.0 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_renewed_after_four_fifths_of_their_life() {
        let at = |second: i64| Timestamp::from_second(second).expect("a time");
        let token = |life: i64| Token { text: String::new(), asked: at(0), expires: at(life) };
        assert!(!token(3600).is_stale(at(2879)));
        assert!(token(3600).is_stale(at(2880)));
        let year = token(365 * 24 * 3600);
        assert!(!year.is_stale(at(24 * 3600)));
        assert!(year.is_stale(at(24 * 3600 + 1)));
    }
}
