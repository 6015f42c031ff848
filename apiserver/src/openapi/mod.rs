//! OpenAPI: what kinds look like and what can be done with them, for `kubectl explain`, validation and generators.
//!
//! Documents are made from the type tables on the first request and kept compressed: one for each group version in
//! version 3, one for all in version 2. Follows `k8s.io/kube-openapi/pkg/{handler,handler3}`.

mod custom;
mod descriptions;
mod gnostic;
mod merged;
mod operations;
mod parameters;
mod paths;
mod schemas;

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read, Write};
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use jiff::Timestamp;
use parking_lot::Mutex;
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha512};
use skiff_apimachinery::status::{self, Status};

use self::descriptions::Descriptions;
use self::operations::{Answer, MEDIA, Operation};
use self::schemas::{Schemas, Version};
use crate::ApiServer;
use crate::aggregator::Picture;
use crate::context::RequestContext;
use crate::negotiation::parse_accept;
use crate::registry::{Resource, Served};
use crate::response::{self, Response};
use crate::routes::version;

const JSON: &str = "application/json";
const TEXT: &str = "text/plain; charset=utf-8";
/// Protobuf of each version, as clients have called it over time. Go cannot parse the older name of the type, so answers
/// have the newer one.
const PROTOBUF_V2: [&str; 2] = [
    "application/com.github.proto-openapi.spec.v2.v1.0+protobuf",
    "application/com.github.proto-openapi.spec.v2@v1.0+protobuf",
];
const PROTOBUF_V3: [&str; 2] = [
    "application/com.github.proto-openapi.spec.v3.v1.0+protobuf",
    "application/com.github.proto-openapi.spec.v3@v1.0+protobuf",
];
/// What a document with its hash in the URL may be kept for: it never changes.
const FOREVER: &str = "public, immutable";
const ONE_YEAR: jiff::SignedDuration = jiff::SignedDuration::from_hours(365 * 24);

/// The documents, made again when what is served changed.
#[derive(Default)]
pub struct OpenApi {
    v3: Mutex<Option<(u64, Arc<Documents>)>>,
    v2: Mutex<Option<((u64, u64), Arc<Document>)>>,
    /// Paths and definitions of version 2 that never change: those of what is built in.
    v2_built_in: OnceLock<(Map<String, Value>, Map<String, Value>)>,
}

/// Documents of version 3 by name.
type Documents = BTreeMap<String, Kept>;

/// A document with the resources it was made of: while they are the same, so is the document.
#[derive(Clone)]
struct Kept {
    of: Vec<Arc<Resource>>,
    document: Arc<Document>,
}

impl Kept {
    fn is_of(&self, resources: &[Arc<Resource>]) -> bool {
        self.of.len() == resources.len() && self.of.iter().zip(resources).all(|(a, b)| Arc::ptr_eq(a, b))
    }
}

/// A finished document in both encodings, compressed.
struct Document {
    json: Bytes,
    protobuf: Bytes,
    /// SHA-512 of the JSON, in upper-case hexadecimal.
    hash: String,
    made: Timestamp,
}

impl Document {
    fn new(document: &Value, protobuf: &[u8]) -> std::io::Result<Self> {
        let json = document.to_string();
        let hash = Sha512::digest(&json).iter().map(|byte| format!("{byte:02X}")).collect();
        Ok(Self { json: compress(json.as_bytes())?, protobuf: compress(protobuf)?, hash, made: Timestamp::now() })
    }

    fn etag(&self) -> HeaderValue {
        HeaderValue::from_str(&format!("\"{}\"", self.hash)).unwrap_or(HeaderValue::from_static("\"\""))
    }
}

fn compress(plain: &[u8]) -> std::io::Result<Bytes> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(plain)?;
    Ok(encoder.finish()?.into())
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
    if let Some(answer) = merged::of_others(server, &rest, cx, headers).await {
        return answer;
    }
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
    let path = |(name, kept): (&String, &Kept)| {
        let url = format!("/openapi/v3/{name}?hash={}", kept.document.hash);
        (name.clone(), json!({ "serverRelativeURL": url }))
    };
    let mut paths = documents.iter().map(path).collect::<Map<_, _>>();
    merged::add_paths(&mut paths, &server.aggregator.picture());
    let mut answer = response::finish(cx, StatusCode::OK, TEXT, json!({ "paths": paths }).to_string().into());
    let latest = documents.values().map(|kept| kept.document.made).max();
    set(&mut answer, header::LAST_MODIFIED, &http_date(latest.unwrap_or_else(Timestamp::now)));
    Ok(answer)
}

