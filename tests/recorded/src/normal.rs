//! What no two servers share, replaced: uids, versions, times of now, generated names, allocated addresses and ports.
//!
//! A value that the case itself wrote is no such thing and stays. What a distribution's kube-apiserver adds to upstream's
//! answers is taken out.

use base64::Engine;
use jiff::{SignedDuration, Timestamp};
use regex::Regex;
use serde_json::{Map, Value, json};
use std::sync::LazyLock;

/// Times this near to now are times that the server made.
const NOW: SignedDuration = SignedDuration::from_hours(1);

/// One distribution lets everybody see more.
const DISTRIBUTION_URLS: &str = "/.well-known/*";
/// One distribution gives every pod a second bundle of certificates.
const DISTRIBUTION_CA: &str = "openshift-service-ca.crt";

static UID: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new("[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}").expect("a regular expression")
});
static GENERATE_NAME: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r#"generateName":"([^"]+)""#).expect("a regular expression"));
/// A version in JSON inside of a text, or in what a store says of it.
static VERSION: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r#"(resourceVersion\\*":\\*"|ResourceVersion in object meta: )\d+"#).expect("a regular expression")
});
/// An object that an error quotes.
static QUOTED: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r#"Invalid value: ("\{(?:[^"\\]|\\.)*\}")"#).expect("a regular expression"));
/// A signed token, whose second part says what it is for.
static TOKEN: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r"^eyJ[\w-]+\.(eyJ[\w-]+)\.[\w-]+$").expect("a regular expression"));
static TIME: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r"\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}(\.\d+)?Z").expect("a regular expression"));

/// What is known about the case whose answers are normalised.
pub struct Context<'a> {
    /// The namespace of the case.
    pub namespace: &'a str,
    /// Everything that the case wrote.
    pub written: &'a str,
    /// Whether managedFields stay.
    pub managed_fields: bool,
}

impl Context<'_> {
    /// Normalises a body.
    pub fn value(&self, value: &mut Value) {
        if let Some(claims) = value.as_str().and_then(claims) {
            *value = claims;
        }
        match value {
            Value::String(text) => *text = self.text(text),
            Value::Array(items) => {
                items.retain(|item| item.pointer("/configMap/name").and_then(Value::as_str) != Some(DISTRIBUTION_CA));
                items.iter_mut().for_each(|item| self.value(item));
            }
            Value::Object(object) => self.object(object),
            _ => {}
        }
    }

    fn object(&self, object: &mut Map<String, Value>) {
        if !self.managed_fields {
            object.remove("managedFields");
        }
        if let Some(Value::Array(entries)) = object.get_mut("managedFields") {
            // They are in the order of their times, and in that of their names within a second: which of both depends on
            // when the case ran.
            entries.sort_by_cached_key(|entry| {
                ["operation", "manager", "apiVersion", "subresource"].map(|key| entry[key].to_string())
            });
        }
        if let Some(Value::Array(causes)) = object.get_mut("causes")
            && causes.iter().all(|cause| cause["reason"] == "FieldManagerConflict")
        {
            // In the order of Go's maps, which is none.
            causes.sort_by_cached_key(|cause| [cause["message"].to_string(), cause["field"].to_string()]);
        }
        for key in ["resourceRules", "nonResourceRules"] {
            if let Some(Value::Array(rules)) = object.get_mut(key) {
                // In the order of Go's maps.
                rules.retain(|rule| {
                    rule.pointer("/nonResourceURLs/1").and_then(Value::as_str) != Some(DISTRIBUTION_URLS)
                });
                rules.sort_by_cached_key(Value::to_string);
            }
        }
        let entries = std::mem::take(object);
        for (key, mut value) in entries {
            let replacement = match (key.as_str(), &value) {
                ("resourceVersion", Value::String(text)) if text.parse::<u64>().is_ok() => Some("<rv>"),
                ("continue", Value::String(text)) if !text.is_empty() => Some("<continue>"),
                ("clusterIP", Value::String(text)) if text.contains(['.', ':']) => Some("<ip>"),
                ("nodePort" | "healthCheckNodePort", Value::Number(_)) => Some("<port>"),
                _ => None,
            };
            match replacement {
                Some(replacement) if !self.wrote(&value) => value = replacement.into(),
                _ if key == "clusterIPs" => self.addresses(&mut value),
                _ => self.value(&mut value),
            }
            object.insert(self.text(&key), value);
        }
    }

    fn addresses(&self, list: &mut Value) {
        for address in list.as_array_mut().into_iter().flatten() {
            let allocated = address.as_str().is_some_and(|text| text.contains(['.', ':'])) && !self.wrote(address);
            if allocated {
                *address = "<ip>".into();
            }
        }
    }

    fn wrote(&self, value: &Value) -> bool {
        self.written.contains(&value.to_string())
    }

    fn text(&self, text: &str) -> String {
        let text = text.replace(self.namespace, "<ns>");
        // First, as part of one may look like a name that the server made.
        let text = UID.replace_all(&text, |found: &regex::Captures<'_>| self.unless_written(&found[0], "<uid>", true));
        let text = self.without_suffixes(&text);
        let text = TIME.replace_all(&text, |found: &regex::Captures<'_>| {
            let recent =
                found[0].parse::<Timestamp>().is_ok_and(|time| time.duration_since(Timestamp::now()).abs() < NOW);
            self.unless_written(&found[0], "<time>", recent)
        });
        let text = VERSION.replace_all(&text, "$1<rv>");
        let text = QUOTED
            .replace_all(&text, |found: &regex::Captures<'_>| format!("Invalid value: {}", self.quoted(&found[1])));
        shorten(&text)
    }

    /// Shortens names that the server made of a `generateName` of the case, and those of token volumes.
    fn without_suffixes(&self, text: &str) -> String {
        let bases = GENERATE_NAME.captures_iter(self.written).map(|found| found[1].replace(self.namespace, "<ns>"));
        let mut text = text.to_owned();
        for base in bases.chain(["kube-api-access-".to_owned()]) {
            // Compiling an expression for every text would be most of the work.
            if !text.contains(&base) {
                continue;
            }
            let name = format!("{}[bcdfghjklmnpqrstvwxz2456789]{{5}}", regex::escape(&base));
            let name = Regex::new(&name).expect("a regular expression");
            text = name.replace_all(&text, format!("{base}<generated>")).into_owned();
        }
        text
    }

    /// Quoted JSON is in the order in which a server keeps its members, which is no promise to anybody.
    fn quoted(&self, quoted: &str) -> String {
        let object = serde_json::from_str::<String>(quoted).and_then(|text| serde_json::from_str::<Value>(&text));
        match object {
            Ok(mut object) => {
                self.value(&mut object);
                Value::String(object.to_string()).to_string()
            }
            Err(_) => quoted.to_owned(),
        }
    }

    fn unless_written(&self, found: &str, replacement: &str, replace: bool) -> String {
        if replace && !self.written.contains(found) { replacement.to_owned() } else { found.to_owned() }
    }
}

