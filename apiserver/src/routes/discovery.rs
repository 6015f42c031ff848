//! `/api` and `/apis`: what this server serves, in the older form (one document per group version) and the aggregated.
//!
//! Follows `k8s.io/apiserver/pkg/endpoints/discovery` and its `aggregated` package.

use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use parking_lot::Mutex;
use serde_json::{Value, json};
use sha2::{Digest, Sha512};
use skiff_api::{KindInfo, Subresource};
use skiff_apimachinery::status::{self, Status};

use crate::ApiServer;
use crate::aggregator::Picture;
use crate::aggregator::listing::{self, By, GroupListing, VersionListing};
use crate::context::RequestContext;
use crate::negotiation::{self, parse_accept};
use crate::registry::served::{Group, Served};
use crate::response::{self, ObjectType, Response};

/// What the answer's Content-Type must say for clients to take it as aggregated.
const AGGREGATED: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";
/// The same in protobuf.
const AGGREGATED_PROTOBUF: &str =
    "application/vnd.kubernetes.protobuf;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";
const PROTOBUF: &str = "application/vnd.kubernetes.protobuf";
const GROUP: &str = "apidiscovery.k8s.io";
const KIND: &str = "APIGroupDiscoveryList";

/// The aggregated documents, made again when what is served changed.
#[derive(Default)]
pub struct Documents {
    core: Mutex<Option<(Of, Arc<Document>)>>,
    groups: Mutex<Option<(Of, Arc<Document>)>>,
}

/// What a document was made of: the numbers of what this server serves and of what others do.
type Of = (u64, u64);

struct Document {
    json: Bytes,
    /// Made when somebody asks for it.
    protobuf: OnceLock<Bytes>,
    etag: HeaderValue,
}

/// Answers a discovery path.
pub fn answer(server: &ApiServer, cx: &RequestContext, path: &str, headers: &HeaderMap) -> Result<Response, Status> {
    let parts = path.trim_matches('/').split('/').collect::<Vec<_>>();
    let served = server.registry.served();
    let picture = server.aggregator.picture();
    let body = match parts.as_slice() {
        [root @ ("api" | "apis")] if let Some(media) = aggregated_media(&cx.accept) => {
            return aggregated(server, *root == "api", media, headers);
        }
        ["api"] => api_versions(server),
        ["apis"] => json!({
            "kind": "APIGroupList",
            "apiVersion": "v1",
            "groups": groups(&served, &picture).iter().map(|g| group_object(g, false)).collect::<Vec<_>>(),
        }),
        ["api", version] => resource_list(&served, "", version).ok_or_else(status::no_such_resource)?,
        ["apis", group] => match groups(&served, &picture).iter().find(|g| g.name == *group) {
            Some(group) => group_object(group, true),
            None => return Ok(response::not_found_path()),
        },
        ["apis", group, version] => match resource_list(&served, group, version) {
            Some(list) => list,
            None if served.group(group).is_some() => return Err(status::no_such_resource()),
            None => return Ok(response::not_found_path()),
        },
        _ => return Ok(response::not_found_path()),
    };
    respond(cx, &body)
}

fn respond(cx: &RequestContext, body: &Value) -> Result<Response, Status> {
    let offer = negotiation::Offer { protobuf: true, transforms: false, collection: false, yaml: true };
    let output = negotiation::negotiate(&cx.accept, offer, cx.pretty)?;
    let value = response::parse(body.to_string().as_bytes())?;
    let kind = body["kind"].as_str().unwrap_or_default();
    let schema = skiff_api::builtin().schema_of("", "v1", kind);
    let schema = schema.ok_or_else(|| status::internal_error(format!("no schema for v1 {kind}")))?;
    response::value(cx, output, ObjectType { api_version: "v1", kind, schema }, StatusCode::OK, value)
}

/// The form in which the client prefers the aggregated document, if it does.
fn aggregated_media(accept: &str) -> Option<&'static str> {
    for clause in parse_accept(accept) {
        let media = match (clause.covers("application/json"), clause.covers(PROTOBUF)) {
            (true, _) => AGGREGATED,
            (_, true) => AGGREGATED_PROTOBUF,
            _ => continue,
        };
        if clause.param("as") != Some(KIND) {
            return None;
        }
        if clause.param("g") == Some(GROUP) && clause.param("v") == Some("v2") {
            return Some(media);
        }
    }
    None
}

