//! How much of which request is kept (`--audit-policy-file`).
//!
//! Follows `k8s.io/apiserver/pkg/audit/policy`: the first rule that matches decides; no rule, no event.

use anyhow::{Context, ensure};
use serde::Deserialize;

use crate::authentication::UserInfo;
use crate::request_info::RequestInfo;

/// How much of a request is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
pub enum Level {
    /// Nothing.
    None,
    /// Who asked for what and with which success.
    Metadata,
    /// Also what was sent.
    Request,
    /// Also what was answered.
    RequestResponse,
}

/// When an event is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub enum Stage {
    /// Before anything is done.
    RequestReceived,
    /// Once the headers of an answer that lasts are sent.
    ResponseStarted,
    /// Once all of it is.
    ResponseComplete,
    /// When the server failed.
    Panic,
}

/// A policy: `audit.k8s.io/v1` Policy.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Policy {
    api_version: String,
    kind: String,
    #[serde(default, rename = "metadata")]
    _metadata: serde_json::Value,
    rules: Vec<Rule>,
    #[serde(default)]
    omit_stages: Vec<Stage>,
    #[serde(default)]
    omit_managed_fields: bool,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Rule {
    level: Level,
    #[serde(default)]
    users: Vec<String>,
    #[serde(default)]
    user_groups: Vec<String>,
    #[serde(default)]
    verbs: Vec<String>,
    #[serde(default)]
    resources: Vec<GroupResources>,
    #[serde(default)]
    namespaces: Vec<String>,
    #[serde(default, rename = "nonResourceURLs")]
    non_resource_urls: Vec<String>,
    #[serde(default)]
    omit_stages: Vec<Stage>,
    omit_managed_fields: Option<bool>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct GroupResources {
    #[serde(default)]
    group: String,
    #[serde(default)]
    resources: Vec<String>,
    #[serde(default)]
    resource_names: Vec<String>,
}

/// What a policy wants of one request.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// How much.
    pub level: Level,
    /// Stages without an event.
    pub omit_stages: Vec<Stage>,
    /// Whether managedFields are left out of objects.
    pub omit_managed_fields: bool,
}

impl Policy {
    /// Reads a policy file.
    pub fn parse(text: &str) -> anyhow::Result<Self> {
        let policy: Self = serde_saphyr::from_str(text).context("invalid audit policy")?;
        let version = (policy.api_version.as_str(), policy.kind.as_str());
        ensure!(
            version == ("audit.k8s.io/v1", "Policy"),
            "an audit policy is a Policy of audit.k8s.io/v1, not {version:?}"
        );
        ensure!(!policy.rules.is_empty(), "loaded illegal policy with 0 rules");
        for (index, rule) in policy.rules.iter().enumerate() {
            let resources = rule.resources.len() + rule.namespaces.len();
            ensure!(
                resources == 0 || rule.non_resource_urls.is_empty(),
                "rules[{index}].nonResourceURLs: rules cannot apply to both regular resources and non-resource URLs"
            );
        }
        Ok(policy)
    }

    /// What is kept of a request.
    pub fn decide(&self, user: &UserInfo, info: &RequestInfo) -> Wanted {
        match self.rules.iter().find(|rule| rule.matches(user, info)) {
            Some(rule) => Wanted {
                level: rule.level,
                omit_stages: self.omit_stages.iter().chain(&rule.omit_stages).copied().collect(),
                omit_managed_fields: rule.omit_managed_fields.unwrap_or(self.omit_managed_fields),
            },
            None => Wanted { level: Level::None, omit_stages: Vec::new(), omit_managed_fields: false },
        }
    }
}

impl Rule {
    fn matches(&self, user: &UserInfo, info: &RequestInfo) -> bool {
        let among = |list: &[String], text: &str| list.is_empty() || list.iter().any(|one| one == text);
        if !among(&self.users, &user.name) || !among(&self.verbs, &info.verb) {
            return false;
        }
        if !self.user_groups.is_empty() && !self.user_groups.iter().any(|group| user.groups.contains(group)) {
            return false;
        }
        if !self.namespaces.is_empty() || !self.resources.is_empty() {
            return info.is_resource_request
                && among(&self.namespaces, &info.namespace)
                && (self.resources.is_empty() || self.resources.iter().any(|resources| resources.matches(info)));
        }
        if !self.non_resource_urls.is_empty() {
            return !info.is_resource_request && self.non_resource_urls.iter().any(|url| is_path(url, &info.path));
        }
        true
    }
}

