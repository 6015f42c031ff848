//! Nothing is answered to those who have no rights: a walk over everything that the server serves.

use std::sync::Arc;

use axum::body::Body;
use http::Request;
use http_body_util::BodyExt;
use skiff_apiserver::authentication::{InProcessIdentity, UserInfo};
use skiff_fixture::Api;
use tower::ServiceExt;

const METHODS: [&str; 6] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"];
/// Paths that are not listed at `/`.
const UNLISTED: [&str; 8] =
    ["/", "/openapi/v3/api/v1", "/logs", "/debug/pprof/", "/swagger.json", "/api/", "/x", "/metrics/slis"];

/// Asks as somebody whom no binding names: not even among everybody, authenticated or not.
async fn ask(api: &Api, method: &str, path: &str) -> (u16, String) {
    let user = UserInfo { name: "nobody".into(), ..UserInfo::default() };
    let mut request = Request::builder().method(method).uri(path).body(Body::from("{}")).expect("a request");
    request.headers_mut().insert("content-type", "application/json".parse().expect("a value"));
    request.extensions_mut().insert(InProcessIdentity(Arc::new(user)));
    let response = api.server().service().oneshot(request).await.expect("infallible");
    let code = response.status().as_u16();
    // A watch that was let in would never end; its code is enough.
    let text =
        if code == 403 { response.into_body().collect().await.expect("a body").to_bytes() } else { Default::default() };
    (code, String::from_utf8_lossy(&text).into_owned())
}

/// Every path under which a resource or something of it is found.
fn resource_paths(api: &Api) -> Vec<String> {
    let mut paths = Vec::new();
    for resource in api.server().registry.served().resources() {
        let info = &resource.info;
        let root = match info.group.as_str() {
            "" => format!("/api/{}", info.version),
            group => format!("/apis/{group}/{}", info.version),
        };
        let mut places = vec![format!("{root}/{}", info.plural), format!("{root}/watch/{}", info.plural)];
        if info.namespaced {
            places.push(format!("{root}/namespaces/n/{}", info.plural));
            places.push(format!("{root}/watch/namespaces/n/{}", info.plural));
        }
        for place in places {
            paths.push(format!("{place}/x"));
            for subresource in &info.subresources {
                paths.push(format!("{place}/x/{}", subresource.name));
                paths.push(format!("{place}/x/{}/y/z", subresource.name));
            }
            paths.extend([format!("{place}?watch=true"), format!("{place}?fieldSelector=metadata.name%3Dx"), place]);
        }
    }
    paths
}

#[tokio::test]
async fn an_identity_without_rights_is_refused_everywhere() {
    let api = Api::secured().await;
    let index = api.get("/").await.expect(200).json();
    let listed = index["paths"].as_array().expect("paths").iter().filter_map(|path| path.as_str()).map(str::to_owned);
    let others = listed.chain(UNLISTED.map(str::to_owned)).collect::<Vec<_>>();
    let resources = resource_paths(&api);
    let mut open = Vec::new();
    for path in resources.iter().chain(&others) {
        for method in METHODS {
            let (code, text) = ask(&api, method, path).await;
            // HEAD has no body to look at.
            let said = method == "HEAD"
                || text.contains("is forbidden: User \\\"nobody\\\" cannot")
                || text.contains("forbidden: User \\\"nobody\\\" cannot");
            if code != 403 || !said {
                open.push(format!("{method} {path}: {code} {text}"));
            }
        }
    }
    let total = (resources.len() + others.len()) * METHODS.len();
    println!(
        "{total} requests on {} resource paths and {} others, {} not refused",
        resources.len(),
        others.len(),
        open.len()
    );
    assert!(open.is_empty(), "{}", open.join("\n"));
    assert!(resources.len() > 1000 && others.len() > 50, "{} {}", resources.len(), others.len());
    // The same paths are there for those who may.
    for path in ["/api/v1/pods", "/apis/apps/v1/deployments", "/version", "/metrics"] {
        api.get(path).await.expect(200);
    }
}