/// What a signed token says, with its times counted from when it was made.
fn claims(text: &str) -> Option<Value> {
    let part = TOKEN.captures(text)?.get(1)?;
    let json = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(part.as_str()).ok()?;
    let mut claims = serde_json::from_slice::<Value>(&json).ok()?;
    let made = claims["iat"].as_i64()?;
    for place in ["/iat", "/nbf", "/exp", "/kubernetes.io/warnafter"] {
        if let Some(time) = claims.pointer_mut(place)
            && let Some(seconds) = time.as_i64()
        {
            *time = (seconds - made).into();
        }
    }
    Some(json!({ "claims": claims }))
}

/// Writes long repetitions of one character the way cases do.
fn shorten(text: &str) -> String {
    const LONG: usize = 40;
    let mut out = String::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let end = rest.find(|c| c != first).unwrap_or(rest.len());
        let times = end / first.len_utf8();
        if times >= LONG {
            out.push_str(&format!("<{first}*{times}>"));
        } else {
            out.push_str(&rest[..end]);
        }
        rest = &rest[end..];
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_servers_make_goes_and_what_clients_wrote_stays() {
        let context = Context {
            namespace: "c123",
            written: r#"{"clusterIP":"10.96.0.9","generateName":"a-"}"#,
            managed_fields: false,
        };
        let mut value = json!({
            "metadata": {
                "uid": "0a1b2c3d-0000-4000-8000-000000000000", "resourceVersion": "12", "namespace": "c123",
                "generateName": "a-", "name": "a-xwz22", "managedFields": [], "creationTimestamp": Timestamp::now().to_string()
            },
            "spec": {"clusterIP": "10.96.0.9", "clusterIPs": ["10.96.0.10", "None"], "ports": [{"nodePort": 30001}]},
            "time": "2001-01-01T00:00:00Z"
        });
        context.value(&mut value);
        let wanted = json!({
            "metadata": {
                "uid": "<uid>", "resourceVersion": "<rv>", "namespace": "<ns>", "generateName": "a-",
                "name": "a-<generated>", "creationTimestamp": "<time>"
            },
            "spec": {"clusterIP": "10.96.0.9", "clusterIPs": ["<ip>", "None"], "ports": [{"nodePort": "<port>"}]},
            "time": "2001-01-01T00:00:00Z"
        });
        assert_eq!(value, wanted);
    }
}