impl GroupResources {
    fn matches(&self, info: &RequestInfo) -> bool {
        if self.group != info.group {
            return false;
        }
        if self.resources.is_empty() {
            return true;
        }
        let named = self.resource_names.is_empty() || self.resource_names.contains(&info.name);
        named && self.resources.iter().any(|resource| is_resource(resource, info))
    }
}

/// `RESOURCE` without its subresources, `RESOURCE/SUBRESOURCE`, either of them `*`, or `*` for everything.
fn is_resource(text: &str, info: &RequestInfo) -> bool {
    match text.split_once('/') {
        _ if text == "*" => true,
        None => text == info.resource && info.subresource.is_empty(),
        Some(("*", subresource)) => subresource == info.subresource,
        Some((resource, "*")) => resource == info.resource,
        Some((resource, subresource)) => resource == info.resource && subresource == info.subresource,
    }
}

fn is_path(url: &str, path: &str) -> bool {
    match url.strip_suffix('*') {
        Some(start) => path.starts_with(start),
        None => url == path,
    }
}

#[cfg(test)]
mod tests {
    use http::Method;

    use super::*;
    use crate::query::Query;

    fn level(policy: &Policy, user: &str, method: Method, path: &str) -> Level {
        let info = RequestInfo::parse(&method, path, &Query::default()).expect("a path");
        policy.decide(&UserInfo { name: user.into(), ..UserInfo::default() }, &info).level
    }

    #[test]
    fn the_first_rule_that_matches() {
        let text = "apiVersion: audit.k8s.io/v1\nkind: Policy\nomitStages: [RequestReceived]\nrules:\n\
                    - {level: None, users: [quiet]}\n\
                    - {level: None, nonResourceURLs: [\"/healthz*\", /version]}\n\
                    - {level: Request, resources: [{resources: [pods]}], namespaces: [a]}\n\
                    - {level: RequestResponse, resources: [{group: apps, resources: [\"*/scale\"]}, {group: batch}]}\n\
                    - {level: Metadata, verbs: [list], resources: [{resources: [\"pods/*\"]}]}\n";
        let policy = Policy::parse(text).expect("a policy");
        let get = |path: &str| level(&policy, "jane", Method::GET, path);
        assert_eq!(level(&policy, "quiet", Method::GET, "/api/v1/namespaces/a/pods"), Level::None);
        assert_eq!(get("/healthz/ping"), Level::None);
        assert_eq!(get("/api/v1/namespaces/a/pods/p"), Level::Request);
        assert_eq!(get("/api/v1/namespaces/a/pods/p/log"), Level::None);
        assert_eq!(get("/api/v1/pods"), Level::Metadata);
        assert_eq!(get("/apis/apps/v1/namespaces/a/deployments/d/scale"), Level::RequestResponse);
        assert_eq!(get("/apis/apps/v1/namespaces/a/deployments/d"), Level::None);
        assert_eq!(get("/apis/batch/v1/jobs"), Level::RequestResponse);
    }

    #[test]
    fn what_is_no_policy() {
        for (text, why) in [
            ("apiVersion: audit.k8s.io/v1\nkind: Policy\nrules: []", "0 rules"),
            ("apiVersion: audit.k8s.io/v1beta1\nkind: Policy\nrules: [{level: None}]", "v1beta1"),
            ("apiVersion: audit.k8s.io/v1\nkind: Policy\nrules: [{level: Some}]", "Some"),
            (
                "apiVersion: audit.k8s.io/v1\nkind: Policy\nrules: [{level: None, namespaces: [a], nonResourceURLs: [/x]}]",
                "non-resource",
            ),
        ] {
            let error = format!("{:#}", Policy::parse(text).expect_err("no policy"));
            assert!(error.contains(why), "{error}");
        }
    }
}
