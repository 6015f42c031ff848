//! From one version of a custom resource to another: by name alone, or by asking the definition's webhook.
//!
//! Follows `apiextensions-apiserver/pkg/apiserver/conversion`, with its error texts. Of metadata a webhook may change
//! labels and annotations only.

use std::sync::Arc;
use std::time::Duration;

use skiff_apimachinery::field::{ErrorList, Path};
use skiff_apimachinery::value::{Object, Value};
use skiff_apimachinery::{json, meta, value};

use super::types;
use crate::registry::object_meta;
use crate::webhook::{Client, ClientConfig};

/// How long a webhook may take for a batch.
const TIMEOUT: Duration = Duration::from_secs(30);
/// Versions of ConversionReview that this server speaks.
const VERSIONS: [&str; 2] = ["v1", "v1beta1"];
const KIND: &str = "ConversionReview";

/// How the versions of a definition become each other.
#[derive(Clone)]
pub enum Converter {
    /// They differ in their names only.
    Rename,
    /// A webhook knows.
    Webhook(Arc<Webhook>),
}

/// A conversion webhook.
pub struct Webhook {
    client: Arc<Client>,
    config: Option<ClientConfig>,
    review_versions: Vec<String>,
}

impl Converter {
    /// Of `spec.conversion` of a definition.
    pub fn of(conversion: Option<&Value>, client: &Arc<Client>) -> Self {
        let conversion = conversion.filter(|conversion| conversion.str_at(&["strategy"]) == Some("Webhook"));
        let Some(conversion) = conversion else { return Converter::Rename };
        let versions = conversion.array_at(&["webhook", "conversionReviewVersions"]).iter();
        Converter::Webhook(Arc::new(Webhook {
            client: client.clone(),
            config: conversion.at(&["webhook", "clientConfig"]).and_then(ClientConfig::parse),
            review_versions: versions.filter_map(Value::as_str).map(str::to_owned).collect(),
        }))
    }

    /// Whether somebody has to be asked.
    pub fn is_webhook(&self) -> bool {
        matches!(self, Converter::Webhook(_))
    }

    /// Brings objects into a version; those that are in it stay as they are.
    pub async fn convert(&self, mut objects: Vec<Value>, to: &str) -> Result<Vec<Value>, String> {
        let differs = |object: &Value| object.str_at(&["apiVersion"]) != Some(to);
        match self {
            Converter::Rename => {
                objects.iter_mut().filter(|o| differs(o)).for_each(|object| object.set_at(&["apiVersion"], to));
            }
            Converter::Webhook(webhook) => {
                let places = (0..objects.len()).filter(|&at| differs(&objects[at])).collect::<Vec<_>>();
                if !places.is_empty() {
                    let originals = places.iter().map(|&at| std::mem::take(&mut objects[at])).collect::<Vec<_>>();
                    let converted = webhook.convert(&originals, to).await?;
                    places.into_iter().zip(converted).for_each(|(at, object)| objects[at] = object);
                }
            }
        }
        Ok(objects)
    }
}

impl Webhook {
    async fn convert(&self, originals: &[Value], to: &str) -> Result<Vec<Value>, String> {
        let subject = format!("conversion webhook for {}", originals.first().map(kind_of).unwrap_or_default());
        let known = self.review_versions.iter().find_map(|v| VERSIONS.iter().find(|known| *known == v));
        let version = known.ok_or("no supported conversion review versions")?;
        let config = self.config.as_ref().ok_or("webhook configuration must have either service or URL")?;
        let uid = meta::new_uid();
        let review = value!({
            "kind": KIND,
            "apiVersion": (format!("apiextensions.k8s.io/{version}")),
            "request": {
                "uid": (uid.as_str()),
                "desiredAPIVersion": to,
                "objects": (originals.to_vec())
            },
            "response": {"uid": "", "convertedObjects": null, "result": {"metadata": (Object::new())}}
        });
        let mut body = Vec::with_capacity(4096);
        json::write(&review, &mut body);
        let answer = self.client.ask(config, body.into(), TIMEOUT, KIND).await;
        let answer = answer.map_err(|error| format!("{subject} failed: {error}"))?;
        let converted = read(&answer, version, &uid).map_err(|why| format!("{subject} failed: {why}"))?;
        if converted.len() != originals.len() {
            let (found, wanted) = (converted.len(), originals.len());
            return Err(format!("{subject} returned {found} objects, expected {wanted}"));
        }
        let checked = originals.iter().zip(converted).enumerate().map(|(index, (original, converted))| {
            adopt(original, converted, to).map_err(|problem| problem.text(&subject, index, originals.len()))
        });
        checked.collect()
    }
}

