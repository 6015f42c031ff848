//! What a request asks for, read from its method, path and query.
//!
//! Follows `k8s.io/apiserver/pkg/endpoints/request/requestinfo.go`.

use http::Method;

use crate::query::{Query, percent_decode};

/// Segments that a path has room for before more is taken.
const USUAL_PARTS: usize = 8;

/// What a request asks for (`request.RequestInfo` upstream).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RequestInfo {
    /// Whether the path names an API resource; otherwise only `path` and `verb` are set.
    pub is_resource_request: bool,
    /// The path as it came, without the query.
    pub path: String,
    /// `get`, `list`, `watch`, `create`, ... for resources; the lower-case method otherwise.
    pub verb: String,
    /// API group; empty for core.
    pub group: String,
    /// API version.
    pub version: String,
    /// Namespace; empty for none.
    pub namespace: String,
    /// Resource (plural).
    pub resource: String,
    /// Subresource; empty for none.
    pub subresource: String,
    /// Object name; empty for collections.
    pub name: String,
    /// For `proxy` and the like: what follows the subresource, undecoded, without the leading slash. `None` when the
    /// path ends at the subresource without a slash.
    pub rest: Option<String>,
    /// The name is what a field selector narrowed a collection to; the path names none.
    pub name_from_selector: bool,
}

/// A path that cannot be a request for anything.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InvalidPath(pub String);

impl RequestInfo {
    /// Reads a request. An error means 400.
    pub fn parse(method: &Method, path: &str, query: &Query) -> Result<RequestInfo, InvalidPath> {
        let mut info = RequestInfo { path: path.to_owned(), ..Default::default() };
        let mut parts = Vec::with_capacity(USUAL_PARTS);
        parts.extend(path.trim_matches('/').split('/'));
        // Upstream: fewer than three parts are never a resource ("/api/v1" is discovery).
        let (group, version, mut parts) = match parts.as_slice() {
            ["api", version, rest @ ..] if !rest.is_empty() => ("", *version, rest),
            ["apis", group, version, rest @ ..] if !rest.is_empty() => (*group, *version, rest),
            _ => {
                info.verb = method.as_str().to_ascii_lowercase();
                return Ok(info);
            }
        };
        info.group = segment(group)?;
        info.is_resource_request = true;
        info.version = segment(version)?;
        info.verb = verb_of(method).to_owned();
        let mut legacy_watch = false;
        if parts[0] == "watch" {
            if parts.len() < 2 {
                return Err(InvalidPath(format!("unable to determine kind and namespace from url, {path}")));
            }
            parts = &parts[1..];
            info.verb = "watch".to_owned();
            legacy_watch = true;
        }
        if parts[0] == "namespaces" && parts.len() > 1 {
            info.namespace = segment(parts[1])?;
            // "/namespaces/x/status" and ".../finalize" are subresources of the namespace itself.
            if parts.len() > 2 && !matches!(parts[2], "status" | "finalize") {
                parts = &parts[2..];
            }
        }
        info.resource = segment(parts[0])?;
        if parts.len() > 1 {
            info.name = segment(parts[1])?;
        }
        if parts.len() > 2 && !legacy_watch {
            info.subresource = segment(parts[2])?;
            info.rest = rest_of(path, parts.len() > 3, parts);
        }
        info.refine_verb(query, legacy_watch);
        Ok(info)
    }

    fn refine_verb(&mut self, query: &Query, legacy_watch: bool) {
        if !self.name.is_empty() && !legacy_watch {
            return;
        }
        match self.verb.as_str() {
            "get" => {
                self.verb = if query.flag("watch") { "watch" } else { "list" }.to_owned();
            }
            "delete" => self.verb = "deletecollection".to_owned(),
            _ => {}
        }
        // A list narrowed to one name is authorized like that name. Only a value that can be a name counts.
        if matches!(self.verb.as_str(), "list" | "watch" | "deletecollection")
            && self.name.is_empty()
            && let Some(name) = name_in_field_selector(query.text("fieldSelector"))
        {
            self.name = name.to_owned();
            self.name_from_selector = true;
        }
    }

    /// Requests that may last: they get no deadline and do not count as in flight.
    pub fn is_long_running(&self) -> bool {
        self.is_resource_request
            && (matches!(self.verb.as_str(), "watch" | "proxy")
                || matches!(self.subresource.as_str(), "attach" | "exec" | "proxy" | "log" | "portforward"))
    }

    /// Whether the request changes anything.
    pub fn is_mutating(&self) -> bool {
        !matches!(self.verb.as_str(), "get" | "list" | "watch" | "head" | "options")
    }
}

/// The undecoded path after the subresource. `parts` are the undecoded segments, subresource third.
fn rest_of(path: &str, has_more: bool, parts: &[&str]) -> Option<String> {
    if has_more {
        let mut rest = parts[3..].join("/");
        if path.ends_with('/') {
            rest.push('/');
        }
        return Some(rest);
    }
    path.ends_with('/').then(String::new)
}

