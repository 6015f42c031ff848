//! `/healthz`, `/livez` and `/readyz`.
//!
//! Follows `k8s.io/apiserver/pkg/server/healthz`: text, a line per check with `verbose` or on failure, `exclude` by name.

use std::fmt::Write;
use std::sync::atomic::{AtomicBool, Ordering};

use http::StatusCode;

use crate::ApiServer;
use crate::context::RequestContext;
use crate::response::{self, Response};

const TEXT: &str = "text/plain; charset=utf-8";

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
}

struct Check {
    name: &'static str,
    /// Which of the endpoints ask it.
    live: bool,
    passes: fn(&Health) -> bool,
}

const CHECKS: &[Check] = &[
    Check { name: "ping", live: true, passes: |_| true },
    Check { name: "log", live: true, passes: |_| true },
    Check { name: "etcd", live: true, passes: |h| h.store_ok.load(Ordering::Relaxed) },
    Check { name: "etcd-readiness", live: false, passes: |h| h.store_ok.load(Ordering::Relaxed) },
    Check { name: "informer-sync", live: false, passes: |h| h.caches_ready.load(Ordering::Relaxed) },
    Check {
        name: "poststarthook/rbac/bootstrap-roles",
        live: true,
        passes: |h| h.bootstrapped.load(Ordering::Relaxed),
    },
    Check {
        name: "poststarthook/scheduling/bootstrap-system-priority-classes",
        live: true,
        passes: |h| h.bootstrapped.load(Ordering::Relaxed),
    },
    Check {
        name: "poststarthook/start-system-namespaces-controller",
        live: true,
        passes: |h| h.bootstrapped.load(Ordering::Relaxed),
    },
    Check { name: "shutdown", live: false, passes: |h| !h.shutting_down.load(Ordering::Relaxed) },
];

/// Names of all checks.
pub fn check_names() -> impl Iterator<Item = &'static str> {
    CHECKS.iter().map(|check| check.name)
}

/// Whether the path asks one check, e.g. `/livez/ping`.
pub fn is_single_check(path: &str) -> bool {
    split(path).is_some_and(|(_, name)| !name.is_empty())
}

fn split(path: &str) -> Option<(&str, &str)> {
    ["/healthz", "/livez", "/readyz"].into_iter().find_map(|endpoint| {
        let rest = path.strip_prefix(endpoint)?;
        if rest.is_empty() { Some((endpoint, "")) } else { Some((endpoint, rest.strip_prefix('/')?)) }
    })
}

fn asked(check: &Check, endpoint: &str) -> bool {
    endpoint == "/readyz" || check.live
}

/// Answers an endpoint.
pub fn answer(server: &ApiServer, cx: &RequestContext, path: &str) -> Response {
    let endpoint = path.trim_end_matches('/');
    let excluded = cx.query.all("exclude").collect::<Vec<_>>();
    let mut lines = String::new();
    let mut failed = Vec::new();
    for check in CHECKS.iter().filter(|check| asked(check, endpoint)) {
        if excluded.contains(&check.name) {
            let _ = writeln!(lines, "[+]{} excluded: ok", check.name);
        } else if (check.passes)(&server.health) {
            let _ = writeln!(lines, "[+]{} ok", check.name);
        } else {
            failed.push(check.name);
            let _ = writeln!(lines, "[-]{} failed: reason withheld", check.name);
        }
    }
    let unknown = excluded.iter().filter(|name| !CHECKS.iter().any(|c| c.name == **name)).collect::<Vec<_>>();
    if !unknown.is_empty() {
        let _ = writeln!(lines, "warn: some health checks cannot be excluded: no matches for {unknown:?}");
    }
    let name = endpoint.trim_start_matches('/');
    if !failed.is_empty() {
        let _ = writeln!(lines, "{name} check failed");
        return response::plain(StatusCode::INTERNAL_SERVER_ERROR, TEXT, lines);
    }
    if cx.query.get("verbose").is_some() {
        let _ = writeln!(lines, "{name} check passed");
        return response::plain(StatusCode::OK, TEXT, lines);
    }
    response::plain(StatusCode::OK, TEXT, "ok")
}

/// Answers one check.
pub fn answer_one(server: &ApiServer, path: &str) -> Response {
    let Some((endpoint, name)) = split(path) else {
        return response::not_found_path();
    };
    match CHECKS.iter().find(|check| check.name == name && asked(check, endpoint)) {
        None => response::not_found_path(),
        Some(check) if (check.passes)(&server.health) => response::plain(StatusCode::OK, TEXT, "ok"),
        Some(_) => {
            let body = "internal server error: reason withheld\n";
            response::plain(StatusCode::INTERNAL_SERVER_ERROR, TEXT, body)
        }
    }
}
