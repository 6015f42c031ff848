//! What the cache knows of an object beside its bytes: labels and selectable fields, read once when it is inserted by
//! one pass over the JSON that builds no tree.

use std::fmt;

use compact_str::{CompactString, ToCompactString};
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

/// Labels, sorted by key.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Labels(Box<[(CompactString, CompactString)]>);

impl Labels {
    /// The value of a label.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.0.binary_search_by(|(k, _)| k.as_str().cmp(key)).ok().map(|i| self.0[i].1.as_str())
    }

    /// All labels in key order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&str, &str)> {
        self.0.iter().map(|(key, value)| (key.as_str(), value.as_str()))
    }
}

impl<K: Into<CompactString>, V: Into<CompactString>> FromIterator<(K, V)> for Labels {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(iter: I) -> Self {
        let mut labels: Vec<_> = iter.into_iter().map(|(key, value)| (key.into(), value.into())).collect();
        labels.sort();
        labels.dedup_by(|later, earlier| later.0 == earlier.0);
        Self(labels.into_boxed_slice())
    }
}

/// One selectable field of a resource. `metadata.name` and `metadata.namespace` need none: every resource has them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldSpec {
    /// The name in field selectors, e.g. `spec.nodeName`.
    pub label: String,
    /// Where the value is: the first of these paths of object members that holds a non-empty scalar.
    pub paths: Vec<Vec<String>>,
    /// The value when no path holds one: empty for strings, `false` for booleans, `0` for counts.
    pub default: String,
}

impl FieldSpec {
    /// A string field whose selector name is its path.
    pub fn new(label: &str) -> Self {
        Self::at(label, &[label], "")
    }

    /// A field found at the first of several dotted paths.
    pub fn at(label: &str, paths: &[&str], default: &str) -> Self {
        let paths = paths.iter().map(|path| path.split('.').map(str::to_owned).collect()).collect();
        Self { label: label.to_owned(), paths, default: default.to_owned() }
    }
}

/// What was read of an object.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Extracted {
    pub(super) labels: Labels,
    /// In the order of the specs.
    pub(super) fields: Box<[CompactString]>,
}

/// The selectable fields of a resource, ready to be read from JSON.
#[derive(Clone, Debug)]
pub struct SelectableFields {
    specs: Vec<FieldSpec>,
    /// Wanted paths as a tree; node 0 is the object.
    nodes: Vec<Node>,
}

#[derive(Clone, Debug, Default)]
struct Node {
    children: Vec<(String, usize)>,
    /// Fields that this node is the value of, with the rank of the path among the field's paths.
    wanted: Vec<(usize, usize)>,
    labels: bool,
}

impl SelectableFields {
    /// From the fields that a resource offers beside `metadata.name` and `metadata.namespace`.
    pub fn new(specs: Vec<FieldSpec>) -> Self {
        let mut fields = Self { specs: Vec::new(), nodes: vec![Node::default()] };
        let labels = fields.node_at(["metadata", "labels"].into_iter());
        fields.nodes[labels].labels = true;
        for (index, spec) in specs.iter().enumerate() {
            for (rank, path) in spec.paths.iter().enumerate() {
                let node = fields.node_at(path.iter().map(String::as_str));
                fields.nodes[node].wanted.push((index, rank));
            }
        }
        fields.specs = specs;
        fields
    }

    fn node_at<'p>(&mut self, path: impl Iterator<Item = &'p str>) -> usize {
        let mut node = 0;
        for part in path {
            node = match self.nodes[node].child(part) {
                Some(child) => child,
                None => {
                    self.nodes.push(Node::default());
                    let child = self.nodes.len() - 1;
                    self.nodes[node].children.push((part.to_owned(), child));
                    child
                }
            };
        }
        node
    }

    /// The position of a field among the extracted ones.
    /// Whether there are none beyond name and namespace.
    pub fn is_empty(&self) -> bool {
        self.specs.is_empty()
    }

    /// Whether a selector can name this field. Name and namespace are not asked for here.
    pub fn has(&self, label: &str) -> bool {
        self.index(label).is_some()
    }

    pub(super) fn index(&self, label: &str) -> Option<usize> {
        self.specs.iter().position(|spec| spec.label == label)
    }

    /// Reads labels and fields.
    pub(super) fn extract(&self, json: &[u8]) -> Result<Extracted, serde_json::Error> {
        let mut found = Found { labels: Labels::default(), fields: vec![None; self.specs.len()] };
        let mut deserializer = serde_json::Deserializer::from_slice(json);
        Walk { fields: self, node: 0, found: &mut found }.deserialize(&mut deserializer)?;
        deserializer.end()?;
        Ok(self.complete(found))
    }

    /// What is assumed of an object that cannot be read.
    pub(super) fn defaults(&self) -> Extracted {
        self.complete(Found { labels: Labels::default(), fields: vec![None; self.specs.len()] })
    }

    fn complete(&self, found: Found) -> Extracted {
        let values = found.fields.into_iter().zip(&self.specs);
        let fields = values.map(|(value, spec)| value.map_or_else(|| spec.default.as_str().into(), |(_, value)| value));
        Extracted { labels: found.labels, fields: fields.collect() }
    }
}

