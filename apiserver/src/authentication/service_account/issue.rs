//! Issuing tokens: `serviceaccounts/token`.
//!
//! Follows `pkg/registry/core/serviceaccount/storage/token.go` and `pkg/serviceaccount/claims.go`.

use std::sync::Arc;

use jiff::SignedDuration;
use skiff_apimachinery::field;
use skiff_apimachinery::status::{self, Status};
use skiff_apimachinery::value::Value;

use super::claims::{Claims, Kubernetes, Reference};
use super::keys::TokenKeys;
use super::user_name;
use crate::authentication::Clock;
use crate::objects::Objects;

const GROUP: &str = "authentication.k8s.io";
const KIND: &str = "TokenRequest";
/// Life of a token when nobody asks for another.
const DEFAULT_SECONDS: i64 = 3600;
const MIN_SECONDS: i64 = 600;
const MAX_SECONDS: i64 = 1 << 32;
/// What an automounted token of a pod asks for: such a token is given a year, so that programs that read it only once
/// go on working, and says after which time it should have been read again.
const EXTENDED_SECONDS_ASKED: i64 = 3607;
const EXTENDED_SECONDS_GIVEN: i64 = 365 * 24 * 3600;

/// How tokens are issued.
#[derive(Clone)]
pub struct TokenIssuerConfig {
    /// `iss`.
    pub issuer: String,
    /// What `aud` is when nobody asks for another audience.
    pub api_audiences: Vec<String>,
    /// Longest life; `None` for any.
    pub max_expiration: Option<SignedDuration>,
    /// Whether automounted tokens are given more than they ask for.
    pub extend_expiration: bool,
}

/// Issues ServiceAccount tokens.
pub struct TokenIssuer {
    keys: Arc<TokenKeys>,
    config: TokenIssuerConfig,
    objects: Objects,
    clock: Clock,
}

/// What a token is bound to.
#[derive(Default)]
struct Binding {
    pod: Option<Reference>,
    secret: Option<Reference>,
    node: Option<Reference>,
}

impl TokenIssuer {
    /// Signs with these keys and reads the objects that tokens are bound to.
    pub fn new(keys: Arc<TokenKeys>, config: TokenIssuerConfig, objects: Objects, clock: Clock) -> Self {
        Self { keys, config, objects, clock }
    }

    /// Answers a TokenRequest for the ServiceAccount `namespace/name`.
    pub async fn issue(
        &self,
        namespace: &str,
        name: &str,
        request: &Value,
        warnings: &mut Vec<String>,
    ) -> Result<Value, Status> {
        for (field, url) in [("name", name), ("namespace", namespace)] {
            let body = request.str_at(&["metadata", field]).unwrap_or("");
            if !body.is_empty() && body != url {
                let text = format!("must match the service account {field} if specified");
                let error = field::Error::invalid(&field::Path::new("metadata").child(field), body, text);
                return Err(status::invalid(GROUP, KIND, name, vec![error]));
            }
        }
        let Some(account) = self.objects.live("", "serviceaccounts", namespace, name).await? else {
            return Err(status::not_found("", "serviceaccounts", name));
        };
        let uid = uid_of(&account);
        let asked_uid = request.str_at(&["metadata", "uid"]).unwrap_or("");
        if !asked_uid.is_empty() && asked_uid != uid {
            let text = format!(
                "the UID in the token request ({asked_uid}) does not match the UID of the service account ({uid})"
            );
            return Err(status::conflict(GROUP, KIND, name, &text));
        }
        let mut seconds = request.i64_at(&["spec", "expirationSeconds"]).unwrap_or(DEFAULT_SECONDS);
        check_seconds(seconds)?;
        let binding = self.binding(namespace, name, request).await?;
        if let Some(max) = self.config.max_expiration.map(|max| max.as_secs())
            && seconds > max
        {
            warnings.push(format!("requested expiration of {seconds} seconds shortened to {max} seconds"));
            seconds = max;
        }
        let asked = request.array_at(&["spec", "audiences"]).iter().filter_map(Value::as_str);
        let mut audiences = asked.map(str::to_owned).collect::<Vec<_>>();
        if audiences.is_empty() {
            audiences.clone_from(&self.config.api_audiences);
        }
        let now = (self.clock)().as_second();
        let claims = self.claims(namespace, name, uid, binding, now, seconds, audiences.clone());
        let token = self
            .keys
            .sign(&claims)
            .map_err(|error| status::internal_error(format!("failed to generate token: {error}")))?;
        let mut answer = request.clone();
        answer.set_at(&["apiVersion"], "authentication.k8s.io/v1");
        answer.set_at(&["kind"], KIND);
        for (field, text) in [("name", name), ("namespace", namespace), ("uid", uid)] {
            answer.set_at(&["metadata", field], text);
        }
        answer.set_at(&["metadata", "creationTimestamp"], time(now));
        answer.set_at(&["spec", "audiences"], audiences);
        answer.set_at(&["spec", "expirationSeconds"], seconds);
        if request.at(&["spec", "boundObjectRef"]).is_none() {
            // Upstream's type writes it even when there is none.
            answer.set_at(&["spec", "boundObjectRef"], Value::Null);
        }
        answer.remove_at(&["status"]);
        answer.set_at(&["status", "expirationTimestamp"], time(now.saturating_add(seconds)));
        answer.set_at(&["status", "token"], token);
        Ok(answer)
    }

