//! Object metadata without managedFields.

use std::fmt;

use jiff::Timestamp;
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

use crate::resource::ObjectKey;

/// An object with slim metadata.
pub trait HasMeta {
    /// Its metadata.
    fn meta(&self) -> &Meta;
}

/// Metadata of an object: `metav1.ObjectMeta` as far as components read it.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Meta {
    /// Name.
    pub name: String,
    /// Namespace; empty for cluster-scoped objects.
    pub namespace: String,
    /// UID.
    pub uid: String,
    /// Version for optimistic concurrency.
    pub resource_version: String,
    /// Counts changes of the spec; 0 where the kind has none.
    pub generation: i64,
    /// When the server created it.
    pub creation_timestamp: Option<Timestamp>,
    /// Set once deletion was asked for.
    pub deletion_timestamp: Option<Timestamp>,
    /// Grace of a pod being deleted, in seconds.
    pub deletion_grace_period_seconds: Option<i64>,
    /// Labels.
    #[serde(deserialize_with = "super::nullable")]
    pub labels: StringMap,
    /// Annotations.
    #[serde(deserialize_with = "super::nullable")]
    pub annotations: StringMap,
    /// Owners.
    #[serde(deserialize_with = "super::nullable")]
    pub owner_references: Vec<OwnerReference>,
    /// What must happen before it goes.
    #[serde(deserialize_with = "super::nullable")]
    pub finalizers: Vec<String>,
}

impl Meta {
    /// Namespace and name.
    pub fn key(&self) -> ObjectKey {
        ObjectKey::new(self.namespace.as_str(), self.name.as_str())
    }

    /// The owner that manages this object (`controller: true`), if any.
    pub fn controller_of(&self) -> Option<&OwnerReference> {
        self.owner_references.iter().find(|owner| owner.controller)
    }

    /// Whether the object with this UID manages this one.
    pub fn is_controlled_by(&self, uid: &str) -> bool {
        self.controller_of().is_some_and(|owner| owner.uid == uid)
    }

    /// Whether deletion was asked for.
    pub fn is_deleting(&self) -> bool {
        self.deletion_timestamp.is_some()
    }

    /// Whether it carries this finalizer.
    pub fn has_finalizer(&self, finalizer: &str) -> bool {
        self.finalizers.iter().any(|have| have == finalizer)
    }
}

/// `metav1.OwnerReference`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct OwnerReference {
    /// Group and version of the owner.
    pub api_version: String,
    /// Kind of the owner.
    pub kind: String,
    /// Name of the owner.
    pub name: String,
    /// UID of the owner.
    pub uid: String,
    /// Whether this owner manages the object.
    #[serde(skip_serializing_if = "std::ops::Not::not", deserialize_with = "super::nullable")]
    pub controller: bool,
    /// Whether foreground deletion of the owner waits for the object.
    #[serde(skip_serializing_if = "std::ops::Not::not", deserialize_with = "super::nullable")]
    pub block_owner_deletion: bool,
}

/// A map of strings as a sorted vector: labels are few, and a tree node would cost more than all of them.
#[derive(Clone, Default, PartialEq, Eq, Hash)]
pub struct StringMap(Vec<(String, String)>);

impl StringMap {
    /// The value under a key.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.0.binary_search_by(|(have, _)| have.as_str().cmp(key)).ok().map(|at| self.0[at].1.as_str())
    }

    /// Whether the key is there.
    pub fn contains_key(&self, key: &str) -> bool {
        self.get(key).is_some()
    }

    /// Pairs in key order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&str, &str)> {
        self.0.iter().map(|(key, value)| (key.as_str(), value.as_str()))
    }

    /// Number of pairs.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is no pair.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Sets a key and returns the old value.
    pub fn insert(&mut self, key: impl Into<String>, value: impl Into<String>) -> Option<String> {
        let (key, value) = (key.into(), value.into());
        match self.0.binary_search_by(|(have, _)| have.cmp(&key)) {
            Ok(at) => Some(std::mem::replace(&mut self.0[at].1, value)),
            Err(at) => {
                self.0.insert(at, (key, value));
                None
            }
        }
    }

    /// Removes a key and returns its value.
    pub fn remove(&mut self, key: &str) -> Option<String> {
        let at = self.0.binary_search_by(|(have, _)| have.as_str().cmp(key)).ok()?;
        Some(self.0.remove(at).1)
    }

    /// Whether every pair of `self` is in `other`: an equality selector matching labels.
    pub fn is_subset_of(&self, other: &StringMap) -> bool {
        self.iter().all(|(key, value)| other.get(key) == Some(value))
    }
}

