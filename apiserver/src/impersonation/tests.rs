//! Who may act as whom, by which right, and what they are told who may not.

use std::sync::Arc;

use http::HeaderValue;
use skiff_apimachinery::value;
use skiff_apimachinery::value::Value;

use super::*;
use crate::authorization::rbac::{GROUP as RBAC, Rbac};
use crate::objects::testing::FakeReader;

/// A user with these rights everywhere.
fn authorizer(user: &str, rules: Value) -> Rbac {
    let reader = Arc::new(FakeReader::default());
    let role = value!({"metadata": {"name": "r"}, "rules": rules});
    reader.put(RBAC, "clusterroles", &role);
    let subject = value!({"kind": "User", "name": user});
    let binding =
        value!({"metadata": {"name": "b"}, "roleRef": {"kind": "ClusterRole", "name": "r"}, "subjects": [subject]});
    reader.put(RBAC, "clusterrolebindings", &binding);
    Rbac::new(reader)
}

fn headers(list: &[(&'static str, &str)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in list {
        headers.append(*name, HeaderValue::from_str(value).expect("a header"));
    }
    headers
}

fn lists_pods(user: &str) -> Attributes {
    Attributes {
        user: Arc::new(UserInfo { name: user.into(), ..UserInfo::default() }),
        verb: "list".into(),
        is_resource_request: true,
        resource: "pods".into(),
        ..Attributes::default()
    }
}

/// The groups that come of it, or code and message.
fn outcome(wanted: &[(&'static str, &str)], request: &Attributes, rules: Value) -> Result<Vec<String>, (u16, String)> {
    let mut headers = headers(wanted);
    let found = Impersonation::default().identity(&mut headers, request, &authorizer(&request.user.name, rules));
    match found {
        Ok(user) => {
            assert!(headers.is_empty(), "nothing of it is left");
            Ok(user.expect("an identity").user.groups)
        }
        Err(error) => Err((error.code, error.message)),
    }
}

fn texts(list: &[&str]) -> Vec<String> {
    list.iter().map(|text| text.to_string()).collect()
}

#[test]
fn nothing_is_asked_and_something_without_a_name() {
    let request = lists_pods("jane");
    let none = authorizer("jane", value!([]));
    assert_eq!(Impersonation::default().identity(&mut HeaderMap::new(), &request, &none), Ok(None));
    let refused = outcome(&[("impersonate-group", "g"), ("impersonate-extra-a", "b")], &request, value!([]));
    let text = "requested &user.DefaultInfo{Name:\"\", UID:\"\", Groups:[]string{\"g\"}, \
                Extra:map[string][]string{\"a\":[]string{\"b\"}}} without impersonating a user name";
    assert_eq!(refused, Err((400, text.to_owned())));
}

#[test]
fn the_old_verb_is_enough() {
    let request = lists_pods("jane");
    let users = value!({"verbs": ["impersonate"], "apiGroups": [""], "resources": ["users", "groups"]});
    let as_fred = [("impersonate-user", "fred"), ("impersonate-group", "devs")];
    let rules = value!([(users.clone())]);
    assert_eq!(outcome(&as_fred, &request, rules.clone()), Ok(texts(&["devs", "system:authenticated"])));
    let extra = [("impersonate-user", "fred"), ("impersonate-extra-scopes", "x")];
    let (code, _) = outcome(&extra, &request, rules).expect_err("userextras are asked for, too");
    assert_eq!(code, 403);
    let extras = value!({"verbs": ["impersonate"], "apiGroups": [AUTHENTICATION], "resources": ["userextras/scopes"]});
    assert!(outcome(&extra, &request, value!([users, extras])).is_ok());
    let accounts = value!([{"verbs": ["impersonate"], "apiGroups": [""], "resources": ["serviceaccounts"]}]);
    let account = [("impersonate-user", "system:serviceaccount:a:b")];
    let groups = texts(&["system:serviceaccounts", "system:serviceaccounts:a", "system:authenticated"]);
    assert_eq!(outcome(&account, &request, accounts.clone()), Ok(groups));
    assert!(outcome(&[("impersonate-user", "system:serviceaccount:A_:b")], &request, accounts).is_err());
}

const AUTHENTICATION: &str = "authentication.k8s.io";

#[test]
fn narrow_rights_are_for_one_deed() {
    let be =
        value!({"verbs": ["impersonate:user-info"], "apiGroups": [AUTHENTICATION], "resources": ["users", "groups"]});
    let list = value!({"verbs": ["impersonate-on:user-info:list"], "apiGroups": [""], "resources": ["pods"]});
    let rules = value!([be, list]);
    let as_fred = [("impersonate-user", "fred")];
    assert_eq!(outcome(&as_fred, &lists_pods("jane"), rules.clone()), Ok(texts(&["system:authenticated"])));
    let deletes = Attributes { verb: "delete".into(), ..lists_pods("jane") };
    let text = "pods is forbidden: User \"jane\" cannot impersonate-on:user-info:delete resource \"pods\" in API group \"\" at the cluster scope";
    assert_eq!(outcome(&as_fred, &deletes, rules.clone()), Err((403, text.to_owned())));
    let masters = [("impersonate-user", "fred"), ("impersonate-group", "system:masters")];
    let text = "groups.authentication.k8s.io \"system:masters\" is forbidden: User \"jane\" cannot \
                impersonate:user-info resource \"groups\" in API group \"authentication.k8s.io\" at the cluster scope: \
                impersonating the system:masters group is not allowed";
    assert_eq!(outcome(&masters, &lists_pods("jane"), rules.clone()), Err((403, text.to_owned())));
    // Nodes and service accounts have rights of their own.
    assert!(outcome(&[("impersonate-user", "system:node:n1")], &lists_pods("jane"), rules).is_err());
}

#[test]
fn an_agent_acts_as_its_own_node() {
    let rules = value!([
        {"verbs": ["impersonate:associated-node"], "apiGroups": [AUTHENTICATION], "resources": ["nodes"]},
        {"verbs": ["impersonate-on:associated-node:list"], "apiGroups": [""], "resources": ["pods"]}
    ]);
    let mut request = lists_pods("system:serviceaccount:kube-system:agent");
    let mut agent = UserInfo::clone(&request.user);
    agent.extra.insert("authentication.kubernetes.io/node-name".into(), vec!["n1".into()]);
    request.user = Arc::new(agent);
    let own = outcome(&[("impersonate-user", "system:node:n1")], &request, rules.clone());
    assert_eq!(own, Ok(texts(&["system:nodes", "system:authenticated"])));
    assert!(outcome(&[("impersonate-user", "system:node:n2")], &request, rules.clone()).is_err());
    let more = [("impersonate-user", "system:node:n1"), ("impersonate-group", "system:nodes")];
    assert!(outcome(&more, &request, rules).is_err());
}

#[test]
fn who_used_the_old_verb_is_refused_with_it() {
    let request = lists_pods("jane");
    let rules =
        value!([{"verbs": ["impersonate"], "apiGroups": [""], "resources": ["users"], "resourceNames": ["fred"]}]);
    let (authorizer, impersonation) = (authorizer("jane", rules), Impersonation::default());
    let ask = |user: &str| {
        let answer = impersonation.identity(&mut headers(&[("impersonate-user", user)]), &request, &authorizer);
        answer.map(|user| user.expect("an identity").user.name).map_err(|error| error.message)
    };
    assert!(ask("bob").expect_err("no right").contains("impersonate-on:user-info:list"));
    assert_eq!(ask("fred"), Ok("fred".to_owned()));
    assert!(ask("bob").expect_err("no right").contains("cannot impersonate resource \"users\""));
}
