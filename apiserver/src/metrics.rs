//! What Prometheus sees of the API server, under upstream's names.
//!
//! Names follow `k8s.io/apiserver/pkg/endpoints/metrics`.

use std::fmt::Write as _;
use std::time::Duration;

use http_body::Body as _;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{EncodeLabelSet, text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use crate::ApiServer;
use crate::process_metrics::ProcessMetrics;
use crate::registry::deprecated;
use crate::request_info::RequestInfo;
use crate::response::Response;
use crate::routes::version;

/// Upper bounds in seconds, as upstream's `apiserver_request_duration_seconds`.
const DURATION_BUCKETS: [f64; 23] = [
    0.005, 0.025, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1.0, 1.25, 1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0, 15.0, 20.0, 30.0,
    45.0, 60.0,
];

/// Upper bounds in bytes, as upstream's `apiserver_response_sizes`.
const SIZE_BUCKETS: [f64; 7] = [1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9];

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
    verb: String,
    version: String,
}

/// Labels of `apiserver_request_duration_seconds`.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct DurationLabels {
    component: &'static str,
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
    version: String,
    verb: &'static str,
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
    git_version: String,
    major: &'static str,
    minor: &'static str,
}

/// The server's metrics.
pub struct Metrics {
    registry: Registry,
    requests: Family<RequestLabels, Counter>,
    durations: Family<DurationLabels, Histogram>,
    watches: Family<WatchLabels, Gauge>,
    in_flight: Family<KindLabels, Gauge>,
    objects: Family<ResourceLabels, Gauge>,
    sizes: Family<DurationLabels, Histogram>,
    deprecated: Family<DeprecatedLabels, Gauge>,
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
            "Counter of apiserver requests broken out for each verb, dry run value, group, version, resource, scope, component, and HTTP response code",
            Family::clone(&requests),
        );
        registry.register(
            "apiserver_request_duration_seconds",
            "Response latency distribution in seconds for each verb, group, version, resource, subresource, scope and component",
            Family::clone(&durations),
        );
        registry.register(
            "apiserver_longrunning_requests",
            "Gauge of all active long-running apiserver requests broken out by verb, group, version, resource and component",
            Family::clone(&watches),
        );
        let (in_flight, objects) = (Family::default(), Family::default());
        registry.register(
            "apiserver_current_inflight_requests",
            "Requests that are worked on now, by kind",
            Family::clone(&in_flight),
        );
        let sizes = Family::new_with_constructor((|| Histogram::new(SIZE_BUCKETS)) as fn() -> Histogram);
        registry.register("apiserver_response_sizes", "Bytes of answers whose length is known", Family::clone(&sizes));
        let deprecated = Family::default();
        registry.register(
            "apiserver_requested_deprecated_apis",
            "Deprecated resources that somebody asked for; always 1",
            Family::clone(&deprecated),
        );
        registry.register("apiserver_storage_objects", "Stored objects by kind", Family::clone(&objects));
        let build = Family::<BuildLabels, Gauge>::default();
        let git_version = version::git_version();
        let (major, minor) = (version::KUBERNETES_MAJOR, version::KUBERNETES_MINOR);
        build.get_or_create(&BuildLabels { git_version, major, minor }).set(1);
        registry.register("kubernetes_build_info", "What was built; always 1", build);
        registry.register_collector(Box::new(ProcessMetrics::default()));
        Self { registry, requests, durations, watches, in_flight, objects, sizes, deprecated }
    }

    /// Counts an answered request.
    pub fn observe(&self, info: &RequestInfo, dry_run: bool, response: &Response, took: Duration) {
        let code = response.status();
        let verb = verb(info);
        let scope = scope(info);
        self.requests
            .get_or_create(&RequestLabels {
                code: code.as_u16(),
                component: "apiserver",
                dry_run: if dry_run { "All" } else { "" },
                group: info.group.clone(),
                resource: info.resource.clone(),
                scope,
                subresource: info.subresource.clone(),
                verb: verb.clone(),
                version: info.version.clone(),
            })
            .inc();
        if info.is_long_running() || !info.is_resource_request {
            return;
        }
        let labels = DurationLabels {
            component: "apiserver",
            group: info.group.clone(),
            resource: info.resource.clone(),
            scope,
            subresource: info.subresource.clone(),
            verb,
            version: info.version.clone(),
        };
        self.durations.get_or_create(&labels).observe(took.as_secs_f64());
        if let Some(bytes) = response.body().size_hint().exact() {
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
            version: info.version.clone(),
            verb: "WATCH",
        });
        gauge.inc();
        WatchGuard(gauge)
    }

    /// Takes over what others count.
    pub fn look_at(&self, server: &ApiServer) {
        let (reads, writes) = server.flow_control.in_flight();
        for (request_kind, count) in [("readOnly", reads), ("mutating", writes)] {
            self.in_flight.get_or_create(&KindLabels { request_kind }).set(count as i64);
        }
        for store in server.registry.stores() {
            let dot = if store.group.is_empty() { "" } else { "." };
            let resource = format!("{}{dot}{}", store.resource, store.group);
            self.objects.get_or_create(&ResourceLabels { resource }).set(store.cache.object_count() as i64);
        }
    }

    /// All metrics as Prometheus text.
    pub fn render(&self) -> Result<String, std::fmt::Error> {
        let mut out = String::new();
        text::encode(&mut out, &self.registry)?;
        Ok(as_prometheus(&out))
    }
}

/// OpenMetrics text in the older format of Prometheus, in which a counter is called what its samples are called.
fn as_prometheus(open_metrics: &str) -> String {
    let mut out = String::with_capacity(open_metrics.len());
    let mut help = None;
    for line in open_metrics.lines() {
        let mut words = line.splitn(4, ' ');
        match (words.next(), words.next(), words.next(), words.next()) {
            (Some("#"), Some("HELP"), Some(name), text) => help = Some((name, text.unwrap_or_default())),
            (Some("#"), Some("TYPE"), Some(name), Some(ty)) => {
                let total = if ty == "counter" { "_total" } else { "" };
                if let Some((_, text)) = help.take().filter(|(known, _)| *known == name) {
                    let _ = writeln!(out, "# HELP {name}{total} {text}");
                }
                let _ = writeln!(out, "# TYPE {name}{total} {ty}");
            }
            (Some("#"), ..) => {}
            _ => {
                out.push_str(line);
                out.push('\n');
            }
        }
    }
    out
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
