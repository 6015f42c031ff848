//! Nodes against the objects of their own and of other nodes' pods.

use std::sync::Arc;

use skiff_apimachinery::value;

use super::*;
use crate::objects::testing::FakeReader;

fn fixture() -> NodeAuthorizer {
    let reader = Arc::new(FakeReader::default());
    let pod = |name: &str, node: &str| {
        value!({
            "metadata": {"name": name, "namespace": "demo"},
            "spec": {
                "nodeName": node,
                "serviceAccountName": (format!("sa-{name}")),
                "imagePullSecrets": [{"name": (format!("pull-{name}"))}],
                "containers": [{
                    "env": [{"valueFrom": {"secretKeyRef": {"name": (format!("key-{name}"))}}}],
                    "envFrom": [{"configMapRef": {"name": (format!("env-{name}"))}}]
                }],
                "volumes": [
                    {"name": "data", "persistentVolumeClaim": {"claimName": (format!("pvc-{name}"))}},
                    {"name": "scratch", "ephemeral": {}},
                    {"name": "all", "projected": {"sources": [
                        {"secret": {"name": (format!("projected-{name}"))}},
                        {"configMap": {"name": "kube-root-ca.crt"}}
                    ]}}
                ]
            }
        })
    };
    reader.put("", "pods", &pod("a", "n1"));
    reader.put("", "pods", &pod("b", "n2"));
    let mut mirror = pod("m", "n1");
    mirror.set_at(&["metadata", "annotations"], value!({"kubernetes.io/config.mirror": "x"}));
    reader.put("", "pods", &mirror);
    let mut pending = pod("p", "");
    pending.remove_at(&["spec", "nodeName"]);
    reader.put("", "pods", &pending);
    for (pv, pvc) in [("pv-a", "pvc-a"), ("pv-b", "pvc-b")] {
        reader.put(
            "",
            "persistentvolumes",
            &value!({
                "metadata": {"name": pv},
                "spec": {
                    "claimRef": {"namespace": "demo", "name": pvc},
                    "csi": {
                        "nodeStageSecretRef": {"namespace": "storage", "name": (format!("stage-{pv}"))},
                        "controllerPublishSecretRef": {"namespace": "storage", "name": (format!("publish-{pv}"))}
                    }
                }
            }),
        );
    }
    reader.put(
        "storage.k8s.io",
        "volumeattachments",
        &value!({"metadata": {"name": "va"}, "spec": {"nodeName": "n1"}}),
    );
    NodeAuthorizer::new(reader)
}

fn node(name: &str) -> Arc<UserInfo> {
    let groups = vec!["system:nodes".into(), "system:authenticated".into()];
    Arc::new(UserInfo { name: format!("system:node:{name}"), groups, ..UserInfo::default() })
}

/// `verb group/resource/subresource namespace/name`, `-` for nothing.
fn ask(user: &Arc<UserInfo>, question: &str) -> Attributes {
    let part = |text: &str| if text == "-" { String::new() } else { text.to_owned() };
    let words = question.split(' ').collect::<Vec<_>>();
    let what = words[1].split('/').collect::<Vec<_>>();
    let whom = words[2].split('/').collect::<Vec<_>>();
    Attributes {
        user: user.clone(),
        verb: words[0].into(),
        is_resource_request: true,
        api_group: part(what[0]),
        resource: part(what[1]),
        subresource: part(what.get(2).unwrap_or(&"-")),
        namespace: part(whom[0]),
        name: part(whom[1]),
        ..Attributes::default()
    }
}

#[test]
fn nodes_reach_what_their_pods_refer_to() {
    let authorizer = fixture();
    let n1 = node("n1");
    const NONE: &str = "no relationship found between node 'n1' and this object";
    let cases: &[(&str, Result<(), &str>)] = &[
        ("get -/secrets demo/key-a", Ok(())),
        ("watch -/secrets demo/key-a", Ok(())),
        ("list -/secrets demo/projected-a", Ok(())),
        ("get -/secrets demo/pull-a", Ok(())),
        ("get -/secrets demo/key-b", Err(NONE)),
        ("get -/secrets other/key-a", Err(NONE)),
        ("get -/secrets demo/key-p", Err(NONE)),
        ("get -/secrets demo/key-m", Err(NONE)),
        ("list -/secrets demo/-", Err("No Object name found")),
        ("list -/secrets -/-", Err("can only read namespaced object of this type")),
        ("update -/secrets demo/key-a", Err("can only read resources of this type")),
        ("get -/secrets storage/stage-pv-a", Ok(())),
        ("get -/secrets storage/publish-pv-a", Err(NONE)),
        ("get -/secrets storage/stage-pv-b", Err(NONE)),
        ("get -/configmaps demo/env-a", Ok(())),
        ("get -/configmaps demo/kube-root-ca.crt", Ok(())),
        ("get -/configmaps demo/env-b", Err(NONE)),
        ("get -/persistentvolumeclaims demo/pvc-a", Ok(())),
        ("get -/persistentvolumeclaims demo/a-scratch", Ok(())),
        ("list -/persistentvolumeclaims demo/pvc-a", Err("can only get individual resources of this type")),
        ("patch -/persistentvolumeclaims/status demo/pvc-a", Ok(())),
        ("patch -/persistentvolumeclaims/status demo/pvc-b", Err(NONE)),
        ("get -/persistentvolumeclaims/status demo/pvc-a", Err("can only get/update/patch this type")),
        ("get -/persistentvolumes -/pv-a", Ok(())),
        ("get -/persistentvolumes -/pv-b", Err(NONE)),
        ("get storage.k8s.io/volumeattachments -/va", Ok(())),
        ("get storage.k8s.io/volumeattachments -/vb", Err(NONE)),
        ("create -/serviceaccounts/token demo/sa-a", Ok(())),
        ("create -/serviceaccounts/token demo/sa-b", Err(NONE)),
        ("create -/serviceaccounts demo/-", Err("can only create tokens for individual service accounts")),
        ("create -/serviceaccounts demo/x", Err("can only create token subresource of serviceaccount")),
        ("get -/serviceaccounts demo/sa-a", Ok(())),
        ("get -/serviceaccounts demo/sa-b", Err(NONE)),
    ];
    for (question, expected) in cases {
        let decision = authorizer.authorize(&ask(&n1, question));
        let expected = match expected {
            Ok(()) => Decision::Allow(String::new()),
            Err(reason) => Decision::NoOpinion((*reason).into()),
        };
        assert_eq!(decision, expected, "{question}");
    }
}

