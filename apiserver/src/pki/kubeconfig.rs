//! A kubeconfig with everything inside it.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use skiff_apimachinery::value;
use skiff_apimachinery::value::Value;

use super::Credential;

/// What a kubeconfig says.
#[derive(Clone, Debug)]
pub struct Kubeconfig<'a> {
    /// Name of the cluster, e.g. `skiff`.
    pub cluster: &'a str,
    /// Name of the context; the current one.
    pub context: &'a str,
    /// Name of the user entry.
    pub user: &'a str,
    /// URL of the API server.
    pub server: &'a str,
    /// Certificate authority of the API server, PEM.
    pub ca_pem: &'a str,
    /// The client certificate.
    pub credential: &'a Credential,
}

impl Kubeconfig<'_> {
    /// The file's text (JSON, which every YAML reader takes, would do too; people expect YAML).
    pub fn render(&self) -> String {
        let Kubeconfig { cluster, context, user, server, .. } = self;
        let [ca, certificate, key] =
            [self.ca_pem, &self.credential.certificate_pem, &self.credential.key_pem].map(|pem| STANDARD.encode(pem));
        let [cluster, context, user, server] = [cluster, context, user, server].map(|text| quoted(text));
        format!(
            "apiVersion: v1
kind: Config
clusters:
- name: {cluster}
  cluster:
    certificate-authority-data: {ca}
    server: {server}
contexts:
- name: {context}
  context:
    cluster: {cluster}
    user: {user}
current-context: {context}
preferences: {{}}
users:
- name: {user}
  user:
    client-certificate-data: {certificate}
    client-key-data: {key}
"
        )
    }
}

/// ConfigMap kube-public/cluster-info: address and authority of the server, for machines that join and have nothing but
/// a bootstrap token (as kubeadm publishes it). The controller manager signs it with every token.
pub fn cluster_info(ca_pem: &str, server: &str) -> Value {
    let (ca, server) = (STANDARD.encode(ca_pem), quoted(server));
    let kubeconfig = format!(
        "apiVersion: v1
kind: Config
clusters:
- name: \"\"
  cluster:
    certificate-authority-data: {ca}
    server: {server}
contexts: null
current-context: \"\"
preferences: {{}}
users: null
"
    );
    value!({
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "cluster-info", "namespace": "kube-public"},
        "data": {"kubeconfig": kubeconfig}
    })
}

/// A JSON string, which is a YAML string whatever it holds.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}
