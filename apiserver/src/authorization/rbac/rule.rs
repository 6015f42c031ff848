//! One rule of a role: what it allows and what it covers.
//!
//! Follows `pkg/apis/rbac/v1/evaluation_helpers.go` and `component-helpers/auth/rbac/validation/policy_comparator.go`.

use std::collections::BTreeMap;

use compact_str::CompactString;
use skiff_apimachinery::value::{Object, Value};

use crate::authorization::Attributes;

/// `rbac.authorization.k8s.io/v1` PolicyRule.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rule {
    /// Verbs; `*` for all.
    pub verbs: Vec<CompactString>,
    /// API groups; `*` for all, empty text for core.
    pub api_groups: Vec<CompactString>,
    /// Resources: `pods`, `pods/log`, `*/scale`, `*`.
    pub resources: Vec<CompactString>,
    /// Names; empty for all.
    pub resource_names: Vec<CompactString>,
    /// Paths, perhaps ending in `*`.
    pub non_resource_urls: Vec<CompactString>,
}

/// Attributes with the resource and subresource as rules write them.
pub(super) struct Asked<'a> {
    attributes: &'a Attributes,
    /// `resource/subresource`, or empty when there is no subresource.
    combined: String,
}

impl<'a> Asked<'a> {
    pub(super) fn new(attributes: &'a Attributes) -> Self {
        let combined = if attributes.subresource.is_empty() {
            String::new()
        } else {
            format!("{}/{}", attributes.resource, attributes.subresource)
        };
        Self { attributes, combined }
    }
}

fn texts(rule: &Value, field: &str) -> Vec<CompactString> {
    rule.array_at(&[field]).iter().filter_map(Value::as_str).map(CompactString::from).collect()
}

fn has(set: &[CompactString], element: &str) -> bool {
    set.iter().any(|e| e == element)
}

fn has_all(set: &[CompactString], elements: &[CompactString]) -> bool {
    elements.iter().all(|e| has(set, e))
}

fn url_matches(pattern: &str, url: &str) -> bool {
    pattern == url || (pattern.ends_with('*') && url.starts_with(pattern.trim_end_matches('*')))
}

impl Rule {
    /// Reads a rule of a role.
    pub fn from_value(rule: &Value) -> Self {
        Self {
            verbs: texts(rule, "verbs"),
            api_groups: texts(rule, "apiGroups"),
            resources: texts(rule, "resources"),
            resource_names: texts(rule, "resourceNames"),
            non_resource_urls: texts(rule, "nonResourceURLs"),
        }
    }

    /// The rules of a role.
    pub fn of_role(role: &Value) -> Vec<Rule> {
        role.array_at(&["rules"]).iter().map(Rule::from_value).collect()
    }

    /// The rule as a role has it.
    pub fn to_value(&self) -> Value {
        let mut object = Object::new();
        for (field, list) in [
            ("apiGroups", &self.api_groups),
            ("nonResourceURLs", &self.non_resource_urls),
            ("resourceNames", &self.resource_names),
            ("resources", &self.resources),
            ("verbs", &self.verbs),
        ] {
            if !list.is_empty() {
                object.insert(field, list.clone());
            }
        }
        Value::Object(object)
    }

    /// Whether this rule alone allows what is asked.
    pub fn allows(&self, attributes: &Attributes) -> bool {
        self.allows_asked(&Asked::new(attributes))
    }

    pub(super) fn allows_asked(&self, asked: &Asked<'_>) -> bool {
        let attributes = asked.attributes;
        if !(has(&self.verbs, "*") || has(&self.verbs, &attributes.verb)) {
            return false;
        }
        if !attributes.is_resource_request {
            return self.non_resource_urls.iter().any(|pattern| url_matches(pattern, &attributes.path));
        }
        (has(&self.api_groups, "*") || has(&self.api_groups, &attributes.api_group))
            && self.resources.iter().any(|resource| resource_matches(resource, asked))
            && (self.resource_names.is_empty() || has(&self.resource_names, &attributes.name))
    }

