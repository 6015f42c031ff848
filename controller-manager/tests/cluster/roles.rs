//! Roles that gather the rules of others.

use serde_json::{Value, json};
use skiff_client::Kind;
use skiff_client::objects::DeleteOptions;
use skiff_client::types::ClusterRole;

use crate::cluster::{Cluster, eventually};

#[tokio::test]
async fn a_role_follows_the_roles_it_gathers() {
    let cluster = Cluster::start().await;
    let roles = cluster.json(&ClusterRole::RESOURCE, "");
    let rule = json!({"verbs": ["get"], "apiGroups": [""], "resources": ["pods"]});
    let gather = json!({"metadata": {"name": "all"},
        "aggregationRule": {"clusterRoleSelectors": [{"matchLabels": {"part": "of-all"}}]}});
    let part = json!({"metadata": {"name": "part", "labels": {"part": "of-all"}}, "rules": [rule]});
    roles.create(&gather).await.expect("created");
    roles.create(&part).await.expect("created");
    let rules = || async { roles.get("all").await.expect("the role")["rules"].clone() };
    eventually("the rule is gathered", || async { rules().await == json!([rule]) }).await;
    roles.delete("part", &DeleteOptions::default()).await.expect("deleted");
    let none = |rules: Value| rules.as_array().is_none_or(Vec::is_empty);
    eventually("the rule is gone", || async { none(rules().await) }).await;
}
