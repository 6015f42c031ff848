//! What Prometheus sees of the API server, under upstream's names.
//!
//! Every metric that upstream calls stable or beta is here, with its labels. Names follow
//! `k8s.io/apiserver/pkg/endpoints/metrics` and what [`shared`] says.

mod process;
mod requests;
pub mod shared;
mod text;

use std::fmt::Write;
use std::time::Duration;

use http_body::Body as _;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{EncodeLabelSet, text as openmetrics};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use self::process::ProcessMetrics;
pub use self::requests::Asked;
use self::requests::{COMPONENT, Requests, TargetLabels};
use crate::ApiServer;
use crate::request_info::RequestInfo;
use crate::response::Response;
use crate::routes::version;

/// Labels of `apiserver_current_inflight_requests`.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct KindLabels {
    request_kind: &'static str,
}

/// Labels of `apiserver_storage_objects`; `resource` carries the group as upstream's does.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct ResourceLabels {
    resource: String,
}

/// Labels of `kubernetes_build_info`.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct BuildLabels {
    build_date: &'static str,
    compiler: &'static str,
    git_commit: &'static str,
    git_tree_state: &'static str,
    git_version: String,
    go_version: &'static str,
    major: &'static str,
    minor: &'static str,
    platform: String,
}

/// Labels of `apiserver_storage_events_received_total`.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct KindOfResource {
    group: String,
    resource: String,
}

/// Labels of `apiserver_storage_size_bytes`.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct StorageLabels {
    storage_cluster_id: &'static str,
}

/// The server's metrics.
pub struct Metrics {
    registry: Registry,
    requests: Requests,
    watches: Family<TargetLabels, Gauge>,
    in_flight: Family<KindLabels, Gauge>,
    objects: Family<ResourceLabels, Gauge>,
    events: Family<KindOfResource, Counter>,
    size: Family<StorageLabels, Gauge>,
}

impl Metrics {
    /// The metrics, and those that others collect.
    pub fn new(collectors: Vec<Box<dyn Collector>>) -> Self {
        let mut registry = Registry::default();
        collectors.into_iter().for_each(|collector| registry.register_collector(collector));
        let requests = Requests::register(&mut registry);
        let watches = Family::default();
        registry.register(
            "apiserver_longrunning_requests",
            "[STABLE] Gauge of all active long-running apiserver requests broken out by verb, group, version, resource and component",
            Family::clone(&watches),
        );
        let (in_flight, objects) = (Family::default(), Family::default());
        registry.register(
            "apiserver_current_inflight_requests",
            "[STABLE] Requests that are worked on now, by kind",
            Family::clone(&in_flight),
        );
        registry.register("apiserver_storage_objects", "[STABLE] Stored objects by kind", Family::clone(&objects));
        let build = Family::<BuildLabels, Gauge>::default();
        build.get_or_create(&build_labels()).set(1);
        registry.register("kubernetes_build_info", "[BETA] What was built; always 1", build);
        let (events, size) = (Family::default(), Family::default());
        registry.register(
            "apiserver_storage_events_received",
            "[BETA] Changes that the store has told of, by kind",
            Family::clone(&events),
        );
        registry.register(
            "apiserver_storage_size_bytes",
            "[STABLE] Bytes that the database takes",
            Family::clone(&size),
        );
        registry.register_collector(Box::new(ProcessMetrics::default()));
        shared::register(&mut registry);
        Self { registry, requests, watches, in_flight, objects, events, size }
    }

    /// Counts an answered request. `is_served` says whether there is what it asks for.
    pub fn observe(
        &self,
        asked: &Asked,
        response: &Response,
        took: Duration,
        is_served: impl FnOnce(&RequestInfo) -> bool,
    ) {
        let lasts = asked.info.is_long_running() || !asked.info.is_resource_request;
        let measured = (!lasts).then(|| (took.as_secs_f64(), response.body().size_hint().exact()));
        self.requests.observe(asked, response.status(), measured, is_served);
    }

