//! What must exist before anybody comes: namespaces, roles, priority classes, the `kubernetes` Service.
//!
//! Follows the post-start hooks of `pkg/controlplane` and `pkg/registry/{rbac,scheduling}/rest`. Everything is written
//! through the same stores as requests are; what exists is left alone or completed.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures::future::BoxFuture;
use futures::{StreamExt, TryStreamExt};
use sha2::{Digest, Sha256};
use skiff_apimachinery::status::Status;
use skiff_apimachinery::value;
use skiff_apimachinery::value::Value;
use skiff_apimachinery::{meta, time};

use super::ApiServer;
use crate::authentication::UserInfo;
use crate::authorization::bootstrap::{self, Reconciliation};
use crate::context::Warnings;
use crate::registry::deletion::DeleteOptions;
use crate::registry::others::policy::SYSTEM_CLASSES;
use crate::registry::store::{Store, Write};

const NAMESPACES: [&str; 4] = ["default", "kube-system", "kube-public", "kube-node-lease"];
/// How often what must exist is looked after.
const PERIOD: Duration = Duration::from_secs(60);
/// Pause after a failure.
const RETRY: Duration = Duration::from_secs(1);
/// Roles and bindings that are written at the same time.
const PARALLEL_WRITES: usize = 64;
const SERVICE: &str = "kubernetes";
/// The server's own identity.
const OWN_USER: &str = "system:apiserver";

impl ApiServer {
    /// Makes what must exist, and looks after it until shutdown. `/readyz` waits for the first success.
    pub async fn keep_bootstrapped(self: Arc<Self>) {
        tokio::join!(self.keep_made(), self.keep_flow_configuration());
    }

