//! The plugins in upstream's order (`pkg/kubeapiserver/options/plugins.go`).

use std::sync::Arc;
use std::time::Instant;

use skiff_apimachinery::status::Status;

use super::certificates::{CertificateApproval, CertificateSigning, CertificateSubjectRestriction};
use super::default_classes::{DefaultIngressClass, DefaultStorageClass};
use super::default_toleration_seconds::DefaultTolerationSeconds;
use super::limit_ranger::LimitRanger;
use super::namespace_lifecycle::NamespaceLifecycle;
use super::node_restriction::NodeRestriction;
use super::persistent_volume_claim_resize::PersistentVolumeClaimResize;
use super::pod_security::PodSecurity;
use super::priority::Priority;
use super::runtime_class::RuntimeClass;
use super::service_account::ServiceAccount;
use super::storage_object_in_use_protection::StorageObjectInUseProtection;
use super::taint_nodes_by_condition::TaintNodesByCondition;
use super::{Plugin, Request};
use crate::authorization::Authorizer;
use crate::metrics::shared::{self, Phase};
use crate::objects::Objects;

/// What plugins need.
#[derive(Clone)]
pub struct AdmissionConfig {
    /// Reads of namespaces, service accounts, classes and so on.
    pub objects: Objects,
    /// Asked where a plugin allows more to those who may.
    pub authorizer: Arc<dyn Authorizer>,
}

/// All plugins, asked one after the other.
#[derive(Clone)]
pub struct AdmissionChain {
    plugins: Arc<[Arc<dyn Plugin>]>,
}

impl AdmissionChain {
    /// The plugins that are on by default, and NodeRestriction, which kubeadm turns on. ResourceQuota, which needs the
    /// registry and must be last, is added by whoever has it.
    pub fn default_plugins(config: &AdmissionConfig) -> Self {
        let AdmissionConfig { objects, authorizer } = config;
        Self::new(vec![
            Arc::new(NamespaceLifecycle::new(objects.clone())),
            Arc::new(LimitRanger::new(objects.clone())),
            Arc::new(ServiceAccount::new(objects.clone())),
            Arc::new(NodeRestriction::new(objects.clone(), authorizer.clone())),
            Arc::new(TaintNodesByCondition),
            Arc::new(PodSecurity::new(objects.clone())),
            Arc::new(Priority::new(objects.clone())),
            Arc::new(DefaultTolerationSeconds),
            Arc::new(DefaultStorageClass::new(objects.clone())),
            Arc::new(StorageObjectInUseProtection),
            Arc::new(PersistentVolumeClaimResize::new(objects.clone())),
            Arc::new(RuntimeClass::new(objects.clone())),
            Arc::new(CertificateApproval::new(authorizer.clone())),
            Arc::new(CertificateSigning::new(authorizer.clone())),
            Arc::new(CertificateSubjectRestriction),
            Arc::new(DefaultIngressClass::new(objects.clone())),
        ])
    }

    /// These plugins, in this order.
    pub fn new(plugins: Vec<Arc<dyn Plugin>>) -> Self {
        Self { plugins: plugins.into() }
    }

    /// The plugins in order.
    pub fn plugins(&self) -> &[Arc<dyn Plugin>] {
        &self.plugins
    }
}

/// Lets every plugin change the object; the first refusal ends it. When one asks for it, all are asked once more
/// (`k8s.io/apiserver/pkg/admission/reinvocation.go`).
pub async fn admit(plugins: &[Arc<dyn Plugin>], request: &mut Request<'_>) -> Result<(), Status> {
    ask(plugins, Phase::Admit, request).await?;
    if request.reinvocation.is_wanted() {
        request.reinvocation.begin();
        ask(plugins, Phase::Admit, request).await?;
    }
    Ok(())
}

/// Asks every plugin once more when the object is as it will be stored.
pub async fn validate(plugins: &[Arc<dyn Plugin>], request: &mut Request<'_>) -> Result<(), Status> {
    ask(plugins, Phase::Validate, request).await
}

/// Asks those who want the request, and counts how long they take.
async fn ask(plugins: &[Arc<dyn Plugin>], phase: Phase, request: &mut Request<'_>) -> Result<(), Status> {
    let begun = Instant::now();
    let mut last = begun;
    let mut outcome = Ok(());
    for plugin in plugins {
        if !wants(plugin, request) {
            continue;
        }
        outcome = match phase {
            Phase::Admit => plugin.admit(request).await,
            Phase::Validate => plugin.validate(request).await,
        };
        let now = Instant::now();
        shared::plugin(plugin.name(), request.operation, phase, outcome.is_err(), now - last);
        last = now;
        if outcome.is_err() {
            break;
        }
    }
    shared::step(request.operation, phase, outcome.is_err(), last - begun);
    outcome
}

fn wants(plugin: &Arc<dyn Plugin>, request: &Request<'_>) -> bool {
    plugin.handles(request.operation, request.group, request.resource, request.subresource)
}
