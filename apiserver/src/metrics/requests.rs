//! What is counted about answered requests.
//!
//! The metrics of a label set are found together, by one look at a table of our own: each of Prometheus' families would
//! make and hash the labels again. What clients make up (a resource that is not served, a method of their own) is no
//! label, so that nobody fills the server's memory with names.

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};

use compact_str::CompactString;
use foldhash::fast::FixedState;
use http::StatusCode;
use parking_lot::RwLock;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use super::scope;
use crate::context::RequestContext;
use crate::registry::deprecated;
use crate::request_info::RequestInfo;

/// Upper bounds in seconds, as upstream's `apiserver_request_duration_seconds`.
const DURATION_BUCKETS: [f64; 23] = [
    0.005, 0.025, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1.0, 1.25, 1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0, 15.0, 20.0, 30.0,
    45.0, 60.0,
];

/// Upper bounds in bytes, as upstream's `apiserver_response_sizes`.
const SIZE_BUCKETS: [f64; 7] = [1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9];

/// Clients that are told apart, by their User-Agent.
const SYSTEM_CLIENTS: [&str; 3] = ["kube-apiserver", "kube-controller-manager", "kube-scheduler"];

pub(super) const COMPONENT: &str = "apiserver";

/// What is counted about a request.
#[derive(Debug)]
pub struct Asked {
    pub(super) info: RequestInfo,
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
        let is = |known: &&str| cx.user_agent.strip_prefix(known).is_some_and(|rest| rest.starts_with('/'));
        let system_client = SYSTEM_CLIENTS.into_iter().find(is).unwrap_or("");
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
    verb: &'static str,
    version: String,
}

/// What a request is about: labels of `apiserver_response_sizes` and `apiserver_longrunning_requests`.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub(super) struct TargetLabels {
    pub(super) component: &'static str,
    pub(super) group: String,
    pub(super) resource: String,
    pub(super) scope: &'static str,
    pub(super) subresource: String,
    pub(super) verb: &'static str,
    pub(super) version: String,
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
    verb: &'static str,
    version: String,
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

/// What tells requests apart.
#[derive(Clone, Debug, Hash, PartialEq, Eq)]
struct Key {
    code: u16,
    dry_run: &'static str,
    system_client: &'static str,
    verb: &'static str,
    scope: &'static str,
    group: CompactString,
    version: CompactString,
    resource: CompactString,
    subresource: CompactString,
}

impl Key {
    fn of(asked: &Asked, code: StatusCode) -> Self {
        let info = &asked.info;
        Self {
            code: code.as_u16(),
            dry_run: asked.dry_run,
            system_client: asked.system_client,
            verb: verb(info),
            scope: scope(info),
            group: info.group.as_str().into(),
            version: info.version.as_str().into(),
            resource: info.resource.as_str().into(),
            subresource: info.subresource.as_str().into(),
        }
    }

    fn of_request(&self) -> RequestLabels {
        RequestLabels {
            code: self.code,
            component: COMPONENT,
            dry_run: self.dry_run,
            group: self.group.to_string(),
            resource: self.resource.to_string(),
            scope: self.scope,
            subresource: self.subresource.to_string(),
            system_client: self.system_client,
            verb: self.verb,
            version: self.version.to_string(),
        }
    }

    fn of_duration(&self) -> DurationLabels {
        let RequestLabels { component, dry_run, group, resource, scope, subresource, verb, version, .. } =
            self.of_request();
        DurationLabels { component, dry_run, group, resource, scope, subresource, verb, version }
    }

    fn of_size(&self) -> TargetLabels {
        let RequestLabels { component, group, resource, scope, subresource, verb, version, .. } = self.of_request();
        TargetLabels { component, group, resource, scope, subresource, verb, version }
    }

    fn of_deprecated(&self) -> DeprecatedLabels {
        let RequestLabels { group, resource, subresource, version, .. } = self.of_request();
        DeprecatedLabels { group, removed_release: "", resource, subresource, version }
    }

    /// The same for a request of which only the kind is told.
    fn of_anything(self) -> Self {
        let none = CompactString::const_new("");
        Self {
            group: none.clone(),
            version: none.clone(),
            resource: none.clone(),
            subresource: none,
            scope: "",
            ..self
        }
    }
}

/// The metrics of one kind of requests. Made when they are first needed: what is there is also shown.
struct Series {
    key: Key,
    requests: Counter,
    duration: OnceLock<Histogram>,
    size: OnceLock<Histogram>,
}

/// Metrics of requests.
pub(super) struct Requests {
    series: RwLock<HashMap<Key, Arc<Series>, FixedState>>,
    requests: Family<RequestLabels, Counter>,
    durations: Family<DurationLabels, Histogram>,
    sizes: Family<TargetLabels, Histogram>,
    deprecated: Family<DeprecatedLabels, Gauge>,
}