impl<K: Into<String>, V: Into<String>> FromIterator<(K, V)> for StringMap {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(pairs: I) -> Self {
        let mut map = StringMap::default();
        for (key, value) in pairs {
            map.insert(key, value);
        }
        map
    }
}

impl fmt::Debug for StringMap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

impl Serialize for StringMap {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.iter())
    }
}

impl<'de> Deserialize<'de> for StringMap {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Pairs;
        impl<'de> Visitor<'de> for Pairs {
            type Value = StringMap;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a map of strings")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<StringMap, A::Error> {
                let mut pairs = Vec::with_capacity(access.size_hint().unwrap_or(0).min(64));
                while let Some((key, value)) = access.next_entry::<String, Option<String>>()? {
                    pairs.push((key, value.unwrap_or_default()));
                }
                pairs.sort_by(|a, b| a.0.cmp(&b.0));
                // A repeated key keeps its last value, as in every JSON reader of the ecosystem.
                pairs.reverse();
                pairs.dedup_by(|a, b| a.0 == b.0);
                pairs.reverse();
                pairs.shrink_to_fit();
                Ok(StringMap(pairs))
            }
        }
        deserializer.deserialize_map(Pairs)
    }
}

/// A condition of an object's status, in the form that pods, nodes, Deployments, Jobs and others share.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Condition {
    /// What it is about.
    #[serde(rename = "type")]
    pub type_: String,
    /// `True`, `False` or `Unknown`.
    pub status: String,
    /// One word on why.
    pub reason: String,
    /// A sentence on why.
    pub message: String,
    /// When the status last changed.
    pub last_transition_time: Option<Timestamp>,
    /// When it was last confirmed (Deployments: when anything of it last changed).
    #[serde(alias = "lastHeartbeatTime", alias = "lastProbeTime")]
    pub last_update_time: Option<Timestamp>,
    /// The generation it speaks about, where the kind has it.
    pub observed_generation: i64,
}

/// The condition of a type, if present.
pub fn condition<'a>(conditions: &'a [Condition], type_: &str) -> Option<&'a Condition> {
    conditions.iter().find(|condition| condition.type_ == type_)
}

/// Whether a condition is present and `True`.
pub fn condition_is_true(conditions: &[Condition], type_: &str) -> bool {
    condition(conditions, type_).is_some_and(|condition| condition.status == "True")
}

/// Metadata alone, of whatever kind: what the garbage collector watches.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct PartialObject {
    /// Group and version, if the source says it.
    pub api_version: String,
    /// Kind, if the source says it.
    pub kind: String,
    /// Metadata.
    pub metadata: Meta,
}

impl crate::resource::Object for PartialObject {
    fn name(&self) -> &str {
        &self.metadata.name
    }
    fn namespace(&self) -> &str {
        &self.metadata.namespace
    }
    fn uid(&self) -> &str {
        &self.metadata.uid
    }
    fn resource_version(&self) -> &str {
        &self.metadata.resource_version
    }
}

impl HasMeta for PartialObject {
    fn meta(&self) -> &Meta {
        &self.metadata
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metadata_reads_what_matters_and_ignores_the_rest() {
        let meta: Meta = serde_json::from_str(
            r#"{"name":"a","namespace":"b","labels":{"z":"1","a":"2"},"annotations":null,"managedFields":[{"x":1}],
                "creationTimestamp":"2026-01-02T03:04:05Z","deletionTimestamp":null,
                "ownerReferences":[{"apiVersion":"apps/v1","kind":"ReplicaSet","name":"r","uid":"u","controller":true}]}"#,
        )
        .expect("valid metadata");
        assert_eq!(meta.labels.iter().collect::<Vec<_>>(), [("a", "2"), ("z", "1")]);
        assert!(meta.is_controlled_by("u") && !meta.is_controlled_by("v") && !meta.is_deleting());
        assert_eq!(meta.creation_timestamp.map(|time| time.to_string()).as_deref(), Some("2026-01-02T03:04:05Z"));
    }

    #[test]
    fn string_map_behaves_like_a_map() {
        let mut map: StringMap = [("b", "1"), ("a", "2"), ("b", "3")].into_iter().collect();
        assert_eq!(map.get("b"), Some("3"));
        assert_eq!(map.remove("a").as_deref(), Some("2"));
        assert_eq!((map.len(), map.get("a")), (1, None));
        let duplicate: StringMap = serde_json::from_str(r#"{"k":"1","k":"2"}"#).expect("a map");
        assert_eq!(duplicate.get("k"), Some("2"));
    }
}