    async fn keep_made(&self) {
        loop {
            let ready = self.health.bootstrapped.load(Ordering::Relaxed);
            let done = if ready { self.look_after().await } else { self.bootstrap().await };
            let pause = match done {
                Ok(()) => PERIOD,
                Err(error) => {
                    tracing::warn!(%error, "what must exist could not be made; trying again");
                    RETRY
                }
            };
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = self.shutdown.cancelled() => return,
            }
        }
    }

    /// Makes what must exist and does not.
    pub async fn bootstrap(&self) -> Result<(), Status> {
        self.look_after().await?;
        // Side by side, so that the store can commit many at once.
        let roles = bootstrap::objects();
        let mut writes: Vec<BoxFuture<'_, Result<(), Status>>> = Vec::with_capacity(roles.len());
        for role in &roles {
            writes.push(Box::pin(self.reconcile_role(role)));
        }
        futures::stream::iter(writes).buffer_unordered(PARALLEL_WRITES).try_collect::<()>().await?;
        for (name, value) in SYSTEM_CLASSES {
            self.ensure("scheduling.k8s.io", "priorityclasses", priority_class(name, *value)).await?;
        }
        self.ensure_standing().await?;
        self.health.bootstrapped.store(true, Ordering::Relaxed);
        Ok(())
    }

    /// Makes again what somebody may have deleted, and says that this server is there.
    async fn look_after(&self) -> Result<(), Status> {
        for name in NAMESPACES {
            let namespace = value!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}});
            self.ensure("", "namespaces", namespace).await?;
        }
        for published in &self.published {
            self.write("", "configmaps", published.clone()).await?;
        }
        self.write("coordination.k8s.io", "leases", identity_lease()).await?;
        self.ensure("networking.k8s.io", "servicecidrs", self.service_cidr()).await?;
        self.ensure("", "services", self.kubernetes_service()).await?;
        self.write_address("", "endpoints", self.kubernetes_endpoints()).await?;
        self.write_address("discovery.k8s.io", "endpointslices", self.kubernetes_slice()).await
    }

    /// Publishes this server's address. One that may not stand there, such as a loopback, leaves the Service without an
    /// endpoint, as with upstream, and keeps nothing else back.
    async fn write_address(&self, group: &str, resource: &str, object: Value) -> Result<(), Status> {
        match self.write(group, resource, object).await {
            Err(error) if error.reason == "Invalid" => {
                tracing::warn!(resource, error = %error.message, "the server's address cannot be published");
                Ok(())
            }
            other => other,
        }
    }

    pub(super) fn store(&self, group: &str, resource: &str) -> Result<&Arc<Store>, Status> {
        self.registry.store(group, resource).ok_or_else(|| {
            skiff_apimachinery::status::internal_error(format!("{resource} of group {group:?} are not stored here"))
        })
    }

    /// Creates an object unless there is one of its name.
    pub(crate) async fn ensure(&self, group: &str, resource: &str, mut object: Value) -> Result<(), Status> {
        let store = self.store(group, resource)?;
        if store.exists(meta::namespace(&object), meta::name(&object)).await? {
            return Ok(());
        }
        store.set_defaults(&mut object);
        let own = Own::new(&object);
        match store.create(&own.write(), object).await {
            Err(error) if error.reason == "AlreadyExists" => Ok(()),
            other => other.map(drop),
        }
    }

    /// Creates an object, or makes the one that exists say the same.
    async fn write(&self, group: &str, resource: &str, mut object: Value) -> Result<(), Status> {
        self.ensure(group, resource, object.clone()).await?;
        let store = self.store(group, resource)?;
        store.set_defaults(&mut object);
        let own = Own::new(&object);
        let transform = |current: Option<&Value>| {
            let mut new = current.cloned().unwrap_or_else(|| object.clone());
            for (field, value) in object.as_object().into_iter().flat_map(|o| o.iter()) {
                if field == "data" {
                    // Others add entries, such as signatures.
                    for (key, text) in value.as_object().into_iter().flat_map(|data| data.iter()) {
                        new.set_at(&["data", key], text.clone());
                    }
                } else if field != "metadata" {
                    new.set_at(&[field], value.clone());
                }
            }
            let labels = object.at(&["metadata", "labels"]).and_then(Value::as_object);
            for (key, value) in labels.into_iter().flat_map(|l| l.iter()) {
                new.set_at(&["metadata", "labels", key], value.clone());
            }
            Ok(new)
        };
        store.update(&own.write(), &transform).await.map(drop)
    }

    async fn reconcile_role(&self, expected: &Value) -> Result<(), Status> {
        let resource = match expected.str_at(&["kind"]) {
            Some("ClusterRole") => "clusterroles",
            Some("ClusterRoleBinding") => "clusterrolebindings",
            Some("Role") => "roles",
            _ => "rolebindings",
        };
        const GROUP: &str = "rbac.authorization.k8s.io";
        let store = self.store(GROUP, resource)?;
        let (namespace, name) = (meta::namespace(expected), meta::name(expected));
        let existing = match store.get(namespace, name, "").await {
            Ok(json) => store.parse_stored(&json)?,
            Err(error) if error.code == 404 => {
                return self.ensure(GROUP, resource, expected.clone()).await;
            }
            Err(error) => return Err(error),
        };
        let own = Own::new(expected);
        match bootstrap::reconcile(&existing, expected) {
            Reconciliation::Keep => Ok(()),
            Reconciliation::Update(object) => {
                store.update(&own.write(), &|_: Option<&Value>| Ok(object.clone())).await.map(drop)
            }
            Reconciliation::Recreate => {
                store.delete(&own.write(), &DeleteOptions::default()).await?;
                self.ensure(GROUP, resource, expected.clone()).await
            }
        }
    }

    /// The address of the `kubernetes` Service: the first of the range.
    fn service_ip(&self) -> String {
        let first = u32::from(self.settings.service_cidr.network()) + 1;
        std::net::Ipv4Addr::from(first).to_string()
    }

    fn service_cidr(&self) -> Value {
        value!({
            "apiVersion": "networking.k8s.io/v1",
            "kind": "ServiceCIDR",
            "metadata": {"name": SERVICE, "finalizers": ["networking.k8s.io/service-cidr-finalizer"]},
            "spec": {"cidrs": [(self.settings.service_cidr.to_string())]}
        })
    }

    fn kubernetes_service(&self) -> Value {
        value!({
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {
                "name": SERVICE, "namespace": "default",
                "labels": {"component": "apiserver", "provider": "kubernetes"}
            },
            "spec": {
                "type": "ClusterIP",
                "clusterIP": (self.service_ip()),
                "sessionAffinity": "None",
                "ports": [{
                    "name": "https", "port": 443, "protocol": "TCP",
                    "targetPort": (self.settings.advertise_port)
                }]
            }
        })
    }

    fn kubernetes_endpoints(&self) -> Value {
        value!({
            "apiVersion": "v1",
            "kind": "Endpoints",
            "metadata": {
                "name": SERVICE, "namespace": "default",
                "labels": {"endpointslice.kubernetes.io/skip-mirror": "true"}
            },
            "subsets": [{
                "addresses": [{"ip": (self.settings.advertise_address.to_string())}],
                "ports": [{"name": "https", "port": (self.settings.advertise_port), "protocol": "TCP"}]
            }]
        })
    }

    fn kubernetes_slice(&self) -> Value {
        let family = match self.settings.advertise_address {
            IpAddr::V4(_) => "IPv4",
            IpAddr::V6(_) => "IPv6",
        };
        value!({
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": {
                "name": SERVICE, "namespace": "default",
                "labels": {"kubernetes.io/service-name": "kubernetes"}
            },
            "addressType": family,
            "endpoints": [{
                "addresses": [(self.settings.advertise_address.to_string())],
                "conditions": {"ready": true}
            }],
            "ports": [{"name": "https", "port": (self.settings.advertise_port), "protocol": "TCP"}]
        })
    }
}

