//! A node's writes to its own things and to others'.

use skiff_apimachinery::value;

use super::super::testing::{Case, Fixture};
use super::*;
use crate::authorization::Authorization;

fn fixture() -> (Fixture, NodeRestriction) {
    let fixture = Fixture::new();
    for (name, node) in [("own", "n1"), ("other", "n2")] {
        fixture.put(
            "",
            "pods",
            value!({
                "metadata": {"namespace": "demo", "name": name, "uid": (format!("{name}-uid"))},
                "spec": {"nodeName": node, "volumes": [
                    {"name": "t", "projected": {"sources": [
                        {"serviceAccountToken": {"path": "a"}}, {"serviceAccountToken": {"path": "b", "audience": "vault"}}
                    ]}},
                    {"name": "c", "csi": {"driver": "secrets.example.com"}}
                ]}
            }),
        );
    }
    fixture.put("", "nodes", value!({"metadata": {"name": "n1", "uid": "n1-uid"}}));
    fixture.put(
        "storage.k8s.io",
        "csidrivers",
        value!({"metadata": {"name": "secrets.example.com"}, "spec": {"tokenRequests": [{"audience": "store"}]}}),
    );
    let authorizer = Arc::new(Authorization::build(fixture.reader.clone()));
    let plugin = NodeRestriction::new(fixture.objects(), authorizer);
    (fixture, plugin)
}

fn by_node(case: Case) -> Case {
    case.by("system:node:n1", &["system:nodes"])
}

/// The text after `... is forbidden: `.
async fn refusal(case: Case, plugin: &NodeRestriction) -> Option<String> {
    match by_node(case).admit(plugin).await {
        Ok(_) => None,
        Err((403, message)) => Some(message.split_once(" is forbidden: ").expect("a reason").1.to_owned()),
        Err((code, message)) => Some(format!("{code}: {message}")),
    }
}

fn text(message: &str) -> Option<String> {
    Some(message.to_owned())
}

fn mirror_pod(changes: &[(&[&str], Value)]) -> Case {
    let mut pod = value!({
        "metadata": {
            "name": "static-n1",
            "annotations": {"kubernetes.io/config.mirror": "x"},
            "ownerReferences": [{"apiVersion": "v1", "kind": "Node", "name": "n1", "uid": "n1-uid", "controller": true}]
        },
        "spec": {"nodeName": "n1", "containers": [{"name": "a"}], "volumes": [{"name": "v", "hostPath": {"path": "/"}}]}
    });
    for (path, value) in changes {
        pod.set_at(path, value.clone());
    }
    Case::create("", "pods", "kube-system", pod)
}

#[tokio::test]
async fn nodes_create_mirror_pods_of_their_own() {
    let (_fixture, plugin) = fixture();
    let owner = |field: &str, value: Value| {
        let mut owner = value!({"apiVersion": "v1", "kind": "Node", "name": "n1", "uid": "n1-uid", "controller": true});
        owner.set_at(&[field], value);
        value!([owner])
    };
    let owners: &'static [&'static str] = &["metadata", "ownerReferences"];
    let container = |env: Value| value!([{"name": "a", "env": env}]);
    type Changes = Vec<(&'static [&'static str], Value)>;
    let cases: Vec<(Changes, Option<&str>)> = vec![
        (vec![], None),
        (
            vec![(&["metadata", "annotations"], value!({}))],
            Some(
                "pod does not have \"kubernetes.io/config.mirror\" annotation, node \"n1\" can only create mirror pods",
            ),
        ),
        (
            vec![(&["spec", "nodeName"], "n2".into())],
            Some("node \"n1\" can only create pods with spec.nodeName set to itself"),
        ),
        (vec![(owners, value!([]))], Some("node \"n1\" can only create pods with an owner reference set to itself")),
        (
            vec![(owners, owner("name", "n2".into()))],
            Some("node \"n1\" can only create pods with an owner reference set to itself"),
        ),
        (
            vec![(owners, owner("controller", false.into()))],
            Some("node \"n1\" can only create pods with a controller owner reference set to itself"),
        ),
        (
            vec![(owners, owner("blockOwnerDeletion", true.into()))],
            Some("node \"n1\" must not set blockOwnerDeletion on an owner reference"),
        ),
        (vec![(owners, owner("uid", "old".into()))], Some("node n1 UID mismatch: expected old got n1-uid")),
        (
            vec![(&["spec", "serviceAccountName"], "x".into())],
            Some("node \"n1\" can not create pods that reference serviceaccounts"),
        ),
        (
            vec![(
                &["spec", "containers"],
                container(value!([{"name": "X", "valueFrom": {"secretKeyRef": {"name": "s"}}}])),
            )],
            Some("node \"n1\" can not create pods that reference secrets"),
        ),
        (
            vec![(
                &["spec", "containers"],
                container(value!([{"name": "X", "valueFrom": {"configMapKeyRef": {"name": "s"}}}])),
            )],
            Some("node \"n1\" can not create pods that reference configmaps"),
        ),
        (
            vec![(&["spec", "volumes"], value!([{"name": "v", "secret": {"secretName": "s"}}]))],
            Some("node \"n1\" can not create pods that reference secrets"),
        ),
        (
            vec![(
                &["spec", "volumes"],
                value!([{"name": "v", "projected": {"sources": [{"downwardAPI": {}}, {"configMap": {}}]}}]),
            )],
            Some("node \"n1\" can not create pods that reference configmaps"),
        ),
        (
            vec![(&["spec", "volumes"], value!([{"name": "v", "news": {}}]))],
            Some("error checking mirror pod for API references: unknown volume type for volume  \"v\""),
        ),
    ];
    for (changes, expected) in cases {
        assert_eq!(refusal(mirror_pod(&changes), &plugin).await.as_deref(), expected);
    }
}

