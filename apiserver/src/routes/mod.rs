//! Everything that is no resource: health, version, metrics, discovery, OpenAPI.

pub mod discovery;
pub mod health;
pub mod version;
pub mod zpages;

use std::sync::Arc;

use axum::body::Body;
use bytes::Bytes;
use http::{HeaderValue, Method, Request, StatusCode, header};
use skiff_apimachinery::status::{self, Status};

use crate::ApiServer;
use crate::authentication::service_account::OidcDocuments;
use crate::context::RequestContext;
use crate::openapi;
use crate::response::{self, Response};

/// Routes a request that names no resource.
pub async fn dispatch(
    server: &Arc<ApiServer>,
    cx: &RequestContext,
    request: Request<Body>,
) -> Result<Response, Status> {
    let path = cx.info.path.as_str();
    // A slash at the end means nothing to the router, and everything to what is found by its path alone.
    let routed = path.trim_end_matches('/');
    let is_routed = matches!(routed, "/version" | OidcDocuments::CONFIGURATION_PATH | OidcDocuments::JWKS_PATH)
        || is_below(routed, "/api")
        || is_below(routed, "/apis");
    if is_routed && *request.method() != Method::GET {
        return Err(status::method_not_routed());
    }
    match routed {
        "/version" => return Ok(version::answer(cx)),
        OidcDocuments::CONFIGURATION_PATH => return Ok(oidc(server, "application/json", |d| d.configuration.clone())),
        OidcDocuments::JWKS_PATH => return Ok(oidc(server, "application/jwk-set+json", |d| d.jwks.clone())),
        _ if is_routed => return discovery::answer(server, cx, path, request.headers()),
        _ => {}
    }
    match path {
        "/" | "/index.html" => Ok(index(server, cx)),
        "/metrics" => metrics(server).await,
        "/statusz" => zpages::statusz(cx),
        "/flagz" => zpages::flagz(server, cx),
        _ if is_below(path, "/debug/pprof") => Ok(no_profiles()),
        "/metrics/slis" => Ok(health::metrics(server)),
        "/healthz" | "/livez" | "/readyz" => Ok(health::answer(server, cx, path)),
        path if health::is_single_check(path) => Ok(health::answer_one(server, path)),
        path if path == "/openapi/v2"
            || path == "/openapi/v3"
            || path.len() > "/openapi/v3/".len() && path.starts_with("/openapi/v3/") =>
        {
            openapi::answer(server, cx, path, request.headers()).await
        }
        _ => Ok(response::not_found_path()),
    }
}

/// Whether a path is this one or below it.
fn is_below(path: &str, root: &str) -> bool {
    path.strip_prefix(root).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

async fn metrics(server: &ApiServer) -> Result<Response, Status> {
    server.metrics.look_at(server).await;
    let text = server.metrics.render().map_err(|error| status::internal_error(error.to_string()))?;
    Ok(response::plain(StatusCode::OK, "text/plain; version=0.0.4; charset=utf-8", text))
}

/// What verifiers of ServiceAccount tokens elsewhere need.
fn oidc(server: &ApiServer, content_type: &'static str, body: impl FnOnce(&OidcDocuments) -> Bytes) -> Response {
    let Some(documents) = &server.oidc else {
        return response::not_found_path();
    };
    let mut answer = response::plain(StatusCode::OK, content_type, body(documents));
    answer.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static(OidcDocuments::CACHE_CONTROL));
    answer
}

/// Says that there are no profiles of Go, and what there is instead.
fn no_profiles() -> Response {
    let text = "This server is not written in Go and has no pprof profiles; use perf on the process.\n";
    response::text(StatusCode::NOT_FOUND, text)
}

/// `/`: the paths there are.
fn index(server: &ApiServer, cx: &RequestContext) -> Response {
    let mut paths = [
        "/.well-known/openid-configuration",
        "/api",
        "/api/v1",
        "/apis",
        "/apis/",
        "/flagz",
        "/healthz",
        "/livez",
        "/metrics",
        "/metrics/slis",
        "/openapi/v2",
        "/openapi/v3",
        "/openapi/v3/",
        "/openid/v1/jwks",
        "/readyz",
        "/statusz",
        "/version",
    ]
    .map(str::to_owned)
    .to_vec();
    for resource in server.registry.served().resources() {
        let info = &resource.info;
        if !info.group.is_empty() {
            paths.push(format!("/apis/{}", info.group));
            paths.push(format!("/apis/{}/{}", info.group, info.version));
        }
    }
    paths.extend(health::paths());
    paths.sort();
    paths.dedup();
    let body = serde_json::json!({ "paths": paths });
    response::finish(cx, StatusCode::OK, "application/json", crate::pretty::indent(body.to_string().as_bytes()).into())
}
