//! Label selectors in their structured form, as specs carry them.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::types::{StringMap, nullable};

/// `metav1.LabelSelector`. Empty selects everything; an absent one is the caller's to judge (mostly: nothing).
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, rename_all = "camelCase")]
pub struct LabelSelector {
    /// Labels that must be there with these values.
    #[serde(deserialize_with = "nullable", skip_serializing_if = "StringMap::is_empty")]
    pub match_labels: StringMap,
    /// Further requirements.
    #[serde(deserialize_with = "nullable", skip_serializing_if = "Vec::is_empty")]
    pub match_expressions: Vec<Requirement>,
}

/// `metav1.LabelSelectorRequirement`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Requirement {
    /// Label.
    pub key: String,
    /// `In`, `NotIn`, `Exists` or `DoesNotExist`.
    pub operator: String,
    /// Operands of `In` and `NotIn`.
    #[serde(deserialize_with = "nullable", skip_serializing_if = "Vec::is_empty")]
    pub values: Vec<String>,
}

impl LabelSelector {
    /// Whether it has no requirement, and so selects everything.
    pub fn is_empty(&self) -> bool {
        self.match_labels.is_empty() && self.match_expressions.is_empty()
    }

    /// Whether the labels satisfy every requirement. An unknown operator satisfies nothing.
    pub fn matches(&self, labels: &StringMap) -> bool {
        self.match_labels.is_subset_of(labels) && self.match_expressions.iter().all(|rule| rule.matches(labels))
    }
}

impl Requirement {
    fn matches(&self, labels: &StringMap) -> bool {
        let value = labels.get(&self.key);
        let listed = value.is_some_and(|value| self.values.iter().any(|one| one == value));
        match self.operator.as_str() {
            "In" => listed,
            "NotIn" => !listed,
            "Exists" => value.is_some(),
            "DoesNotExist" => value.is_none(),
            _ => false,
        }
    }
}

impl fmt::Display for LabelSelector {
    /// The form of a `labelSelector` query parameter.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut separator = "";
        for (key, value) in self.match_labels.iter() {
            write!(f, "{separator}{key}={value}")?;
            separator = ",";
        }
        for rule in &self.match_expressions {
            let values = rule.values.join(",");
            match rule.operator.as_str() {
                "In" => write!(f, "{separator}{} in ({values})", rule.key)?,
                "NotIn" => write!(f, "{separator}{} notin ({values})", rule.key)?,
                "Exists" => write!(f, "{separator}{}", rule.key)?,
                _ => write!(f, "{separator}!{}", rule.key)?,
            }
            separator = ",";
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn selectors_match_as_upstream() {
        let check = |selector: &str, labels: &str, expected: bool| {
            let selector: LabelSelector = serde_json::from_str(selector).expect("a selector");
            let labels: StringMap = serde_json::from_str(labels).expect("labels");
            assert_eq!(selector.matches(&labels), expected, "{selector} on {labels:?}");
        };
        check("{}", "{}", true);
        check(r#"{"matchLabels":{"a":"1"}}"#, r#"{"a":"1","b":"2"}"#, true);
        check(r#"{"matchLabels":{"a":"1"}}"#, r#"{"a":"2"}"#, false);
        check(r#"{"matchExpressions":[{"key":"a","operator":"NotIn","values":["1"]}]}"#, "{}", true);
        check(r#"{"matchExpressions":[{"key":"a","operator":"In","values":["1","2"]}]}"#, r#"{"a":"2"}"#, true);
        check(r#"{"matchExpressions":[{"key":"a","operator":"Exists"}]}"#, "{}", false);
        check(r#"{"matchExpressions":[{"key":"a","operator":"DoesNotExist"}]}"#, "{}", true);
        check(r#"{"matchExpressions":[{"key":"a","operator":"Near"}]}"#, r#"{"a":"1"}"#, false);
    }
}