fn version_3(server: &ApiServer, cx: &RequestContext, headers: &HeaderMap, name: &str) -> Result<Response, Status> {
    let documents = server.openapi.v3(server).map_err(status::internal_error)?;
    let Some(Kept { document, .. }) = documents.get(name) else { return Ok(empty(StatusCode::NOT_FOUND)) };
    let Some(media) = offered(&cx.accept, PROTOBUF_V3) else { return Ok(not_acceptable("Accept")) };
    let asked = cx.query.text("hash");
    if !asked.is_empty() && asked != document.hash {
        let mut moved = response::plain(StatusCode::MOVED_PERMANENTLY, JSON, "");
        set(&mut moved, header::VARY, "Accept");
        set(&mut moved, header::LOCATION, &format!("/openapi/v3/{name}?hash={}", document.hash));
        return Ok(moved);
    }
    let mut answer = send(cx, headers, document, media)?;
    if asked.is_empty() {
        return Ok(answer);
    }
    set(&mut answer, header::CACHE_CONTROL, FOREVER);
    let expires = Timestamp::now() + ONE_YEAR;
    set(&mut answer, header::EXPIRES, &http_date(expires));
    Ok(answer)
}

fn version_2(server: &ApiServer, cx: &RequestContext, headers: &HeaderMap) -> Result<Response, Status> {
    let document = server.openapi.v2(server).map_err(status::internal_error)?;
    match offered(&cx.accept, PROTOBUF_V2) {
        Some(media) => send(cx, headers, &document, media),
        None => Ok(not_acceptable("Accept-Encoding, Accept")),
    }
}

/// 406; what the answer would vary by is said all the same.
fn not_acceptable(vary: &str) -> Response {
    let mut answer = empty(StatusCode::NOT_ACCEPTABLE);
    set(&mut answer, header::VARY, vary);
    answer
}

/// A failure as upstream sends it here: without a body.
fn empty(code: StatusCode) -> Response {
    let mut answer = http::Response::new(axum::body::Body::empty());
    *answer.status_mut() = code;
    answer
}

