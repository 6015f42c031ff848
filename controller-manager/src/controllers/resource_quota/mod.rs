//! Resource quotas: how much of each a namespace uses, counted again.
//!
//! Upstream: `pkg/controller/resourcequota`. The API server charges a request before it stores the object, so usage
//! only ever has to be corrected: for a new quota, when something is deleted or ends, and every few minutes. *Observe*
//! ([`measure`]) asks the server for what a namespace holds, *plan* ([`plan`]) compares, *apply* writes the status by
//! compare-and-swap. [`monitors`] notice what frees something.
//!
//! What was charged a moment ago may not be stored yet, and would be missed. So usage that falls is believed only when
//! nothing was charged for [`SETTLE`] before it was counted: unlike upstream, no quota is exceeded by that race.

mod measure;
mod monitors;
mod plan;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use http::Method;
use parking_lot::Mutex;
use skiff_apimachinery::json;
use skiff_apimachinery::value::Value;
use skiff_client::resource::Kind;
use skiff_client::types::ResourceQuota;
use skiff_client::{Event, Informer, ObjectKey, Workqueue, objects};
use tokio::sync::Notify;

use self::plan::{Plan, plan};
use crate::context::Context;
use crate::control_loop::{self, Next, Reconciler};

const NAME: &str = "resourcequota-controller";
/// How often every quota is counted again whatever happens (upstream's `--resource-quota-sync-period`).
const RESYNC: Duration = Duration::from_secs(300);
/// Longer than the API server takes from charging an object to storing it.
const SETTLE: Duration = Duration::from_millis(250);

struct Controller {
    context: Context,
    quotas: Informer<ResourceQuota>,
    queue: Workqueue<ObjectKey>,
    /// The version of each quota in which something was missing, and since when it has been that.
    unsettled: Mutex<HashMap<ObjectKey, (String, Instant)>>,
    /// Wakes those who look after the monitors: a quota may be about a kind that none was about before.
    changed: Notify,
}

/// Runs the quota controller.
pub async fn run(context: Context) -> anyhow::Result<()> {
    let controller = Arc::new(Controller {
        quotas: context.informer(),
        queue: Workqueue::new(),
        unsettled: Mutex::default(),
        changed: Notify::new(),
        context: context.clone(),
    });
    let owner = controller.clone();
    controller.quotas.add_handler(move |event| owner.quota_changed(event));
    if !context.synced(&controller.quotas).await {
        return Ok(());
    }
    let monitors = tokio::spawn(monitors::run(controller.clone()));
    let ended = control_loop::run(NAME, &context, controller.queue.clone(), controller).await;
    monitors.await?;
    ended
}

impl Controller {
    /// Changes of usage alone are the API server's, or our own.
    fn quota_changed(&self, event: Event<'_, ResourceQuota>) {
        let quota = event.object();
        match event {
            Event::Updated(old, new) if old.spec == new.spec => return,
            Event::Deleted(_) => drop(self.unsettled.lock().remove(&ObjectKey::of(&**quota))),
            _ => {}
        }
        self.queue.add(ObjectKey::of(&**quota));
        self.changed.notify_one();
    }

    /// Something in a namespace is gone: its quotas are counted again.
    fn freed(&self, namespace: &str) {
        for quota in self.quotas.list_namespace(namespace) {
            self.queue.add(ObjectKey::of(&*quota));
        }
    }

    /// The quota as it is now. By a list: the role of this controller has no other right to read one.
    async fn read(&self, key: &ObjectKey) -> anyhow::Result<Option<Value>> {
        let path =
            format!("{}?fieldSelector=metadata.name%3D{}", ResourceQuota::RESOURCE.path(&key.namespace), key.name);
        let answer = objects::send(&self.context.client, Method::GET, &path, "application/json", None).await?;
        let list = json::parse(&answer)?;
        Ok(list.array_at(&["items"]).first().cloned())
    }

    /// Whether nothing was charged to this version of the quota for long enough; starts the clock if it is a new one.
    fn has_settled(&self, key: &ObjectKey, version: &str) -> bool {
        let mut unsettled = self.unsettled.lock();
        match unsettled.get(key) {
            Some((seen, since)) if seen == version => since.elapsed() >= SETTLE,
            _ => {
                unsettled.insert(key.clone(), (version.to_owned(), Instant::now()));
                false
            }
        }
    }

    async fn write(&self, key: &ObjectKey, mut quota: Value) -> anyhow::Result<()> {
        quota.set_at(&["apiVersion"], ResourceQuota::RESOURCE.api_version());
        quota.set_at(&["kind"], &*ResourceQuota::RESOURCE.kind);
        let mut body = Vec::new();
        json::write(&quota, &mut body);
        let path = format!("{}/{}/status", ResourceQuota::RESOURCE.path(&key.namespace), key.name);
        let body = Some(("application/json", body));
        objects::send(&self.context.client, Method::PUT, &path, "application/json", body).await?;
        Ok(())
    }
}

#[async_trait::async_trait]
impl Reconciler for Controller {
    type Key = ObjectKey;

    async fn reconcile(&self, key: &ObjectKey) -> anyhow::Result<Next> {
        let Some(mut quota) = self.read(key).await? else { return Ok(Next::Event) };
        let version = quota.str_at(&["metadata", "resourceVersion"]).unwrap_or("").to_owned();
        let settled =
            self.unsettled.lock().get(key).is_some_and(|(seen, since)| *seen == version && since.elapsed() >= SETTLE);
        let measured = measure::usage(&self.context.client, &quota, &key.namespace).await?;
        match plan(&quota, &measured) {
            Plan::Nothing => {}
            // Measured before it had settled: once more.
            Plan::Write { falls: true, .. } if !settled => {
                self.has_settled(key, &version);
                return Ok(Next::After(SETTLE));
            }
            Plan::Write { status, .. } => {
                quota.set_at(&["status"], status);
                self.write(key, quota).await?;
            }
        }
        self.unsettled.lock().remove(key);
        Ok(Next::After(RESYNC))
    }
}