fn verb_of(method: &Method) -> &'static str {
    match *method {
        Method::POST => "create",
        Method::GET | Method::HEAD => "get",
        Method::PUT => "update",
        Method::PATCH => "patch",
        Method::DELETE => "delete",
        _ => "",
    }
}

fn segment(raw: &str) -> Result<String, InvalidPath> {
    let text = percent_decode(raw).ok_or_else(|| InvalidPath(format!("invalid URL escape in path segment {raw:?}")))?;
    if text == "." || text == ".." || text.contains('/') {
        return Err(InvalidPath(format!("invalid path segment {text:?}: it may not be '.', '..' or contain '/'")));
    }
    Ok(text)
}

fn name_in_field_selector(selector: &str) -> Option<&str> {
    selector.split(',').find_map(|term| {
        let (field, value) = term.split_once("==").or_else(|| term.split_once('='))?;
        (field == "metadata.name" && is_path_segment_name(value)).then_some(value)
    })
}

fn is_path_segment_name(value: &str) -> bool {
    !value.is_empty() && value != "." && value != ".." && !value.contains(['/', '%'])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn info(method: &str, url: &str) -> RequestInfo {
        let (path, query) = url.split_once('?').unwrap_or((url, ""));
        RequestInfo::parse(&method.parse().expect("method"), path, &Query::parse(query)).expect("valid path")
    }

    fn line(method: &str, url: &str) -> String {
        let i = info(method, url);
        format!("{} {}/{} {}:{}/{}/{}", i.verb, i.group, i.version, i.namespace, i.resource, i.name, i.subresource)
    }

    #[test]
    fn resource_requests() {
        for (method, url, want) in [
            ("GET", "/api/v1/namespaces", "list /v1 :namespaces//"),
            ("GET", "/api/v1/namespaces/other", "get /v1 other:namespaces/other/"),
            ("GET", "/api/v1/namespaces/other/pods", "list /v1 other:pods//"),
            ("GET", "/api/v1/namespaces/other/pods/foo", "get /v1 other:pods/foo/"),
            ("HEAD", "/api/v1/namespaces/other/pods/foo", "get /v1 other:pods/foo/"),
            ("GET", "/api/v1/pods", "list /v1 :pods//"),
            ("POST", "/api/v1/pods", "create /v1 :pods//"),
            ("GET", "/api/v1/nodes/n/status", "get /v1 :nodes/n/status"),
            ("PUT", "/api/v1/namespaces/other/finalize", "update /v1 other:namespaces/other/finalize"),
            ("DELETE", "/api/v1/namespaces/other/pods", "deletecollection /v1 other:pods//"),
            ("DELETE", "/api/v1/namespaces/other/pods/foo", "delete /v1 other:pods/foo/"),
            ("GET", "/api/v1/namespaces/other/pods?watch=true", "watch /v1 other:pods//"),
            ("GET", "/api/v1/namespaces/other/pods?watch=false", "list /v1 other:pods//"),
            ("GET", "/api/v1/watch/pods", "watch /v1 :pods//"),
            ("GET", "/api/v1/watch/namespaces/other/pods/foo", "watch /v1 other:pods/foo/"),
            ("PATCH", "/apis/apps/v1/namespaces/d/deployments/x/scale", "patch apps/v1 d:deployments/x/scale"),
            ("GET", "/api/v1/pods?fieldSelector=metadata.name%3Dfoo", "list /v1 :pods/foo/"),
            ("GET", "/api/v1/pods?fieldSelector=metadata.name!%3Dfoo", "list /v1 :pods//"),
            (
                "GET",
                "/apis/rbac.authorization.k8s.io/v1/clusterroles/system%3Anode",
                "get rbac.authorization.k8s.io/v1 :clusterroles/system:node/",
            ),
        ] {
            assert_eq!(line(method, url), want, "{method} {url}");
        }
    }

    #[test]
    fn other_requests() {
        for url in ["/", "/api", "/api/v1", "/apis/apps/v1", "/healthz", "/version", "/openapi/v3/api/v1"] {
            let info = info("GET", url);
            assert!(!info.is_resource_request, "{url}");
            assert_eq!(info.verb, "get");
        }
    }

    #[test]
    fn proxy_paths_keep_what_follows() {
        let rest = |url| info("GET", url).rest;
        assert_eq!(rest("/api/v1/namespaces/d/pods/p/proxy"), None);
        assert_eq!(rest("/api/v1/namespaces/d/pods/p/proxy/"), Some(String::new()));
        assert_eq!(rest("/api/v1/namespaces/d/pods/p/proxy/a%20b/c/"), Some("a%20b/c/".into()));
        assert_eq!(rest("/api/v1/nodes/n/proxy/logs"), Some("logs".into()));
    }

    #[test]
    fn bad_segments_are_refused() {
        for url in ["/api/v1/namespaces/a%2Fb/pods", "/api/v1/pods/..", "/api/v1/pods/%2E", "/api/v1/pods/%zz"] {
            assert!(RequestInfo::parse(&Method::GET, url, &Query::default()).is_err(), "{url}");
        }
    }
}