#[tokio::test]
async fn nodes_report_and_end_their_own_pods() {
    let (_fixture, plugin) = fixture();
    let pod = |node: &str, phase: &str| value!({"metadata": {"name": "p", "labels": {"a": "b"}}, "spec": {"nodeName": node}, "status": {"phase": phase}});
    let update = |old: Value, new: Value| Case::update("", "pods", "demo", old, new);
    assert_eq!(refusal(update(pod("n1", "a"), pod("n1", "b")).sub("status"), &plugin).await, None);
    let mut relabeled = pod("n1", "b");
    relabeled.set_at(&["metadata", "labels", "c"], "d");
    let relabel = update(pod("n1", "a"), relabeled).sub("status");
    assert_eq!(refusal(relabel, &plugin).await, text("node \"n1\" cannot update labels through pod status"));
    let mut claimed = pod("n1", "b");
    claimed.set_at(&["status", "resourceClaimStatuses"], value!([{"name": "x", "resourceClaimName": "y"}]));
    let claim = update(pod("n1", "a"), claimed).sub("status");
    assert_eq!(refusal(claim, &plugin).await, text("node \"n1\" cannot update resource claim statues"));
    let foreign = update(pod("n2", "a"), pod("n2", "b")).sub("status");
    assert_eq!(
        refusal(foreign, &plugin).await,
        text("node \"n1\" can only update pod status for pods with spec.nodeName set to itself")
    );
    assert_eq!(
        refusal(update(pod("n1", "a"), pod("n1", "a")), &plugin).await,
        text("unexpected operation \"UPDATE\", node \"n1\" can only create and delete mirror pods")
    );
    assert_eq!(
        refusal(update(pod("n1", "a"), pod("n1", "a")).sub("ephemeralcontainers"), &plugin).await,
        text("unexpected pod subresource \"ephemeralcontainers\", only 'status' and 'eviction' are allowed")
    );
    assert_eq!(refusal(Case::delete("", "pods", "demo", pod("n1", "a")), &plugin).await, None);
    assert_eq!(
        refusal(Case::delete("", "pods", "demo", pod("n2", "a")), &plugin).await,
        text("node \"n1\" can only delete pods with spec.nodeName set to itself")
    );
    let evict = |name: &str| Case::create("", "pods", "demo", value!({"metadata": {"name": name}})).sub("eviction");
    assert_eq!(refusal(evict("own"), &plugin).await, None);
    assert_eq!(
        refusal(evict("other"), &plugin).await,
        text("node n1 can only evict pods with spec.nodeName set to itself")
    );
    assert_eq!(refusal(evict("none"), &plugin).await, text("404: pods \"none\" not found"));
}

#[tokio::test]
async fn nodes_describe_themselves_within_limits() {
    let (_fixture, plugin) = fixture();
    let node = |name: &str, labels: Value, taints: Value| value!({"metadata": {"name": name, "labels": labels}, "spec": {"taints": taints}});
    let create = |name: &str, labels: Value| Case::create("", "nodes", "", node(name, labels, value!([])));
    let allowed = value!({
        "kubernetes.io/hostname": "n1", "node.kubernetes.io/x": "y", "a.kubelet.kubernetes.io/b": "c", "example.com/z": "1"
    });
    assert_eq!(refusal(create("n1", allowed), &plugin).await, None);
    assert_eq!(
        refusal(create("n2", value!({})), &plugin).await,
        text("node \"n1\" is not allowed to modify node \"n2\"")
    );
    let forbidden = value!({
        "node-role.kubernetes.io/master": "", "node-restriction.kubernetes.io/a": "b", "x.k8s.io/y": "z", "mykubernetes.io/a": "b"
    });
    assert_eq!(
        refusal(create("n1", forbidden.clone()), &plugin).await,
        text(
            "node \"n1\" is not allowed to set the following labels: node-restriction.kubernetes.io/a, \
             node-role.kubernetes.io/master, x.k8s.io/y"
        )
    );
    let old = node("n1", forbidden.clone(), value!([]));
    let update = |new: Value| Case::update("", "nodes", "", old.clone(), new);
    assert_eq!(refusal(update(old.clone()), &plugin).await, None);
    assert_eq!(
        refusal(update(node("n1", value!({}), value!([]))), &plugin).await,
        text(
            "is not allowed to modify labels: node-restriction.kubernetes.io/a, node-role.kubernetes.io/master, x.k8s.io/y"
        )
    );
    assert_eq!(
        refusal(update(node("n1", forbidden, value!([{"key": "a", "effect": "NoSchedule"}]))), &plugin).await,
        text("node \"n1\" is not allowed to modify taints")
    );
}

