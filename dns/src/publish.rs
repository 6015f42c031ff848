//! Tells the cluster where its DNS is: Service kube-system/kube-dns without selector, and this server's EndpointSlice.
//!
//! A Service that has a selector belongs to someone who runs a DNS of their own; then nothing is written.

use std::net::Ipv4Addr;
use std::time::Duration;

use kube::Client;
use serde_json::{Value, json};
use skiff_client::backoff::Exponential;
use skiff_client::errors;
use skiff_client::objects::{DeleteOptions, Objects, PatchKind};
use skiff_client::types::{EndpointSlice, Node, Service};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

/// Namespace of the Service.
pub const NAMESPACE: &str = "kube-system";
/// Name of the Service.
pub const SERVICE: &str = "kube-dns";
/// Who writes the slice, so that the controllers of slices leave it alone.
const MANAGED_BY: &str = "dns.skiff";
/// Pauses after writes that failed.
const RETRY: Exponential = Exponential { base: Duration::from_millis(100), cap: Duration::from_secs(10) };
/// How often to look whether all is still as written, whether or not something seemed to change.
const CHECK_PERIOD: Duration = Duration::from_secs(60);
/// How long to look for the port used before.
const PORT_LOOKUP_TIMEOUT: Duration = Duration::from_secs(2);

/// What is to be known of this server.
#[derive(Clone)]
pub struct Publisher {
    /// The API.
    pub client: Client,
    /// The node.
    pub node_name: String,
    /// Its address.
    pub node_address: Ipv4Addr,
    /// Cluster IP of the Service.
    pub service_ip: Ipv4Addr,
    /// Port for UDP and TCP.
    pub port: u16,
    /// Port of the metrics.
    pub metrics_port: u16,
}

/// Name of the slice of the server on a node.
fn slice_name(node_name: &str) -> String {
    format!("{SERVICE}-{node_name}")
}

/// The port that this node's server had before, if it can be learned quickly: taking it again spares clients the change.
pub async fn previous_port(client: &Client, node_name: &str) -> Option<u16> {
    let slices = Objects::<EndpointSlice>::namespaced(client, NAMESPACE);
    let slice =
        tokio::time::timeout(PORT_LOOKUP_TIMEOUT, slices.get_opt(&slice_name(node_name))).await.ok()?.ok()??;
    let port = slice.ports.iter().find(|port| port.name == "dns")?.port?;
    u16::try_from(port).ok().filter(|port| *port > 0)
}

