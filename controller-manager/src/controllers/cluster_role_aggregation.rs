//! ClusterRole aggregation: a role with an aggregation rule gets the rules of all roles that the rule selects. This is
//! how an add-on's roles come into `admin`, `edit` and `view`.
//!
//! Upstream: `pkg/controller/clusterroleaggregation`.

use std::sync::Arc;

use http::Method;
use serde_json::{Value, json};
use skiff_client::types::{ClusterRole, PartialObject, RawJson};
use skiff_client::{Informer, Kind, Workqueue, objects};

use crate::context::Context;
use crate::control_loop::{self, Next, Reconciler};

const NAME: &str = "clusterrole-aggregation-controller";

struct Controller {
    context: Context,
    roles: Informer<ClusterRole>,
}

/// Runs the controller.
pub async fn run(context: Context) -> anyhow::Result<()> {
    let controller = Arc::new(Controller { roles: context.informer(), context: context.clone() });
    if !context.synced(&controller.roles).await {
        return Ok(());
    }
    let queue = Workqueue::new();
    let (to, roles) = (queue.clone(), controller.roles.clone());
    // Any role may be part of any other's rules, and those that gather are few: all of them are looked at.
    controller.roles.add_handler(move |_| {
        let gathering = roles.list().into_iter().filter(|role| role.aggregation_rule.is_some());
        gathering.for_each(|role| to.add(role.metadata.name.clone()));
    });
    control_loop::run(NAME, &context, queue, controller).await
}

/// The rules that a role should have, if they differ from those it has. `all` is ordered by name. Rules are compared as
/// values: the order of a rule's fields is its author's.
fn plan(role: &ClusterRole, all: &[Arc<ClusterRole>]) -> Option<Vec<Value>> {
    let mut rules: Vec<Value> = Vec::new();
    for selector in &role.aggregation_rule.as_ref()?.cluster_role_selectors {
        let others = all.iter().filter(|other| other.metadata.name != role.metadata.name);
        for other in others.filter(|other| selector.matches(&other.metadata.labels)) {
            for rule in other.rules.iter().map(RawJson::value) {
                if !rules.contains(&rule) {
                    rules.push(rule);
                }
            }
        }
    }
    let present = role.rules.iter().map(RawJson::value);
    present.ne(rules.iter().cloned()).then_some(rules)
}

#[async_trait::async_trait]
impl Reconciler for Controller {
    type Key = String;

    async fn reconcile(&self, name: &String) -> anyhow::Result<Next> {
        let role = self.roles.get_by_name("", name);
        let Some(rules) = role.and_then(|role| plan(&role, &self.roles.list())) else { return Ok(Next::Event) };
        let resource = ClusterRole::RESOURCE;
        let body = serde_json::to_vec(&json!({
            "apiVersion": resource.api_version(),
            "kind": resource.kind,
            "metadata": {"name": name},
            "rules": rules,
        }))?;
        // Applied by force, so that the rules have one owner, as with upstream.
        let path = format!("{}/{name}?fieldManager={NAME}&force=true", resource.path(""));
        let body = Some(("application/apply-patch+yaml", body));
        objects::request::<PartialObject>(&self.context.client, Method::PATCH, &path, body).await?;
        Ok(Next::Event)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn role(name: &str, label: &str, verbs: &[&str], selects: Value) -> Arc<ClusterRole> {
        let rules: Vec<Value> = verbs.iter().map(|verb| json!({"verbs": [verb], "resources": ["pods"]})).collect();
        let object = json!({"metadata": {"name": name, "labels": {label: "true"}}, "rules": rules,
            "aggregationRule": selects});
        Arc::new(serde_json::from_value(object).expect("a role"))
    }

    fn check(own: &[&str], selectors: &[&str], expected: Option<&[&str]>) {
        let selectors: Vec<Value> = selectors.iter().map(|label| json!({"matchLabels": {*label: "true"}})).collect();
        let hammer = role("hammer", "big", own, json!({ "clusterRoleSelectors": selectors }));
        let all = [
            role("a", "big", &["get", "list"], Value::Null),
            role("b", "big", &["list", "watch"], Value::Null),
            role("c", "small", &["delete"], Value::Null),
            hammer.clone(),
        ];
        let found = plan(&hammer, &all);
        let verbs = found.map(|rules| rules.iter().map(|rule| rule["verbs"][0].clone()).collect::<Vec<_>>());
        assert_eq!(verbs, expected.map(|verbs| verbs.iter().map(|verb| json!(verb)).collect()));
    }

    #[test]
    fn rules_are_gathered_once_each_and_in_order() {
        check(&[], &["big"], Some(&["get", "list", "watch"]));
        check(&["own"], &["small", "big"], Some(&["delete", "get", "list", "watch"]));
        check(&["own"], &["none"], Some(&[]));
        check(&["get", "list", "watch"], &["big"], None);
        assert_eq!(plan(&role("plain", "big", &["get"], Value::Null), &[]), None);
    }
}