/// Says that this server is there (`apiserver-HASH` in kube-system), for an hour from now.
fn identity_lease() -> Value {
    const DURATION_SECONDS: i64 = 3600;
    const HASH_CHARACTERS: usize = 26;
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default().trim().to_owned();
    let digest = Sha256::digest(host.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let name = format!("apiserver-{}", &digest[..HASH_CHARACTERS]);
    value!({
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": {
            "name": (name.as_str()), "namespace": "kube-system",
            "labels": {"apiserver.kubernetes.io/identity": "kube-apiserver", "kubernetes.io/hostname": host}
        },
        "spec": {
            "holderIdentity": name,
            "leaseDurationSeconds": DURATION_SECONDS,
            "renewTime": (time::format_micro(jiff::Timestamp::now()))
        }
    })
}

fn priority_class(name: &str, value: i64) -> Value {
    let description = if name == "system-node-critical" {
        "Used for system critical pods that must not be moved from their current node."
    } else {
        "Used for system critical pods that must run in the cluster, but can be moved to another node if necessary."
    };
    value!({
        "apiVersion": "scheduling.k8s.io/v1",
        "kind": "PriorityClass",
        "metadata": {"name": name, "creationTimestamp": (time::format(jiff::Timestamp::now()))},
        "value": value,
        "description": description
    })
}

/// A write by the server itself, which no admission plugin sees.
pub(crate) struct Own {
    user: Arc<UserInfo>,
    warnings: Warnings,
    namespace: String,
    name: String,
}

impl Own {
    pub(crate) fn new(object: &Value) -> Self {
        let user = UserInfo {
            name: OWN_USER.to_owned(),
            groups: vec!["system:masters".to_owned(), "system:authenticated".to_owned()],
            ..UserInfo::default()
        };
        Self {
            user: Arc::new(user),
            warnings: Warnings::default(),
            namespace: meta::namespace(object).to_owned(),
            name: meta::name(object).to_owned(),
        }
    }

    pub(crate) fn write(&self) -> Write<'_> {
        Write {
            admission: &[],
            user: &self.user,
            warnings: &self.warnings,
            group: None,
            version: "v1",
            subresource: "",
            namespace: &self.namespace,
            name: &self.name,
            dry_run: false,
            force_create: false,
            uid_is_precondition: true,
            asked: None,
        }
    }
}