fn aggregated(server: &ApiServer, core: bool, media: &'static str, headers: &HeaderMap) -> Result<Response, Status> {
    let served = server.registry.served();
    let picture = server.aggregator.picture();
    let of = (served.generation, if core { 0 } else { picture.generation });
    let mut kept = if core { server.discovery.core.lock() } else { server.discovery.groups.lock() };
    let document = match &*kept {
        Some((known, document)) if *known == of => document.clone(),
        _ => {
            let document = Arc::new(aggregated_document(&served, &picture, core));
            *kept = Some((of, document.clone()));
            document
        }
    };
    drop(kept);
    let unchanged = headers.get(header::IF_NONE_MATCH) == Some(&document.etag);
    let mut answer = if unchanged {
        response::plain(StatusCode::NOT_MODIFIED, media, Bytes::new())
    } else if media == AGGREGATED {
        response::plain(StatusCode::OK, media, document.json.clone())
    } else {
        response::plain(StatusCode::OK, media, document.protobuf()?)
    };
    let headers = answer.headers_mut();
    headers.insert(header::ETAG, document.etag.clone());
    headers.insert(header::VARY, HeaderValue::from_static("Accept"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("public"));
    Ok(answer)
}

impl Document {
    fn protobuf(&self) -> Result<Bytes, Status> {
        if let Some(known) = self.protobuf.get() {
            return Ok(known.clone());
        }
        let schema = skiff_api::builtin().schema_of(GROUP, "v2", KIND);
        let schema = schema.ok_or_else(|| status::internal_error(format!("no schema for {GROUP}/v2 {KIND}")))?;
        let made =
            response::document(ObjectType { api_version: "apidiscovery.k8s.io/v2", kind: KIND, schema }, &self.json)?;
        Ok(self.protobuf.get_or_init(|| made).clone())
    }
}

fn aggregated_document(served: &Served, picture: &Picture, core: bool) -> Document {
    let items = if core {
        served.groups.iter().filter(|g| g.name.is_empty()).map(|g| aggregated_group(&own(g))).collect::<Vec<_>>()
    } else {
        groups(served, picture).iter().map(aggregated_group).collect()
    };
    let body = json!({
        "kind": "APIGroupDiscoveryList",
        "apiVersion": "apidiscovery.k8s.io/v2",
        "metadata": {},
        "items": items,
    })
    .to_string();
    let hash = Sha512::digest(body.as_bytes()).iter().map(|byte| format!("{byte:02X}")).collect::<String>();
    let etag = HeaderValue::from_str(&format!("\"{hash}\"")).unwrap_or(HeaderValue::from_static("\"\""));
    Document { json: body.into(), protobuf: OnceLock::new(), etag }
}

fn api_versions(server: &ApiServer) -> Value {
    let own = format!("{}:{}", server.settings.advertise_address, server.settings.advertise_port);
    json!({
        "kind": "APIVersions",
        "versions": ["v1"],
        "serverAddressByClientCIDRs": [{"clientCIDR": "0.0.0.0/0", "serverAddress": own}],
    })
}

/// All groups but core, in order. Those of this server alone are in the order in which it serves them.
fn groups<'a>(served: &'a Served, picture: &'a Picture) -> Vec<GroupListing<'a>> {
    if picture.delegated.is_empty() {
        return served.groups.iter().filter(|g| !g.name.is_empty()).map(own).collect();
    }
    listing::groups(served, picture)
}

/// A group that this server serves alone.
fn own(group: &Group) -> GroupListing<'_> {
    let versions = group.versions.iter().map(|version| VersionListing { name: &version.name, by: By::Us(version) });
    GroupListing { name: &group.name, versions: versions.collect() }
}

fn group_object(group: &GroupListing<'_>, alone: bool) -> Value {
    let version =
        |v: &VersionListing<'_>| json!({"groupVersion": format!("{}/{}", group.name, v.name), "version": v.name});
    let mut object = json!({
        "name": group.name,
        "versions": group.versions.iter().map(version).collect::<Vec<_>>(),
        "preferredVersion": group.versions.first().map(version),
    });
    if alone {
        object["kind"] = json!("APIGroup");
        object["apiVersion"] = json!("v1");
    }
    object
}

fn resource_list(served: &Served, group: &str, version: &str) -> Option<Value> {
    let mut resources = Vec::new();
    for resource in &served.version(group, version)?.resources {
        let kind = &*resource.info;
        resources.push(resource_object(kind));
        resources.extend(kind.subresources.iter().map(|sub| subresource_object(kind, sub)));
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

fn aggregated_group(group: &GroupListing<'_>) -> Value {
    let versions = group.versions.iter().map(|version| match version.by {
        By::Us(own) => {
            let resources = own.resources.iter().map(|r| aggregated_resource(&r.info)).collect::<Vec<_>>();
            json!({"version": version.name, "resources": resources, "freshness": "Current"})
        }
        By::Others(delegated) => {
            let learned = delegated.learned.load();
            let freshness = if learned.current { "Current" } else { "Stale" };
            let mut object = json!({"version": version.name, "freshness": freshness});
            if !learned.resources.is_empty() {
                object["resources"] = json!(learned.resources);
            }
            object
        }
    });
    let metadata = if group.name.is_empty() { json!({}) } else { json!({"name": group.name}) };
    json!({"metadata": metadata, "versions": versions.collect::<Vec<_>>()})
}

fn aggregated_resource(kind: &KindInfo) -> Value {
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
