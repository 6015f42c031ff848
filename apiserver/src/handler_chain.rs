//! What happens to every request, in order.
//!
//! [`ApiServer::handle`] is the outermost step and the whole pipeline on one screen; each step below it says why it
//! stands where it does. Follows `DefaultBuildHandlerChain` in `k8s.io/apiserver/pkg/server/config.go`.

use std::net::SocketAddr;
use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use axum::body::Body;
use futures::FutureExt;
use http::{HeaderName, HeaderValue, Method, Request, StatusCode, header};
use http_body::Body as _;
use skiff_apimachinery::status::{self, Status};

use crate::ApiServer;
use crate::audit::record::Record;
use crate::authentication::{InProcessIdentity, UserInfo};
use crate::authorization::{Attributes, Decision};
use crate::context::{RequestContext, Warnings};
use crate::impersonation::Impersonated;
use crate::metrics::Asked;
use crate::query::Query;
use crate::request_info::RequestInfo;
use crate::response::{self, Response};
use crate::{aggregator, endpoints, routes};

/// How long a request that is not long-running may take (upstream's `--request-timeout`).
pub const REQUEST_TIMEOUT: Duration = Duration::from_secs(60);

const AUDIT_ID: HeaderName = HeaderName::from_static("audit-id");
/// Longest Audit-Id that is taken over from a client.
const MAX_AUDIT_ID: usize = 64;

impl ApiServer {
    /// Answers one request, wherever it came from.
    pub async fn handle(self: &Arc<Self>, request: Request<Body>) -> Response {
        let started = Instant::now();
        let audit_id = audit_id(&request);
        let head = *request.method() == Method::HEAD;
        // A panic is answered with 500 and costs nobody else anything.
        // Where the request's record is found if nothing else of the request is left.
        let record = OnceLock::new();
        let answered = {
            // Futures stay where they were made: they are large, and each move would copy them.
            let answer = pin!(self.answer(request, audit_id.to_str().unwrap_or(""), &record));
            AssertUnwindSafe(answer).catch_unwind().await
        };
        let (mut response, summary) = match answered {
            Ok(answered) => answered,
            Err(panic) => {
                if let Some(record) = record.get() {
                    record.panicked(panic_text(&*panic)).await;
                }
                let error = "This request caused apiserver to panic. Look in the logs for details.";
                (response::error(None, &status::internal_error(error)), None)
            }
        };
        if head {
            without_body(&mut response);
        }
        let headers = response.headers_mut();
        headers.insert(AUDIT_ID, audit_id);
        // Answers depend on who asks and when; a handler that knows better has said so.
        headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-cache, private"));
        if let Some(asked) = &summary {
            self.metrics.observe(asked, &response, started.elapsed(), |info| self.is_served(info));
        }
        response
    }

    async fn answer(
        self: &Arc<Self>,
        request: Request<Body>,
        audit_id: &str,
        record: &OnceLock<Arc<Record>>,
    ) -> (Response, Option<Asked>) {
        // What is asked, from method, path and query.
        let mut cx = match request_context(&request) {
            Ok(cx) => cx,
            Err(error) => return (response::error(None, &error), None),
        };
        let lasts = cx.info.is_long_running();
        let limit = timeout(&cx.query);
        let response = {
            let work = pin!(self.authenticated(&mut cx, request, audit_id, record));
            if lasts {
                work.await
            } else {
                // A slow client or a stuck store must not hold a request for ever.
                tokio::time::timeout(limit, work).await.unwrap_or_else(|_| Err(timed_out(limit)))
            }
        };
        let mut response = response.unwrap_or_else(|error| response::error(Some(&cx), &error));
        if let Some(record) = cx.audit.take() {
            response = record.finish(response).await;
        }
        for warning in cx.warnings.headers() {
            if let Ok(value) = HeaderValue::from_str(&warning) {
                response.headers_mut().append(header::WARNING, value);
            }
        }
        if let Some(flow) = cx.flow.take() {
            flow.into_headers(response.headers_mut());
        }
        (response, Some(Asked::new(cx)))
    }

