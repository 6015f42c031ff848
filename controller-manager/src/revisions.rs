//! The history of a workload: ControllerRevisions, each holding one pod template (StatefulSets and DaemonSets).
//!
//! Upstream: `pkg/controller/history`. A revision's data is a strategic merge patch that puts its template back, which
//! is what `kubectl rollout undo` sends. Two revisions are the same if their data is, written canonically. Their names
//! are those that upstream gives.

use std::sync::Arc;

use anyhow::bail;
use kube::Client;
use serde_json::{Map, Value, json};
use skiff_client::objects::PatchKind;
use skiff_client::types::{ControllerRevision, Meta, OwnerReference, RawJson, StringMap};
use skiff_client::{Objects, errors};

use crate::template_hash;

/// Label with the hash of a revision's data, on revisions of StatefulSets.
pub const HASH_LABEL: &str = "controller.kubernetes.io/hash";
/// Label of pods that says which revision they are of: its name (StatefulSets) or its hash (DaemonSets, whose revisions
/// carry it, too).
pub const POD_LABEL: &str = "controller-revision-hash";
/// Longest part of the owner's name in a revision's name.
const MAX_PREFIX: usize = 223;
/// Names that are tried before a creation is given up: each is a hash of 32 bits, so that a second one is rare.
const MAX_COLLISIONS: i32 = 100;

/// The data of a template's revision.
pub fn data(template: &RawJson) -> Value {
    let mut template = without_nulls(template.value());
    if let Some(fields) = template.as_object_mut() {
        fields.insert("$patch".into(), json!("replace"));
    }
    json!({"spec": {"template": template}})
}

/// The template that a revision holds; empty if it holds none.
pub fn template(revision: &ControllerRevision) -> RawJson {
    let mut data = revision.data.value();
    let mut template = data["spec"]["template"].take();
    match template.as_object_mut() {
        Some(fields) => {
            fields.remove("$patch");
            RawJson::of(&template)
        }
        None => RawJson::default(),
    }
}

/// The labels of a pod template.
pub fn template_labels(template: &RawJson) -> StringMap {
    #[derive(Default, serde::Deserialize)]
    #[serde(default)]
    struct Template {
        metadata: Meta,
    }
    template.parse::<Template>().unwrap_or_default().metadata.labels
}

fn without_nulls(value: Value) -> Value {
    match value {
        Value::Object(fields) => {
            let kept = fields.into_iter().filter(|(_, value)| !value.is_null());
            Value::Object(kept.map(|(key, value)| (key, without_nulls(value))).collect())
        }
        Value::Array(items) => items.into_iter().map(without_nulls).collect(),
        scalar => scalar,
    }
}

/// A value in the one form in which Go writes it: sorted keys, no space, `<`, `>` and `&` escaped.
pub fn canonical(value: &Value) -> String {
    let mut text = String::new();
    write_canonical(value, &mut text);
    text
}

fn write_canonical(value: &Value, out: &mut String) {
    match value {
        Value::Object(fields) => {
            let mut fields: Vec<_> = fields.iter().collect();
            fields.sort_by_key(|(key, _)| key.as_str());
            out.push('{');
            for (at, (key, value)) in fields.into_iter().enumerate() {
                if at > 0 {
                    out.push(',');
                }
                write_text(key, out);
                out.push(':');
                write_canonical(value, out);
            }
            out.push('}');
        }
        Value::Array(items) => {
            out.push('[');
            for (at, item) in items.iter().enumerate() {
                if at > 0 {
                    out.push(',');
                }
                write_canonical(item, out);
            }
            out.push(']');
        }
        Value::String(text) => write_text(text, out),
        scalar => out.push_str(&scalar.to_string()),
    }
}

fn write_text(text: &str, out: &mut String) {
    for character in Value::from(text).to_string().chars() {
        match character {
            '<' | '>' | '&' | '\u{2028}' | '\u{2029}' => out.push_str(&format!("\\u{:04x}", u32::from(character))),
            other => out.push(other),
        }
    }
}

/// The hash of a revision's data: FNV-1 of 32 bits over the canonical text and the number of collisions met, in the
/// alphabet that makes no words (upstream `HashControllerRevision`).
pub fn hash(data: &Value, collisions: i32) -> String {
    let text = canonical(data) + &collisions.to_string();
    template_hash::safe(
        text.bytes().fold(0x811c_9dc5_u32, |hash, byte| hash.wrapping_mul(0x0100_0193) ^ u32::from(byte)),
    )
}

/// Whether a revision holds this data.
pub fn holds(revision: &ControllerRevision, data: &Value) -> bool {
    canonical(&without_nulls(revision.data.value())) == canonical(data)
}

/// Sorts revisions, the newest last.
pub fn sort(revisions: &mut [Arc<ControllerRevision>]) {
    revisions.sort_by(|a, b| {
        let age = |revision: &ControllerRevision| (revision.revision, revision.metadata.creation_timestamp);
        age(a).cmp(&age(b)).then_with(|| a.metadata.name.cmp(&b.metadata.name))
    });
}

/// Which revision a template is.
#[derive(Debug)]
pub enum Choice {
    /// The newest.
    Newest(Arc<ControllerRevision>),
    /// An older one, which becomes the newest under this number: a roll-back.
    Again(Arc<ControllerRevision>, i64),
    /// A new one of this number.
    New(i64),
}

