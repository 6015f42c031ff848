//! pods/eviction: deletion that PodDisruptionBudgets may refuse.
//!
//! Follows `pkg/registry/core/pod/storage/eviction.go`.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use http::{Request, StatusCode};
use skiff_apimachinery::status::{self, Status, StatusCause};
use skiff_apimachinery::value;
use skiff_apimachinery::value::Value;
use skiff_apimachinery::{json, meta, time};

use super::bind::set_condition;
use super::params::{WriteOptions, delete_options};
use super::{Call, delete};
use crate::admission::Operation;
use crate::body::{self, Expected};
use crate::cacher::{Freshness, ListRequest, ListRevision, Predicate};
use crate::negotiation;
use crate::query::Query;
use crate::registry::core::validation::label_selector;
use crate::registry::deletion::DeleteOptions;
use crate::registry::store::Store;
use crate::response::Response;

/// Pods that a budget remembers as disrupted before it refuses more.
const MAX_DISRUPTED_PODS: usize = 2000;

/// How often an eviction is tried when others change the pod (`EvictionsRetry`), and how long after each other.
const MAX_ATTEMPTS: u32 = 20;
const RETRY_AFTER: Duration = Duration::from_millis(10);

/// Evicts a pod.
pub async fn evict(call: &Call<'_>, request: Request<Body>) -> Result<Response, Status> {
    let output = call.output(false)?;
    let name = call.cx.info.name.as_str();
    let (options, write_options) = read(call, request).await?;
    let pods = call.store()?;
    let dry_run = write_options.dry_run || options.dry_run;
    let options = DeleteOptions { dry_run, ..options };
    let Some(pod) = evict_without_budget(call, pods, &options).await? else {
        return delete::success(call, output, StatusCode::CREATED, None);
    };
    let budgets = matching_budgets(call, &pod).await?;
    let options = match budgets.as_slice() {
        [] => options,
        [budget] => match decide(&pod, budget) {
            Verdict::IgnoreBudget => {
                let version = meta::resource_version(&pod).to_owned();
                DeleteOptions { resource_version: options.resource_version.clone().or(Some(version)), ..options }
            }
            Verdict::AskBudget => {
                decrement(call, &pod, meta::name(budget), dry_run).await?;
                options
            }
        },
        _ => {
            let message =
                "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support.";
            return Err(Status::new(500, "InternalError", message));
        }
    };
    condition_and_delete(call, pods, &options).await?;
    tracing::debug!(pod = name, "evicted");
    delete::success(call, output, StatusCode::CREATED, None)
}

/// Evicts a pod that disrupts nobody because it has ended or never ran; returns it if that is not so. Who changes the
/// pod meanwhile may have started it, so it is looked at again.
async fn evict_without_budget(call: &Call<'_>, pods: &Store, options: &DeleteOptions) -> Result<Option<Value>, Status> {
    let asked_for_version = options.resource_version.is_some();
    for attempt in 1..=MAX_ATTEMPTS {
        let pod = pod(call, pods).await?;
        if !needs_no_budget(&pod) {
            return Ok(Some(pod));
        }
        let version = meta::resource_version(&pod).to_owned();
        let must_match = !matches!(pod.str_at(&["status", "phase"]), Some("Succeeded" | "Failed"));
        let resource_version = options.resource_version.clone().or(must_match.then_some(version));
        let options = DeleteOptions { resource_version, ..options.clone() };
        match condition_and_delete(call, pods, &options).await {
            Err(changed) if changed.reason == "Conflict" && !asked_for_version && attempt < MAX_ATTEMPTS => {
                tokio::time::sleep(RETRY_AFTER).await;
            }
            other => return other.map(|()| None),
        }
    }
    Ok(None)
}

