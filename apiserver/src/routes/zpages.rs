//! `/statusz` and `/flagz`: what a person wants to know of a server first.
//!
//! Follows `k8s.io/component-base/zpages`: text for people, and the kinds `Statusz` and `Flagz` of `config.k8s.io` for
//! those who ask for them by name.

use std::collections::BTreeMap;
use std::sync::LazyLock;
use std::time::Instant;

use bytes::Bytes;
use http::{HeaderValue, StatusCode, header};
use jiff::Timestamp;
use serde_json::{Value, json};
use skiff_apimachinery::status::{self, Status};
use skiff_apimachinery::{time, yaml};

use super::version;
use crate::ApiServer;
use crate::context::RequestContext;
use crate::negotiation::parse_accept;
use crate::response::{self, Response};

const GROUP: &str = "config.k8s.io";
/// Versions of the kinds; the older one is answered with a warning.
const VERSIONS: [&str; 2] = ["v1beta1", "v1alpha1"];
const TEXT: &str = "text/plain; charset=utf-8";
const NOT_ACCEPTABLE: &str =
    "only the following media types are accepted: application/json, application/yaml, text/plain";
/// What upstream says above both texts.
const WARNING: &str = "Warning: This endpoint is not meant to be machine parseable, has no formatting compatibility \
                       guarantees and is for debugging purposes only.";
/// What there is to see besides.
const PATHS: [&str; 7] = ["/flagz", "/healthz", "/livez", "/metrics", "/readyz", "/statusz", "/version"];

/// When this process began to serve.
static STARTED: LazyLock<(Instant, Timestamp)> = LazyLock::new(|| (Instant::now(), Timestamp::now()));

/// Notes when the server was started.
pub fn started() {
    LazyLock::force(&STARTED);
}

