//! Decisions, reasons, listings and escalation over small sets of roles.

use skiff_apimachinery::value;
use skiff_apimachinery::value::Value;

use super::escalation::RbacWrite;
use super::*;
use crate::objects::testing::FakeReader;

fn role(reader: &FakeReader, namespace: &str, name: &str, rules: Value) {
    let resource = if namespace.is_empty() { "clusterroles" } else { "roles" };
    reader.put(GROUP, resource, &value!({"metadata": {"name": name, "namespace": namespace}, "rules": (rules)}));
}

fn bind(reader: &FakeReader, namespace: &str, name: &str, role: (&str, &str), subjects: Value) {
    let resource = if namespace.is_empty() { "clusterrolebindings" } else { "rolebindings" };
    let object = value!({
        "metadata": {"name": name, "namespace": namespace},
        "roleRef": {"apiGroup": GROUP, "kind": (role.0), "name": (role.1)},
        "subjects": subjects
    });
    reader.put(GROUP, resource, &object);
}

fn user(name: &str, groups: &[&str]) -> Arc<UserInfo> {
    let groups = groups.iter().map(|g| g.to_string()).collect();
    Arc::new(UserInfo { name: name.into(), groups, ..UserInfo::default() })
}

/// `verb [group/]resource[/subresource] [namespace/]name` or `verb /path`, as a compact way to ask.
fn ask(user: &Arc<UserInfo>, verb: &str, what: (&str, &str, &str), namespace: &str, name: &str) -> Attributes {
    Attributes {
        user: user.clone(),
        verb: verb.into(),
        is_resource_request: true,
        api_group: what.0.into(),
        resource: what.1.into(),
        subresource: what.2.into(),
        namespace: namespace.into(),
        name: name.into(),
        ..Attributes::default()
    }
}

fn path(user: &Arc<UserInfo>, verb: &str, path: &str) -> Attributes {
    Attributes { user: user.clone(), verb: verb.into(), path: path.into(), ..Attributes::default() }
}

