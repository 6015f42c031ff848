//! Tells every FlowSchema whether the level that it leads to is there, and keeps those that stand.
//!
//! Follows `syncFlowSchemaStatus` of `k8s.io/apiserver/pkg/util/flowcontrol/apf_controller.go`.

use std::sync::atomic::Ordering;
use std::time::Duration;

use skiff_apimachinery::status::Status;
use skiff_apimachinery::value::Value;
use skiff_apimachinery::{time, value};

use super::ApiServer;
use super::bootstrap::Own;
use super::flow_configuration::GROUP;
use crate::cacher::ObjectReader;
use crate::objects::parse;
use crate::registry::store::Write;

/// How often it is looked whether anything has changed.
const PERIOD: Duration = Duration::from_secs(1);
const DANGLING: &str = "Dangling";

impl ApiServer {
    /// Looks after schemas and levels whenever one has changed, until shutdown.
    pub(super) async fn keep_flow_configuration(&self) {
        let mut judged = None;
        loop {
            let now = (
                self.cacher.generation(GROUP, "flowschemas"),
                self.cacher.generation(GROUP, "prioritylevelconfigurations"),
            );
            if judged != Some(now) {
                match self.look_after_flows().await {
                    Ok(()) => judged = Some(now),
                    Err(error) => {
                        tracing::warn!(%error, "the flow configuration could not be looked after; trying again")
                    }
                }
            }
            tokio::select! {
                () = tokio::time::sleep(PERIOD) => {}
                () = self.shutdown.cancelled() => return,
            }
        }
    }

    async fn look_after_flows(&self) -> Result<(), Status> {
        // Before, they are still being made.
        if self.health.bootstrapped.load(Ordering::Relaxed) {
            self.ensure_flow_configuration().await?;
        }
        self.judge_flow_schemas().await
    }

    /// Writes the condition of every schema that does not have the right one.
    pub async fn judge_flow_schemas(&self) -> Result<(), Status> {
        for schema in self.cacher.list(GROUP, "flowschemas", "") {
            let Some(schema) = parse(&schema) else { continue };
            let level = schema.str_at(&["spec", "priorityLevelConfiguration", "name"]).unwrap_or("");
            let exists = self.cacher.get(GROUP, "prioritylevelconfigurations", "", level).is_some();
            let wanted = condition(level, exists, &time::format(jiff::Timestamp::now()));
            if !has(&schema, &wanted) {
                self.write_condition(&schema, &wanted).await?;
            }
        }
        Ok(())
    }

    async fn write_condition(&self, schema: &Value, wanted: &Value) -> Result<(), Status> {
        let own = Own::new(schema);
        let transform = |current: Option<&Value>| {
            let mut new = current.unwrap_or(schema).clone();
            let others = new.array_at(&["status", "conditions"]).iter();
            let others = others.filter(|c| c.str_at(&["type"]) != Some(DANGLING)).cloned();
            let conditions = std::iter::once(wanted.clone()).chain(others).collect::<Vec<_>>();
            new.set_at(&["status", "conditions"], conditions);
            Ok(new)
        };
        let write = Write { subresource: "status", ..own.write() };
        match self.store(GROUP, "flowschemas")?.update(&write, &transform).await {
            // It has gone in the meantime.
            Err(error) if error.code == 404 => Ok(()),
            other => other.map(drop),
        }
    }
}

/// What is said of a schema that leads to this level.
pub(super) fn condition(level: &str, exists: bool, now: &str) -> Value {
    let (status, reason, end) =
        if exists { ("False", "Found", "it exists") } else { ("True", "NotFound", "there is no such object") };
    let message = format!(
        "This FlowSchema references the PriorityLevelConfiguration object named {level:?} {} {end}",
        if exists { "and" } else { "but" }
    );
    value!({
        "type": DANGLING,
        "status": status,
        "lastTransitionTime": now,
        "reason": reason,
        "message": message
    })
}

fn has(schema: &Value, wanted: &Value) -> bool {
    let mut conditions = schema.array_at(&["status", "conditions"]).iter();
    conditions.any(|c| ["type", "status", "reason", "message"].iter().all(|field| c.get(field) == wanted.get(field)))
}