impl Requests {
    pub(super) fn register(registry: &mut Registry) -> Self {
        let requests = Family::default();
        let durations = Family::new_with_constructor((|| Histogram::new(DURATION_BUCKETS)) as fn() -> Histogram);
        let sizes = Family::new_with_constructor((|| Histogram::new(SIZE_BUCKETS)) as fn() -> Histogram);
        let deprecated = Family::default();
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
            "apiserver_response_sizes",
            "[STABLE] Bytes of answers whose length is known",
            Family::clone(&sizes),
        );
        registry.register(
            "apiserver_requested_deprecated_apis",
            "[STABLE] Deprecated resources that somebody asked for; always 1",
            Family::clone(&deprecated),
        );
        Self { series: RwLock::default(), requests, durations, sizes, deprecated }
    }

    /// Counts an answer: how long it took and how many bytes it has, where these say something. `is_served` says whether
    /// there is what was asked for.
    pub(super) fn observe(
        &self,
        asked: &Asked,
        code: StatusCode,
        measured: Option<(f64, Option<u64>)>,
        is_served: impl FnOnce(&RequestInfo) -> bool,
    ) {
        let mut key = Key::of(asked, code);
        let known = self.series.read().get(&key).cloned();
        let series = match known {
            Some(series) => series,
            None => {
                if asked.info.is_resource_request && !is_served(&asked.info) {
                    key = key.of_anything();
                }
                self.series.write().entry(key.clone()).or_insert_with(|| self.add(key)).clone()
            }
        };
        series.requests.inc();
        let Some((seconds, bytes)) = measured else { return };
        let labels = || series.key.of_duration();
        series.duration.get_or_init(|| self.durations.get_or_create_owned(&labels())).observe(seconds);
        if let Some(bytes) = bytes {
            let labels = || series.key.of_size();
            series.size.get_or_init(|| self.sizes.get_or_create_owned(&labels())).observe(bytes as f64);
        }
    }

    /// Makes the metrics of a kind of requests.
    fn add(&self, key: Key) -> Arc<Series> {
        if deprecated::warning(&key.group, &key.version, &key.resource).is_some() {
            self.deprecated.get_or_create(&key.of_deprecated()).set(1);
        }
        let requests = self.requests.get_or_create_owned(&key.of_request());
        Arc::new(Series { key, requests, duration: OnceLock::new(), size: OnceLock::new() })
    }
}

/// Upstream's names for verbs in metrics: those that it knows.
fn verb(info: &RequestInfo) -> &'static str {
    match info.verb.as_str() {
        "create" | "post" => "POST",
        "update" | "put" => "PUT",
        "get" => "GET",
        "list" => "LIST",
        "watch" => "WATCH",
        "patch" => "PATCH",
        "delete" => "DELETE",
        "deletecollection" => "DELETECOLLECTION",
        "proxy" => "PROXY",
        "head" => "HEAD",
        "connect" => "CONNECT",
        _ => "other",
    }
}

#[cfg(test)]
mod tests {
    use http::Method;

    use super::*;
    use crate::query::Query;

    fn asked(method: &str, path: &str) -> Asked {
        let method = method.parse::<Method>().expect("a method");
        let info = RequestInfo::parse(&method, path, &Query::default()).expect("a path");
        Asked { info, dry_run: "", system_client: "" }
    }

    fn text(registry: &Registry) -> String {
        let mut out = String::new();
        prometheus_client::encoding::text::encode(&mut out, registry).expect("text");
        out
    }

    #[test]
    fn what_clients_make_up_is_no_label() {
        let mut registry = Registry::default();
        let requests = Requests::register(&mut registry);
        let observe = |method: &str, path: &str, code: u16| {
            let code = StatusCode::from_u16(code).expect("a code");
            requests.observe(&asked(method, path), code, Some((0.1, Some(10))), |info| info.resource == "pods");
        };
        for number in 0..100 {
            observe("GET", &format!("/api/v1/namespaces/d/made-up-{number}/x"), 404);
            observe(&format!("MADEUP{number}"), "/healthz", 405);
        }
        for _ in 0..3 {
            observe("GET", "/api/v1/namespaces/d/pods/x", 200);
        }
        assert_eq!(requests.series.read().len(), 3);
        let text = text(&registry);
        assert!(!text.to_lowercase().contains("made"), "{text}");
        let counts = text.lines().filter(|line| line.starts_with("apiserver_request_total"));
        let mut counts = counts.filter_map(|line| line.rsplit(' ').next()).collect::<Vec<_>>();
        counts.sort_unstable();
        assert_eq!(counts, ["100", "100", "3"], "{text}");
    }
}