/// Finds the revision that holds the data. `sorted` is in the order of [`sort`].
pub fn choose(sorted: &[Arc<ControllerRevision>], data: &Value) -> Choice {
    let next = sorted.last().map_or(1, |newest| newest.revision + 1);
    match sorted.iter().rposition(|revision| holds(revision, data)) {
        Some(at) if at + 1 == sorted.len() => Choice::Newest(sorted[at].clone()),
        Some(at) => Choice::Again(sorted[at].clone(), next),
        None => Choice::New(next),
    }
}

/// A revision that is to be created.
pub struct NewRevision<'a> {
    /// The owner.
    pub owner: &'a Meta,
    /// The reference to it.
    pub reference: OwnerReference,
    /// Labels of the pod template.
    pub labels: StringMap,
    /// What it holds.
    pub data: &'a Value,
    /// Its number.
    pub number: i64,
    /// What its hash is made of.
    pub hashed: Hashed<'a>,
}

/// What the hash of a revision is made of, which follows from the owner's kind.
#[derive(Clone, Copy)]
pub enum Hashed<'a> {
    /// What it holds (StatefulSets).
    Data,
    /// The pod template as Go prints it (DaemonSets).
    Template(&'a RawJson),
}

impl Hashed<'_> {
    /// Label that carries the hash.
    fn label(self) -> &'static str {
        match self {
            Hashed::Data => HASH_LABEL,
            Hashed::Template(_) => POD_LABEL,
        }
    }
}

impl NewRevision<'_> {
    /// The object, under the name that follows from the hash.
    pub fn object(&self, collisions: i32) -> Value {
        let hash = match self.hashed {
            Hashed::Data => hash(self.data, collisions),
            // No collision is written as none, not as zero.
            Hashed::Template(template) => template_hash::hash(template, (collisions > 0).then_some(collisions)),
        };
        let mut labels = self.labels.clone();
        labels.insert(self.hashed.label(), hash.clone());
        let annotations: Map<String, Value> =
            self.owner.annotations.iter().map(|(key, value)| (key.into(), json!(value))).collect();
        json!({
            "metadata": {
                "name": name(&self.owner.name, &hash),
                "namespace": self.owner.namespace,
                "labels": labels,
                "annotations": annotations,
                "ownerReferences": [self.reference],
            },
            "data": self.data,
            "revision": self.number,
        })
    }

    /// Creates it, or finds that it is there. Counts the collisions of its name with others.
    pub async fn create(&self, client: &Client, collisions: &mut i32) -> anyhow::Result<ControllerRevision> {
        let api = Objects::<ControllerRevision>::namespaced(client, &self.owner.namespace);
        for _ in 0..MAX_COLLISIONS {
            let object = self.object(*collisions);
            match api.create(&object).await {
                Ok(created) => return Ok(created),
                Err(error) if errors::is_already_exists(&error) => {
                    let there = api.get(object["metadata"]["name"].as_str().unwrap_or_default()).await?;
                    if holds(&there, self.data) {
                        return Ok(there);
                    }
                    *collisions += 1;
                }
                Err(error) => return Err(error.into()),
            }
        }
        bail!("no free name for a revision of {} was found", self.owner.key())
    }
}

/// The name of a revision: the owner's, cut if need be, and a hash.
pub fn name(owner: &str, hash: &str) -> String {
    format!("{}-{hash}", &owner[..owner.len().min(MAX_PREFIX)])
}

/// Gives a revision another number.
pub async fn renumber(
    client: &Client,
    revision: &ControllerRevision,
    number: i64,
) -> anyhow::Result<ControllerRevision> {
    let api = Objects::<ControllerRevision>::namespaced(client, &revision.metadata.namespace);
    let patch = json!({"metadata": {"uid": revision.metadata.uid}, "revision": number});
    Ok(api.patch(&revision.metadata.name, "", PatchKind::Merge, &patch).await?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn revision(name: &str, number: i64, template: &str) -> Arc<ControllerRevision> {
        let template = RawJson::of(&serde_json::from_str(template).expect("a template"));
        let object = json!({"metadata": {"name": name}, "data": data(&template), "revision": number});
        Arc::new(serde_json::from_value(object).expect("a revision"))
    }

    #[test]
    fn names_do_not_change() {
        // Another name would make new revisions of everything that runs. `template_hash` compares hashes with upstream's.
        let template = json!({"metadata": {"labels": {"a": "<1&2>"}, "creationTimestamp": null}, "spec": {"x": 1}});
        let data = data(&RawJson::of(&template));
        let text = r#"{"spec":{"template":{"$patch":"replace","metadata":{"labels":{"a":"\u003c1\u00262\u003e"}},"spec":{"x":1}}}}"#;
        assert_eq!(canonical(&data), text);
        assert_ne!(hash(&data, 0), hash(&data, 1));
        assert_eq!(name(&"x".repeat(250), "abc").len(), MAX_PREFIX + 4);
    }

    #[test]
    fn a_template_is_the_newest_revision_an_older_one_or_a_new_one() {
        let mut all = [revision("b", 2, r#"{"x":2}"#), revision("c", 3, r#"{"x":3}"#), revision("a", 1, r#"{"x":1}"#)];
        sort(&mut all);
        let chosen = |x: i64| match choose(&all, &data(&RawJson::of(&json!({ "x": x })))) {
            Choice::Newest(found) => format!("newest {}", found.metadata.name),
            Choice::Again(found, number) => format!("{} as {number}", found.metadata.name),
            Choice::New(number) => format!("new {number}"),
        };
        assert_eq!([chosen(3), chosen(1), chosen(4)], ["newest c", "a as 4", "new 4"]);
        assert_eq!(template(&all[0]).value(), json!({"x": 1}));
        assert!(matches!(choose(&[], &json!({})), Choice::New(1)));
    }
}
