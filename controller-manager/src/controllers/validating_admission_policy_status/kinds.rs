//! Which kinds the expressions of a policy are about.

use std::collections::BTreeSet;
use std::fmt;

use skiff_client::types::{MatchResources, ParamKind};

use crate::discovery::Named;

/// Kinds that are looked at because of one rule: where a rule names more, the rest of the policy is not looked at.
const MAX_KINDS: usize = 10;

/// A kind; ordered as warnings are.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct GroupVersionKind {
    pub group: String,
    pub version: String,
    pub kind: String,
}

impl fmt::Display for GroupVersionKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}, Kind={}", self.group, self.version, self.kind)
    }
}

impl GroupVersionKind {
    /// Where the server describes the kind.
    pub(super) fn document(&self) -> String {
        if self.group.is_empty() {
            format!("/openapi/v3/api/{}", self.version)
        } else {
            format!("/openapi/v3/apis/{}/{}", self.group, self.version)
        }
    }
}

/// The kind of a policy's parameters.
pub(super) fn of_params(params: &ParamKind) -> Option<GroupVersionKind> {
    let (group, version) = params.api_version.split_once('/').unwrap_or(("", &params.api_version));
    if version.contains('/') {
        return None;
    }
    Some(GroupVersionKind { group: group.to_owned(), version: version.to_owned(), kind: params.kind.clone() })
}

/// The kinds of the resources that a policy names; what it leaves open, with `*` or by subresources, names none.
pub(super) fn of_policy(matched: &MatchResources, known: &[Named]) -> Vec<GroupVersionKind> {
    let mut kinds = BTreeSet::new();
    for rule in &matched.resource_rules {
        let is_open = |name: &String| name.contains('*');
        if rule.api_groups.iter().any(is_open) || rule.api_versions.iter().any(is_open) {
            continue;
        }
        let mut count = 0;
        for group in sorted(&rule.api_groups) {
            for version in sorted(&rule.api_versions) {
                for resource in sorted(&rule.resources).into_iter().filter(|name| !name.contains(['*', '/'])) {
                    for kind in named((group, version, resource), known) {
                        kinds.insert(kind);
                        count += 1;
                        if count == MAX_KINDS {
                            return kinds.into_iter().collect();
                        }
                    }
                }
            }
        }
    }
    kinds.into_iter().collect()
}

fn sorted(names: &[String]) -> Vec<&String> {
    let mut names = names.iter().collect::<Vec<_>>();
    names.sort_unstable();
    names
}

/// The kinds that a resource may mean: upstream's mapper takes the core group for any.
fn named((group, version, resource): (&str, &str, &str), known: &[Named]) -> BTreeSet<GroupVersionKind> {
    let resource = resource.to_ascii_lowercase();
    let fits = |named: &&Named| {
        (group.is_empty() || named.group == group)
            && (version.is_empty() || named.version == version)
            && (named.plural == resource || named.singular == resource)
    };
    let kind = |named: &Named| GroupVersionKind {
        group: named.group.clone(),
        version: named.version.clone(),
        kind: named.kind.clone(),
    };
    known.iter().filter(fits).map(kind).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn found(rules: serde_json::Value) -> Vec<String> {
        let known = [
            ("", "v1", "Pod", "pods", "pod"),
            ("", "v1", "Event", "events", "event"),
            ("events.k8s.io", "v1", "Event", "events", "event"),
            ("apps", "v1", "Deployment", "deployments", "deployment"),
            ("autoscaling", "v1", "HorizontalPodAutoscaler", "horizontalpodautoscalers", "horizontalpodautoscaler"),
            ("autoscaling", "v2", "HorizontalPodAutoscaler", "horizontalpodautoscalers", "horizontalpodautoscaler"),
        ];
        let many = (0..20).map(|n| Named {
            group: "many".to_owned(),
            version: "v1".to_owned(),
            kind: format!("K{n:02}"),
            plural: format!("k{n:02}"),
            singular: String::new(),
        });
        let known = known.map(|(group, version, kind, plural, singular)| Named {
            group: group.to_owned(),
            version: version.to_owned(),
            kind: kind.to_owned(),
            plural: plural.to_owned(),
            singular: singular.to_owned(),
        });
        let known = known.into_iter().chain(many).collect::<Vec<_>>();
        let matched = serde_json::from_value(json!({ "resourceRules": rules })).expect("rules");
        of_policy(&matched, &known).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn the_kinds_of_named_resources_are_looked_at() {
        let rule = |group: &str, version: &str, resources: &[&str]| json!({"apiGroups": [group], "apiVersions": [version], "resources": resources});
        assert_eq!(
            found(json!([rule("apps", "v1", &["deployments"]), rule("", "v1", &["pods"])])),
            ["/v1, Kind=Pod", "apps/v1, Kind=Deployment"]
        );
        assert_eq!(found(json!([rule("", "v1", &["events"])])), ["/v1, Kind=Event", "events.k8s.io/v1, Kind=Event"]);
        assert_eq!(found(json!([rule("apps", "v1", &["Deployment"])])), ["apps/v1, Kind=Deployment"]);
        assert_eq!(
            found(json!([
                rule("*", "v1", &["pods"]),
                rule("apps", "*", &["deployments"]),
                rule("apps", "v1", &["*", "deployments/scale"])
            ])),
            [""; 0]
        );
        assert_eq!(found(json!([rule("autoscaling", "v1", &["horizontalpodautoscalers"])])).len(), 1);
        let all = (0..20).map(|n| format!("k{n:02}")).collect::<Vec<_>>();
        let all = all.iter().map(String::as_str).collect::<Vec<_>>();
        assert_eq!(found(json!([rule("many", "v1", &all), rule("apps", "v1", &["deployments"])])).len(), MAX_KINDS);
    }

    #[test]
    fn parameters_may_be_of_any_group() {
        let of = |api_version: &str| {
            let params = ParamKind { api_version: api_version.to_owned(), kind: "K".to_owned() };
            of_params(&params).map(|kind| (kind.to_string(), kind.document()))
        };
        assert_eq!(of("v1"), Some(("/v1, Kind=K".to_owned(), "/openapi/v3/api/v1".to_owned())));
        assert_eq!(of("a/v1"), Some(("a/v1, Kind=K".to_owned(), "/openapi/v3/apis/a/v1".to_owned())));
        assert_eq!(of("a/b/c"), None);
    }
}
