//! ConfigMap and Secret.
//!
//! Follows `pkg/registry/core/{configmap,secret}` and their validation.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use skiff_apimachinery::field::{Error, ErrorList, Path};
use skiff_apimachinery::value::Value;
use skiff_apimachinery::{json, names};

use super::tls_pair;
use crate::cacher::FieldSpec;
use crate::registry::at::At;
use crate::registry::defaults;
use crate::registry::strategy::{Strategy, WriteScope};

/// Bytes that all values of a ConfigMap or Secret may have together.
const MAX_DATA_BYTES: usize = 1024 * 1024;

/// ConfigMap.
pub struct ConfigMapStrategy;

impl Strategy for ConfigMapStrategy {
    fn validate(&self, object: &Value) -> ErrorList {
        let mut errors = ErrorList::default();
        let root = At::root(object);
        let (data, binary) = (root.child("data"), root.child("binaryData"));
        let mut total = 0;
        for (key, value) in data.entries() {
            key_messages(&data, key, &mut errors);
            total += value.text().len();
            if binary.key(key).is_set() {
                let message = "duplicate of key present in binaryData";
                errors.push(Error::invalid(&data.path().key(key), key, message));
            }
        }
        for (key, value) in binary.entries() {
            key_messages(&binary, key, &mut errors);
            total += base64_len(value.text());
        }
        if total > MAX_DATA_BYTES {
            // A path of no name, as Go prints it.
            errors.push(Error::too_long(&Path::new("[]"), "", MAX_DATA_BYTES));
        }
        errors
    }

    fn validate_update(&self, _scope: WriteScope<'_>, new: &Value, old: &Value) -> ErrorList {
        let mut errors = ErrorList::default();
        immutable(new, old, &["data", "binaryData"], &mut errors);
        errors.extend(self.validate(new));
        errors
    }
}

fn key_messages(at: &At<'_>, key: &str, errors: &mut ErrorList) {
    for message in names::config_map_key(key) {
        errors.push(Error::invalid(&at.path().key(key), key, message));
    }
}

/// Bytes behind base64 text.
fn base64_len(text: &str) -> usize {
    text.len() / 4 * 3 - text.bytes().rev().take_while(|b| *b == b'=').count().min(text.len() / 4 * 3)
}

/// Once immutable, always immutable, and so are the contents.
fn immutable(new: &Value, old: &Value, fields: &[&str], errors: &mut ErrorList) {
    if old.bool_at(&["immutable"]) != Some(true) {
        return;
    }
    const MESSAGE: &str = "field is immutable when `immutable` is set";
    if new.bool_at(&["immutable"]) != Some(true) {
        errors.push(Error::forbidden(&Path::new("immutable"), MESSAGE));
    }
    for field in fields {
        if new.get(field) != old.get(field) {
            errors.push(Error::forbidden(&Path::new(field), MESSAGE));
        }
    }
}

const DOCKER_CFG: &str = "kubernetes.io/dockercfg";
const DOCKER_CONFIG_JSON: &str = "kubernetes.io/dockerconfigjson";
const TLS: &str = "kubernetes.io/tls";
const SERVICE_ACCOUNT_TOKEN: &str = "kubernetes.io/service-account-token";
const SERVICE_ACCOUNT_NAME: &str = "kubernetes.io/service-account.name";

/// Secret.
pub struct SecretStrategy;

impl Strategy for SecretStrategy {
    fn set_defaults(&self, object: &mut Value) {
        fold_string_data(object);
        defaults::text(object.object_at_mut(&[]), "type", "Opaque");
    }

    fn validate(&self, object: &Value) -> ErrorList {
        let mut errors = ErrorList::default();
        let root = At::root(object);
        let data = root.child("data");
        let mut total = 0;
        for (key, value) in data.entries() {
            key_messages(&data, key, &mut errors);
            total += base64_len(value.text());
        }
        if total > MAX_DATA_BYTES {
            errors.push(Error::too_long(&data.path(), "", MAX_DATA_BYTES));
        }
        by_type(&root, &data, &mut errors);
        errors
    }

    fn validate_update(&self, _scope: WriteScope<'_>, new: &Value, old: &Value) -> ErrorList {
        let mut errors = ErrorList::default();
        let (new_root, old_root) = (At::root(new), At::root(old));
        new_root.child("type").immutable(&mut errors, &old_root.child("type"));
        immutable(new, old, &["data"], &mut errors);
        errors.extend(self.validate(new));
        errors
    }