    /// The rule split into rules with one verb, group, resource and name each.
    fn atoms(&self) -> Vec<Rule> {
        let mut atoms = Vec::new();
        let no_name = [None];
        let names = self.resource_names.iter().map(Some).collect::<Vec<_>>();
        let names: &[Option<&CompactString>] = if names.is_empty() { &no_name } else { &names };
        for group in &self.api_groups {
            for resource in &self.resources {
                for verb in &self.verbs {
                    atoms.extend(names.iter().map(|name| Rule {
                        verbs: vec![verb.clone()],
                        api_groups: vec![group.clone()],
                        resources: vec![resource.clone()],
                        resource_names: name.iter().map(|name| (*name).clone()).collect(),
                        non_resource_urls: Vec::new(),
                    }));
                }
            }
        }
        for url in &self.non_resource_urls {
            atoms.extend(self.verbs.iter().map(|verb| Rule {
                verbs: vec![verb.clone()],
                non_resource_urls: vec![url.clone()],
                ..Rule::default()
            }));
        }
        atoms
    }

    fn covers_atom(&self, atom: &Rule) -> bool {
        let resource_covered = |resource: &CompactString| {
            has(&self.resources, "*")
                || has(&self.resources, resource)
                || resource.split_once('/').is_some_and(|(_, sub)| has(&self.resources, &format!("*/{sub}")))
        };
        let url_covered = |url: &CompactString| self.non_resource_urls.iter().any(|pattern| url_matches(pattern, url));
        (has(&self.verbs, "*") || has_all(&self.verbs, &atom.verbs))
            && (has(&self.api_groups, "*") || has_all(&self.api_groups, &atom.api_groups))
            && atom.resources.iter().all(resource_covered)
            && atom.non_resource_urls.iter().all(url_covered)
            && (self.resource_names.is_empty()
                || (!atom.resource_names.is_empty() && has_all(&self.resource_names, &atom.resource_names)))
    }
}

fn resource_matches(pattern: &str, asked: &Asked<'_>) -> bool {
    if pattern == "*" {
        return true;
    }
    if asked.combined.is_empty() {
        return pattern == asked.attributes.resource;
    }
    pattern == asked.combined || pattern.strip_prefix("*/").is_some_and(|sub| sub == asked.attributes.subresource)
}

/// The smallest parts of `wanted` that `held` does not allow; empty when it covers all.
pub fn uncovered(held: &[Rule], wanted: &[Rule]) -> Vec<Rule> {
    let atoms = wanted.iter().flat_map(Rule::atoms);
    atoms.filter(|atom| !held.iter().any(|rule| rule.covers_atom(atom))).collect()
}

/// Joins rules that differ only in their verbs and concern one resource.
pub(super) fn compacted(rules: Vec<Rule>) -> Vec<Rule> {
    let mut simple: BTreeMap<Rule, Vec<CompactString>> = BTreeMap::new();
    let mut out = Vec::new();
    for mut rule in rules {
        let one = rule.api_groups.len() == 1 && rule.resources.len() == 1 && rule.resource_names.len() <= 1;
        if one && rule.non_resource_urls.is_empty() {
            let verbs = std::mem::take(&mut rule.verbs);
            simple.entry(rule).or_default().extend(verbs);
        } else {
            out.push(rule);
        }
    }
    out.extend(simple.into_iter().map(|(rule, verbs)| Rule { verbs, ..rule }));
    out
}

/// The rule as error messages show it, e.g. `{APIGroups:[""], Resources:["pods"], Verbs:["get"]}`.
pub(super) fn describe(rule: &Rule) -> String {
    let parts = [
        ("APIGroups", &rule.api_groups),
        ("Resources", &rule.resources),
        ("NonResourceURLs", &rule.non_resource_urls),
        ("ResourceNames", &rule.resource_names),
        ("Verbs", &rule.verbs),
    ];
    let parts = parts.iter().filter(|(_, list)| !list.is_empty()).map(|(name, list)| {
        let quoted = list.iter().map(|text| format!("{text:?}")).collect::<Vec<_>>();
        format!("{name}:[{}]", quoted.join(" "))
    });
    format!("{{{}}}", parts.collect::<Vec<_>>().join(", "))
}