#[test]
fn nodes_are_kept_to_themselves() {
    let authorizer = fixture();
    let n1 = node("n1");
    const NONE: &str = "no relationship found between node 'n1' and this object";
    let cases: &[(&str, Result<(), &str>)] = &[
        ("get -/nodes -/n1", Ok(())),
        ("get -/nodes -/n2", Err("node 'n1' cannot read 'n2', only its own Node object")),
        ("list -/nodes -/-", Err("node 'n1' cannot read all nodes, only its own Node object")),
        ("patch -/nodes/status -/n1", Ok(())),
        ("delete -/nodes -/n1", Err("")),
        ("get -/pods demo/a", Ok(())),
        ("get -/pods demo/b", Err(NONE)),
        ("get -/pods demo/p", Err(NONE)),
        ("list -/pods -/-", Err("can only list/watch pods with spec.nodeName field selector")),
        ("watch -/pods demo/a", Ok(())),
        ("create -/pods demo/-", Ok(())),
        ("patch -/pods/status demo/a", Ok(())),
        ("create -/pods/eviction demo/a", Ok(())),
        ("create -/pods/exec demo/a", Err("")),
        ("patch -/pods demo/a", Err("")),
        ("update coordination.k8s.io/leases kube-node-lease/n1", Ok(())),
        ("create coordination.k8s.io/leases kube-node-lease/-", Ok(())),
        (
            "update coordination.k8s.io/leases kube-node-lease/n2",
            Err("can only access node lease with the same name as the requesting node"),
        ),
        (
            "update coordination.k8s.io/leases demo/n1",
            Err("can only access leases in the \"kube-node-lease\" system namespace"),
        ),
        (
            "list coordination.k8s.io/leases kube-node-lease/-",
            Err("can only get, create, update, patch, or delete a node lease"),
        ),
        ("patch storage.k8s.io/csinodes -/n1", Ok(())),
        (
            "patch storage.k8s.io/csinodes -/n2",
            Err("can only access CSINode with the same name as the requesting node"),
        ),
        ("watch storage.k8s.io/csinodes -/-", Err("can only get, create, update, patch, or delete a CSINode")),
        // From the rules that hold for all nodes.
        ("create -/events demo/-", Ok(())),
        ("list -/services -/-", Ok(())),
        ("watch node.k8s.io/runtimeclasses -/-", Ok(())),
        ("create authentication.k8s.io/tokenreviews -/-", Ok(())),
        ("create authorization.k8s.io/subjectaccessreviews -/-", Ok(())),
        ("create certificates.k8s.io/certificatesigningrequests -/-", Ok(())),
        ("list -/namespaces -/-", Err("")),
        ("get apps/deployments demo/web", Err("")),
    ];
    for (question, expected) in cases {
        let decision = authorizer.authorize(&ask(&n1, question));
        let expected = match expected {
            Ok(()) => Decision::Allow(String::new()),
            Err(reason) => Decision::NoOpinion((*reason).into()),
        };
        assert_eq!(decision, expected, "{question}");
    }
    for (value, allowed) in [("n1", true), ("n2", false)] {
        let mut list = ask(&n1, "list -/pods -/-");
        list.field_selector = vec![("spec.nodeName".into(), "=".into(), value.into())];
        assert_eq!(matches!(authorizer.authorize(&list), Decision::Allow(_)), allowed);
    }
}

#[test]
fn others_are_not_nodes() {
    let authorizer = fixture();
    let question = "get -/nodes -/n1";
    for (name, group, reason) in [
        ("system:node:n1", "system:masters", ""),
        ("jane", "system:nodes", ""),
        ("system:node:", "system:nodes", "unknown node for user \"system:node:\""),
    ] {
        let user = Arc::new(UserInfo { name: name.into(), groups: vec![group.into()], ..UserInfo::default() });
        assert_eq!(authorizer.authorize(&ask(&user, question)), Decision::NoOpinion(reason.into()));
    }
    assert!(authorizer.rules_for(&node("n1"), "demo").incomplete);
}