    fn prepare_for_update(&self, _scope: WriteScope<'_>, new: &mut Value, old: &Value) {
        // An update without a type means the one it has.
        if new.str_at(&["type"]).unwrap_or("").is_empty()
            && let Some(kind) = old.get("type")
        {
            new.set_at(&["type"], kind.clone());
        }
    }

    fn warnings(&self, new: &Value, _old: Option<&Value>) -> Vec<String> {
        if new.str_at(&["type"]) != Some(TLS) {
            return Vec::new();
        }
        let part = |key: &str| BASE64_STANDARD.decode(new.str_at(&["data", key]).unwrap_or("")).unwrap_or_default();
        Vec::from_iter(tls_pair::fault(&part("tls.crt"), &part("tls.key")))
    }

    fn selectable_fields(&self) -> Vec<FieldSpec> {
        vec![FieldSpec::new("type")]
    }
}

/// `stringData` is write-only: it goes into `data`.
fn fold_string_data(object: &mut Value) {
    let Some(Value::Object(strings)) = object.object_at_mut(&[]).remove("stringData") else {
        return;
    };
    let data = object.object_at_mut(&["data"]);
    for (key, value) in strings {
        data.insert(key, BASE64_STANDARD.encode(value.as_str().unwrap_or("")));
    }
}

fn by_type(root: &At<'_>, data: &At<'_>, errors: &mut ErrorList) {
    let mut need = |key: &str| {
        let at = data.key(key);
        if !at.is_set() {
            at.required(errors, "");
        }
    };
    match root.child("type").text() {
        SERVICE_ACCOUNT_TOKEN => {
            let metadata = root.child("metadata");
            let annotations = metadata.child("annotations");
            let account = annotations.key(SERVICE_ACCOUNT_NAME);
            if account.is_empty() {
                account.required(errors, "");
            }
        }
        DOCKER_CFG => docker_config(&data.key(".dockercfg"), errors),
        DOCKER_CONFIG_JSON => docker_config(&data.key(".dockerconfigjson"), errors),
        "kubernetes.io/basic-auth" if !data.key("username").is_set() && !data.key("password").is_set() => {
            need("username");
            need("password");
        }
        "kubernetes.io/ssh-auth" if data.key("ssh-privatekey").is_empty() => {
            data.key("ssh-privatekey").required(errors, "");
        }
        TLS => {
            need("tls.crt");
            need("tls.key");
        }
        _ => {}
    }
}

fn docker_config(at: &At<'_>, errors: &mut ErrorList) {
    if !at.is_set() {
        return at.required(errors, "");
    }
    let decoded = BASE64_STANDARD.decode(at.text()).unwrap_or_default();
    let fault = match json::parse(&decoded) {
        Ok(Value::Object(_) | Value::Null) => return,
        Ok(other) => {
            let kind = match other {
                Value::Array(_) => "array",
                Value::String(_) => "string",
                Value::Bool(_) => "bool",
                _ => "number",
            };
            format!("json: cannot unmarshal {kind} into Go value of type map[string]interface {{}}")
        }
        Err(error) => error.to_string(),
    };
    errors.push(Error::invalid(&at.path(), "<secret contents redacted>", fault));
}

#[cfg(test)]
mod tests {
    use skiff_apimachinery::value;

    use super::*;

    fn texts(errors: &ErrorList) -> Vec<String> {
        errors.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn string_data_becomes_data() {
        let mut secret = value!({"stringData": {"a": "b"}, "data": {"c": "ZA=="}});
        SecretStrategy.set_defaults(&mut secret);
        assert_eq!(secret, value!({"data": {"a": "Yg==", "c": "ZA=="}, "type": "Opaque"}));
    }

    #[test]
    fn types_need_their_keys() {
        let secret = value!({"type": "kubernetes.io/tls", "data": {"tls.crt": "YQ=="}});
        assert_eq!(texts(&SecretStrategy.validate(&secret)), ["data[tls.key]: Required value"]);
    }

    #[test]
    fn keys_and_immutability() {
        let map = value!({"data": {"": "x"}});
        assert!(
            texts(&ConfigMapStrategy.validate(&map))[0].starts_with("data[]: Invalid value: \"\": a valid config key")
        );
        let old = value!({"immutable": true, "data": {"a": "1"}});
        let new = value!({"immutable": true, "data": {"a": "2"}});
        let mut errors = ErrorList::default();
        immutable(&new, &old, &["data"], &mut errors);
        assert_eq!(texts(&errors), ["data: Forbidden: field is immutable when `immutable` is set"]);
    }

    #[test]
    fn base64_lengths() {
        for (text, want) in [("", 0), ("YQ==", 1), ("YWI=", 2), ("YWJj", 3)] {
            assert_eq!(base64_len(text), want, "{text}");
        }
    }
}
