//! Subresources that connect: log, exec, attach, portforward, and the proxies of pods, nodes and Services.
//!
//! Follows `pkg/registry/core/pod/rest` and `pkg/registry/core/{node,service}/rest`.

use axum::body::Body;
use http::header::{self, HeaderName};
use http::{HeaderValue, Method, Request, StatusCode};
use skiff_apimachinery::status::{self, Status};
use skiff_apimachinery::value::Value;

use super::{Call, connect_options, websocket};
use crate::admission::Operation;
use crate::authorization::{Attributes, Decision};
use crate::handler_chain::forbidden;
use crate::proxy::ProxyTls;
use crate::proxy::forward::{Destination, checked, forward};
use crate::proxy::links::Links;
use crate::proxy::target::{self, ObjectName, encode};
use crate::response::{self, Response};

/// Query parameters of logs that the kubelet understands under the same names.
const LOG_PARAMETERS: [&str; 8] =
    ["follow", "previous", "sinceSeconds", "sinceTime", "timestamps", "tailLines", "limitBytes", "insecure"];

/// Headers of a request that asks for another protocol.
const UPGRADE_HEADERS: [HeaderName; 6] = [
    header::CONNECTION,
    header::UPGRADE,
    header::SEC_WEBSOCKET_KEY,
    header::SEC_WEBSOCKET_VERSION,
    header::SEC_WEBSOCKET_PROTOCOL,
    header::SEC_WEBSOCKET_EXTENSIONS,
];

/// Streams a container's log.
pub async fn log(call: &Call<'_>, request: Request<Body>) -> Result<Response, Status> {
    let query = &call.cx.query;
    validate_log_options(call)?;
    let pod = pod(call, &call.cx.info.name).await?;
    let container = target::container(&pod, query.text("container"))?;
    let node = pod.str_at(&["spec", "nodeName"]).unwrap_or("");
    if node.is_empty() {
        // Nothing has run yet, so there is nothing to show.
        return Ok(response::plain(StatusCode::OK, "text/plain", Body::empty()));
    }
    let mut parameters = Vec::new();
    for name in LOG_PARAMETERS {
        if let Some(value) = query.get(name) {
            parameters.push(format!("{name}={}", encode(value)));
        }
    }
    let path = format!("/containerLogs/{}/{}/{container}", call.cx.info.namespace, call.cx.info.name);
    let destination = kubelet(call, node, with_query(&path, &parameters.join("&")))?;
    // The kubelet's answer is no upgraded connection, whatever the client's is.
    let mut plain = Request::new(Body::empty());
    *plain.headers_mut() = request.headers().clone();
    UPGRADE_HEADERS.iter().for_each(|name| drop(plain.headers_mut().remove(name)));
    let mut answer = checked(forward(plain, destination).await?, &call.cx.info.name).await?;
    if websocket::is_upgrade(&request) {
        return websocket::serve_body(request, answer.into_body());
    }
    answer.headers_mut().entry(header::CONTENT_TYPE).or_insert(HeaderValue::from_static("text/plain"));
    Ok(answer)
}

fn validate_log_options(call: &Call<'_>) -> Result<(), Status> {
    use skiff_apimachinery::field::{Error, ErrorList, Path};
    let query = &call.cx.query;
    let mut errors = ErrorList::default();
    for (name, least) in [("tailLines", 0), ("limitBytes", 1), ("sinceSeconds", 1)] {
        match super::params::integer(query, name)? {
            Some(value) if value < least => {
                let message = if least == 0 { "must be greater than or equal to 0" } else { "must be greater than 0" };
                errors.push(Error::invalid(&Path::new(name), value, message));
            }
            _ => {}
        }
    }
    if query.get("sinceSeconds").is_some() && query.get("sinceTime").is_some() {
        errors.push(Error::forbidden(&Path::new(""), "at most one of `sinceTime` or `sinceSeconds` may be specified"));
    }
    if query.get("stream").is_some() {
        // Behind a gate that is off by default (`PodLogsQuerySplitStreams`).
        errors.push(Error::forbidden(&Path::new("stream"), "may not be specified"));
    }
    if errors.is_empty() { Ok(()) } else { Err(status::invalid("", "PodLogOptions", &call.cx.info.name, errors)) }
}

/// Runs a command in a container, or attaches to the one that runs there.
pub async fn exec_or_attach(call: &Call<'_>, request: Request<Body>) -> Result<Response, Status> {
    authorize_upgrade(call, &request)?;
    let info = &call.cx.info;
    admit(call, &info.name).await?;
    let pod = pod(call, &call.cx.info.name).await?;
    let container = target::container(&pod, call.cx.query.text("container"))?;
    let node = assigned_node(&pod)?;
    if info.subresource == "exec" && call.cx.query.text("command").is_empty() {
        return Err(status::bad_request("you must specify at least one command for the container"));
    }
    let query = target::stream_query(&call.cx.query);
    let streams = ["input=1", "output=1", "error=1"];
    if !streams.iter().any(|stream| query.split('&').any(|part| part == *stream)) {
        return Err(status::bad_request("you must specify at least 1 of stdin, stdout, stderr"));
    }
    let path = format!("/{}/{}/{}/{container}", info.subresource, info.namespace, info.name);
    forward(request, kubelet(call, node, with_query(&path, &query))?).await
}