    /// Counts a watch for as long as the returned guard lives.
    pub fn watch(&self, info: &RequestInfo) -> WatchGuard {
        let gauge = self.watches.get_or_create_owned(&TargetLabels {
            component: COMPONENT,
            group: info.group.clone(),
            resource: info.resource.clone(),
            scope: scope(info),
            subresource: info.subresource.clone(),
            verb: "WATCH",
            version: info.version.clone(),
        });
        gauge.inc();
        WatchGuard(gauge)
    }

    /// Takes over what others count.
    pub async fn look_at(&self, server: &ApiServer) {
        match server.cacher.storage().size().await {
            Ok(bytes) => {
                let size = self.size.get_or_create(&StorageLabels { storage_cluster_id: "etcd-0" });
                size.set(i64::try_from(bytes).unwrap_or(i64::MAX));
            }
            // The other metrics are wanted all the more then.
            Err(error) => tracing::warn!(%error, "the size of the store is not known"),
        }
        let (reads, writes) = server.flow_control.in_flight();
        for (request_kind, count) in [("readOnly", reads), ("mutating", writes)] {
            self.in_flight.get_or_create(&KindLabels { request_kind }).set(count as i64);
        }
        for store in server.registry.stores() {
            let dot = if store.group.is_empty() { "" } else { "." };
            let resource = format!("{}{dot}{}", store.resource, store.group);
            self.objects.get_or_create(&ResourceLabels { resource }).set(store.cache.object_count() as i64);
            let events = store.cache.events();
            if events > 0 {
                let kind = KindOfResource { group: store.group.to_string(), resource: store.resource.to_string() };
                let counter = self.events.get_or_create(&kind);
                counter.inc_by(events.saturating_sub(counter.get()));
            }
        }
    }

    /// All metrics as Prometheus text.
    pub fn render(&self) -> Result<String, std::fmt::Error> {
        let mut out = String::new();
        openmetrics::encode(&mut out, &self.registry)?;
        let mut out = text::as_prometheus(&out);
        about_metrics(&mut out)?;
        Ok(out)
    }
}

fn build_labels() -> BuildLabels {
    BuildLabels {
        build_date: version::BUILD_DATE,
        compiler: version::COMPILER,
        git_commit: version::GIT_COMMIT,
        git_tree_state: version::GIT_TREE_STATE,
        git_version: version::git_version(),
        go_version: version::GO_VERSION,
        major: version::KUBERNETES_MAJOR,
        minor: version::KUBERNETES_MINOR,
        platform: version::platform(),
    }
}

/// Adds how many metrics there are. None can be hidden or turned off here.
fn about_metrics(out: &mut String) -> std::fmt::Result {
    let count = |level: &str| out.lines().filter(|line| line.starts_with("# HELP ") && line.contains(level)).count();
    // The three that follow are beta themselves.
    let counts = [("STABLE", count(" [STABLE] ")), ("BETA", count(" [BETA] ") + 3)];
    for (name, help) in [("disabled", "Metrics that are turned off"), ("hidden", "Metrics that are hidden")] {
        writeln!(out, "# HELP {name}_metrics_total [BETA] {help}\n# TYPE {name}_metrics_total counter")?;
        writeln!(out, "{name}_metrics_total 0")?;
    }
    writeln!(
        out,
        "# HELP registered_metrics_total [BETA] Metrics that there are\n# TYPE registered_metrics_total counter"
    )?;
    for (level, count) in counts {
        writeln!(out, "registered_metrics_total{{deprecated_version=\"\",stability_level={level:?}}} {count}")?;
    }
    Ok(())
}

/// One active watch.
pub struct WatchGuard(Gauge);

impl Drop for WatchGuard {
    fn drop(&mut self) {
        self.0.dec();
    }
}

fn scope(info: &RequestInfo) -> &'static str {
    if !info.is_resource_request {
        ""
    } else if !info.name.is_empty() || info.verb == "create" {
        "resource"
    } else if !info.namespace.is_empty() {
        "namespace"
    } else {
        "cluster"
    }
}