impl Publisher {
    /// Keeps Service and slice in place until shutdown, then says that this server no longer serves. `changed` is
    /// notified when one of them may have changed.
    pub async fn run(self, changed: &Notify, shutdown: CancellationToken) {
        let mut failures = 0;
        loop {
            let pause = match self.publish().await {
                Ok(()) => {
                    failures = 0;
                    CHECK_PERIOD
                }
                Err(error) => {
                    if failures > 3 {
                        warn!(%error, "cannot publish the cluster's DNS, will retry");
                    } else {
                        debug!(%error, "cannot publish the cluster's DNS, will retry");
                    }
                    failures += 1;
                    RETRY.jittered(failures - 1, 0.2)
                }
            };
            tokio::select! {
                () = shutdown.cancelled() => return,
                () = changed.notified(), if failures == 0 => {}
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    async fn publish(&self) -> kube::Result<()> {
        let services = Objects::<Service>::namespaced(&self.client, NAMESPACE);
        match services.get_opt(SERVICE).await? {
            Some(service) if !service.spec.selector.is_empty() => {
                debug!("Service kube-dns has a selector: someone else serves the cluster's DNS");
                return self.withdraw().await;
            }
            Some(_) => {}
            None => match services.create(&self.service()).await {
                Ok(_) => info!(address = %self.service_ip, "made Service kube-dns"),
                // Another server was faster.
                Err(error) if errors::is_already_exists(&error) => {}
                Err(error) => return Err(error),
            },
        }
        self.publish_slice().await
    }

    async fn publish_slice(&self) -> kube::Result<()> {
        let slices = Objects::<EndpointSlice>::namespaced(&self.client, NAMESPACE);
        let name = slice_name(&self.node_name);
        let wanted = self.slice(self.node_uid().await?);
        match slices.get_opt(&name).await? {
            Some(found) if self.is_current(&found) => Ok(()),
            Some(found) if found.address_type != "IPv4" => {
                slices.delete(&name, &DeleteOptions::with_uid(&found.metadata.uid)).await?;
                slices.create(&wanted).await.map(drop)
            }
            Some(_) => slices.patch(&name, "", PatchKind::Merge, &wanted).await.map(drop),
            None => {
                slices.create(&wanted).await?;
                info!(address = %self.node_address, port = self.port, "the cluster's DNS is published");
                Ok(())
            }
        }
    }

    /// Removes this server's slice.
    async fn withdraw(&self) -> kube::Result<()> {
        let slices = Objects::<EndpointSlice>::namespaced(&self.client, NAMESPACE);
        match slices.get_opt(&slice_name(&self.node_name)).await? {
            Some(found) => slices.delete(&found.metadata.name, &DeleteOptions::with_uid(&found.metadata.uid)).await,
            None => Ok(()),
        }
    }

    /// The node's UID, so that its slice goes with it; `None` while there is no such node.
    async fn node_uid(&self) -> kube::Result<Option<String>> {
        let node = Objects::<Node>::cluster(&self.client).get_opt(&self.node_name).await?;
        Ok(node.map(|node| node.metadata.uid))
    }

    fn is_current(&self, slice: &EndpointSlice) -> bool {
        let ports: Vec<_> = slice.ports.iter().map(|port| (port.name.as_str(), port.port)).collect();
        let wanted = [("dns", self.port), ("dns-tcp", self.port), ("metrics", self.metrics_port)];
        slice.service_name() == Some(SERVICE)
            && slice.address_type == "IPv4"
            && ports == wanted.map(|(name, port)| (name, Some(i32::from(port))))
            && matches!(slice.endpoints.as_slice(), [endpoint]
                if endpoint.addresses == [self.node_address.to_string()] && endpoint.conditions.is_ready())
    }

    fn service(&self) -> Value {
        json!({
            "metadata": {
                "name": SERVICE,
                "namespace": NAMESPACE,
                "labels": {
                    "k8s-app": "kube-dns",
                    "kubernetes.io/cluster-service": "true",
                    "kubernetes.io/name": "KubeDNS",
                },
                "annotations": {"prometheus.io/port": "9153", "prometheus.io/scrape": "true"},
            },
            "spec": {
                "clusterIP": self.service_ip.to_string(),
                "ports": [
                    {"name": "dns", "port": 53, "protocol": "UDP", "targetPort": 53},
                    {"name": "dns-tcp", "port": 53, "protocol": "TCP", "targetPort": 53},
                    {"name": "metrics", "port": 9153, "protocol": "TCP", "targetPort": 9153},
                ],
            },
        })
    }

    fn slice(&self, node_uid: Option<String>) -> Value {
        let owners: Vec<Value> = node_uid
            .into_iter()
            .map(|uid| json!({"apiVersion": "v1", "kind": "Node", "name": self.node_name, "uid": uid}))
            .collect();
        json!({
            "metadata": {
                "name": slice_name(&self.node_name),
                "namespace": NAMESPACE,
                "labels": {
                    "kubernetes.io/service-name": SERVICE,
                    "endpointslice.kubernetes.io/managed-by": MANAGED_BY,
                    "k8s-app": "kube-dns",
                },
                "ownerReferences": owners,
            },
            "addressType": "IPv4",
            "endpoints": [{
                "addresses": [self.node_address.to_string()],
                "conditions": {"ready": true, "serving": true, "terminating": false},
                "nodeName": self.node_name,
            }],
            "ports": [
                {"name": "dns", "protocol": "UDP", "port": self.port},
                {"name": "dns-tcp", "protocol": "TCP", "port": self.port},
                {"name": "metrics", "protocol": "TCP", "port": self.metrics_port},
            ],
        })
    }
}