impl Node {
    fn child(&self, name: &str) -> Option<usize> {
        self.children.iter().find(|(child, _)| child == name).map(|(_, node)| *node)
    }
}

struct Found {
    labels: Labels,
    /// The best value so far, with its path's rank.
    fields: Vec<Option<(usize, CompactString)>>,
}

/// Walks one JSON value along a node of the tree of wanted paths.
struct Walk<'a> {
    fields: &'a SelectableFields,
    node: usize,
    found: &'a mut Found,
}

impl Walk<'_> {
    fn scalar(self, value: impl ToCompactString) {
        let value = value.to_compact_string();
        if value.is_empty() {
            return;
        }
        for (index, rank) in &self.fields.nodes[self.node].wanted {
            let slot = &mut self.found.fields[*index];
            if slot.as_ref().is_none_or(|(best, _)| rank < best) {
                *slot = Some((*rank, value.clone()));
            }
        }
    }
}

impl<'de> DeserializeSeed<'de> for Walk<'_> {
    type Value = ();
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Walk<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let node = &self.fields.nodes[self.node];
        if node.labels {
            let mut labels: Vec<(CompactString, CompactString)> = Vec::with_capacity(map.size_hint().unwrap_or(4));
            while let Some(label) = map.next_entry()? {
                labels.push(label);
            }
            self.found.labels = labels.into_iter().collect();
            return Ok(());
        }
        while let Some(child) = map.next_key_seed(Key(node))? {
            match child {
                Some(child) => map.next_value_seed(Walk { fields: self.fields, node: child, found: self.found })?,
                None => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(())
    }

    fn visit_str<E>(self, value: &str) -> Result<(), E> {
        self.scalar(value);
        Ok(())
    }
    fn visit_bool<E>(self, value: bool) -> Result<(), E> {
        self.scalar(value);
        Ok(())
    }
    fn visit_i64<E>(self, value: i64) -> Result<(), E> {
        self.scalar(value);
        Ok(())
    }
    fn visit_u64<E>(self, value: u64) -> Result<(), E> {
        self.scalar(value);
        Ok(())
    }
    fn visit_f64<E>(self, value: f64) -> Result<(), E> {
        self.scalar(value);
        Ok(())
    }
    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }
}

/// Reads a member's name and finds the node it leads to, without copying the name.
struct Key<'a>(&'a Node);

impl<'de> DeserializeSeed<'de> for Key<'_> {
    type Value = Option<usize>;
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Option<usize>, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for Key<'_> {
    type Value = Option<usize>;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a member name")
    }
    fn visit_str<E>(self, name: &str) -> Result<Option<usize>, E> {
        Ok(self.0.child(name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(specs: Vec<FieldSpec>, json: &str, labels: &[(&str, &str)], fields: &[&str]) {
        let extracted = SelectableFields::new(specs).extract(json.as_bytes()).expect("valid JSON");
        assert_eq!(extracted.labels.iter().collect::<Vec<_>>(), labels, "{json}");
        assert_eq!(extracted.fields.iter().map(CompactString::as_str).collect::<Vec<_>>(), fields, "{json}");
    }

    #[test]
    fn labels_and_fields_of_a_pod() {
        let specs = || {
            vec![
                FieldSpec::new("spec.nodeName"),
                FieldSpec::new("status.phase"),
                FieldSpec::at("spec.hostNetwork", &["spec.hostNetwork"], "false"),
            ]
        };
        check(
            specs(),
            r#"{"kind":"Pod","metadata":{"annotations":{"labels":"x"},"labels":{"b":"2","a":"1"},"name":"p"},
               "spec":{"containers":[{"nodeName":"no"}],"hostNetwork":true,"nodeName":"n1"},"status":{"phase":"Running"}}"#,
            &[("a", "1"), ("b", "2")],
            &["n1", "Running", "true"],
        );
        check(specs(), r#"{"metadata":{},"spec":null,"status":{"phase":""}}"#, &[], &["", "", "false"]);
    }

    #[test]
    fn the_first_path_with_a_value_wins() {
        let specs = || vec![FieldSpec::at("source", &["source.component", "reportingComponent"], "")];
        check(specs(), r#"{"reportingComponent":"r","source":{"component":"c"}}"#, &[], &["c"]);
        check(specs(), r#"{"reportingComponent":"r","source":{"component":""}}"#, &[], &["r"]);
        check(specs(), r#"{"reportingComponent":"r"}"#, &[], &["r"]);
    }

    #[test]
    fn one_value_can_be_several_fields() {
        let specs = vec![
            FieldSpec::at("name", &["metadata.name"], ""),
            FieldSpec::at("status.successful", &["status.succeeded"], "0"),
        ];
        check(specs, r#"{"metadata":{"name":"é"},"status":{"succeeded":3}}"#, &[], &["é", "3"]);
    }

    #[test]
    fn broken_json_is_an_error() {
        let fields = SelectableFields::new(vec![]);
        for json in ["", "{", r#"{"metadata":{"labels":{"a":1}}}"#, "{} x"] {
            assert!(fields.extract(json.as_bytes()).is_err(), "{json}");
        }
    }
}