/// The converted objects of an answer.
fn read(review: &Value, version: &str, uid: &str) -> Result<Vec<Value>, String> {
    let found = kind_of(review);
    let expected = format!("apiextensions.k8s.io/v1, Kind={KIND}");
    if version == "v1" && found != expected {
        return Err(format!("expected webhook response of {expected}, got {found}"));
    }
    let response = review.get("response").filter(|response| response.as_object().is_some());
    let response = response.ok_or("no response provided")?;
    let answered = response.str_at(&["uid"]).unwrap_or("");
    if version == "v1" && answered != uid {
        return Err(format!("expected response.uid={uid:?}, got {answered:?}"));
    }
    let status = response.str_at(&["result", "status"]).unwrap_or("");
    if status != "Success" {
        return Err(match response.str_at(&["result", "message"]).unwrap_or("") {
            "" => format!("response.result.status was '{status}', not 'Success'"),
            message => message.to_owned(),
        });
    }
    let converted = response.array_at(&["convertedObjects"]).iter();
    converted.map(decoded).collect()
}

/// An object as other custom resources are decoded: field sets of managers stay text.
fn decoded(object: &Value) -> Result<Value, String> {
    let mut text = Vec::new();
    json::write(object, &mut text);
    json::decode(&text, types::envelope()).map(|decoded| decoded.value).map_err(|error| error.to_string())
}

/// `group/version, Kind=kind`, as Go prints it.
fn kind_of(object: &Value) -> String {
    let text = |field: &str| object.str_at(&[field]).unwrap_or("");
    let slash = if text("apiVersion").contains('/') { "" } else { "/" };
    format!("{slash}{}, Kind={}", text("apiVersion"), text("kind"))
}

/// What is wrong with a converted object.
enum Problem {
    Object(String),
    Metadata(String),
    /// Named with its place also where there is only one.
    Type(String),
}

impl Problem {
    fn text(self, subject: &str, index: usize, count: usize) -> String {
        match self {
            Problem::Type(why) if count == 1 => format!("{subject} returned invalid object at index 0: {why}"),
            Problem::Object(why) if count == 1 => format!("{subject} returned invalid object: {why}"),
            Problem::Metadata(why) if count == 1 => format!("{subject} returned invalid metadata: {why}"),
            Problem::Type(why) | Problem::Object(why) => {
                format!("{subject} returned invalid converted object at index {index}: {why}")
            }
            Problem::Metadata(why) => {
                format!("{subject} returned invalid metadata in object at index {index}: {why}")
            }
        }
    }
}

/// Takes over a converted object, with the original's metadata but for labels and annotations.
fn adopt(original: &Value, mut converted: Value, to: &str) -> Result<Value, Problem> {
    let text = |object: &Value, path: &[&str]| object.str_at(path).unwrap_or("").to_owned();
    let found = text(&converted, &["apiVersion"]);
    if found != to {
        return Err(Problem::Type(format!("invalid groupVersion (expected {to}, received {found})")));
    }
    let (wanted, found) = (text(original, &["kind"]), text(&converted, &["kind"]));
    if wanted != found {
        return Err(Problem::Type(format!("invalid kind (expected {wanted}, received {found})")));
    }
    for (name, field) in [("name", "name"), ("namespace", "namespace"), ("UID", "uid")] {
        let (wanted, found) = (text(original, &["metadata", field]), text(&converted, &["metadata", field]));
        if wanted != found {
            return Err(Problem::Object(format!("must have the same {name}: {wanted} != {found}")));
        }
    }
    let metadata = metadata(original, converted.get("metadata")).map_err(Problem::Metadata)?;
    converted.set_at(&["metadata"], metadata);
    Ok(converted)
}

