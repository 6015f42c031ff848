//! A machine joins: it trusts what its token signed, asks for a certificate and gets it.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rcgen::{CertificateParams, DnType, KeyPair};
use serde_json::{Value, json};
use skiff_client::objects::PatchKind;
use skiff_client::types::{CertificateSigningRequest, ConfigMap, Secret};
use skiff_client::{Kind, Objects, ResourceType};

use crate::cluster::{Cluster, eventually};

const BINDINGS: ResourceType =
    ResourceType::new("rbac.authorization.k8s.io", "v1", "clusterrolebindings", "ClusterRoleBinding", false);
const CLIENT: &str = "kubernetes.io/kube-apiserver-client-kubelet";

fn request(name: &str, common_name: &str, organization: &str, signer: &str) -> Value {
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::OrganizationName, organization);
    params.distinguished_name.push(DnType::CommonName, common_name);
    let request = params.serialize_request(&KeyPair::generate().expect("a key")).expect("a request");
    json!({
        "metadata": {"name": name},
        "spec": {
            "request": STANDARD.encode(request.pem().expect("pem")),
            "signerName": signer,
            "usages": ["digital signature", "client auth"]
        }
    })
}

fn conditions(request: &Value) -> Vec<String> {
    let list = request["status"]["conditions"].as_array().into_iter().flatten();
    list.map(|condition| condition["type"].as_str().unwrap_or("").to_owned()).collect()
}

#[tokio::test]
async fn a_node_gets_its_certificate_and_others_wait_for_approval() {
    let cluster = Cluster::start().await;
    // As kubeadm binds them, and this distribution.
    let joining = cluster.client_of("system:bootstrap:abcdef", &["system:bootstrappers:kubeadm:default-node-token"]);
    let asked = Objects::<Value>::of(&joining, CertificateSigningRequest::RESOURCE, "");
    let requests = cluster.json(&CertificateSigningRequest::RESOURCE, "");
    let state = |name: &'static str| {
        let requests = requests.clone();
        async move { requests.get(name).await.expect("the request") }
    };
    asked.create(&request("node", "system:node:n1", "system:nodes", CLIENT)).await.expect("created");
    let issued = || async { state("node").await["status"]["certificate"].is_string() };
    eventually("the node's certificate is issued", issued).await;
    assert_eq!(conditions(&state("node").await), ["Approved"]);

    // Of another form or for another purpose: nobody approves it but a person.
    asked.create(&request("odd", "system:node:n1", "devs", CLIENT)).await.expect("created");
    let client = "kubernetes.io/kube-apiserver-client";
    requests.create(&request("person", "jane", "devs", client)).await.expect("created");
    for (name, state) in [("odd", "Approved"), ("person", "Approved")] {
        let condition = json!([{"type": state, "status": "True", "reason": "r"}]);
        let approved = json!({"status": {"conditions": condition}});
        requests.update(name, "approval", None, &approved).await.expect("approved");
    }
    let issued = || async { state("person").await["status"]["certificate"].is_string() };
    eventually("the person's certificate is issued", issued).await;
    let failed = || async { conditions(&state("odd").await) == ["Approved", "Failed"] };
    eventually("what does not suit the signer has failed", failed).await;
    assert_eq!(state("odd").await["status"]["conditions"][1]["message"], "subject organization is not system:nodes");
    let bindings = cluster.json(&BINDINGS, "").get("kubeadm:node-autoapprove-bootstrap").await;
    bindings.expect("that is the right by which the node was approved");
}

#[tokio::test]
async fn tokens_sign_what_joining_machines_trust_and_end_in_time() {
    let cluster = Cluster::start().await;
    let info = json!({"metadata": {"name": "cluster-info"}, "data": {"kubeconfig": "x"}});
    let maps = cluster.json(&ConfigMap::RESOURCE, "kube-public");
    maps.create(&info).await.expect("created");
    let secrets = cluster.json(&Secret::RESOURCE, "kube-system");
    let expiration = |seconds| (jiff::Timestamp::now() + jiff::SignedDuration::from_secs(seconds)).to_string();
    let token = json!({
        "metadata": {"name": "bootstrap-token-abcdef"},
        "type": "bootstrap.kubernetes.io/token",
        "stringData": {
            "token-id": "abcdef", "token-secret": "0123456789abcdef", "usage-bootstrap-signing": "true",
            "expiration": expiration(3600)
        }
    });
    secrets.create(&token).await.expect("created");
    let signature =
        || async { maps.get("cluster-info").await.expect("the ConfigMap")["data"]["jws-kubeconfig-abcdef"].clone() };
    eventually("the token signs", || async { signature().await.is_string() }).await;
    // It ends soon only from here on: signing may take a while on a busy machine.
    let soon = json!({"stringData": {"expiration": expiration(1)}});
    secrets.patch("bootstrap-token-abcdef", "", PatchKind::Merge, &soon).await.expect("a new end");
    let gone = || async { secrets.get_opt("bootstrap-token-abcdef").await.expect("an answer").is_none() };
    eventually("the token is gone", gone).await;
    eventually("its signature is gone", || async { signature().await.is_null() }).await;
}