/// Reads an Eviction of policy/v1 or v1beta1, which are the same.
async fn read(call: &Call<'_>, request: Request<Body>) -> Result<(DeleteOptions, WriteOptions), Status> {
    let encoding = negotiation::body_encoding(&call.cx.content_type, true)?;
    let bytes = body::read(request.into_body()).await?;
    let write_options = WriteOptions::from_query(call.cx, "CreateOptions", false)?;
    let schema = skiff_api::builtin()
        .schema_of("policy", "v1", "Eviction")
        .ok_or_else(|| status::internal_error("no schema for Eviction"))?;
    let is_beta = json::parse(&bytes).is_ok_and(|b| b.str_at(&["apiVersion"]) == Some("policy/v1beta1"));
    let version = if is_beta { "v1beta1" } else { "v1" };
    let expected = Expected { group: "policy", version, kind: "Eviction", schema, pruning: None };
    let mut eviction = body::decode(call.cx, expected, encoding, &bytes, write_options.validation)?;
    if meta::name(&eviction) != call.cx.info.name {
        return Err(status::bad_request("name in URL does not match name in Eviction object"));
    }
    call.admit(Operation::Create, &call.cx.info.name, Some(&mut eviction)).await?;
    let empty = Value::Object(Default::default());
    let options = delete_options(Some(eviction.get("deleteOptions").unwrap_or(&empty)), &Query::default())?;
    Ok((options, write_options))
}

async fn pod(call: &Call<'_>, pods: &Store) -> Result<Value, Status> {
    let info = &call.cx.info;
    pods.parse_stored(&pods.get(&info.namespace, &info.name, "").await?)
}

fn needs_no_budget(pod: &Value) -> bool {
    matches!(pod.str_at(&["status", "phase"]), Some("Succeeded" | "Failed" | "Pending"))
        || meta::deletion_timestamp(pod).is_some()
}

/// The budgets of this pod, as they are now: one that was just made counts.
async fn matching_budgets(call: &Call<'_>, pod: &Value) -> Result<Vec<Value>, Status> {
    let labels = pod.at(&["metadata", "labels"]).cloned().unwrap_or_default();
    let request = ListRequest {
        revision: ListRevision::Fresh(Freshness::Latest),
        predicate: Predicate { namespace: call.cx.info.namespace.clone(), ..Predicate::default() },
        limit: 0,
        start: None,
    };
    let budgets = budgets(call)?;
    let mut matching = Vec::new();
    for budget in budgets.cache.list(&request).await?.objects {
        let budget = budgets.parse_stored(budget.json())?;
        if label_selector::matches(budget.at(&["spec", "selector"]), &labels) {
            matching.push(budget);
        }
    }
    Ok(matching)
}

fn budgets<'a>(call: &Call<'a>) -> Result<&'a Arc<Store>, Status> {
    let store = call.server.registry.store("policy", "poddisruptionbudgets");
    store.ok_or_else(|| status::internal_error("budgets are not stored here"))
}

enum Verdict {
    /// The budget must have room.
    AskBudget,
    /// The pod is not healthy, so that its end costs the application nothing.
    IgnoreBudget,
}

fn decide(pod: &Value, budget: &Value) -> Verdict {
    let conditions = pod.array_at(&["status", "conditions"]);
    let ready =
        conditions.iter().any(|c| c.str_at(&["type"]) == Some("Ready") && c.str_at(&["status"]) == Some("True"));
    if ready {
        return Verdict::AskBudget;
    }
    let always = budget.str_at(&["spec", "unhealthyPodEvictionPolicy"]) == Some("AlwaysAllow");
    let count = |field: &str| budget.i64_at(&["status", field]).unwrap_or(0);
    let healthy = count("currentHealthy") >= count("desiredHealthy") && count("desiredHealthy") > 0;
    if always || healthy { Verdict::IgnoreBudget } else { Verdict::AskBudget }
}

