//! How many pods the controllers of some pods want in sum.

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::{Context as _, bail};
use serde::Deserialize;
use skiff_client::types::{
    Deployment, HasMeta, OwnerReference, PartialObject, Pod, ReplicaSet, ReplicationController, StatefulSet,
};
use skiff_client::{Informer, errors, objects};

use crate::context::Context;
use crate::discovery;
use crate::ownership::owner_of;

/// Where the scale of controllers is read from.
pub(super) struct Scales {
    context: Context,
    pub(super) deployments: Informer<Deployment>,
    pub(super) replica_sets: Informer<ReplicaSet>,
    pub(super) replication_controllers: Informer<ReplicationController>,
    pub(super) stateful_sets: Informer<StatefulSet>,
}

/// The scale of all controllers, each counted once.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Sum {
    /// Pods that the controllers want.
    pub pods: i32,
    /// Whether there are pods without a controller.
    pub unmanaged: bool,
}

/// `autoscaling/v1 Scale`, as far as it is read here.
#[derive(Deserialize)]
struct Scale {
    #[serde(flatten)]
    object: PartialObject,
    #[serde(default)]
    spec: ScaleSpec,
}

#[derive(Default, Deserialize)]
struct ScaleSpec {
    #[serde(default)]
    replicas: i32,
}

impl Scales {
    pub(super) fn new(context: Context) -> Self {
        Self {
            deployments: context.informer(),
            replica_sets: context.informer(),
            replication_controllers: context.informer(),
            stateful_sets: context.informer(),
            context,
        }
    }

    /// Waits until all are known; `false` if shutdown came first.
    pub(super) async fn synced(&self) -> bool {
        self.context.synced(&self.deployments).await
            && self.context.synced(&self.replica_sets).await
            && self.context.synced(&self.replication_controllers).await
            && self.context.synced(&self.stateful_sets).await
    }

    /// Sums up what the controllers of the pods want.
    pub(super) async fn sum(&self, pods: &[Arc<Pod>]) -> anyhow::Result<Sum> {
        // By UID of the pods' own controllers: those that lead to the same controller count once, below.
        let mut looked_up: BTreeMap<&str, (String, i32)> = BTreeMap::new();
        let mut sum = Sum::default();
        for pod in pods {
            let Some(owner) = pod.metadata.controller_of() else {
                sum.unmanaged = true;
                continue;
            };
            if looked_up.contains_key(owner.uid.as_str()) {
                continue;
            }
            let scale = match self.cached(pod) {
                Some(scale) => scale,
                None => self
                    .live(owner, &pod.metadata.namespace)
                    .await?
                    .with_context(|| format!("found no controllers for pod {:?}", pod.metadata.name))?,
            };
            looked_up.insert(&owner.uid, scale);
        }
        let by_controller: BTreeMap<String, i32> = looked_up.into_values().collect();
        sum.pods = by_controller.values().fold(0, |sum, replicas| sum.saturating_add(*replicas));
        Ok(sum)
    }

    /// UID and scale of a pod's controller, if it is of a built-in kind. A Deployment stands for its ReplicaSets.
    fn cached(&self, pod: &Pod) -> Option<(String, i32)> {
        let meta = pod.meta();
        if let Some(set) = owner_of(&self.replica_sets, meta) {
            let of_deployment = set.metadata.controller_of().is_some_and(|owner| owner.kind == "Deployment");
            if !of_deployment {
                return Some((set.metadata.uid.clone(), set.spec.replicas.unwrap_or(1)));
            }
            let deployment = owner_of(&self.deployments, &set.metadata)?;
            return Some((deployment.metadata.uid.clone(), deployment.spec.replicas.unwrap_or(1)));
        }
        if let Some(controller) = owner_of(&self.replication_controllers, meta) {
            return Some((controller.metadata.uid.clone(), controller.spec.replicas.unwrap_or(1)));
        }
        let set = owner_of(&self.stateful_sets, meta)?;
        Some((set.metadata.uid.clone(), set.spec.replicas.unwrap_or(1)))
    }

    /// UID and scale of any controller with a scale subresource; `None` if it is gone.
    async fn live(&self, owner: &OwnerReference, namespace: &str) -> anyhow::Result<Option<(String, i32)>> {
        let (group, _) = owner.api_version.rsplit_once('/').unwrap_or(("", &owner.api_version));
        let client = &self.context.client;
        let discovered = discovery::discover(client).await?;
        let mut resources = discovered.resources.into_iter().map(|one| one.resource);
        let Some(resource) = resources.find(|one| one.group == group && one.kind == owner.kind) else {
            bail!("no matches for kind {:?} in version {:?}", owner.kind, owner.api_version);
        };
        let object = format!("{}/{}", resource.path(namespace), owner.name);
        let scale = objects::request::<Scale>(client, http::Method::GET, &format!("{object}/scale"), None).await;
        match scale {
            Ok(scale) if scale.object.metadata.uid == owner.uid => {
                Ok(Some((scale.object.metadata.uid, scale.spec.replicas)))
            }
            Ok(_) => Ok(None),
            // Not found is the object, or that its kind has no scale.
            Err(error) if errors::is_not_found(&error) => {
                match objects::request::<PartialObject>(client, http::Method::GET, &object, None).await {
                    Err(error) if errors::is_not_found(&error) => Ok(None),
                    Err(error) => Err(error.into()),
                    Ok(_) => bail!("{resource} does not implement the scale subresource"),
                }
            }
            Err(error) => Err(error.into()),
        }
    }
}