fn metadata(original: &Value, converted: Option<&Value>) -> Result<Value, String> {
    let converted = match converted {
        Some(metadata) if metadata.as_object().is_some() => metadata,
        Some(other) => return Err(format!("invalid metadata of type {} in converted object", super::go_type(other))),
        None => return Err("missing metadata in converted object".to_owned()),
    };
    let mut metadata = original.get("metadata").cloned().unwrap_or_else(|| Object::new().into());
    for field in ["labels", "annotations"] {
        let pairs = match converted.get(field) {
            None | Some(Value::Null) => {
                metadata.remove_at(&[field]);
                continue;
            }
            Some(Value::Object(pairs)) => pairs,
            Some(other) => {
                let ty = super::go_type(other);
                return Err(format!("invalid metadata.{field} of type {ty} in converted object"));
            }
        };
        if let Some((key, value)) = pairs.iter().find(|(_, value)| value.as_str().is_none()) {
            let ty = super::go_type(value);
            return Err(format!("metadata.{field}[{key}] must be a string, but is {ty} in converted object"));
        }
        if metadata.get(field).and_then(Value::as_object) != Some(pairs) {
            check(field, &Value::Object(pairs.clone()))?;
        }
        metadata.set_at(&[field], pairs.clone());
    }
    Ok(metadata)
}

/// Labels and annotations must be as any object's.
fn check(field: &str, pairs: &Value) -> Result<(), String> {
    let path = Path::new("metadata");
    let errors: ErrorList = match field {
        "labels" => object_meta::validate_labels(pairs, &path.child("labels")),
        _ => object_meta::validate_annotations(pairs, &path.child("annotation")),
    };
    let texts = errors.iter().map(ToString::to_string).collect::<Vec<_>>();
    match texts.as_slice() {
        [] => Ok(()),
        [one] => Err(one.clone()),
        many => Err(format!("[{}]", many.join(", "))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(version: &str, metadata: Value) -> Value {
        value!({"apiVersion": (format!("a.io/{version}")), "kind": "A", "metadata": metadata})
    }

    fn adopted(converted: Value) -> Result<Value, String> {
        let original = object("v1", value!({"name": "n", "uid": "u", "labels": {"a": "b"}, "finalizers": ["f/g"]}));
        adopt(&original, converted, "a.io/v2").map_err(|problem| problem.text("it", 0, 1))
    }

    #[test]
    fn only_labels_and_annotations_are_the_webhooks() {
        let converted = object("v2", value!({"name": "n", "uid": "u", "annotations": {"c": "d"}, "generation": 7}));
        let adopted = adopted(converted).expect("adopted");
        let metadata = value!({"name": "n", "uid": "u", "annotations": {"c": "d"}, "finalizers": ["f/g"]});
        assert_eq!(adopted, object("v2", metadata));
    }

    #[test]
    fn what_does_not_fit_is_refused_in_upstreams_words() {
        let error = |converted: Value| adopted(converted).expect_err("refused");
        let metadata = |more: Value| {
            let mut metadata = value!({"name": "n", "uid": "u"});
            more.as_object().into_iter().flat_map(|o| o.iter()).for_each(|(k, v)| metadata.set_at(&[k], v.clone()));
            object("v2", metadata)
        };
        assert_eq!(
            error(object("v3", value!({}))),
            "it returned invalid object at index 0: invalid groupVersion (expected a.io/v2, received a.io/v3)"
        );
        assert_eq!(
            error(object("v2", value!({"name": "m"}))),
            "it returned invalid object: must have the same name: n != m"
        );
        assert_eq!(
            error(metadata(value!({"labels": {"a": 1}}))),
            "it returned invalid metadata: metadata.labels[a] must be a string, but is int64 in converted object"
        );
        let invalid = error(metadata(value!({"labels": {"a b": "c"}})));
        assert!(
            invalid.starts_with("it returned invalid metadata: metadata.labels: Invalid value: \"a b\""),
            "{invalid}"
        );
    }

    #[test]
    fn answers_must_be_to_the_question() {
        let answer = |response: Value| {
            let review =
                value!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "ConversionReview", "response": response});
            read(&review, "v1", "u")
        };
        assert_eq!(answer(Value::Null), Err("no response provided".into()));
        assert_eq!(answer(value!({"uid": "v"})), Err("expected response.uid=\"u\", got \"v\"".into()));
        let failed = value!({"uid": "u", "result": {"status": "Failure", "message": "cannot"}});
        assert_eq!(answer(failed), Err("cannot".into()));
        let silent = value!({"uid": "u", "result": {"status": ""}});
        assert_eq!(answer(silent), Err("response.result.status was '', not 'Success'".into()));
    }
}
