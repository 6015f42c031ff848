//! Requests for group versions that others serve. Follows `handler_proxy.go` of `k8s.io/kube-aggregator`.

use axum::body::Body;
use http::{HeaderValue, Request, StatusCode, header};
use skiff_apimachinery::status::Status;

use super::Delegated;
use crate::authentication::UserInfo;
use crate::context::RequestContext;
use crate::proxy::forward;
use crate::response::{self, Response};

/// Passes a request on; the answer is the other server's.
pub async fn proxy(delegated: &Delegated, cx: &RequestContext, request: Request<Body>) -> Result<Response, Status> {
    let path_and_query = request.uri().path_and_query().map_or("/", |path| path.as_str()).to_owned();
    pass_on(delegated, &cx.user, request, &path_and_query).await
}

/// The same for another user or path.
pub async fn pass_on(
    delegated: &Delegated,
    user: &UserInfo,
    request: Request<Body>,
    path_and_query: &str,
) -> Result<Response, Status> {
    if !delegated.service.available {
        return Ok(error(StatusCode::SERVICE_UNAVAILABLE, "service unavailable"));
    }
    let remote = match &delegated.remote {
        Ok(remote) => remote,
        Err(why) => return Ok(error(StatusCode::INTERNAL_SERVER_ERROR, why)),
    };
    if remote.address().is_err() {
        return Ok(error(StatusCode::SERVICE_UNAVAILABLE, "service unavailable"));
    }
    let outgoing = forward::Outgoing::of(request);
    let upgrading = outgoing.is_upgrading();
    let (request, client) = outgoing.into_parts();
    match remote.send(request, path_and_query, user, upgrading).await {
        Ok(answer) => Ok(forward::answer(answer, client)),
        Err(why) => {
            let text = format!("error trying to reach service: {why}");
            Ok(error(StatusCode::SERVICE_UNAVAILABLE, &text))
        }
    }
}

/// A failure as Go's `http.Error` writes it.
fn error(code: StatusCode, text: &str) -> Response {
    let mut answer = response::plain(code, "text/plain; charset=utf-8", format!("{text}\n"));
    answer.headers_mut().insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    answer
}