#[tokio::test]
async fn nodes_ask_for_tokens_of_their_own_pods() {
    let (_fixture, plugin) = fixture();
    let ask = |name: &str, uid: &str, audiences: Value| {
        let body = value!({"spec": {
            "audiences": audiences, "boundObjectRef": {"apiVersion": "v1", "kind": "Pod", "name": name, "uid": uid}
        }});
        let mut case = Case::create("", "serviceaccounts", "demo", body).sub("token");
        case.name = "web".into();
        case
    };
    for audience in [value!([]), value!(["vault"]), value!(["store"])] {
        assert_eq!(refusal(ask("own", "own-uid", audience), &plugin).await, None);
    }
    let cases = [
        (ask("", "", value!([])), "node requested token not bound to a pod"),
        (ask("own", "", value!([])), "node requested token with a pod binding without a uid"),
        (ask("other", "other-uid", value!([])), "node requested token bound to a pod scheduled on a different node"),
        (ask("none", "x", value!([])), "404: pods \"none\" not found"),
        (ask("own", "own-uid", value!(["vault", "store"])), "node may only request 0 or 1 audiences"),
        (
            ask("own", "own-uid", value!(["bank"])),
            "audience \"bank\" not found in pod spec volume, system:node:n1 is not authorized to request tokens for this audience",
        ),
    ];
    for (case, expected) in cases {
        assert_eq!(refusal(case, &plugin).await.as_deref(), Some(expected));
    }
}

#[tokio::test]
async fn nodes_keep_to_their_leases_and_certificates() {
    let (_fixture, plugin) = fixture();
    let named = |name: &str| value!({"metadata": {"name": name}});
    let lease = |namespace: &str, name: &str| Case::create("coordination.k8s.io", "leases", namespace, named(name));
    assert_eq!(refusal(lease("kube-node-lease", "n1"), &plugin).await, None);
    assert_eq!(
        refusal(lease("kube-node-lease", "n2"), &plugin).await,
        text("can only access node lease with the same name as the requesting node")
    );
    assert_eq!(
        refusal(lease("demo", "n1"), &plugin).await,
        text("can only access leases in the \"kube-node-lease\" system namespace")
    );
    let csi_node = |name: &str| Case::create("storage.k8s.io", "csinodes", "", named(name));
    assert_eq!(refusal(csi_node("n1"), &plugin).await, None);
    assert!(refusal(csi_node("n2"), &plugin).await.is_some());

    let key = rcgen::KeyPair::generate().expect("a key");
    let csr = |common_name: &str, signer: &str| {
        let mut params = rcgen::CertificateParams::default();
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(rcgen::DnType::CommonName, common_name);
        let pem = params.serialize_request(&key).expect("a request").pem().expect("PEM");
        let encoded = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, pem);
        let object = value!({"metadata": {"name": "c"}, "spec": {"signerName": signer, "request": encoded}});
        Case::create("certificates.k8s.io", "certificatesigningrequests", "", object)
    };
    let client = "kubernetes.io/kube-apiserver-client-kubelet";
    assert_eq!(refusal(csr("system:node:n1", client), &plugin).await, None);
    assert_eq!(
        refusal(csr("system:node:n2", client), &plugin).await,
        text("can only create a node CSR with CN=system:node:n1")
    );
    assert_eq!(refusal(csr("anybody", "example.com/own"), &plugin).await, None);
}

#[tokio::test]
async fn others_are_not_restricted() {
    let (_fixture, plugin) = fixture();
    let case = Case::create("", "nodes", "", value!({"metadata": {"name": "n2"}}));
    assert!(case.clone().admit(&plugin).await.is_ok());
    let unnamed = case.by("system:node:", &["system:nodes"]).admit(&plugin).await;
    let refused = "nodes \"n2\" is forbidden: could not determine node from user \"system:node:\"";
    assert_eq!(unnamed, Err((403, refused.into())));
}
