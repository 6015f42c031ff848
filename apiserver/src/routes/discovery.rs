//! `/api` and `/apis`: what this server serves, in the older form (one document per group version) and the aggregated.
//!
//! Follows `k8s.io/apiserver/pkg/endpoints/discovery` and its `aggregated` package.

use std::sync::OnceLock;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use serde_json::{Value, json};
use sha2::{Digest, Sha512};
use skiff_api::{KindInfo, Subresource};
use skiff_apimachinery::status::{self, Status};

use crate::ApiServer;
use crate::context::RequestContext;
use crate::negotiation::{self, parse_accept};
use crate::response::{self, Response};

/// What the answer's Content-Type must say for clients to take it as aggregated.
const AGGREGATED: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";

/// The aggregated documents, made once.
#[derive(Default)]
pub struct Documents {
    core: OnceLock<Document>,
    groups: OnceLock<Document>,
}

struct Document {
    body: Bytes,
    etag: HeaderValue,
}

/// Answers a discovery path.
pub fn answer(server: &ApiServer, cx: &RequestContext, path: &str, headers: &HeaderMap) -> Result<Response, Status> {
    let parts = path.trim_matches('/').split('/').collect::<Vec<_>>();
    let body = match parts.as_slice() {
        ["api"] if wants_aggregated(&cx.accept) => return Ok(aggregated(server, true, headers)),
        ["apis"] if wants_aggregated(&cx.accept) => return Ok(aggregated(server, false, headers)),
        ["api"] => api_versions(server),
        ["apis"] => json!({
            "kind": "APIGroupList",
            "apiVersion": "v1",
            "groups": groups(server).filter(|g| !g.name.is_empty()).map(|g| group_object(&g, false)).collect::<Vec<_>>(),
        }),
        ["api", version] => match resource_list(server, "", version) {
            Some(list) => list,
            None => return Ok(response::not_found_path()),
        },
        ["apis", group] => match groups(server).find(|g| g.name == *group) {
            Some(group) => group_object(&group, true),
            None => return Ok(response::not_found_path()),
        },
        ["apis", group, version] => match resource_list(server, group, version) {
            Some(list) => list,
            None => return Ok(response::not_found_path()),
        },
        _ => return Ok(response::not_found_path()),
    };
    respond(cx, &body)
}

fn respond(cx: &RequestContext, body: &Value) -> Result<Response, Status> {
    let offer = negotiation::Offer { protobuf: false, transforms: false, collection: false, yaml: true };
    let output = negotiation::negotiate(&cx.accept, offer, cx.pretty)?;
    let text = body.to_string();
    let value = response::parse(text.as_bytes())?;
    let schema = skiff_api::builtin()
        .schema_of("", "v1", "Status")
        .ok_or_else(|| status::internal_error("no schema for v1 Status"))?;
    let ty = response::ObjectType { api_version: "v1", kind: "APIResourceList", schema };
    response::value(cx, output, ty, StatusCode::OK, value)
}

/// Whether the client prefers the aggregated document over plain JSON.
fn wants_aggregated(accept: &str) -> bool {
    for clause in parse_accept(accept) {
        if !clause.covers("application/json") {
            continue;
        }
        match clause.param("as") {
            Some("APIGroupDiscoveryList") => {
                let fits = clause.param("g") == Some("apidiscovery.k8s.io") && clause.param("v") == Some("v2");
                if fits {
                    return true;
                }
            }
            _ => return false,
        }
    }
    false
}

fn aggregated(server: &ApiServer, core: bool, headers: &HeaderMap) -> Response {
    let cell = if core { &server.discovery.core } else { &server.discovery.groups };
    let document = cell.get_or_init(|| {
        let items = groups(server).filter(|g| g.name.is_empty() == core).map(|g| aggregated_group(server, &g));
        let body = json!({
            "kind": "APIGroupDiscoveryList",
            "apiVersion": "apidiscovery.k8s.io/v2",
            "metadata": {},
            "items": items.collect::<Vec<_>>(),
        })
        .to_string();
        let hash = Sha512::digest(body.as_bytes()).iter().map(|byte| format!("{byte:02X}")).collect::<String>();
        let etag = HeaderValue::from_str(&format!("\"{hash}\"")).unwrap_or(HeaderValue::from_static("\"\""));
        Document { body: body.into(), etag }
    });
    let unchanged = headers.get(header::IF_NONE_MATCH) == Some(&document.etag);
    let mut answer = if unchanged {
        response::plain(StatusCode::NOT_MODIFIED, AGGREGATED, Bytes::new())
    } else {
        response::plain(StatusCode::OK, AGGREGATED, document.body.clone())
    };
    let headers = answer.headers_mut();
    headers.insert(header::ETAG, document.etag.clone());
    headers.insert(header::VARY, HeaderValue::from_static("Accept"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("public"));
    answer
}

struct Group {
    name: &'static str,
    /// Most preferred first.
    versions: Vec<&'static str>,
}

/// The groups that have a served version, in the order of preference.
fn groups(server: &ApiServer) -> impl Iterator<Item = Group> + use<'_> {
    skiff_api::builtin().groups.iter().filter_map(|group| {
        let versions = group.versions.iter().map(|v| v.name.as_str());
        let versions = versions.filter(|v| server.registry.serves(&group.name, v)).collect::<Vec<_>>();
        (!versions.is_empty()).then_some(Group { name: &group.name, versions })
    })
}

