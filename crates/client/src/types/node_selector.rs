//! Node selectors: which nodes a pod or a volume asks for.

use serde::Deserialize;

use super::{Node, nullable};

/// `v1.NodeSelector`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct NodeSelector {
    /// Terms, or-ed.
    #[serde(deserialize_with = "nullable")]
    pub node_selector_terms: Vec<NodeSelectorTerm>,
}

/// `v1.NodeSelectorTerm`: all of its requirements must hold; an empty one matches nothing.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct NodeSelectorTerm {
    /// On labels.
    #[serde(deserialize_with = "nullable")]
    pub match_expressions: Vec<NodeRequirement>,
    /// On fields (`metadata.name` only).
    #[serde(deserialize_with = "nullable")]
    pub match_fields: Vec<NodeRequirement>,
}

/// `v1.NodeSelectorRequirement`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct NodeRequirement {
    /// Label or field.
    pub key: String,
    /// `In`, `NotIn`, `Exists`, `DoesNotExist`, `Gt`, `Lt`.
    pub operator: String,
    /// Operands.
    #[serde(deserialize_with = "nullable")]
    pub values: Vec<String>,
}

impl NodeSelector {
    /// Whether a node of this name and these labels is selected: one of the terms must match.
    pub fn matches<'a>(&self, name: &'a str, label: impl Fn(&str) -> Option<&'a str>) -> bool {
        self.node_selector_terms.iter().any(|term| term.matches(name, &label))
    }

    /// Whether the node is selected.
    pub fn matches_node(&self, node: &Node) -> bool {
        self.matches(&node.metadata.name, |key| node.metadata.labels.get(key))
    }
}

impl NodeSelectorTerm {
    /// Whether it has no requirement.
    pub fn is_empty(&self) -> bool {
        self.match_expressions.is_empty() && self.match_fields.is_empty()
    }

    /// Whether all requirements hold; an empty term matches nothing.
    pub fn matches<'a>(&self, name: &'a str, label: &impl Fn(&str) -> Option<&'a str>) -> bool {
        if self.is_empty() {
            return false;
        }
        self.match_expressions.iter().all(|rule| rule.is_met_by(label(&rule.key)))
            && self.match_fields.iter().all(|rule| rule.is_met_by(Some(name).filter(|_| rule.key == "metadata.name")))
    }
}

impl NodeRequirement {
    /// Whether a label or field of this value, or without one, meets the requirement.
    pub fn is_met_by(&self, value: Option<&str>) -> bool {
        let listed = value.is_some_and(|value| self.values.iter().any(|one| one == value));
        let number = |text: &str| text.parse::<i64>().ok();
        let pair = || Some((number(value?)?, number(self.values.first()?)?));
        match self.operator.as_str() {
            "In" => listed,
            "NotIn" => !listed,
            "Exists" => value.is_some(),
            "DoesNotExist" => value.is_none(),
            "Gt" => pair().is_some_and(|(have, bound)| have > bound),
            "Lt" => pair().is_some_and(|(have, bound)| have < bound),
            _ => false,
        }
    }
}
