//! Root CA publisher: every namespace has the ConfigMap `kube-root-ca.crt`, by which pods know the API server.
//!
//! Upstream: `pkg/controller/certificates/rootcacertpublisher`.

use std::sync::Arc;

use serde_json::{Map, Value, json};
use skiff_client::types::{ConfigMap, Namespace, StringMap};
use skiff_client::{Informer, Objects, Scope, Workqueue, errors};

use crate::context::Context;
use crate::control_loop::{self, Next, Reconciler, unless_gone};

const NAME: &str = "root-ca-certificate-publisher-controller";
const CONFIG_MAP: &str = "kube-root-ca.crt";
const KEY: &str = "ca.crt";
const DESCRIPTION: &str = "kubernetes.io/description";
const DESCRIPTION_TEXT: &str = "Contains a CA bundle that can be used to verify the kube-apiserver when using internal endpoints such as the internal service IP or kubernetes.default.svc. No other usage is guaranteed across distributions of Kubernetes clusters.";

struct Controller {
    context: Context,
    namespaces: Informer<Namespace>,
    /// Only the ConfigMaps of this name: the others are none of its business, and may be large.
    config_maps: Informer<ConfigMap>,
}

/// Runs the root CA publisher.
pub async fn run(context: Context) -> anyhow::Result<()> {
    if context.config.root_ca.is_empty() {
        context.shutdown.cancelled().await;
        return Ok(());
    }
    let scope = Scope { field_selector: format!("metadata.name={CONFIG_MAP}"), ..Scope::default() };
    let controller = Arc::new(Controller {
        namespaces: context.informer(),
        config_maps: context.informers.get_scoped(scope),
        context: context.clone(),
    });
    let queue = Workqueue::new();
    let to = queue.clone();
    controller.namespaces.add_handler(move |event| to.add(event.object().metadata.name.clone()));
    let to = queue.clone();
    controller.config_maps.add_handler(move |event| to.add(event.object().metadata.namespace.clone()));
    if !(context.synced(&controller.namespaces).await && context.synced(&controller.config_maps).await) {
        return Ok(());
    }
    control_loop::run(NAME, &context, queue, controller).await
}

/// What to write for a namespace.
#[derive(Debug, PartialEq)]
enum Plan {
    Nothing,
    Create(Value),
    Update(Value),
}

fn plan(namespace: Option<&Namespace>, current: Option<&ConfigMap>, root_ca: &str) -> Plan {
    let Some(namespace) = namespace.filter(|namespace| namespace.status.phase != "Terminating") else {
        return Plan::Nothing;
    };
    let Some(current) = current else {
        return Plan::Create(json!({
            "metadata": {"name": CONFIG_MAP, "namespace": namespace.metadata.name,
                "annotations": {DESCRIPTION: DESCRIPTION_TEXT}},
            "data": {KEY: root_ca},
        }));
    };
    let same = current.data.len() == 1
        && current.data.get(KEY) == Some(root_ca)
        && current.metadata.annotations.get(DESCRIPTION) == Some(DESCRIPTION_TEXT);
    if same {
        return Plan::Nothing;
    }
    let texts = |map: &StringMap| map.iter().map(|(key, text)| (key.to_owned(), text.into())).collect::<Map<_, _>>();
    let meta = &current.metadata;
    let mut annotations = texts(&meta.annotations);
    annotations.insert(DESCRIPTION.into(), DESCRIPTION_TEXT.into());
    // The whole object, as far as it matters: this controller may update and neither patch nor get.
    Plan::Update(json!({
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": CONFIG_MAP, "namespace": meta.namespace, "uid": meta.uid,
            "resourceVersion": meta.resource_version, "labels": texts(&meta.labels), "annotations": annotations,
            "ownerReferences": meta.owner_references, "finalizers": meta.finalizers},
        "data": {KEY: root_ca},
    }))
}

#[async_trait::async_trait]
impl Reconciler for Controller {
    type Key = String;

    async fn reconcile(&self, name: &String) -> anyhow::Result<Next> {
        let namespace = self.namespaces.get_by_name("", name);
        let current = self.config_maps.get_by_name(name, CONFIG_MAP);
        let api = Objects::<ConfigMap>::namespaced(&self.context.client, name);
        match plan(namespace.as_deref(), current.as_deref(), &self.context.config.root_ca) {
            Plan::Nothing => {}
            Plan::Create(body) => match api.create(&body).await {
                Err(error) if errors::is_already_exists(&error) || errors::is_namespace_terminating(&error) => {}
                Err(error) if errors::is_not_found(&error) => {}
                done => drop(done?),
            },
            Plan::Update(body) => drop(unless_gone(api.replace(CONFIG_MAP, "", &body).await)?),
        }
        Ok(Next::Event)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bundle_is_published_kept_and_repaired() {
        let namespace: Namespace =
            serde_json::from_value(json!({"metadata": {"name": "n"}, "status": {"phase": "Active"}})).expect("valid");
        let Plan::Create(body) = plan(Some(&namespace), None, "PEM") else { panic!("must be created") };
        let created: ConfigMap = serde_json::from_value(body).expect("a config map");
        assert_eq!((created.metadata.namespace.as_str(), created.data.get(KEY)), ("n", Some("PEM")));
        assert_eq!(plan(Some(&namespace), Some(&created), "PEM"), Plan::Nothing);
        let mut changed = created.clone();
        changed.data.insert("more", "x");
        changed.metadata.annotations.insert("a", "b");
        let Plan::Update(body) = plan(Some(&namespace), Some(&changed), "NEW") else { panic!("must be repaired") };
        assert_eq!(body["data"], json!({"ca.crt": "NEW"}));
        assert_eq!(body["metadata"]["annotations"], json!({"a": "b", DESCRIPTION: DESCRIPTION_TEXT}));
        assert_eq!(plan(None, None, "PEM"), Plan::Nothing);
    }
}
