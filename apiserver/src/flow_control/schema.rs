//! To which flow a request belongs: FlowSchemas, as far as the server acts on them.
//!
//! Follows `rule.go` and `formatting.go` of `k8s.io/apiserver/pkg/util/flowcontrol`.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use http::HeaderValue;
use prometheus_client::metrics::histogram::Histogram;
use skiff_apimachinery::value::Value;

use crate::authentication::{UserInfo, service_account};
use crate::request_info::RequestInfo;

/// Upper bounds in seconds of how long requests wait, as upstream's.
const WAIT_BUCKETS: [f64; 13] = [0.0, 0.005, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 15.0, 30.0];
const ANY: &str = "*";

/// One FlowSchema.
pub(super) struct Schema {
    pub(super) name: String,
    /// As the header says it.
    pub(super) uid: HeaderValue,
    pub(super) level: String,
    pub(super) precedence: i64,
    by: Distinguisher,
    rules: Vec<Rule>,
}

/// What happened to the requests of a schema.
pub(super) struct Counts {
    pub(super) dispatched: AtomicU64,
    pub(super) rejected: AtomicU64,
    pub(super) timed_out: AtomicU64,
    pub(super) executing: AtomicI64,
    pub(super) waiting: AtomicI64,
    pub(super) waits: Histogram,
    pub(super) waits_in_vain: Histogram,
}

impl Default for Counts {
    fn default() -> Self {
        Self {
            dispatched: AtomicU64::new(0),
            rejected: AtomicU64::new(0),
            timed_out: AtomicU64::new(0),
            executing: AtomicI64::new(0),
            waiting: AtomicI64::new(0),
            waits: Histogram::new(WAIT_BUCKETS),
            waits_in_vain: Histogram::new(WAIT_BUCKETS),
        }
    }
}

impl Counts {
    /// Whether anything was ever counted.
    pub(super) fn is_used(&self) -> bool {
        [&self.dispatched, &self.rejected, &self.timed_out].iter().any(|count| count.load(Ordering::Relaxed) > 0)
    }
}

/// What tells flows of one schema apart.
#[derive(Clone, Copy)]
enum Distinguisher {
    Nothing,
    User,
    Namespace,
}

struct Rule {
    subjects: Vec<Subject>,
    resources: Vec<ResourceRule>,
    urls: Vec<UrlRule>,
}

enum Subject {
    User(String),
    Group(String),
    ServiceAccount { namespace: String, name: String },
}

struct ResourceRule {
    verbs: Vec<String>,
    groups: Vec<String>,
    resources: Vec<String>,
    namespaces: Vec<String>,
    cluster_scope: bool,
}

struct UrlRule {
    verbs: Vec<String>,
    urls: Vec<String>,
}

impl Schema {
    /// Reads an object.
    pub(super) fn of(object: &Value) -> Option<Self> {
        let spec = object.get("spec")?;
        Some(Self {
            name: object.str_at(&["metadata", "name"])?.to_owned(),
            uid: HeaderValue::from_str(object.str_at(&["metadata", "uid"]).unwrap_or("")).ok()?,
            level: spec.str_at(&["priorityLevelConfiguration", "name"])?.to_owned(),
            precedence: spec.i64_at(&["matchingPrecedence"]).unwrap_or(0),
            by: match spec.str_at(&["distinguisherMethod", "type"]) {
                Some("ByUser") => Distinguisher::User,
                Some("ByNamespace") => Distinguisher::Namespace,
                _ => Distinguisher::Nothing,
            },
            rules: spec.array_at(&["rules"]).iter().map(Rule::of).collect(),
        })
    }

    /// Whether a request is of this schema.
    pub(super) fn matches(&self, user: &UserInfo, info: &RequestInfo) -> bool {
        self.rules.iter().any(|rule| {
            rule.subjects.iter().any(|subject| subject.is(user))
                && match info.is_resource_request {
                    true => rule.resources.iter().any(|rule| rule.matches(info)),
                    false => rule.urls.iter().any(|rule| rule.matches(info)),
                }
        })
    }

    /// What tells the request's flow apart from others of this schema.
    pub(super) fn distinguisher<'a>(&self, user: &'a UserInfo, info: &'a RequestInfo) -> &'a str {
        match self.by {
            Distinguisher::Nothing => "",
            Distinguisher::User => &user.name,
            Distinguisher::Namespace => &info.namespace,
        }
    }
}

impl Rule {
    fn of(rule: &Value) -> Self {
        let flag = |value: &Value, field: &str| value.get(field).and_then(Value::as_bool).unwrap_or(false);
        Self {
            subjects: rule.array_at(&["subjects"]).iter().filter_map(Subject::of).collect(),
            resources: rule
                .array_at(&["resourceRules"])
                .iter()
                .map(|rule| ResourceRule {
                    verbs: texts(rule, "verbs"),
                    groups: texts(rule, "apiGroups"),
                    resources: texts(rule, "resources"),
                    namespaces: texts(rule, "namespaces"),
                    cluster_scope: flag(rule, "clusterScope"),
                })
                .collect(),
            urls: rule
                .array_at(&["nonResourceRules"])
                .iter()
                .map(|rule| UrlRule { verbs: texts(rule, "verbs"), urls: texts(rule, "nonResourceURLs") })
                .collect(),
        }
    }
}