fn fixture() -> (Arc<FakeReader>, Rbac) {
    let reader = Arc::new(FakeReader::default());
    role(&reader, "", "admin", value!([{"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]}]));
    role(&reader, "", "paths", value!([{"verbs": ["get"], "nonResourceURLs": ["/healthz", "/version", "/apis/*"]}]));
    role(
        &reader,
        "",
        "scaler",
        value!([{"verbs": ["get", "update"], "apiGroups": ["apps"], "resources": ["*/scale"]}]),
    );
    role(
        &reader,
        "demo",
        "reader",
        value!([
            {"verbs": ["get", "list"], "apiGroups": [""], "resources": ["pods", "pods/log"]},
            {"verbs": ["get"], "apiGroups": [""], "resources": ["secrets"], "resourceNames": ["one"]}
        ]),
    );
    bind(&reader, "", "admins", ("ClusterRole", "admin"), value!([{"kind": "Group", "name": "admins"}]));
    bind(
        &reader,
        "",
        "everybody",
        ("ClusterRole", "paths"),
        value!([{"kind": "Group", "name": "system:authenticated"}]),
    );
    bind(
        &reader,
        "demo",
        "readers",
        ("Role", "reader"),
        value!([
            {"kind": "User", "name": "jane"}, {"kind": "ServiceAccount", "name": "web"}
        ]),
    );
    bind(&reader, "demo", "scalers", ("ClusterRole", "scaler"), value!([{"kind": "User", "name": "jane"}]));
    bind(&reader, "demo", "broken", ("Role", "gone"), value!([{"kind": "User", "name": "jane"}]));
    let rbac = Rbac::new(reader.clone());
    (reader, rbac)
}

#[test]
fn decides() {
    let (_, rbac) = fixture();
    let jane = user("jane", &["system:authenticated"]);
    let web = user("system:serviceaccount:demo:web", &["system:authenticated"]);
    let root = user("root", &["admins"]);
    let nobody = user("system:anonymous", &["system:unauthenticated"]);
    let pods = ("", "pods", "");
    let cases = [
        (ask(&jane, "get", pods, "demo", "p"), true),
        (ask(&jane, "list", pods, "demo", ""), true),
        (ask(&web, "list", pods, "demo", ""), true),
        (ask(&jane, "list", pods, "", ""), false),
        (ask(&jane, "list", pods, "other", ""), false),
        (ask(&jane, "delete", pods, "demo", "p"), false),
        (ask(&jane, "get", ("", "pods", "log"), "demo", "p"), true),
        (ask(&jane, "get", ("", "pods", "exec"), "demo", "p"), false),
        (ask(&jane, "get", ("metrics.k8s.io", "pods", ""), "demo", "p"), false),
        (ask(&jane, "get", ("", "secrets", ""), "demo", "one"), true),
        (ask(&jane, "get", ("", "secrets", ""), "demo", "two"), false),
        (ask(&jane, "list", ("", "secrets", ""), "demo", ""), false),
        (ask(&jane, "update", ("apps", "deployments", "scale"), "demo", "d"), true),
        (ask(&jane, "update", ("apps", "deployments", ""), "demo", "d"), false),
        (ask(&jane, "update", ("apps", "deployments", "rescale"), "demo", "d"), false),
        (ask(&root, "frobnicate", ("x", "y", "z"), "", ""), true),
        (path(&root, "get", "/metrics"), false),
        (path(&jane, "get", "/healthz"), true),
        (path(&jane, "get", "/healthz/x"), false),
        (path(&jane, "get", "/apis/apps/v1"), true),
        (path(&jane, "post", "/version"), false),
        (path(&nobody, "get", "/version"), false),
        (ask(&nobody, "get", pods, "demo", "p"), false),
    ];
    for (attributes, allowed) in cases {
        let decision = rbac.authorize(&attributes);
        assert_eq!(matches!(decision, Decision::Allow(_)), allowed, "{attributes:?}: {decision:?}");
    }
}

#[test]
fn says_why() {
    let (reader, rbac) = fixture();
    let jane = user("jane", &[]);
    let web = user("system:serviceaccount:demo:web", &[]);
    let root = user("root", &["admins"]);
    let reason = |attributes: &Attributes| match rbac.authorize(attributes) {
        Decision::Allow(reason) | Decision::NoOpinion(reason) | Decision::Deny(reason) => reason,
    };
    assert_eq!(
        reason(&ask(&jane, "get", ("", "pods", ""), "demo", "p")),
        r#"RBAC: allowed by RoleBinding "readers/demo" of Role "reader" to User "jane""#
    );
    assert_eq!(
        reason(&ask(&web, "get", ("", "pods", ""), "demo", "p")),
        r#"RBAC: allowed by RoleBinding "readers/demo" of Role "reader" to ServiceAccount "web/demo""#
    );
    assert_eq!(
        reason(&ask(&root, "get", ("", "pods", ""), "demo", "p")),
        r#"RBAC: allowed by ClusterRoleBinding "admins" of ClusterRole "admin" to Group "admins""#
    );
    let denied = ask(&jane, "delete", ("", "pods", ""), "demo", "p");
    assert_eq!(reason(&denied), r#"RBAC: role.rbac.authorization.k8s.io "gone" not found"#);
    bind(&reader, "", "broken", ("ClusterRole", "lost"), value!([{"kind": "User", "name": "jane"}]));
    assert_eq!(
        reason(&denied),
        r#"RBAC: [clusterrole.rbac.authorization.k8s.io "lost" not found, role.rbac.authorization.k8s.io "gone" not found]"#
    );
}

#[test]
fn follows_changes() {
    let (reader, rbac) = fixture();
    let jane = user("jane", &[]);
    let delete = ask(&jane, "delete", ("", "pods", ""), "demo", "p");
    let allowed = || matches!(rbac.authorize(&delete), Decision::Allow(_));
    assert!(!allowed());
    role(&reader, "demo", "gone", value!([{"verbs": ["delete"], "apiGroups": [""], "resources": ["pods"]}]));
    assert!(allowed());
    reader.remove(GROUP, "rolebindings", "demo", "broken");
    assert!(!allowed());
}

#[test]
fn lists_rules() {
    let (_, rbac) = fixture();
    let review = rbac.rules_for(&user("jane", &["system:authenticated"]), "demo");
    assert_eq!(
        review.non_resource_rules,
        [value!({"verbs": ["get"], "nonResourceURLs": ["/healthz", "/version", "/apis/*"]})]
    );
    assert_eq!(review.resource_rules.len(), 3);
    assert_eq!(
        review.resource_rules[1],
        value!({"verbs": ["get"], "apiGroups": [""], "resources": ["secrets"], "resourceNames": ["one"]})
    );
    assert!(!review.incomplete);
    assert_eq!(review.evaluation_error, r#"role.rbac.authorization.k8s.io "gone" not found"#);
}

fn write<'a>(resource: &'a str, namespace: &'a str, object: &'a Value, old: Option<&'a Value>) -> RbacWrite<'a> {
    let name = object.str_at(&["metadata", "name"]).unwrap_or("");
    RbacWrite { resource, namespace, request_name: if old.is_some() { name } else { "" }, name, object, old }
}

#[test]
fn nobody_gives_what_they_have_not() {
    let (reader, rbac) = fixture();
    let jane = user("jane", &["devs", "system:authenticated"]);
    let role_of = |rules: Value| value!({"metadata": {"name": "new"}, "rules": (rules)});
    let held = role_of(value!([{"verbs": ["list"], "apiGroups": [""], "resources": ["pods"]}]));
    let more = role_of(value!([
        {"verbs": ["get", "delete", "watch"], "apiGroups": [""], "resources": ["pods"]},
        {"verbs": ["get"], "nonResourceURLs": ["/apis/x", "/metrics"]}
    ]));
    let check = |user: &Arc<UserInfo>, write: RbacWrite<'_>| rbac.check_escalation(&rbac, user, &write);

    assert_eq!(check(&jane, write("roles", "demo", &held, None)), Ok(()));
    let error = check(&jane, write("roles", "demo", &more, None)).expect_err("escalation");
    assert_eq!((error.code, error.reason), (403, "Forbidden"));
    assert_eq!(
        error.message,
        "roles.rbac.authorization.k8s.io \"new\" is forbidden: user \"jane\" (groups=[\"devs\" \"system:authenticated\"]) \
         is attempting to grant RBAC permissions not currently held:\n\
         {APIGroups:[\"\"], Resources:[\"pods\"], Verbs:[\"delete\" \"watch\"]}\n\
         {NonResourceURLs:[\"/metrics\"], Verbs:[\"get\"]}; resolution errors: [roles.rbac.authorization.k8s.io \"gone\" not found]"
    );
    assert_eq!(check(&user("x", &["system:masters"]), write("roles", "demo", &more, None)), Ok(()));
    // The garbage collector may touch what it could not grant.
    let mut collected = more.clone();
    collected.set_at(&["metadata", "finalizers"], value!(["x"]));
    assert_eq!(check(&jane, write("roles", "demo", &collected, Some(&more))), Ok(()));
    // `escalate` lifts the rule.
    role(&reader, "demo", "gone", value!([{"verbs": ["escalate"], "apiGroups": [GROUP], "resources": ["roles"]}]));
    assert_eq!(check(&jane, write("roles", "demo", &more, None)), Ok(()));
}

#[test]
fn binding_needs_the_rights_or_the_verb_bind() {
    let (reader, rbac) = fixture();
    let jane = user("jane", &[]);
    let check = |object: &Value, resource: &str, namespace: &str| {
        rbac.check_escalation(&rbac, &jane, &write(resource, namespace, object, None)).map_err(|e| (e.code, e.message))
    };
    let binding = |kind: &str, name: &str| value!({"metadata": {"name": "b"}, "roleRef": {"apiGroup": GROUP, "kind": kind, "name": name}});
    assert_eq!(check(&binding("Role", "reader"), "rolebindings", "demo"), Ok(()));
    assert_eq!(check(&binding("ClusterRole", "scaler"), "rolebindings", "demo"), Ok(()));
    let (code, text) = check(&binding("ClusterRole", "scaler"), "clusterrolebindings", "").expect_err("cluster-wide");
    assert_eq!(code, 403);
    assert!(
        text.starts_with("clusterrolebindings.rbac.authorization.k8s.io \"b\" is forbidden: user \"jane\""),
        "{text}"
    );
    assert_eq!(
        check(&binding("ClusterRole", "none"), "rolebindings", "demo"),
        Err((404, "rolebindings.rbac.authorization.k8s.io \"none\" not found".into()))
    );
    role(
        &reader,
        "demo",
        "gone",
        value!([
            {"verbs": ["bind"], "apiGroups": [GROUP], "resources": ["clusterroles"], "resourceNames": ["admin"]}
        ]),
    );
    assert_eq!(check(&binding("ClusterRole", "admin"), "rolebindings", "demo"), Ok(()));
    assert!(check(&binding("ClusterRole", "admin"), "rolebindings", "other").is_err());
}

#[test]
fn aggregation_is_for_those_who_may_do_everything() {
    let (_, rbac) = fixture();
    let aggregated = value!({
        "metadata": {"name": "all"},
        "aggregationRule": {"clusterRoleSelectors": [{"matchLabels": {"a": "b"}}]}
    });
    let plain = value!({"metadata": {"name": "all"}});
    let check = |user: &Arc<UserInfo>, object: &Value, old: Option<&Value>| {
        rbac.check_escalation(&rbac, user, &write("clusterroles", "", object, old)).map_err(|e| e.message)
    };
    let jane = user("jane", &[]);
    let refused = "clusterroles.rbac.authorization.k8s.io \"all\" is forbidden: \
                   must have cluster-admin privileges to use the aggregationRule";
    assert_eq!(check(&jane, &aggregated, None), Err(refused.into()));
    // Taking the rule away would keep what was gathered.
    assert_eq!(check(&jane, &plain, Some(&aggregated)), Err(refused.into()));
    assert_eq!(check(&jane, &plain, None), Ok(()));
    assert_eq!(check(&user("root", &["admins"]), &aggregated, None), Ok(()));
}