    #[allow(clippy::too_many_arguments)] // One value per claim.
    fn claims(
        &self,
        namespace: &str,
        name: &str,
        uid: &str,
        binding: Binding,
        now: i64,
        seconds: i64,
        audiences: Vec<String>,
    ) -> Claims {
        let for_us = audiences.iter().all(|audience| self.config.api_audiences.contains(audience));
        let extended =
            self.config.extend_expiration && binding.pod.is_some() && seconds == EXTENDED_SECONDS_ASKED && for_us;
        let life = if extended { EXTENDED_SECONDS_GIVEN } else { seconds };
        Claims {
            iss: self.config.issuer.clone(),
            sub: user_name(namespace, name),
            aud: audiences,
            exp: Some(now.saturating_add(life)),
            iat: Some(now),
            nbf: Some(now),
            jti: uuid::Uuid::new_v4().to_string(),
            kubernetes: Kubernetes {
                namespace: namespace.into(),
                serviceaccount: Reference { name: name.into(), uid: uid.into() },
                pod: binding.pod,
                secret: binding.secret,
                node: binding.node,
                warnafter: extended.then(|| now.saturating_add(seconds)),
            },
        }
    }

    /// The object that the request binds the token to.
    async fn binding(&self, namespace: &str, account: &str, request: &Value) -> Result<Binding, Status> {
        let Some(reference) = request.at(&["spec", "boundObjectRef"]).filter(|reference| !reference.is_null()) else {
            return Ok(Binding::default());
        };
        let text = |field: &str| reference.str_at(&[field]).unwrap_or("");
        let (kind, name) = (text("kind"), text("name"));
        let version = text("apiVersion");
        let core = !version.contains('/');
        let (resource, namespace) = match kind {
            "Pod" if core => ("pods", namespace),
            "Secret" if core => ("secrets", namespace),
            "Node" if core => ("nodes", ""),
            _ => {
                let slash = if core { "/" } else { "" };
                let message = format!("cannot bind token to object of type {slash}{version}, Kind={kind}");
                return Err(status::bad_request(message));
            }
        };
        if name.is_empty() {
            return Err(status::bad_request("Name parameter required."));
        }
        let Some(object) = self.objects.live("", resource, namespace, name).await? else {
            return Err(status::not_found("", resource, name));
        };
        if kind == "Pod" && object.str_at(&["spec", "serviceAccountName"]) != Some(account) {
            let message = format!(
                "cannot bind token for serviceaccount {account:?} to pod running with different serviceaccount name."
            );
            return Err(status::bad_request(message));
        }
        if !text("uid").is_empty() && text("uid") != uid_of(&object) {
            let message = format!(
                "the UID in the bound object reference ({}) does not match the UID in record. The object might have \
                 been deleted and then recreated",
                text("uid")
            );
            return Err(status::conflict("", kind, name, &message));
        }
        let bound = Some(Reference { name: name.into(), uid: uid_of(&object).into() });
        Ok(match kind {
            "Pod" => Binding { pod: bound, node: self.node_of(&object).await?, secret: None },
            "Secret" => Binding { secret: bound, ..Binding::default() },
            _ => Binding { node: bound, ..Binding::default() },
        })
    }

    /// Where a pod runs; without a UID when the Node is gone.
    async fn node_of(&self, pod: &Value) -> Result<Option<Reference>, Status> {
        let name = pod.str_at(&["spec", "nodeName"]).unwrap_or("");
        if name.is_empty() {
            return Ok(None);
        }
        let node = self.objects.find("", "nodes", "", name).await?;
        let uid = node.as_deref().map_or("", uid_of).to_owned();
        Ok(Some(Reference { name: name.into(), uid }))
    }
}

fn uid_of(object: &Value) -> &str {
    object.str_at(&["metadata", "uid"]).unwrap_or("")
}

fn check_seconds(seconds: i64) -> Result<(), Status> {
    let text = if seconds < MIN_SECONDS {
        "may not specify a duration less than 10 minutes"
    } else if seconds > MAX_SECONDS {
        "may not specify a duration larger than 2^32 seconds"
    } else {
        return Ok(());
    };
    let error = field::Error::invalid(&field::Path::new("spec").child("expirationSeconds"), seconds, text);
    Err(status::invalid(GROUP, KIND, "", vec![error]))
}

/// RFC 3339 with whole seconds.
fn time(seconds: i64) -> String {
    jiff::Timestamp::from_second(seconds).map(skiff_apimachinery::time::format).unwrap_or_default()
}
