//! OpenAPI: what kinds look like and what can be done with them, for `kubectl explain`, validation and generators.
//!
//! Documents are made from the type tables on the first request and kept compressed: one for each group version in
//! version 3, one for all in version 2. Follows `k8s.io/kube-openapi/pkg/{handler,handler3}`.

mod descriptions;
mod gnostic;
mod operations;
mod schemas;
mod v2;

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha512};
use skiff_apimachinery::status::{self, Status};

use self::descriptions::Descriptions;
use self::schemas::{Schemas, Version};
use crate::ApiServer;
use crate::context::RequestContext;
use crate::response::{self, Response};

const JSON: &str = "application/json";
/// Protobuf of version 2, as clients have called it over time.
const PROTOBUF_V2: [&str; 2] = [
    "application/com.github.proto-openapi.spec.v2@v1.0+protobuf",
    "application/com.github.proto-openapi.spec.v2.v1.0+protobuf",
];
/// What a document with its hash in the URL may be kept for: it never changes.
const FOREVER: &str = "public, immutable";
const ONE_YEAR: jiff::SignedDuration = jiff::SignedDuration::from_hours(365 * 24);

/// The documents, each made once.
#[derive(Default)]
pub struct OpenApi {
    v3: OnceLock<BTreeMap<String, Document>>,
    v2: OnceLock<[Document; 2]>,
}

/// A finished document.
struct Document {
    gzip: Bytes,
    /// SHA-512 of the document, in upper-case hexadecimal.
    hash: String,
}

impl Document {
    fn new(plain: &[u8]) -> std::io::Result<Self> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(plain)?;
        let hash = Sha512::digest(plain).iter().map(|byte| format!("{byte:02X}")).collect();
        Ok(Self { gzip: encoder.finish()?.into(), hash })
    }

    fn of(value: &Value) -> std::io::Result<Self> {
        Self::new(value.to_string().as_bytes())
    }

    fn etag(&self) -> HeaderValue {
        HeaderValue::from_str(&format!("\"{}\"", self.hash)).unwrap_or(HeaderValue::from_static("\"\""))
    }
}

/// Answers `/openapi/v2`, `/openapi/v3` and what is below it.
pub async fn answer(
    server: &Arc<ApiServer>,
    cx: &RequestContext,
    path: &str,
    headers: &HeaderMap,
) -> Result<Response, Status> {
    let made = server.clone();
    let path = path.to_owned();
    let rest = path.strip_prefix("/openapi/").unwrap_or("").trim_end_matches('/').to_owned();
    let second = rest == "v2";
    // Making documents takes a while; other requests go on.
    let ready = tokio::task::spawn_blocking(move || {
        if second { made.openapi.v2(&made).map(drop) } else { made.openapi.v3(&made).map(drop) }
    });
    ready.await.map_err(status::internal_error)?.map_err(status::internal_error)?;
    match rest.as_str() {
        "v2" => version_2(server, cx, headers),
        "v3" => index(server, cx),
        other => version_3(server, cx, headers, other.strip_prefix("v3/").unwrap_or("")),
    }
}

fn index(server: &ApiServer, cx: &RequestContext) -> Result<Response, Status> {
    let documents = server.openapi.v3(server).map_err(status::internal_error)?;
    let path = |(name, document): (&String, &Document)| {
        let url = format!("/openapi/v3/{name}?hash={}", document.hash);
        (name.clone(), json!({ "serverRelativeURL": url }))
    };
    let paths = documents.iter().map(path).collect::<Map<_, _>>();
    Ok(response::finish(cx, StatusCode::OK, JSON, json!({ "paths": paths }).to_string().into()))
}

fn version_3(server: &ApiServer, cx: &RequestContext, headers: &HeaderMap, name: &str) -> Result<Response, Status> {
    let documents = server.openapi.v3(server).map_err(status::internal_error)?;
    let Some(document) = documents.get(name) else { return Ok(response::not_found_path()) };
    if offered(&cx.accept, &[JSON]).is_none() {
        return Err(status::not_acceptable(&[JSON]));
    }
    let asked = cx.query.text("hash");
    if !asked.is_empty() && asked != document.hash {
        let mut moved = response::plain(StatusCode::MOVED_PERMANENTLY, JSON, "");
        set(&mut moved, header::LOCATION, &format!("/openapi/v3/{name}?hash={}", document.hash));
        return Ok(moved);
    }
    let mut answer = send(cx, headers, document, JSON)?;
    if asked.is_empty() {
        return Ok(answer);
    }
    set(&mut answer, header::CACHE_CONTROL, FOREVER);
    let expires = jiff::Timestamp::now() + ONE_YEAR;
    set(&mut answer, header::EXPIRES, &expires.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string());
    Ok(answer)
}