/// Forwards ports of a pod.
pub async fn port_forward(call: &Call<'_>, request: Request<Body>) -> Result<Response, Status> {
    authorize_upgrade(call, &request)?;
    let info = &call.cx.info;
    admit(call, &info.name).await?;
    let pod = pod(call, &call.cx.info.name).await?;
    let node = assigned_node(&pod)?;
    let ports = call.cx.query.all("ports").flat_map(|list| list.split(','));
    let query = ports.filter(|p| !p.is_empty()).map(|port| format!("port={}", encode(port))).collect::<Vec<_>>();
    let path = format!("/portForward/{}/{}", info.namespace, info.name);
    forward(request, kubelet(call, node, with_query(&path, &query.join("&")))?).await
}

/// Asks admission about a connection.
async fn admit(call: &Call<'_>, name: &str) -> Result<(), Status> {
    let mut options = connect_options::of(call);
    call.admit(Operation::Connect, name, Some(&mut options)).await
}

/// Passes a request on to a pod, node or Service.
pub async fn proxy(call: &Call<'_>, mut request: Request<Body>) -> Result<Response, Status> {
    let info = &call.cx.info;
    let name = ObjectName::parse(&info.name)?;
    admit(call, name.name).await?;
    let (reader, tls) = (call.server.cacher.as_ref(), proxy_tls(call)?);
    let query = request.uri().query().unwrap_or("").to_owned();
    let (address, tls) = match info.resource.as_str() {
        "nodes" => {
            let mut address = target::kubelet(reader, name.name)?;
            if !name.port.is_empty() {
                address.port = name
                    .port
                    .parse()
                    .map_err(|_| status::bad_request(format!("invalid node request {:?}", info.name)))?;
            }
            (address, Some(tls.kubelet.clone()))
        }
        "services" => (target::service(reader, &info.namespace, &name)?, name.https.then(|| tls.insecure.clone())),
        _ => {
            let pod = pod(call, name.name).await?;
            (target::pod(&pod, &name)?, name.https.then(|| tls.insecure.clone()))
        }
    };
    if info.rest.is_none() && matches!(*request.method(), Method::GET | Method::HEAD) {
        // Relative links work only below a slash.
        return redirect(&with_query(&format!("{}/", info.path), &query));
    }
    let rest = info.rest.as_deref().unwrap_or("");
    let links = Links { prefix: proxy_prefix(&info.path, rest), host: format!("{}:{}", address.host, address.port) };
    add_forwarded_headers(&mut request, &links.prefix, rest);
    let destination = Destination { address, tls, path_and_query: with_query(&format!("/{rest}"), &query) };
    Ok(links.rewrite(forward(request, destination).await?))
}

/// The request's path up to and with `/proxy`.
fn proxy_prefix(path: &str, rest: &str) -> String {
    path.strip_suffix(rest).unwrap_or(path).trim_end_matches('/').to_owned()
}

fn add_forwarded_headers(request: &mut Request<Body>, prefix: &str, rest: &str) {
    let host = request.headers().get(header::HOST).cloned();
    let uri = HeaderValue::from_str(&format!("{prefix}/{rest}"));
    let headers = request.headers_mut();
    if let Ok(uri) = uri {
        headers.insert(HeaderName::from_static("x-forwarded-uri"), uri);
    }
    headers.insert(HeaderName::from_static("x-forwarded-proto"), HeaderValue::from_static("https"));
    if let Some(host) = host {
        headers.insert(HeaderName::from_static("x-forwarded-host"), host);
    }
}

fn redirect(location: &str) -> Result<Response, Status> {
    let mut answer = response::plain(StatusCode::MOVED_PERMANENTLY, "text/plain", Body::empty());
    let location = HeaderValue::from_str(location).map_err(|error| status::bad_request(error.to_string()))?;
    answer.headers_mut().insert(header::LOCATION, location);
    Ok(answer)
}

/// The pod as it is now: one that was just bound can be reached.
async fn pod(call: &Call<'_>, name: &str) -> Result<Value, Status> {
    let pods = call.store()?;
    pods.parse_stored(&pods.get(&call.cx.info.namespace, name, "").await?)
}

fn assigned_node(pod: &Value) -> Result<&str, Status> {
    match pod.str_at(&["spec", "nodeName"]) {
        Some(node) if !node.is_empty() => Ok(node),
        _ => {
            let name = skiff_apimachinery::meta::name(pod);
            Err(status::bad_request(format!("pod {name} does not have a host assigned")))
        }
    }
}

fn kubelet(call: &Call<'_>, node: &str, path_and_query: String) -> Result<Destination, Status> {
    let address = target::kubelet(call.server.cacher.as_ref(), node)?;
    Ok(Destination { address, tls: Some(proxy_tls(call)?.kubelet.clone()), path_and_query })
}

fn proxy_tls<'a>(call: &Call<'a>) -> Result<&'a ProxyTls, Status> {
    let tls = call.server.proxy_tls.as_ref();
    tls.ok_or_else(|| status::service_unavailable("this server has no credentials for kubelets"))
}

fn with_query(path: &str, query: &str) -> String {
    if query.is_empty() { path.to_owned() } else { format!("{path}?{query}") }
}

/// GET of exec and the like is the websocket form of POST, so it needs the same right: to create.
fn authorize_upgrade(call: &Call<'_>, request: &Request<Body>) -> Result<(), Status> {
    if request.method() != Method::GET {
        return Ok(());
    }
    let attributes = Attributes { verb: "create".into(), ..call.server.attributes(call.cx) };
    match call.server.authorizer.authorize(&attributes) {
        Decision::Allow(_) => Ok(()),
        Decision::Deny(reason) | Decision::NoOpinion(reason) => Err(forbidden(&attributes, &reason)),
    }
}
