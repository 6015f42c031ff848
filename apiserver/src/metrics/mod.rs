//! What Prometheus sees of the API server, under upstream's names.
//!
//! Every metric that upstream calls stable or beta is here, with its labels. Names follow
//! `k8s.io/apiserver/pkg/endpoints/metrics` and what [`shared`] says.

mod process;
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
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use self::process::ProcessMetrics;
use crate::ApiServer;
use crate::context::RequestContext;
use crate::registry::deprecated;
use crate::request_info::RequestInfo;
use crate::response::Response;
use crate::routes::version;

/// Upper bounds in seconds, as upstream's `apiserver_request_duration_seconds`.
const DURATION_BUCKETS: [f64; 23] = [
    0.005, 0.025, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1.0, 1.25, 1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0, 15.0, 20.0, 30.0,
    45.0, 60.0,
];

/// Clients that are told apart, by their User-Agent.
const SYSTEM_CLIENTS: [&str; 3] = ["kube-apiserver", "kube-controller-manager", "kube-scheduler"];

/// Upper bounds in bytes, as upstream's `apiserver_response_sizes`.
const SIZE_BUCKETS: [f64; 7] = [1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9];

/// What is counted about a request.
#[derive(Debug)]
pub struct Asked {
    info: RequestInfo,
    dry_run: &'static str,
    system_client: &'static str,
}

impl Asked {
    /// Takes what it needs of a request that is over.
    pub fn new(cx: RequestContext) -> Self {
        let dry_run = match cx.query.text("dryRun") {
            "" => "",
            "All" => "All",
            _ => "invalid",
        };
        let client = cx.user_agent.split_once('/').map_or("", |(client, _)| client);
        let system_client = SYSTEM_CLIENTS.into_iter().find(|known| *known == client).unwrap_or("");
        Self { info: cx.info, dry_run, system_client }
    }
}

/// Labels of `apiserver_request_total`.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct RequestLabels {
    code: u16,
    component: &'static str,
    dry_run: &'static str,
    group: String,
    resource: String,
    scope: &'static str,
    subresource: String,
    system_client: &'static str,
    verb: String,
    version: String,
}

/// Labels of `apiserver_response_sizes`.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct SizeLabels {
    component: &'static str,
    group: String,
    resource: String,
    scope: &'static str,
    subresource: String,
    verb: String,
    version: String,
}

/// Labels of `apiserver_request_duration_seconds`.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct DurationLabels {
    component: &'static str,
    dry_run: &'static str,
    group: String,
    resource: String,
    scope: &'static str,
    subresource: String,
    verb: String,
    version: String,
}

/// Labels of `apiserver_longrunning_requests`.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct WatchLabels {
    component: &'static str,
    group: String,
    resource: String,
    scope: &'static str,
    subresource: String,
    verb: &'static str,
    version: String,
}

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

/// Labels of `apiserver_requested_deprecated_apis`.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct DeprecatedLabels {
    group: String,
    removed_release: &'static str,
    resource: String,
    subresource: String,
    version: String,
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
    requests: Family<RequestLabels, Counter>,
    durations: Family<DurationLabels, Histogram>,
    watches: Family<WatchLabels, Gauge>,
    in_flight: Family<KindLabels, Gauge>,
    objects: Family<ResourceLabels, Gauge>,
    sizes: Family<SizeLabels, Histogram>,
    deprecated: Family<DeprecatedLabels, Gauge>,
    events: Family<KindOfResource, Counter>,
    size: Family<StorageLabels, Gauge>,
}

impl Metrics {
    /// The metrics, and those that others collect.
    pub fn new(collectors: Vec<Box<dyn Collector>>) -> Self {
        let mut registry = Registry::default();
        collectors.into_iter().for_each(|collector| registry.register_collector(collector));
        let requests = Family::default();
        let durations = Family::new_with_constructor((|| Histogram::new(DURATION_BUCKETS)) as fn() -> Histogram);
        let watches = Family::default();
        registry.register(
            "apiserver_request",
            "[STABLE] Counter of apiserver requests broken out for each verb, dry run value, group, version, resource, scope, component, and HTTP response code",
            Family::clone(&requests),
        );
        registry.register(
            "apiserver_request_duration_seconds",
            "[STABLE] Response latency distribution in seconds for each verb, group, version, resource, subresource, scope and component",
            Family::clone(&durations),
        );
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
        let sizes = Family::new_with_constructor((|| Histogram::new(SIZE_BUCKETS)) as fn() -> Histogram);
        registry.register(
            "apiserver_response_sizes",
            "[STABLE] Bytes of answers whose length is known",
            Family::clone(&sizes),
        );
        let deprecated = Family::default();
        registry.register(
            "apiserver_requested_deprecated_apis",
            "[STABLE] Deprecated resources that somebody asked for; always 1",
            Family::clone(&deprecated),
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
        Self { registry, requests, durations, watches, in_flight, objects, sizes, deprecated, events, size }
    }

    /// Counts an answered request.
    pub fn observe(&self, asked: &Asked, response: &Response, took: Duration) {
        let Asked { info, dry_run, system_client } = asked;
        let code = response.status();
        let verb = verb(info);
        let scope = scope(info);
        self.requests
            .get_or_create(&RequestLabels {
                code: code.as_u16(),
                component: "apiserver",
                dry_run,
                group: info.group.clone(),
                resource: info.resource.clone(),
                scope,
                subresource: info.subresource.clone(),
                system_client,
                verb: verb.clone(),
                version: info.version.clone(),
            })
            .inc();
        if info.is_long_running() || !info.is_resource_request {
            return;
        }
        let labels = DurationLabels {
            component: "apiserver",
            dry_run,
            group: info.group.clone(),
            resource: info.resource.clone(),
            scope,
            subresource: info.subresource.clone(),
            verb: verb.clone(),
            version: info.version.clone(),
        };
        self.durations.get_or_create(&labels).observe(took.as_secs_f64());
        if let Some(bytes) = response.body().size_hint().exact() {
            let DurationLabels { component, group, resource, scope, subresource, verb, version, .. } = labels;
            let labels = SizeLabels { component, group, resource, scope, subresource, verb, version };
            self.sizes.get_or_create(&labels).observe(bytes as f64);
        }
        if deprecated::warning(&info.group, &info.version, &info.resource).is_some() {
            self.ask_for_deprecated(info);
        }
    }

    fn ask_for_deprecated(&self, info: &RequestInfo) {
        let labels = DeprecatedLabels {
            group: info.group.clone(),
            removed_release: "",
            resource: info.resource.clone(),
            subresource: info.subresource.clone(),
            version: info.version.clone(),
        };
        self.deprecated.get_or_create(&labels).set(1);
    }

    /// Counts a watch for as long as the returned guard lives.
    pub fn watch(&self, info: &RequestInfo) -> WatchGuard {
        let gauge = self.watches.get_or_create_owned(&WatchLabels {
            component: "apiserver",
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

/// Upstream's names for verbs in metrics.
fn verb(info: &RequestInfo) -> String {
    match info.verb.as_str() {
        "create" => "POST".to_owned(),
        "update" => "PUT".to_owned(),
        "" => "other".to_owned(),
        verb => verb.to_ascii_uppercase(),
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
