//! All controllers, in one visible list.

use std::future::Future;
use std::pin::Pin;

use crate::context::Context;

pub mod bootstrap_tokens;
pub mod certificates;
pub mod cluster_role_aggregation;
pub mod cronjob;
pub mod daemonset;
pub mod deployment;
pub mod disruption;
pub mod endpoints;
pub mod endpointslice;
pub mod endpointslice_mirroring;
pub mod ephemeral_volume;
pub mod garbage_collector;
pub mod job;
pub mod namespace;
pub mod node_ipam;
pub mod node_lifecycle;
pub mod pod_gc;
pub mod replicaset;
pub mod resource_quota;
pub mod root_ca;
pub mod service_account_tokens;
pub mod serviceaccount;
pub mod statefulset;
pub mod taint_eviction;
pub mod ttl_after_finished;
pub mod validating_admission_policy_status;
pub mod volume_binder;
pub mod volume_protection;

/// A running controller.
pub type Running = Pin<Box<dyn Future<Output = anyhow::Result<()>> + Send>>;

/// A controller that can be started.
pub struct Descriptor {
    /// Upstream's name of it, as `--controllers` takes it.
    pub name: &'static str,
    /// The ServiceAccount of kube-system that it acts as, upstream's name of its rights (`system:controller:NAME`); empty
    /// for the controller manager itself.
    pub account: &'static str,
    /// Starts it; the future runs until shutdown.
    pub start: fn(Context) -> Running,
}

macro_rules! descriptor {
    ($name:literal as $account:literal, $start:expr) => {
        Descriptor { name: $name, account: $account, start: |context| Box::pin($start(context)) }
    };
}

/// Every controller there is.
pub const ALL: &[Descriptor] = &[
    descriptor!("endpoints-controller" as "endpoint-controller", endpoints::run),
    descriptor!("endpointslice-controller" as "endpointslice-controller", endpointslice::run),
    descriptor!("endpointslice-mirroring-controller" as "endpointslicemirroring-controller", endpointslice_mirroring::run),
    descriptor!("deployment-controller" as "deployment-controller", deployment::run),
    descriptor!("replicaset-controller" as "replicaset-controller", replicaset::run_replica_sets),
    descriptor!("replicationcontroller-controller" as "replication-controller", replicaset::run_replication_controllers),
    descriptor!("disruption-controller" as "disruption-controller", disruption::run),
    descriptor!("garbage-collector-controller" as "generic-garbage-collector", garbage_collector::run),
    descriptor!("statefulset-controller" as "statefulset-controller", statefulset::run),
    descriptor!("daemonset-controller" as "daemon-set-controller", daemonset::run),
    descriptor!("job-controller" as "job-controller", job::run),
    descriptor!("cronjob-controller" as "cronjob-controller", cronjob::run),
    descriptor!("resourcequota-controller" as "resourcequota-controller", resource_quota::run),
    descriptor!("namespace-controller" as "namespace-controller", namespace::run),
    descriptor!("serviceaccount-controller" as "service-account-controller", serviceaccount::run),
    descriptor!("serviceaccount-token-controller" as "", service_account_tokens::run),
    descriptor!("root-ca-certificate-publisher-controller" as "root-ca-cert-publisher", root_ca::run),
    descriptor!("node-ipam-controller" as "node-controller", node_ipam::run),
    descriptor!("node-lifecycle-controller" as "node-controller", node_lifecycle::run),
    descriptor!("taint-eviction-controller" as "node-controller", taint_eviction::run),
    descriptor!("pod-garbage-collector-controller" as "pod-garbage-collector", pod_gc::run),
    descriptor!("clusterrole-aggregation-controller" as "clusterrole-aggregation-controller", cluster_role_aggregation::run),
    descriptor!("ephemeral-volume-controller" as "ephemeral-volume-controller", ephemeral_volume::run),
    descriptor!("persistentvolume-binder-controller" as "persistent-volume-binder", volume_binder::run),
    descriptor!("persistentvolumeclaim-protection-controller" as "pvc-protection-controller", volume_protection::run_claims),
    descriptor!("persistentvolume-protection-controller" as "pv-protection-controller", volume_protection::run_volumes),
    descriptor!("volumeattributesclass-protection-controller" as "volumeattributesclass-protection-controller", volume_protection::run_classes),
    descriptor!("certificatesigningrequest-approving-controller" as "certificate-controller", certificates::approver::run),
    descriptor!("certificatesigningrequest-signing-controller" as "certificate-controller", certificates::signer::run),
    descriptor!("certificatesigningrequest-cleaner-controller" as "certificate-controller", certificates::cleaner::run),
    descriptor!("bootstrap-signer-controller" as "bootstrap-signer", bootstrap_tokens::signer::run),
    descriptor!("token-cleaner-controller" as "token-cleaner", bootstrap_tokens::cleaner::run),
    descriptor!("validatingadmissionpolicy-status-controller" as "validatingadmissionpolicy-status-controller", validating_admission_policy_status::run),
    descriptor!("ttl-after-finished-controller" as "ttl-after-finished-controller", ttl_after_finished::run),
];

#[cfg(test)]
mod tests {
    use super::ALL;

    #[test]
    fn names_are_unique() {
        let mut names: Vec<_> = ALL.iter().map(|descriptor| descriptor.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), ALL.len());
    }
}