fn version_2(server: &ApiServer, cx: &RequestContext, headers: &HeaderMap) -> Result<Response, Status> {
    let [json, protobuf] = server.openapi.v2(server).map_err(status::internal_error)?;
    match offered(&cx.accept, &[JSON, PROTOBUF_V2[0], PROTOBUF_V2[1]]) {
        Some(JSON) => send(cx, headers, json, JSON),
        // Go cannot parse the older name of the type, so the answer has the newer one.
        Some(_) => send(cx, headers, protobuf, PROTOBUF_V2[1]),
        None => Err(status::not_acceptable(&[JSON, PROTOBUF_V2[0]])),
    }
}

/// The first media type of an Accept header that is on offer; the first on offer for a client that takes anything.
fn offered(accept: &str, offers: &[&'static str]) -> Option<&'static str> {
    if accept.trim().is_empty() {
        return offers.first().copied();
    }
    let mut clauses = accept.split(',').map(|clause| clause.split(';').next().unwrap_or("").trim());
    clauses.find_map(|clause| match clause {
        "*/*" | "application/*" => offers.first().copied(),
        clause => offers.iter().find(|offer| offer.eq_ignore_ascii_case(clause)).copied(),
    })
}

/// Sends a document, or says that the client has it.
fn send(
    cx: &RequestContext,
    headers: &HeaderMap,
    document: &Document,
    media: &'static str,
) -> Result<Response, Status> {
    let etag = document.etag();
    let mut answer = if headers.get(header::IF_NONE_MATCH) == Some(&etag) {
        response::plain(StatusCode::NOT_MODIFIED, media, "")
    } else if cx.accepts_gzip {
        let mut answer = response::plain(StatusCode::OK, media, document.gzip.clone());
        set(&mut answer, header::CONTENT_ENCODING, "gzip");
        answer
    } else {
        let mut plain = Vec::with_capacity(document.gzip.len() * 16);
        GzDecoder::new(&document.gzip[..]).read_to_end(&mut plain).map_err(status::internal_error)?;
        response::plain(StatusCode::OK, media, plain)
    };
    answer.headers_mut().insert(header::ETAG, etag);
    set(&mut answer, header::VARY, "Accept-Encoding, Accept");
    Ok(answer)
}

fn set(response: &mut Response, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        response.headers_mut().insert(name, value);
    }
}

impl OpenApi {
    fn v3(&self, server: &ApiServer) -> std::io::Result<&BTreeMap<String, Document>> {
        if let Some(made) = self.v3.get() {
            return Ok(made);
        }
        let made = render_v3(server)?;
        Ok(self.v3.get_or_init(|| made))
    }

    fn v2(&self, server: &ApiServer) -> std::io::Result<&[Document; 2]> {
        if let Some(made) = self.v2.get() {
            return Ok(made);
        }
        let made = render_v2(server)?;
        Ok(self.v2.get_or_init(|| made))
    }
}

fn kinds(server: &ApiServer) -> schemas::Kinds {
    schemas::kinds(skiff_api::builtin(), |group, version| {
        server.registry.serves(group, version) || group == "meta.k8s.io" || (group.is_empty() && version == "v1")
    })
}

/// The group versions that are served, each once, in order.
fn group_versions(server: &ApiServer) -> Vec<(&str, &str)> {
    let mut versions = Vec::new();
    for resource in server.registry.resources() {
        let version = (resource.info.group.as_str(), resource.info.version.as_str());
        if !versions.contains(&version) {
            versions.push(version);
        }
    }
    versions
}

/// Paths of one group version, its list of resources included.
fn version_paths(server: &ApiServer, group: &str, version: &str, schemas: &mut Schemas<'_>) -> Map<String, Value> {
    let base = operations::base(group, version);
    let tag = operations::tag(group, version);
    let id = format!("get{}APIResources", operations::title(group, version));
    let mut paths = operations::single(&format!("{base}/"), &id, &tag, &schemas.meta("APIResourceList"));
    let own = |info: &skiff_api::KindInfo| info.group == group && info.version == version;
    for resource in server.registry.resources().filter(|resource| own(resource.info)) {
        operations::add(resource, schemas, &mut paths);
    }
    paths
}

/// Documents that are not of a group version: name, path, operation, tag and kind of the answer.
fn other_paths(server: &ApiServer) -> Vec<(String, String, String, String, &'static str)> {
    let mut others = vec![
        ("api".to_owned(), "/api/".to_owned(), "getCoreAPIVersions".to_owned(), "core".to_owned(), "APIVersions"),
        ("apis".to_owned(), "/apis/".to_owned(), "getAPIVersions".to_owned(), "apis".to_owned(), "APIGroupList"),
    ];
    let mut groups = group_versions(server).into_iter().map(|(group, _)| group).collect::<Vec<_>>();
    groups.dedup();
    for group in groups.into_iter().filter(|group| !group.is_empty()) {
        let id = format!("get{}APIGroup", operations::title(group, ""));
        let tag = operations::tag(group, "").trim_end_matches('_').to_owned();
        others.push((format!("apis/{group}"), format!("/apis/{group}/"), id, tag, "APIGroup"));
    }
    others
}

fn render_v3(server: &ApiServer) -> std::io::Result<BTreeMap<String, Document>> {
    let (builtin, kinds, descriptions) = (skiff_api::builtin(), kinds(server), Descriptions::load()?);
    let new = || Schemas::new(builtin, Version::V3, &kinds, &descriptions);
    let mut documents = BTreeMap::new();
    for (group, version) in group_versions(server) {
        let mut schemas = new();
        let paths = version_paths(server, group, version, &mut schemas);
        let name = operations::base(group, version).trim_start_matches('/').to_owned();
        documents.insert(name, Document::of(&version_3_document(paths, schemas.finish()))?);
    }
    for (name, path, id, tag, kind) in other_paths(server) {
        let mut schemas = new();
        let paths = operations::single(&path, &id, &tag, &schemas.meta(kind));
        documents.insert(name, Document::of(&version_3_document(paths, schemas.finish()))?);
    }
    let mut schemas = new();
    let info = schemas.reference("io.k8s.apimachinery.pkg.version.Info");
    let paths = operations::single("/version/", "getCodeVersion", "version", &info);
    documents.insert("version".to_owned(), Document::of(&version_3_document(paths, schemas.finish()))?);
    Ok(documents)
}

fn version_3_document(paths: Map<String, Value>, schemas: Map<String, Value>) -> Value {
    json!({
        "openapi": "3.0.0",
        "info": {"title": "Kubernetes", "version": crate::routes::version::git_version()},
        "paths": paths,
        "components": {"schemas": schemas, "securitySchemes": {"BearerToken": bearer_token()}},
    })
}

fn bearer_token() -> Value {
    json!({"description": "Bearer Token authentication", "in": "header", "name": "authorization", "type": "apiKey"})
}

fn render_v2(server: &ApiServer) -> std::io::Result<[Document; 2]> {
    let (kinds, descriptions) = (kinds(server), Descriptions::load()?);
    let mut schemas = Schemas::new(skiff_api::builtin(), Version::V2, &kinds, &descriptions);
    let mut paths = Map::new();
    for (group, version) in group_versions(server) {
        paths.extend(version_paths(server, group, version, &mut schemas));
    }
    for (_, path, id, tag, kind) in other_paths(server) {
        paths.extend(operations::single(&path, &id, &tag, &schemas.meta(kind)));
    }
    let info = schemas.reference("io.k8s.apimachinery.pkg.version.Info");
    paths.extend(operations::single("/version/", "getCodeVersion", "version", &info));
    let document = v2::document(&crate::routes::version::git_version(), paths, schemas.finish());
    Ok([Document::of(&document)?, Document::new(&gnostic::document(&document))?])
}