/// JSON or the first name of protobuf, whichever the Accept header names first; JSON for a client that takes anything.
fn offered(accept: &str, protobuf: [&'static str; 2]) -> Option<&'static str> {
    if accept.trim().is_empty() {
        return Some(JSON);
    }
    parse_accept(accept).iter().find_map(|clause| {
        let wanted = protobuf.iter().any(|name| clause.covers(name));
        if clause.covers(JSON) { Some(JSON) } else { wanted.then_some(protobuf[0]) }
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
    let gzip = if media == JSON { &document.json } else { &document.protobuf };
    let modified = http_date(document.made);
    // The date counts only for those who do not know the tag.
    let known = match headers.get(header::IF_NONE_MATCH) {
        Some(tag) => *tag == etag,
        None => headers.get(header::IF_MODIFIED_SINCE).is_some_and(|since| *since == *modified),
    };
    let mut answer = if known {
        response::plain(StatusCode::NOT_MODIFIED, media, "")
    } else if cx.accepts_gzip {
        let mut answer = response::plain(StatusCode::OK, media, gzip.clone());
        set(&mut answer, header::CONTENT_ENCODING, "gzip");
        answer
    } else {
        let mut plain = Vec::with_capacity(gzip.len() * 16);
        GzDecoder::new(&gzip[..]).read_to_end(&mut plain).map_err(status::internal_error)?;
        response::plain(StatusCode::OK, media, plain)
    };
    answer.headers_mut().insert(header::ETAG, etag);
    set(&mut answer, header::LAST_MODIFIED, &modified);
    set(&mut answer, header::VARY, "Accept-Encoding, Accept");
    Ok(answer)
}

fn http_date(time: Timestamp) -> String {
    time.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string()
}

fn set(response: &mut Response, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        response.headers_mut().insert(name, value);
    }
}

impl OpenApi {
    fn v3(&self, server: &ApiServer) -> std::io::Result<Arc<Documents>> {
        let served = server.registry.served();
        let mut kept = self.v3.lock();
        if let Some((_, documents)) = kept.as_ref().filter(|(generation, _)| *generation == served.generation) {
            return Ok(documents.clone());
        }
        let before = kept.as_ref().map(|(_, documents)| documents.clone()).unwrap_or_default();
        let documents = Arc::new(render_v3(server, &served, &before)?);
        *kept = Some((served.generation, documents.clone()));
        Ok(documents)
    }

    fn v2(&self, server: &ApiServer) -> std::io::Result<Arc<Document>> {
        let (served, picture) = (server.registry.served(), server.aggregator.picture());
        let others = if picture.delegated.is_empty() { 0 } else { picture.generation };
        let of = (served.generation, others);
        let mut kept = self.v2.lock();
        if let Some((_, document)) = kept.as_ref().filter(|(known, _)| *known == of) {
            return Ok(document.clone());
        }
        let document = Arc::new(self.render_v2(server, &served, &picture)?);
        *kept = Some((of, document.clone()));
        Ok(document)
    }
}

/// The group versions that are served, each once.
fn group_versions(served: &Served) -> BTreeSet<(&str, &str)> {
    served.resources().map(|resource| (resource.info.group.as_str(), resource.info.version.as_str())).collect()
}

/// The operations of one group version, its list of resources included.
fn of_group_version(group: &str, version: &str, resources: &[Arc<Resource>]) -> Vec<Operation> {
    let id = format!("get{}APIResources", operations::title(group, version));
    let path = format!("{}/", operations::base(group, version));
    let list = Answer::Definition(operations::meta("APIResourceList"));
    let mut all = Vec::new();
    if resources.iter().any(|resource| resource.custom.is_none()) {
        all.push(operations::read_only(&path, &id, &operations::tag(group, version), &MEDIA, list));
    }
    for resource in resources {
        all.extend(operations::of_resource(resource));
    }
    all
}

/// Operations that are not of a group version, by the name of their document.
fn others(server: &ApiServer, served: &Served) -> Vec<(String, Operation)> {
    let read = |name: &str, id: &str, tag: &str, media: &[&'static str], answer| {
        (name.to_owned(), operations::read_only(&format!("/{name}/"), id, tag, media, answer))
    };
    let discovery = |name: &str, id: &str, tag: &str, kind: &str| {
        read(name, id, tag, &MEDIA, Answer::Definition(operations::meta(kind)))
    };
    let mut others = vec![
        discovery("api", "getCoreAPIVersions", "core", "APIVersions"),
        discovery("apis", "getAPIVersions", "apis", "APIGroupList"),
    ];
    let groups = served.resources().filter(|resource| resource.custom.is_none());
    let groups = groups.map(|resource| resource.info.group.as_str()).collect::<BTreeSet<_>>();
    for group in groups.into_iter().filter(|group| !group.is_empty()) {
        let id = format!("get{}APIGroup", operations::title(group, ""));
        others.push(discovery(&format!("apis/{group}"), &id, &operations::tag(group, ""), "APIGroup"));
    }
    let info = Answer::Definition("io.k8s.apimachinery.pkg.version.Info".to_owned());
    others.push(read("version", "getCodeVersion", "version", &[JSON], info));
    if server.oidc.is_some() {
        let (name, id) = (".well-known/openid-configuration", "getServiceAccountIssuerOpenIDConfiguration");
        let keys = "getServiceAccountIssuerOpenIDKeyset";
        for (name, id, tag, media) in
            [(name, id, "WellKnown", JSON), ("openid/v1/jwks", keys, "openid", "application/jwk-set+json")]
        {
            let (name, mut operation) = read(name, id, tag, &[media], Answer::Text);
            operation.consumes.clear();
            others.push((name, operation));
        }
    }
    others
}

fn render_v3(server: &ApiServer, served: &Served, before: &Documents) -> std::io::Result<Documents> {
    let descriptions = Descriptions::load()?;
    let mut documents = Documents::new();
    let mut add = |name: String, only, of: &[Arc<Resource>], operations: &[Operation]| {
        let mut schemas = Schemas::new(Version::V3, only, &descriptions);
        schemas.add_custom(of);
        let paths = paths::of(operations, &mut schemas);
        let document = version_3_document(paths, schemas.finish());
        let document = Arc::new(Document::new(&document, &gnostic::v3::document(&document))?);
        documents.insert(name, Kept { of: of.to_vec(), document });
        std::io::Result::Ok(())
    };
    let mut unchanged = Vec::new();
    for (group, version) in group_versions(served) {
        let name = operations::base(group, version).trim_start_matches('/').to_owned();
        let resources = served.version(group, version).map_or(&[][..], |version| &version.resources);
        match before.get(&name).filter(|kept| kept.is_of(resources)) {
            Some(kept) => unchanged.push((name, kept.clone())),
            None => {
                let operations = of_group_version(group, version, resources);
                add(name, Some((group, version)), resources, &operations)?;
            }
        }
    }
    for (name, operation) in others(server, served) {
        match before.get(&name) {
            Some(kept) => unchanged.push((name, kept.clone())),
            None => add(name, None, &[], &[operation])?,
        }
    }
    documents.extend(unchanged);
    Ok(documents)
}

fn version_3_document(paths: Map<String, Value>, schemas: Map<String, Value>) -> Value {
    let mut components = json!({"securitySchemes": {"BearerToken": bearer_token()}});
    if !schemas.is_empty() {
        components["schemas"] = schemas.into();
    }
    json!({"openapi": "3.0.0", "info": info(), "paths": paths, "components": components})
}

fn info() -> Value {
    let version = format!("{}.{}", version::KUBERNETES_MAJOR, version::KUBERNETES_MINOR);
    json!({"title": "Kubernetes", "version": version})
}

fn bearer_token() -> Value {
    json!({"description": "Bearer Token authentication", "in": "header", "name": "authorization", "type": "apiKey"})
}

/// Paths and definitions of version 2 for the resources that `wanted` picks, and for `others`.
fn version_2_parts(
    served: &Served,
    others: Vec<Operation>,
    wanted: impl Fn(&Resource) -> bool,
) -> std::io::Result<(Map<String, Value>, Map<String, Value>)> {
    let descriptions = Descriptions::load()?;
    let mut schemas = Schemas::new(Version::V2, None, &descriptions);
    let mut all = Vec::new();
    for (group, version) in group_versions(served) {
        let resources = served.version(group, version).map_or(&[][..], |version| &version.resources);
        let resources = resources.iter().filter(|resource| wanted(resource)).cloned().collect::<Vec<_>>();
        if !resources.is_empty() {
            schemas.add_custom(&resources);
            all.extend(of_group_version(group, version, &resources));
        }
    }
    all.extend(others);
    let paths = paths::of(&all, &mut schemas);
    Ok((paths, schemas.finish()))
}

impl OpenApi {
    fn render_v2(&self, server: &ApiServer, served: &Served, picture: &Picture) -> std::io::Result<Document> {
        let (mut paths, mut definitions) = match self.v2_built_in.get() {
            Some(made) => made.clone(),
            None => {
                let others = others(server, served).into_iter().map(|(_, operation)| operation).collect();
                let made = version_2_parts(served, others, |resource| resource.custom.is_none())?;
                self.v2_built_in.get_or_init(|| made).clone()
            }
        };
        let custom = version_2_parts(served, Vec::new(), |resource| resource.custom.is_some())?;
        paths.extend(custom.0);
        definitions.extend(custom.1);
        for delegated in &picture.delegated {
            if let Some((others_paths, others_definitions)) = &delegated.learned.load().v2 {
                merged::merge(&mut paths, &mut definitions, others_paths, others_definitions);
            }
        }
        let document = json!({
            "swagger": "2.0",
            "info": info(),
            "paths": paths,
            "definitions": definitions,
            "securityDefinitions": {"BearerToken": bearer_token()},
            "security": [{"BearerToken": []}],
        });
        Document::new(&document, &gnostic::v2::document(&document))
    }
}