/// Takes one disruption from the budget, by compare-and-swap.
async fn decrement(call: &Call<'_>, pod: &Value, budget_name: &str, dry_run: bool) -> Result<(), Status> {
    let budgets = budgets(call)?;
    let transform = |current: Option<&Value>| match current {
        Some(budget) => disrupted(pod, budget),
        None => Err(budgets.not_found(budget_name)),
    };
    let mut write = call.write(budget_name, dry_run);
    write.subresource = "status";
    write.admission = &[];
    budgets.update(&write, &transform).await.map(drop)
}

fn disrupted(pod: &Value, budget: &Value) -> Result<Value, Status> {
    let (name, count) = (meta::name(budget), |field: &str| budget.i64_at(&["status", field]).unwrap_or(0));
    if count("observedGeneration") < budget.i64_at(&["metadata", "generation"]).unwrap_or(0) {
        let message = "Cannot evict pod as it would violate the pod's disruption budget.";
        let detail = format!("The disruption budget {name} is still being processed by the server.");
        return Err(refused(message, detail, 10));
    }
    let allowed = count("disruptionsAllowed");
    if allowed < 0 {
        return Err(status::forbidden("policy", "poddisruptionbudgets", name, "pdb disruptions allowed is negative"));
    }
    let known = budget.at(&["status", "disruptedPods"]).and_then(Value::as_object).map_or(0, |pods| pods.len());
    if known > MAX_DISRUPTED_PODS {
        let why = "DisruptedPods map too big - too many evictions not confirmed by PDB controller";
        return Err(status::forbidden("policy", "poddisruptionbudgets", name, why));
    }
    if allowed == 0 {
        let message = "Cannot evict pod as it would violate the pod's disruption budget.";
        let detail = format!(
            "The disruption budget {name} needs {} healthy pods and has {} currently",
            count("desiredHealthy"),
            count("currentHealthy")
        );
        return Err(refused(message, detail, 0));
    }
    let mut budget = budget.clone();
    budget.set_at(&["status", "disruptionsAllowed"], allowed - 1);
    let now = time::format(jiff::Timestamp::now());
    budget.set_at(&["status", "disruptedPods", meta::name(pod)], now);
    Ok(budget)
}

fn refused(message: &str, detail: String, retry_after: u32) -> Status {
    let mut refused = status::too_many_requests(message, retry_after);
    refused.details.causes.push(StatusCause {
        reason: "DisruptionBudget".into(),
        message: detail,
        field: String::new(),
    });
    refused
}

/// Says in the pod why it goes, and deletes it.
async fn condition_and_delete(call: &Call<'_>, pods: &Store, options: &DeleteOptions) -> Result<(), Status> {
    let name = call.cx.info.name.as_str();
    let mut options = options.clone();
    if !options.dry_run {
        let transform = |current: Option<&Value>| {
            let Some(pod) = current else {
                return Err(pods.not_found(name));
            };
            if options.uid.as_deref().is_some_and(|uid| uid != meta::uid(pod)) {
                return Err(pods.modified(name));
            }
            if options.resource_version.as_deref().is_some_and(|v| v != meta::resource_version(pod)) {
                return Err(pods.modified(name));
            }
            let mut pod = pod.clone();
            set_condition(
                &mut pod,
                value!({
                    "type": "DisruptionTarget",
                    "status": "True",
                    "reason": "EvictionByEvictionAPI",
                    "message": "Eviction API: evicting",
                    "lastTransitionTime": (time::format(jiff::Timestamp::now()))
                }),
            );
            Ok(pod)
        };
        let mut write = call.write(name, false);
        write.subresource = "status";
        write.admission = &[];
        let written = pods.update(&write, &transform).await?;
        if options.resource_version.is_some() {
            let pod = pods.parse_stored(&written.json)?;
            options.resource_version = Some(meta::resource_version(&pod).to_owned());
        }
    }
    let mut write = call.write(name, options.dry_run);
    write.subresource = "";
    // The eviction itself was admitted; as upstream, the delete that it stands for is not asked about again.
    write.admission = &[];
    pods.delete(&write, &options).await.map(drop)
}
