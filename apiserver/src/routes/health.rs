//! `/healthz`, `/livez` and `/readyz`.
//!
//! Follows `k8s.io/apiserver/pkg/server/healthz`: text, a line per check with `verbose` or on failure, `exclude` by name.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::atomic::{AtomicBool, Ordering};

use http::StatusCode;
use parking_lot::Mutex;

use crate::ApiServer;
use crate::context::RequestContext;
use crate::response::{self, Response};

const TEXT: &str = "text/plain; charset=utf-8";
const ENDPOINTS: [&str; 3] = ["/healthz", "/livez", "/readyz"];

/// What the checks look at.
#[derive(Debug, Default)]
pub struct Health {
    /// The store answered its last check.
    pub store_ok: AtomicBool,
    /// Every watch cache has its first list.
    pub caches_ready: AtomicBool,
    /// What must exist at start exists.
    pub bootstrapped: AtomicBool,
    /// The server is on its way down.
    pub shutting_down: AtomicBool,
    /// How often checks passed and failed, by endpoint and name.
    outcomes: Mutex<BTreeMap<(&'static str, &'static str, &'static str), u64>>,
}

impl Health {
    /// Whether a check passes, for an endpoint; that is counted.
    fn ask(&self, endpoint: &'static str, check: &Check) -> bool {
        let passes = (check.passes)(self);
        let status = if passes { "success" } else { "error" };
        *self.outcomes.lock().entry((endpoint, check.name, status)).or_default() += 1;
        passes
    }
}

struct Check {
    name: &'static str,
    /// Whether `/healthz` and `/livez` ask it.
    live: bool,
    /// Whether `/readyz` asks it.
    ready: bool,
    passes: fn(&Health) -> bool,
}

/// A check that every endpoint asks.
const fn check(name: &'static str, passes: fn(&Health) -> bool) -> Check {
    Check { name, live: true, ready: true, passes }
}

fn store_ok(health: &Health) -> bool {
    health.store_ok.load(Ordering::Relaxed)
}

fn caches_ready(health: &Health) -> bool {
    health.caches_ready.load(Ordering::Relaxed)
}

fn bootstrapped(health: &Health) -> bool {
    health.bootstrapped.load(Ordering::Relaxed)
}

/// Upstream's checks of what this server has, under upstream's names: a hook passes when what it does is done.
const CHECKS: &[Check] = &[
    check("ping", |_| true),
    check("log", |_| true),
    Check { name: "etcd", live: true, ready: false, passes: store_ok },
    Check { name: "informer-sync", live: false, ready: true, passes: caches_ready },
    check("poststarthook/start-apiserver-admission-initializer", caches_ready),
    check("poststarthook/generic-apiserver-start-informers", caches_ready),
    check("poststarthook/start-system-namespaces-controller", bootstrapped),
    check("poststarthook/start-cluster-authentication-info-controller", bootstrapped),
    check("poststarthook/storage-readiness", store_ok),
    check("poststarthook/rbac/bootstrap-roles", bootstrapped),
    check("poststarthook/scheduling/bootstrap-system-priority-classes", bootstrapped),
    check("poststarthook/bootstrap-controller", bootstrapped),
    check("poststarthook/apiservice-openapi-controller", caches_ready),
    check("poststarthook/apiservice-openapiv3-controller", caches_ready),
    check("poststarthook/apiservice-discovery-controller", caches_ready),
    Check { name: "shutdown", live: false, ready: true, passes: |h| !h.shutting_down.load(Ordering::Relaxed) },
];

/// The endpoints and each of their checks.
pub fn paths() -> impl Iterator<Item = String> {
    ENDPOINTS.into_iter().flat_map(|endpoint| {
        let asked = CHECKS.iter().filter(move |check| asked(check, endpoint));
        asked.map(move |check| format!("{endpoint}/{}", check.name))
    })
}

/// `/metrics/slis`: the checks as metrics.
pub fn metrics(server: &ApiServer) -> Response {
    let mut text = String::from(
        "# HELP kubernetes_healthcheck [STABLE] Whether a check passes.\n# TYPE kubernetes_healthcheck gauge\n",
    );
    for endpoint in ENDPOINTS {
        let ty = endpoint.trim_start_matches('/');
        for check in CHECKS.iter().filter(|check| asked(check, endpoint)) {
            let value = u8::from(server.health.ask(endpoint, check));
            let _ = writeln!(text, "kubernetes_healthcheck{{name={:?},type={ty:?}}} {value}", check.name);
        }
    }
    text.push_str("# HELP kubernetes_healthchecks_total [STABLE] How often checks passed and failed.\n");
    text.push_str("# TYPE kubernetes_healthchecks_total counter\n");
    for ((endpoint, name, status), count) in &*server.health.outcomes.lock() {
        let ty = endpoint.trim_start_matches('/');
        let _ = writeln!(text, "kubernetes_healthchecks_total{{name={name:?},status={status:?},type={ty:?}}} {count}");
    }
    response::plain(StatusCode::OK, "text/plain; version=0.0.4; charset=utf-8", text)
}

/// Whether the path asks one check, e.g. `/livez/ping`.
pub fn is_single_check(path: &str) -> bool {
    split(path).is_some_and(|(_, name)| !name.is_empty())
}

fn split(path: &str) -> Option<(&'static str, &str)> {
    ENDPOINTS.into_iter().find_map(|endpoint| {
        let rest = path.strip_prefix(endpoint)?;
        if rest.is_empty() { Some((endpoint, "")) } else { Some((endpoint, rest.strip_prefix('/')?)) }
    })
}

fn asked(check: &Check, endpoint: &str) -> bool {
    if endpoint == "/readyz" { check.ready } else { check.live }
}

/// Answers an endpoint.
pub fn answer(server: &ApiServer, cx: &RequestContext, path: &str) -> Response {
    let Some((endpoint, _)) = split(path) else { return response::not_found_path() };
    let excluded = cx.query.all("exclude").collect::<Vec<_>>();
    let mut lines = String::new();
    let mut failed = Vec::new();
    for check in CHECKS.iter().filter(|check| asked(check, endpoint)) {
        if excluded.contains(&check.name) {
            let _ = writeln!(lines, "[+]{} excluded: ok", check.name);
        } else if server.health.ask(endpoint, check) {
            let _ = writeln!(lines, "[+]{} ok", check.name);
        } else {
            failed.push(check.name);
            let _ = writeln!(lines, "[-]{} failed: reason withheld", check.name);
        }
    }
    let unknown = excluded.iter().filter(|name| !CHECKS.iter().any(|c| c.name == **name)).collect::<Vec<_>>();
    if !unknown.is_empty() {
        let unknown = unknown.iter().map(|name| format!("{name:?}")).collect::<Vec<_>>().join(", ");
        let _ = writeln!(lines, "warn: some health checks cannot be excluded: no matches for {unknown}");
    }
    let name = endpoint.trim_start_matches('/');
    if !failed.is_empty() {
        let _ = writeln!(lines, "{name} check failed");
        return response::text(StatusCode::INTERNAL_SERVER_ERROR, lines);
    }
    if cx.query.get("verbose").is_some() {
        let _ = writeln!(lines, "{name} check passed");
        return response::text(StatusCode::OK, lines);
    }
    response::text(StatusCode::OK, "ok")
}

/// Answers one check.
pub fn answer_one(server: &ApiServer, path: &str) -> Response {
    let Some((endpoint, name)) = split(path) else {
        return response::not_found_path();
    };
    match CHECKS.iter().find(|check| check.name == name && asked(check, endpoint)) {
        None => response::not_found_path(),
        Some(check) if server.health.ask(endpoint, check) => response::plain(StatusCode::OK, TEXT, "ok"),
        Some(_) => {
            let body = "internal server error: reason withheld\n";
            response::plain(StatusCode::INTERNAL_SERVER_ERROR, TEXT, body)
        }
    }
}