    async fn authenticated(
        self: &Arc<Self>,
        cx: &mut RequestContext,
        request: Request<Body>,
        audit_id: &str,
        record: &OnceLock<Arc<Record>>,
    ) -> Result<Response, Status> {
        let (mut parts, body) = request.into_parts();
        let begin = |user: &UserInfo| {
            let peer = parts.extensions.get::<SocketAddr>().map(SocketAddr::ip);
            let audit = self.audit.as_ref()?;
            audit.begin(audit_id, &parts.uri, &parts.headers, peer, &cx.info, user)
        };
        // Who asks.
        cx.user = match parts.extensions.get::<InProcessIdentity>() {
            Some(identity) => identity.0.clone(),
            None => match self.authenticator.authenticate(&parts).await {
                Ok(Some(user)) => Arc::new(user),
                Ok(None) | Err(Status { code: 401, .. }) => {
                    // Whoever it is, that is all there is to know of the request.
                    cx.audit = begin(&UserInfo::default());
                    let refusal = response::error(Some(cx), &status::unauthorized());
                    if let Some(record) = cx.audit.take() {
                        record.refused(refusal.status()).await;
                    }
                    return Ok(refusal);
                }
                Err(error) => return Err(error),
            },
        };
        // What is kept of it.
        cx.audit = begin(&cx.user);
        if let Some(begun) = &cx.audit {
            if !begun.received().await {
                cx.audit = None;
                let uri = parts.uri.path_and_query().map_or("", |path| path.as_str());
                let text = format!("Internal Server Error: {uri:?}: failed to store audit event\n");
                return Ok(response::text(StatusCode::INTERNAL_SERVER_ERROR, text));
            }
            let _ = record.set(begun.clone());
        }
        // As whom.
        let mut attributes = self.attributes(cx);
        match self.impersonation.identity(&mut parts.headers, &attributes, self.authorizer.as_ref()) {
            Ok(Some(Impersonated { user, constraint })) => {
                cx.audit.iter().for_each(|audit| audit.impersonated(&user, &constraint));
                cx.user = Arc::new(user);
                attributes.user = cx.user.clone();
            }
            Ok(None) => {}
            Err(error) => return Ok(response::refused(cx, &error)),
        }
        // Whether there is room: not for requests that last, they would keep it for ever. Of those, watches are at least
        // told where they belong.
        let lasts = cx.info.is_long_running();
        if !lasts || cx.info.verb == "watch" {
            cx.flow = self.flow_control.classify(&cx.user, &cx.info);
        }
        let _seat = match lasts {
            true => None,
            false => match self.flow_control.seat(cx.flow.as_ref(), &cx.user, &cx.info).await {
                Ok(seat) => Some(seat),
                Err(refusal) => return Ok(refusal),
            },
        };
        // Whether they may.
        let decision = self.authorizer.authorize(&attributes);
        cx.audit.iter().for_each(|audit| audit_decision(audit, &decision));
        match decision {
            Decision::Allow(_) => {}
            Decision::Deny(reason) | Decision::NoOpinion(reason) => {
                return Ok(response::refused(cx, &forbidden(&attributes, &reason)));
            }
        }
        // Do it.
        let request = Request::from_parts(parts, body);
        if let Some(delegated) = self.aggregator.delegated(&cx.info.path) {
            cx.audit.iter().for_each(|audit| audit.passed_on());
            Box::pin(aggregator::proxy::proxy(&delegated, cx, request)).await
        } else if cx.info.is_resource_request {
            endpoints::dispatch(self, cx, request).await
        } else {
            Box::pin(routes::dispatch(self, cx, request)).await
        }
    }

    /// Whether a request is for a resource that this server has.
    fn is_served(&self, info: &RequestInfo) -> bool {
        let resource = self.registry.resource(&info.group, &info.version, &info.resource);
        resource.is_some_and(|resource| {
            info.subresource.is_empty() || resource.info.subresource(&info.subresource).is_some()
        })
    }

    /// What the authorizer is asked for a request.
    pub fn attributes(&self, cx: &RequestContext) -> Attributes {
        let info = &cx.info;
        let field_selector = if info.is_resource_request {
            endpoints::selection::authorization_requirements(cx.query.text("fieldSelector"))
        } else {
            Vec::new()
        };
        Attributes {
            user: cx.user.clone(),
            verb: info.verb.clone(),
            is_resource_request: info.is_resource_request,
            api_group: info.group.clone(),
            api_version: info.version.clone(),
            resource: info.resource.clone(),
            subresource: info.subresource.clone(),
            namespace: info.namespace.clone(),
            name: info.name.clone(),
            path: info.path.clone(),
            field_selector,
        }
    }
}

