//! What every pod worker needs: the ways to the API and the runtime, and what is known about the node.

use std::path::PathBuf;
use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Node, Pod, Secret};
use k8s_openapi::api::node::v1::RuntimeClass;
use kube::Client;
use skiff_client::{Informer, Objects, types};
use tokio::sync::watch;

use crate::admission::{Admission, Offer};
use crate::backoff::Backoff;
use crate::cgroups::Cgroups;
use crate::env::field_ref::Facts;
use crate::env::service_links::{LinkPort, ServiceLink};
use crate::events::Events;
use crate::eviction::Conditions;
use crate::images::Images;
use crate::pod::PodExt;
use crate::probes::Probes;
use crate::runtime::Runtime;
use crate::spec::dns::NodeDns;
use crate::status::generate::Verdicted;
use crate::status::manager::StatusManager;
use crate::volumes::Volumes;

/// Settings that do not change while the kubelet runs.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) node_name: String,
    pub(crate) cluster_domain: String,
    /// Folder under which every pod has a folder for its logs.
    pub(crate) logs_root: PathBuf,
    /// Folder of `Localhost` seccomp profiles.
    pub(crate) seccomp_root: PathBuf,
    pub(crate) seccomp_default: bool,
}

/// What is known about the node and its runtime; renewed as they change.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct NodeFacts {
    pub(crate) host_ips: Vec<String>,
    pub(crate) labels: std::collections::BTreeMap<String, String>,
    pub(crate) allocatable: crate::quantity::ResourceList,
    /// Memory of the machine, in bytes.
    pub(crate) memory_capacity: i64,
    /// Scheme of container ids.
    pub(crate) runtime_name: String,
    /// Why the pod network is not up; `None` if it is.
    pub(crate) network_error: Option<String>,
    /// The runtime can make mounts read-only with everything below them.
    pub(crate) recursive_read_only: bool,
}

/// Fails the pod with this UID and stops it, with a grace period in seconds that overrides its own.
pub(crate) type Evict = Arc<dyn Fn(&str, Verdicted, Option<i64>) + Send + Sync>;

/// Shared by all workers.
pub(crate) struct Context {
    pub(crate) settings: Settings,
    pub(crate) client: Client,
    pub(crate) runtime: Runtime,
    pub(crate) events: Events,
    pub(crate) images: Images,
    pub(crate) volumes: Volumes,
    pub(crate) probes: Probes,
    pub(crate) status: StatusManager,
    /// `None` where the process may not make cgroups.
    pub(crate) cgroups: Option<Cgroups>,
    pub(crate) admission: Admission,
    /// What the node is short of.
    pub(crate) conditions: Conditions,
    /// Fails a pod and stops it.
    pub(crate) evict: Evict,
    /// Back-off of containers that ended.
    pub(crate) restarts: Backoff,
    pub(crate) services: Informer<types::Service>,
    pub(crate) node: watch::Receiver<Arc<NodeFacts>>,
    /// The node's own resolver configuration and the cluster's.
    pub(crate) dns: NodeDns,
}

impl Context {
    /// Ends a pod so that a critical one has room.
    pub(crate) fn preempt(&self, victim: &Pod) {
        const MESSAGE: &str = "Preempted in order to admit critical pod";
        self.events.pod_warning(victim, "Preempting", MESSAGE);
        let verdict = Verdicted {
            reason: "Preempting".into(),
            message: MESSAGE.into(),
            disruption: Some("Pod was preempted by Kubelet to accommodate a critical pod.".into()),
        };
        (self.evict)(victim.uid(), verdict, None);
    }

    /// The node as it is now.
    pub(crate) fn node_facts(&self) -> Arc<NodeFacts> {
        self.node.borrow().clone()
    }

    /// What pods may ask about the node and themselves.
    pub(crate) fn facts(&self, pod_ips: &[String]) -> Facts {
        let node = self.node_facts();
        Facts { host_ips: node.host_ips.clone(), pod_ips: pod_ips.to_vec(), allocatable: node.allocatable.clone() }
    }

    /// What pods are admitted against.
    pub(crate) fn offer(&self) -> Offer {
        let node = self.node_facts();
        Offer {
            node_name: self.settings.node_name.clone(),
            labels: node.labels.clone(),
            allocatable: node.allocatable.clone(),
        }
    }

    /// The same with the labels that the node has in the API at this moment: they may have changed a second ago.
    pub(crate) async fn fresh_offer(&self) -> kube::Result<Offer> {
        let node = Objects::<Node>::cluster(&self.client).get(&self.settings.node_name).await?;
        Ok(Offer { labels: node.metadata.labels.unwrap_or_default(), ..self.offer() })
    }

    /// Services that get environment variables.
    pub(crate) fn service_links(&self, namespace: &str) -> Vec<ServiceLink> {
        let mut services = self.services.list_namespace(namespace);
        if namespace != "default" {
            services.extend(self.services.get_by_name("default", "kubernetes"));
        }
        services.iter().map(|service| service_link(service)).collect()
    }

    /// The pod's pull secrets. A missing one is told and left out: the image may not need it.
    pub(crate) async fn pull_secrets(&self, pod: &Pod) -> Vec<Secret> {
        let mut secrets = Vec::new();
        for reference in pod.pod_spec().image_pull_secrets.iter().flatten() {
            match self.volumes.secrets.get(pod.uid(), pod.namespace(), &reference.name).await {
                Ok(Some(secret)) => secrets.push((*secret).clone()),
                Ok(None) | Err(_) => {
                    let message = format!(
                        "Unable to retrieve some image pull secrets ({}); attempting to pull the image may not succeed.",
                        reference.name
                    );
                    self.events.pod_warning(pod, "FailedToRetrieveImagePullSecret", message);
                }
            }
        }
        secrets
    }

    /// The runtime's handler for the pod's runtime class; empty for the default one.
    pub(crate) async fn runtime_handler(&self, pod: &Pod) -> Result<String, String> {
        let name = pod.pod_spec().runtime_class_name.as_deref().unwrap_or_default();
        if name.is_empty() {
            return Ok(String::new());
        }
        match Objects::<RuntimeClass>::cluster(&self.client).get(name).await {
            Ok(class) => Ok(class.handler),
            Err(error) => Err(format!("failed to get RuntimeClass {name:?}: {error}")),
        }
    }
}

fn service_link(service: &types::Service) -> ServiceLink {
    let ports = service.spec.ports.iter().map(|port| LinkPort {
        name: port.name.clone(),
        protocol: port.protocol.clone(),
        port: port.port,
    });
    ServiceLink {
        namespace: service.metadata.namespace.clone(),
        name: service.metadata.name.clone(),
        cluster_ip: service.spec.cluster_ip.clone(),
        ports: ports.collect(),
    }
}

/// The wall clock.
pub(crate) fn now() -> Timestamp {
    Timestamp::now()
}
