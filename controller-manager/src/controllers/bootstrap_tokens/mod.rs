//! Bootstrap tokens: what they sign, and their end.
//!
//! Upstream: `pkg/controller/bootstrap`. A machine that joins knows a token and nothing else. [`signer`] signs the address
//! and certificate in ConfigMap kube-public/cluster-info with every token, so that the machine can trust them;
//! [`cleaner`] deletes tokens that have expired.

pub mod cleaner;
pub mod signer;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use skiff_client::types::Secret;
use skiff_client::{Informer, Scope};

use crate::context::Context;

const NAMESPACE: &str = "kube-system";
const TYPE: &str = "bootstrap.kubernetes.io/token";
const NAME_PREFIX: &str = "bootstrap-token-";

/// The Secrets that are bootstrap tokens.
fn tokens(context: &Context) -> Informer<Secret> {
    context.informers.get_scoped(Scope {
        namespace: NAMESPACE.to_owned(),
        field_selector: format!("type={TYPE}"),
        ..Scope::default()
    })
}

/// An entry of a Secret as text; empty if there is none.
fn entry(secret: &Secret, key: &str) -> String {
    let bytes = secret.data.get(key).and_then(|text| STANDARD.decode(text).ok());
    bytes.and_then(|bytes| String::from_utf8(bytes).ok()).unwrap_or_default()
}

/// When a token ends; `None` for never. What cannot be read has ended.
fn expiration(secret: &Secret) -> Option<Timestamp> {
    let text = entry(secret, "expiration");
    (!text.is_empty()).then(|| text.parse().unwrap_or(Timestamp::MIN))
}

fn has_expired(secret: &Secret, now: Timestamp) -> bool {
    expiration(secret).is_some_and(|end| end <= now)
}

#[cfg(test)]
fn token(entries: &[(&str, &str)]) -> Secret {
    let data = entries.iter().map(|(key, text)| (key.to_string(), STANDARD.encode(text).into()));
    let data = data.collect::<serde_json::Map<String, serde_json::Value>>();
    let name = format!("{NAME_PREFIX}{}", entries.iter().find(|(key, _)| *key == "token-id").map_or("", |(_, id)| id));
    serde_json::from_value(serde_json::json!({"metadata": {"name": name}, "type": TYPE, "data": data}))
        .expect("a Secret")
}