/// What a panic says.
fn panic_text(panic: &(dyn std::any::Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("")
}

/// Says in a request's record whether it was allowed, and why.
fn audit_decision(record: &Record, decision: &Decision) {
    let (decision, reason) = match decision {
        Decision::Allow(reason) => ("allow", reason),
        Decision::Deny(reason) | Decision::NoOpinion(reason) => ("forbid", reason),
    };
    record.annotate("authorization.k8s.io/decision", decision);
    record.annotate("authorization.k8s.io/reason", reason);
}

fn request_context(request: &Request<Body>) -> Result<RequestContext, Status> {
    let query = Query::parse(request.uri().query().unwrap_or(""));
    let info = RequestInfo::parse(request.method(), request.uri().path(), &query)
        .map_err(|error| status::bad_request(error.0))?;
    let header = |name: HeaderName| request.headers().get(name).and_then(|value| value.to_str().ok()).unwrap_or("");
    let user_agent = header(header::USER_AGENT);
    let pretty = match query.get("pretty") {
        Some(value) => !matches!(value.to_ascii_lowercase().as_str(), "" | "false" | "0"),
        // People, rather than programs.
        None => ["curl", "Wget", "Mozilla/5.0"].iter().any(|browser| user_agent.starts_with(browser)),
    };
    // Accept may be repeated; the fields are one list.
    let mut accepts = request.headers().get_all(header::ACCEPT).iter().filter_map(|v| v.to_str().ok());
    let mut accept = accepts.next().unwrap_or("").to_owned();
    for more in accepts {
        accept.push(',');
        accept.push_str(more);
    }
    Ok(RequestContext {
        info,
        query,
        user: Arc::new(UserInfo::default()),
        user_agent: user_agent.to_owned(),
        accept,
        content_type: header(header::CONTENT_TYPE).to_owned(),
        accepts_gzip: header(header::ACCEPT_ENCODING).split(',').any(|e| e.trim().starts_with("gzip")),
        pretty,
        warnings: Warnings::default(),
        audit: None,
        flow: None,
    })
}

/// Leaves of the body only how long it would be: HTTP/2 takes more for an error.
fn without_body(response: &mut Response) {
    let length = std::mem::take(response.body_mut()).size_hint().exact();
    if let Some(length) = length {
        response.headers_mut().insert(header::CONTENT_LENGTH, length.into());
    }
}

fn audit_id(request: &Request<Body>) -> HeaderValue {
    let given = request.headers().get(AUDIT_ID).filter(|id| !id.is_empty() && id.len() <= MAX_AUDIT_ID);
    given.cloned().unwrap_or_else(|| {
        let mut text = uuid::Uuid::encode_buffer();
        let id = uuid::Uuid::new_v4().hyphenated().encode_lower(&mut text);
        HeaderValue::from_str(id).unwrap_or(HeaderValue::from_static(""))
    })
}

/// The client's `timeout` where it is shorter than ours. Watches have their own `timeoutSeconds`.
fn timeout(query: &Query) -> Duration {
    let asked = query.get("timeout").and_then(parse_go_duration).filter(|d| !d.is_zero());
    asked.map_or(REQUEST_TIMEOUT, |asked| asked.min(REQUEST_TIMEOUT))
}

/// Reads a Go duration such as `30s`, `1m30s` or `500ms`.
pub(crate) fn parse_go_duration(text: &str) -> Option<Duration> {
    let mut rest = text;
    let mut total = 0f64;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let number = rest[..digits].parse::<f64>().ok()?;
        let unit_end = rest[digits..].find(|c: char| c.is_ascii_digit()).map_or(rest.len(), |n| digits + n);
        let seconds = match &rest[digits..unit_end] {
            "h" => 3600.0,
            "m" => 60.0,
            "s" => 1.0,
            "ms" => 1e-3,
            "us" | "µs" => 1e-6,
            "ns" => 1e-9,
            _ => return None,
        };
        total += number * seconds;
        rest = &rest[unit_end..];
    }
    Duration::try_from_secs_f64(total).ok()
}

fn timed_out(limit: Duration) -> Status {
    let mut error = status::timeout(format!("request did not complete within the allotted timeout of {limit:?}"));
    error.details.retry_after_seconds = 0;
    error
}

/// 403 with upstream's text.
pub fn forbidden(attributes: &Attributes, reason: &str) -> Status {
    let user = &attributes.user.name;
    let verb = &attributes.verb;
    if !attributes.is_resource_request {
        let message = with_reason(format!("User {user:?} cannot {verb} path {:?}", attributes.path), reason);
        return status::forbidden("", "", "", message);
    }
    let mut resource = attributes.resource.clone();
    if !attributes.subresource.is_empty() {
        resource = format!("{resource}/{}", attributes.subresource);
    }
    let group = &attributes.api_group;
    let place = if attributes.namespace.is_empty() {
        "at the cluster scope".to_owned()
    } else {
        format!("in the namespace {:?}", attributes.namespace)
    };
    let message = format!("User {user:?} cannot {verb} resource {resource:?} in API group {group:?} {place}");
    status::forbidden(group, &attributes.resource, &attributes.name, with_reason(message, reason))
}

fn with_reason(message: String, reason: &str) -> String {
    if reason.is_empty() { message } else { format!("{message}: {reason}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn go_durations() {
        assert_eq!(parse_go_duration("1m30s"), Some(Duration::from_secs(90)));
        assert_eq!(parse_go_duration("500ms"), Some(Duration::from_millis(500)));
        assert_eq!(parse_go_duration("34"), None);
        assert_eq!(parse_go_duration("x"), None);
    }

    #[test]
    fn forbidden_texts() {
        let mut attributes = Attributes {
            user: Arc::new(UserInfo { name: "jane".into(), ..Default::default() }),
            verb: "list".into(),
            is_resource_request: true,
            resource: "pods".into(),
            namespace: "demo".into(),
            ..Default::default()
        };
        assert_eq!(
            forbidden(&attributes, "").message,
            r#"pods is forbidden: User "jane" cannot list resource "pods" in API group "" in the namespace "demo""#
        );
        attributes.is_resource_request = false;
        attributes.path = "/metrics".into();
        attributes.verb = "get".into();
        assert_eq!(forbidden(&attributes, "").message, r#"forbidden: User "jane" cannot get path "/metrics""#);
    }
}