impl Subject {
    fn of(subject: &Value) -> Option<Self> {
        let text = |path: &[&str]| subject.str_at(path).map(str::to_owned);
        Some(match subject.str_at(&["kind"])? {
            "User" => Self::User(text(&["user", "name"])?),
            "Group" => Self::Group(text(&["group", "name"])?),
            "ServiceAccount" => Self::ServiceAccount {
                namespace: text(&["serviceAccount", "namespace"])?,
                name: text(&["serviceAccount", "name"])?,
            },
            _ => return None,
        })
    }

    fn is(&self, user: &UserInfo) -> bool {
        match self {
            Self::User(name) => name == ANY || *name == user.name,
            Self::Group(group) => group == ANY || user.groups.contains(group),
            Self::ServiceAccount { namespace, name } => service_account::split_user_name(&user.name)
                .is_some_and(|(of, account)| namespace == of && (name == ANY || name == account)),
        }
    }
}

impl ResourceRule {
    fn matches(&self, info: &RequestInfo) -> bool {
        has(&self.verbs, &info.verb)
            && has(&self.groups, &info.group)
            && self.resources.iter().any(|resource| resource == ANY || is_resource(resource, info))
            && match info.namespace.as_str() {
                "" => self.cluster_scope,
                namespace => has(&self.namespaces, namespace),
            }
    }
}

impl UrlRule {
    fn matches(&self, info: &RequestInfo) -> bool {
        has(&self.verbs, &info.verb) && self.urls.iter().any(|url| url == ANY || is_at_or_below(&info.path, url))
    }
}

/// A URL stands for all below it, with or without a `*` at its end.
fn is_at_or_below(path: &str, url: &str) -> bool {
    let start = url.strip_suffix(ANY).unwrap_or(url);
    let start = start.strip_suffix('/').unwrap_or(start);
    path == url || path.strip_prefix(start).is_some_and(|rest| rest.starts_with('/'))
}

/// `RESOURCE` or `RESOURCE/SUBRESOURCE`.
fn is_resource(text: &str, info: &RequestInfo) -> bool {
    match text.split_once('/') {
        Some((resource, subresource)) => resource == info.resource && subresource == info.subresource,
        None => text == info.resource && info.subresource.is_empty(),
    }
}

fn has(texts: &[String], text: &str) -> bool {
    texts.iter().any(|one| one == ANY || one == text)
}

fn texts(value: &Value, field: &str) -> Vec<String> {
    value.array_at(&[field]).iter().filter_map(Value::as_str).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use http::Method;
    use skiff_apimachinery::value;

    use super::*;
    use crate::query::Query;

    fn ask(method: Method, path: &str) -> RequestInfo {
        RequestInfo::parse(&method, path, &Query::default()).expect("a path")
    }

    fn schema(rule: Value) -> Schema {
        let spec = value!({"priorityLevelConfiguration": {"name": "l"}, "rules": [rule]});
        Schema::of(&value!({"metadata": {"name": "s"}, "spec": spec})).expect("a schema")
    }

    #[test]
    fn resources_subresources_and_namespaces() {
        let nodes = schema(value!({
            "subjects": [{"kind": "Group", "group": {"name": "system:nodes"}}],
            "resourceRules": [
                {"verbs": ["*"], "apiGroups": [""], "resources": ["nodes", "nodes/status"], "clusterScope": true},
                {"verbs": ["get"], "apiGroups": ["coordination.k8s.io"], "resources": ["leases"], "namespaces": ["a"]}
            ]
        }));
        let node = UserInfo { name: "system:node:n".into(), groups: vec!["system:nodes".into()], ..Default::default() };
        let lease = |namespace: &str| format!("/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases/n");
        assert!(nodes.matches(&node, &ask(Method::PATCH, "/api/v1/nodes/n/status")));
        assert!(!nodes.matches(&node, &ask(Method::GET, "/api/v1/nodes/n/proxy")));
        assert!(nodes.matches(&node, &ask(Method::GET, &lease("a"))));
        assert!(!nodes.matches(&node, &ask(Method::PUT, &lease("a"))));
        assert!(!nodes.matches(&node, &ask(Method::GET, &lease("b"))));
        assert!(!nodes.matches(&UserInfo::anonymous(), &ask(Method::GET, "/api/v1/nodes")));
    }

    #[test]
    fn accounts_and_paths() {
        let accounts = schema(value!({
            "subjects": [{"kind": "ServiceAccount", "serviceAccount": {"namespace": "kube-system", "name": "*"}}],
            "nonResourceRules": [{"verbs": ["get"], "nonResourceURLs": ["/healthz", "/openapi/*"]}]
        }));
        let account = |name: &str| UserInfo { name: format!("system:serviceaccount:{name}"), ..UserInfo::default() };
        assert!(accounts.matches(&account("kube-system:a"), &ask(Method::GET, "/healthz")));
        assert!(accounts.matches(&account("kube-system:a"), &ask(Method::GET, "/openapi/v2")));
        assert!(accounts.matches(&account("kube-system:a"), &ask(Method::GET, "/healthz/ping")));
        assert!(!accounts.matches(&account("kube-system:a"), &ask(Method::GET, "/livez")));
        assert!(!accounts.matches(&account("demo:a"), &ask(Method::GET, "/healthz")));
    }
}