/// How a page is wanted.
enum Form {
    Text,
    Json(&'static str),
    Yaml(&'static str),
}

/// `/statusz`.
pub fn statusz(cx: &RequestContext) -> Result<Response, Status> {
    let form = form(&cx.accept, "Statusz")?;
    let (since, at) = *STARTED;
    let up = since.elapsed().as_secs();
    let (major, minor) = (version::KUBERNETES_MAJOR, version::KUBERNETES_MINOR);
    let binary = version::git_version();
    let binary = binary.trim_start_matches('v');
    if matches!(form, Form::Text) {
        let began = at.strftime("%a %b %e %H:%M:%S UTC %Y");
        let up = format!("{} hr {:02} min {:02} sec", up / 3600, up / 60 % 60, up % 60);
        let text = format!(
            "\napiserver statusz\n{WARNING}\n\nStarted: {began}\nUp: {up}\nGo version: {}\nBinary version: {binary}\n\
             Emulation version: {major}.{minor}\nPaths: {}\n",
            version::GO_VERSION,
            PATHS.join(" "),
        );
        return Ok(response::plain(StatusCode::OK, TEXT, text));
    }
    let fields = json!({
        "startTime": time::format(at),
        "uptimeSeconds": up,
        "goVersion": version::GO_VERSION,
        "binaryVersion": binary,
        "emulationVersion": format!("{major}.{minor}"),
        "paths": PATHS,
    });
    answer(cx, &form, "Statusz", fields)
}

/// `/flagz`.
pub fn flagz(server: &ApiServer, cx: &RequestContext) -> Result<Response, Status> {
    let form = form(&cx.accept, "Flagz")?;
    let flags = flags(server);
    if matches!(form, Form::Text) {
        let lines = flags.iter().map(|(name, value)| format!("{name} {value}\n")).collect::<String>();
        return Ok(response::plain(StatusCode::OK, TEXT, format!("\napiserver flagz\n{WARNING}\n{lines}")));
    }
    answer(cx, &form, "Flagz", json!({ "flags": flags }))
}

/// The settings that are in force, by the names of upstream's flags.
fn flags(server: &ApiServer) -> BTreeMap<&'static str, String> {
    let settings = &server.settings;
    let plugins = server.admission.iter().map(|plugin| plugin.name()).collect::<Vec<_>>();
    BTreeMap::from([
        ("advertise-address", settings.advertise_address.to_string()),
        ("authorization-mode", "[Node,RBAC]".to_owned()),
        ("enable-admission-plugins", format!("[{}]", plugins.join(","))),
        ("enable-priority-and-fairness", "true".to_owned()),
        ("max-mutating-requests-inflight", crate::flow_control::MAX_WRITES.to_string()),
        ("max-requests-inflight", crate::flow_control::MAX_READS.to_string()),
        ("request-timeout", "1m0s".to_owned()),
        ("runtime-config", settings.runtime_config.join(",")),
        ("secure-port", settings.advertise_port.to_string()),
        ("service-cluster-ip-range", settings.service_cidr.to_string()),
        ("service-node-port-range", format!("{}-{}", settings.node_ports.start(), settings.node_ports.end())),
    ])
}

fn form(accept: &str, kind: &str) -> Result<Form, Status> {
    if accept.is_empty() {
        return Ok(Form::Text);
    }
    for clause in parse_accept(accept) {
        let asked = (clause.param("g"), clause.param("as")) == (Some(GROUP), Some(kind));
        let version = VERSIONS.into_iter().find(|version| asked && clause.param("v") == Some(version));
        let plain = clause.param("as").is_none();
        match version {
            Some(version) if clause.covers("application/json") => return Ok(Form::Json(version)),
            Some(version) if clause.covers("application/yaml") => return Ok(Form::Yaml(version)),
            _ if plain && clause.covers("text/plain") => return Ok(Form::Text),
            _ => {}
        }
    }
    Err(Status::new(406, "NotAcceptable", NOT_ACCEPTABLE))
}

fn answer(cx: &RequestContext, form: &Form, kind: &str, fields: Value) -> Result<Response, Status> {
    let (media, version) = match form {
        Form::Json(version) => ("application/json", *version),
        Form::Yaml(version) => ("application/yaml", *version),
        Form::Text => return Err(status::internal_error("text has no kind")),
    };
    let mut object = json!({
        "kind": kind,
        "apiVersion": format!("{GROUP}/{version}"),
        "metadata": {"name": "apiserver"},
    });
    if let (Value::Object(object), Value::Object(fields)) = (&mut object, fields) {
        object.extend(fields);
    }
    let json = object.to_string().into_bytes();
    let body = match form {
        Form::Yaml(_) => {
            let mut out = Vec::new();
            yaml::write(&response::parse(&json)?, &mut out);
            out
        }
        _ if cx.pretty => crate::pretty::indent(&json),
        _ => json,
    };
    if version != VERSIONS[0] {
        cx.warnings.add(format!(
            "This version of the {} endpoint is deprecated. Please use a newer version.",
            kind.to_lowercase()
        ));
    }
    let mut answer = response::plain(StatusCode::OK, "application/json", Bytes::from(body));
    let media = HeaderValue::from_str(&format!("{media};g={GROUP};v={version};as={kind}"));
    answer.headers_mut().insert(header::CONTENT_TYPE, media.map_err(status::internal_error)?);
    Ok(answer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_unless_the_kind_is_asked_for() {
        let shape = |accept: &str| match form(accept, "Statusz") {
            Ok(Form::Text) => "text".to_owned(),
            Ok(Form::Json(version)) => format!("json {version}"),
            Ok(Form::Yaml(version)) => format!("yaml {version}"),
            Err(error) => error.code.to_string(),
        };
        assert_eq!(["", "*/*", "text/*"].map(shape), ["text"; 3]);
        assert_eq!(shape("application/json;v=v1beta1;g=config.k8s.io;as=Statusz,text/plain"), "json v1beta1");
        assert_eq!(shape("application/yaml;v=v1alpha1;g=config.k8s.io;as=Statusz"), "yaml v1alpha1");
        for refused in ["application/json", "text/html", "application/json;v=v1beta1;g=config.k8s.io;as=Flagz"] {
            assert_eq!(shape(refused), "406", "{refused}");
        }
    }
}
