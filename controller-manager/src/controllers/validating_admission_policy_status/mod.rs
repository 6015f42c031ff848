//! Tells the authors of ValidatingAdmissionPolicies where their expressions cannot fit the objects that they are about:
//! `status.typeChecking`.
//!
//! The expressions were compiled without knowing objects when the policy was written. Here they are compiled again, for
//! each kind that the policy names, with the types that the API's schemas declare. Nothing else depends on what is found.
//!
//! Upstream: `pkg/controller/validatingadmissionpolicystatus`, and `typechecking.go` of the admission plugin.

mod kinds;
mod plan;
mod schema;

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::Context as _;
use http::Method;
use serde_json::json;
use skiff_cel::declared::Declared;
use skiff_client::types::{PartialObject, ValidatingAdmissionPolicy};
use skiff_client::{Informer, Kind, Workqueue, errors, objects};

use self::kinds::GroupVersionKind;
use self::schema::Document;
use crate::context::Context;
use crate::control_loop::{self, Next, Reconciler};
use crate::discovery;

const NAME: &str = "validatingadmissionpolicy-status-controller";
/// Under which name the status is written.
const MANAGER: &str = "validatingadmissionpolicy-status";

struct Controller {
    context: Context,
    policies: Informer<ValidatingAdmissionPolicy>,
}

/// Runs the controller.
pub async fn run(context: Context) -> anyhow::Result<()> {
    let controller = Arc::new(Controller { policies: context.informer(), context: context.clone() });
    if !context.synced(&controller.policies).await {
        return Ok(());
    }
    let queue = Workqueue::new();
    let to = queue.clone();
    controller.policies.add_handler(move |event| to.add(event.object().metadata.name.clone()));
    control_loop::run(NAME, &context, queue, controller).await
}

impl Controller {
    /// The types of kinds, as far as the server describes them. Each group version's description is read once, and
    /// only one is held at a time.
    async fn types(&self, kinds: &[GroupVersionKind]) -> anyhow::Result<BTreeMap<GroupVersionKind, Arc<Declared>>> {
        let mut versions: BTreeMap<String, Vec<GroupVersionKind>> = BTreeMap::new();
        for kind in kinds {
            versions.entry(kind.document()).or_default().push(kind.clone());
        }
        let mut found = BTreeMap::new();
        for (path, kinds) in versions {
            let answer = objects::send(&self.context.client, Method::GET, &path, "application/json", None).await;
            let answer = match answer {
                Err(error) if errors::is_not_found(&error) => continue,
                answer => answer?,
            };
            let types = tokio::task::spawn_blocking(move || {
                let document = Document::parse(&answer)?;
                let types = kinds.into_iter().filter_map(|kind| {
                    let ty = document.declared(&kind)?;
                    Some((kind, Arc::new(ty)))
                });
                anyhow::Ok(types.collect::<Vec<_>>())
            });
            found.extend(types.await?.with_context(|| format!("cannot read {path}"))?);
        }
        Ok(found)
    }
}

#[async_trait::async_trait]
impl Reconciler for Controller {
    type Key = String;

    async fn reconcile(&self, name: &String) -> anyhow::Result<Next> {
        let Some(policy) = self.policies.get_by_name("", name) else { return Ok(Next::Event) };
        let generation = policy.metadata.generation;
        if generation <= policy.status.observed_generation {
            return Ok(Next::Event);
        }
        let known = discovery::kinds(&self.context.client).await?;
        let mut wanted = kinds::of_policy(&policy.spec.match_constraints, &known);
        let params = policy.spec.param_kind.as_ref().and_then(kinds::of_params);
        wanted.extend(params.clone());
        let types = self.types(&wanted).await?;
        wanted.truncate(wanted.len() - usize::from(params.is_some()));
        let warnings =
            tokio::task::spawn_blocking(move || plan::warnings(&policy.spec, &wanted, params.as_ref(), &types)).await?;
        let resource = ValidatingAdmissionPolicy::RESOURCE;
        let checking = if warnings.is_empty() { json!({}) } else { json!({ "expressionWarnings": warnings }) };
        let body = serde_json::to_vec(&json!({
            "apiVersion": resource.api_version(),
            "kind": resource.kind,
            "metadata": {"name": name},
            "status": {"observedGeneration": generation, "typeChecking": checking},
        }))?;
        // Applied by force, so that the status has one owner, as with upstream.
        let path = format!("{}/{name}/status?fieldManager={MANAGER}&force=true", resource.path(""));
        let body = Some(("application/apply-patch+yaml", body));
        let applied = objects::request::<PartialObject>(&self.context.client, Method::PATCH, &path, body).await;
        control_loop::unless_gone(applied)?;
        Ok(Next::Event)
    }
}
