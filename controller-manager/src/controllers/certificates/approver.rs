//! Approves what kubelets ask for as clients, where who asks has the right that such requests need.
//!
//! Upstream: `pkg/controller/certificates/approver`. A machine that joins asks under a bootstrap token (`nodeclient`), a
//! node renews under its own name (`selfnodeclient`); RBAC says who may.

use std::sync::Arc;

use anyhow::bail;
use http::Method;
use serde_json::{Value, json};
use skiff_client::types::CertificateSigningRequest;
use skiff_client::{Informer, objects};

use super::request::{Asked, KUBELET_CLIENT, der_of};
use super::{add_condition, change, queue_of};
use crate::context::Context;
use crate::control_loop::{self, Next, Reconciler};

const NAME: &str = "certificatesigningrequest-approving-controller";
const REVIEWS: &str = "/apis/authorization.k8s.io/v1/subjectaccessreviews";

struct Controller {
    context: Context,
    requests: Informer<CertificateSigningRequest>,
}

/// Runs the approver.
pub async fn run(context: Context) -> anyhow::Result<()> {
    let controller = Arc::new(Controller { requests: context.informer(), context: context.clone() });
    let queue = queue_of(&controller.requests);
    if !context.synced(&controller.requests).await {
        return Ok(());
    }
    control_loop::run(NAME, &context, queue, controller).await
}

/// The rights of which one is enough, as subresources, with what an approval by them says.
fn rights(request: &CertificateSigningRequest, asked: &Asked) -> Vec<(&'static str, &'static str)> {
    let spec = &request.spec;
    if spec.signer_name != KUBELET_CLIENT || asked.suits_kubelet_client(&spec.usages).is_err() {
        return Vec::new();
    }
    let mut rights = Vec::new();
    if spec.username == asked.common_name {
        let text = "Auto approving self kubelet client certificate after SubjectAccessReview.";
        rights.push(("selfnodeclient", text));
    }
    rights.push(("nodeclient", "Auto approving kubelet client certificate after SubjectAccessReview."));
    rights
}

impl Controller {
    async fn may(&self, request: &CertificateSigningRequest, subresource: &str) -> anyhow::Result<bool> {
        let spec = &request.spec;
        let extra = if spec.extra.is_empty() { json!({}) } else { spec.extra.value() };
        let review = json!({
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SubjectAccessReview",
            "spec": {
                "user": spec.username, "uid": spec.uid, "groups": spec.groups, "extra": extra,
                "resourceAttributes": {
                    "group": "certificates.k8s.io", "resource": "certificatesigningrequests", "verb": "create",
                    "subresource": subresource, "version": "*"
                }
            }
        });
        let body = Some(("application/json", serde_json::to_vec(&review)?));
        let answer: Value = objects::request(&self.context.client, Method::POST, REVIEWS, body).await?;
        Ok(answer["status"]["allowed"] == true)
    }
}

#[async_trait::async_trait]
impl Reconciler for Controller {
    type Key = String;

    async fn reconcile(&self, name: &String) -> anyhow::Result<Next> {
        let Some(request) = self.requests.get_by_name("", name) else { return Ok(Next::Event) };
        if request.is_issued() || request.has("Approved") || request.has("Denied") {
            return Ok(Next::Event);
        }
        let asked = Asked::of(&der_of(&request.spec.request)?)?;
        let rights = rights(&request, &asked);
        for (right, text) in &rights {
            if self.may(&request, right).await? {
                change(&self.context, &request, "approval", |live| {
                    add_condition(live, "Approved", "AutoApproved", text);
                })
                .await?;
                return Ok(Next::Event);
            }
        }
        if rights.is_empty() {
            return Ok(Next::Event);
        }
        // The right may come a moment after the request.
        let tried = rights.iter().map(|(right, _)| *right).collect::<Vec<_>>().join(" ");
        bail!("recognized csr {name:?} as [{tried}] but subject access review was not approved")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_ask_for_themselves_and_machines_for_nodes() {
        let asked = Asked {
            common_name: "system:node:n1".into(),
            organizations: vec!["system:nodes".into()],
            ..Asked::default()
        };
        let request = |signer: &str, user: &str| -> CertificateSigningRequest {
            let usages = ["digital signature", "client auth"];
            let spec = json!({"signerName": signer, "username": user, "usages": usages});
            serde_json::from_value(json!({"metadata": {"name": "r"}, "spec": spec})).expect("a request")
        };
        let names = |signer: &str, user: &str| {
            let rights = rights(&request(signer, user), &asked);
            rights.into_iter().map(|(name, _)| name).collect::<Vec<_>>()
        };
        assert_eq!(names(KUBELET_CLIENT, "system:node:n1"), ["selfnodeclient", "nodeclient"]);
        assert_eq!(names(KUBELET_CLIENT, "system:bootstrap:abcdef"), ["nodeclient"]);
        assert_eq!(names("kubernetes.io/kube-apiserver-client", "system:node:n1"), [""; 0]);
    }
}