fn kinds<'a>(server: &'a ApiServer, group: &'a str, version: &'a str) -> impl Iterator<Item = &'static KindInfo> + 'a {
    let all = skiff_api::builtin().kinds.iter().filter(move |k| k.group == group && k.version == version);
    all.filter(|k| server.registry.resource(&k.group, &k.version, &k.plural).is_some())
}

fn api_versions(server: &ApiServer) -> Value {
    let own = format!("{}:{}", server.settings.advertise_address, server.settings.advertise_port);
    json!({
        "kind": "APIVersions",
        "versions": ["v1"],
        "serverAddressByClientCIDRs": [{"clientCIDR": "0.0.0.0/0", "serverAddress": own}],
    })
}

fn group_object(group: &Group, alone: bool) -> Value {
    let version = |v: &str| json!({"groupVersion": format!("{}/{v}", group.name), "version": v});
    let mut object = json!({
        "name": group.name,
        "versions": group.versions.iter().map(|v| version(v)).collect::<Vec<_>>(),
        "preferredVersion": version(group.versions[0]),
    });
    if alone {
        object["kind"] = json!("APIGroup");
        object["apiVersion"] = json!("v1");
    }
    object
}

fn resource_list(server: &ApiServer, group: &str, version: &str) -> Option<Value> {
    let mut resources = Vec::new();
    for kind in kinds(server, group, version) {
        resources.push(resource_object(kind));
        resources.extend(kind.subresources.iter().map(|sub| subresource_object(kind, sub)));
    }
    if resources.is_empty() {
        return None;
    }
    let group_version = if group.is_empty() { version.to_owned() } else { format!("{group}/{version}") };
    let mut list = json!({"kind": "APIResourceList", "groupVersion": group_version, "resources": resources});
    // Upstream leaves it out for the core group.
    if !group.is_empty() {
        list["apiVersion"] = "v1".into();
    }
    Some(list)
}

fn resource_object(kind: &KindInfo) -> Value {
    let mut object = json!({
        "name": kind.plural.as_str(),
        "singularName": kind.singular.as_str(),
        "namespaced": kind.namespaced,
        "kind": kind.kind.as_str(),
        "verbs": strings(&kind.verbs),
    });
    if !kind.short_names.is_empty() {
        object["shortNames"] = json!(strings(&kind.short_names));
    }
    if !kind.categories.is_empty() {
        object["categories"] = json!(strings(&kind.categories));
    }
    if !kind.storage_version_hash.is_empty() {
        object["storageVersionHash"] = json!(kind.storage_version_hash.as_str());
    }
    object
}

fn subresource_object(kind: &KindInfo, sub: &Subresource) -> Value {
    let mut object = json!({
        "name": format!("{}/{}", kind.plural, sub.name),
        "singularName": "",
        "namespaced": kind.namespaced,
        "kind": sub.kind.as_str(),
        "verbs": strings(&sub.verbs),
    });
    if sub.foreign_kind {
        object["group"] = json!(sub.group.as_str());
        object["version"] = json!(sub.version.as_str());
    }
    object
}

fn aggregated_group(server: &ApiServer, group: &Group) -> Value {
    let versions = group.versions.iter().map(|version| {
        let resources = kinds(server, group.name, version).map(aggregated_resource).collect::<Vec<_>>();
        json!({"version": version, "resources": resources, "freshness": "Current"})
    });
    let metadata = if group.name.is_empty() { json!({}) } else { json!({"name": group.name}) };
    json!({"metadata": metadata, "versions": versions.collect::<Vec<_>>()})
}

fn aggregated_resource(kind: &'static KindInfo) -> Value {
    // Group and version are named where they are not those of the resource.
    let response_kind = |group: &str, version: &str, name: &str, foreign: bool| {
        let (group, version) = if foreign { (group, version) } else { ("", "") };
        json!({"group": group, "version": version, "kind": name})
    };
    let mut object = json!({
        "resource": kind.plural.as_str(),
        "responseKind": response_kind(&kind.group, &kind.version, &kind.kind, false),
        "scope": if kind.namespaced { "Namespaced" } else { "Cluster" },
        "singularResource": kind.singular.as_str(),
        "verbs": strings(&kind.verbs),
    });
    if !kind.short_names.is_empty() {
        object["shortNames"] = json!(strings(&kind.short_names));
    }
    if !kind.categories.is_empty() {
        object["categories"] = json!(strings(&kind.categories));
    }
    if !kind.subresources.is_empty() {
        let subresources = kind.subresources.iter().map(|sub| {
            json!({
                "subresource": sub.name.as_str(),
                "responseKind": response_kind(&sub.group, &sub.version, &sub.kind, sub.foreign_kind),
                "verbs": strings(&sub.verbs),
            })
        });
        object["subresources"] = subresources.collect();
    }
    object
}

fn strings(list: &[impl AsRef<str>]) -> Vec<&str> {
    list.iter().map(AsRef::as_ref).collect()
}
