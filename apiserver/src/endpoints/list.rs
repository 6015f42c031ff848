//! GET of a collection: selected, paged, streamed.
//!
//! A list in the stored version as plain JSON is a concatenation of stored bytes, sent in bounded chunks; nothing is
//! parsed. Everything else is parsed and written object by object.

use std::sync::Arc;

use axum::body::Body;
use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use bytes::{Bytes, BytesMut};
use http::{HeaderValue, StatusCode, header};
use serde::{Deserialize, Serialize};
use skiff_apimachinery::fields;
use skiff_apimachinery::labels;
use skiff_apimachinery::status::{self, Status};
use skiff_apimachinery::value;
use skiff_apimachinery::value::{Object, Value};

use super::params::{ListOptions, VersionMatch, revision};
use super::{Call, partial_type, table};
use crate::cacher::{
    CacheError, CachedObject, FieldRequirement, Freshness, LabelMatch, ListRequest, ListResult, ListRevision, Predicate,
};
use crate::context::RequestContext;
use crate::negotiation::{Encoding, Output, Shape};
use crate::printers::partial;
use crate::response::{self, ObjectType, Response};

/// Bytes of a chunk of a streamed list.
const CHUNK: usize = 64 * 1024;

/// A page with the token for the next.
pub struct Page {
    /// The objects.
    pub objects: Vec<Arc<CachedObject>>,
    /// Revision of the list.
    pub revision: u64,
    /// Token for the next page; empty at the end.
    pub continue_token: String,
    /// Objects after this page, when known.
    pub remaining: Option<u64>,
}

/// Lists the objects that the request selects.
pub async fn list(call: &Call<'_>) -> Result<Response, Status> {
    let output = call.output(true)?;
    let options = ListOptions::from_query(&call.cx.query, false)?;
    let page = page(call, &options).await?;
    respond(call, output, page)
}

/// Reads one page.
pub async fn page(call: &Call<'_>, options: &ListOptions) -> Result<Page, Status> {
    let cache = call.cache()?;
    let predicate = predicate(call, options)?;
    if options.continue_token.is_empty() {
        let mut request =
            ListRequest { revision: list_revision(options)?, predicate, limit: options.limit, start: None };
        if options.resource_version == "0" && options.version_match == VersionMatch::Unset {
            // Any state will do, so the answer is the cache's, whole.
            request.limit = 0;
        }
        return Ok(encode_page(cache.list(&request).await?));
    }
    if !options.resource_version.is_empty() && options.resource_version != "0" {
        return Err(status::bad_request("specifying resource version is not allowed when using continue"));
    }
    let token = ContinueToken::decode(&options.continue_token)?;
    let revision = match u64::try_from(token.rv) {
        Ok(revision) => ListRevision::Exact(revision),
        // The client chose to go on although the state it began with is forgotten.
        Err(_) => ListRevision::Fresh(Freshness::Latest),
    };
    let request = ListRequest { revision, predicate, limit: options.limit, start: Some(token.start.clone()) };
    match cache.list(&request).await {
        Ok(result) => Ok(encode_page(result)),
        Err(error) => Err(expired_continue(error, token)),
    }
}

fn encode_page(result: ListResult) -> Page {
    let continue_token = match result.next {
        Some(start) => {
            let rv = i64::try_from(result.revision).unwrap_or(i64::MAX);
            ContinueToken { v: TOKEN_VERSION.to_owned(), rv, start }.encode()
        }
        None => String::new(),
    };
    Page { objects: result.objects, revision: result.revision, continue_token, remaining: result.remaining }
}

/// 410 with a token that goes on from the same key at the latest state.
fn expired_continue(error: CacheError, token: ContinueToken) -> Status {
    let mut error = Status::from(error);
    if error.code == 410 {
        error.message = "The provided continue parameter is too old to display a consistent list result. You can start a new list without the continue parameter, or use the continue token in this response to retrieve the remainder of the results. Continuing with the provided token results in an inconsistent list - objects that were created, modified, or deleted between the time the first chunk was returned and now may show up in the list.".to_owned();
        error.details.continue_token = ContinueToken { rv: -1, ..token }.encode();
    }
    error
}

fn list_revision(options: &ListOptions) -> Result<ListRevision, Status> {
    let asked = revision(&options.resource_version)?;
    Ok(match (options.resource_version.as_str(), options.version_match) {
        ("", _) => ListRevision::Fresh(Freshness::Latest),
        ("0", _) => ListRevision::Fresh(Freshness::Any),
        (_, VersionMatch::Exact) => ListRevision::Exact(asked),
        // Without a stated match a page of a certain version is that very version (legacy).
        (_, VersionMatch::Unset) if options.limit > 0 => ListRevision::Exact(asked),
        _ => ListRevision::Fresh(Freshness::NotOlderThan(asked)),
    })
}

const TOKEN_VERSION: &str = "meta.k8s.io/v1";

/// What a `continue` token says.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct ContinueToken {
    v: String,
    rv: i64,
    start: String,
}

impl ContinueToken {
    fn encode(&self) -> String {
        BASE64_URL_SAFE_NO_PAD.encode(serde_json::to_vec(self).unwrap_or_default())
    }

    fn decode(text: &str) -> Result<Self, Status> {
        let invalid = |detail: String| status::bad_request(format!("continue key is not valid: {detail}"));
        let json =
            BASE64_URL_SAFE_NO_PAD.decode(text.trim_end_matches('=')).map_err(|error| invalid(error.to_string()))?;
        let token = serde_json::from_slice::<Self>(&json).map_err(|error| invalid(error.to_string()))?;
        if token.v != TOKEN_VERSION {
            return Err(invalid("server does not recognize this encoded version".to_owned()));
        }
        if token.rv == 0 {
            return Err(invalid("incorrect encoded start resourceVersion (version meta.k8s.io/v1)".to_owned()));
        }
        if token.start.is_empty() || token.start.split('/').any(|part| part == "..") {
            return Err(invalid("encoded start key is empty or leaves the collection".to_owned()));
        }
        Ok(token)
    }
}

/// What the request selects.
pub fn predicate(call: &Call<'_>, options: &ListOptions) -> Result<Predicate, Status> {
    let info = &call.cx.info;
    let selector = labels::Selector::parse(&options.label_selector)
        .map_err(|error| status::bad_request(format!("unable to parse requirement: {error}")))?;
    let labels: Option<LabelMatch> = if selector.is_everything() {
        None
    } else {
        Some(Arc::new(move |labels| selector.matches_with(|key| labels.get(key))))
    };
    let mut requirements = Vec::new();
    for term in fields::Selector::parse(&options.field_selector).map_err(status::bad_request)?.requirements() {
        let field = match call.resource.conversion {
            Some(conversion) => conversion.field_label(&term.field),
            None => term.field.as_str().into(),
        };
        requirements.push(FieldRequirement { field: field.into_owned(), equal: term.equal, value: term.value.clone() });
    }
    Ok(Predicate {
        namespace: if call.resource.info.namespaced { info.namespace.clone() } else { String::new() },
        // Only the older watch paths name an object.
        name: if info.name_from_selector { String::new() } else { info.name.clone() },
        labels,
        fields: requirements,
    })
}

/// The requirements of a field selector as the authorizer sees them; unreadable selectors have none.
pub fn authorization_requirements(selector: &str) -> Vec<(String, String, String)> {
    if selector.is_empty() {
        return Vec::new();
    }
    let Ok(selector) = fields::Selector::parse(selector) else {
        return Vec::new();
    };
    let operator = |equal: bool| if equal { "=" } else { "!=" }.to_owned();
    selector.requirements().iter().map(|r| (r.field.clone(), operator(r.equal), r.value.clone())).collect()
}

/// Answers with a page.
pub fn respond(call: &Call<'_>, output: Output, page: Page) -> Result<Response, Status> {
    let info = call.resource.info;
    let api_version = info.api_version();
    let kind = info.list_kind.as_deref().unwrap_or("List");
    match output.shape {
        Shape::Full if output == Output::JSON && call.resource.conversion.is_none() => {
            Ok(concatenated(call.cx, &api_version, kind, page))
        }
        Shape::Full => {
            let schema = info.list_type_id.map(|id| skiff_api::builtin().schema(id)).unwrap_or(call.schema());
            let items = served(call, &page)?.collect::<Result<Vec<_>, _>>()?;
            let ty = ObjectType { api_version: &api_version, kind, schema };
            response::value(call.cx, output, ty, StatusCode::OK, list_object(&api_version, kind, &page, items))
        }
        Shape::PartialMetadata(version) => {
            let items = served(call, &page)?
                .map(|object| Ok(partial::object(&object?, version)))
                .collect::<Result<Vec<_>, Status>>()?;
            let ty = partial_type(version, "PartialObjectMetadataList")?;
            let list = list_object(ty.api_version, ty.kind, &page, items);
            response::value(call.cx, output, ty, StatusCode::OK, list)
        }
        Shape::Table(version) => {
            let objects = served(call, &page)?.collect::<Result<Vec<_>, _>>()?;
            let table = table::of_list(call, &objects, list_meta(&page), version)?;
            response::value(call.cx, output, partial_type(version, "Table")?, StatusCode::OK, table)
        }
    }
}

fn served<'p>(
    call: &'p Call<'_>,
    page: &'p Page,
) -> Result<impl Iterator<Item = Result<Value, Status>> + use<'p>, Status> {
    Ok(page.objects.iter().map(|object| Ok(call.served_from(response::parse(object.json())?))))
}

fn list_object(api_version: &str, kind: &str, page: &Page, items: Vec<Value>) -> Value {
    value!({
        "kind": kind,
        "apiVersion": api_version,
        "metadata": (list_meta(page)),
        "items": items
    })
}

fn list_meta(page: &Page) -> Object {
    let mut metadata = Object::new();
    metadata.insert("resourceVersion", page.revision.to_string());
    if !page.continue_token.is_empty() {
        metadata.insert("continue", page.continue_token.as_str());
        if let Some(remaining) = page.remaining {
            metadata.insert("remainingItemCount", i64::try_from(remaining).unwrap_or(i64::MAX));
        }
    }
    metadata
}

/// Streams the stored bytes between a head and a tail.
fn concatenated(cx: &RequestContext, api_version: &str, kind: &str, page: Page) -> Response {
    let mut head = format!(r#"{{"kind":"{kind}","apiVersion":"{api_version}","metadata":"#).into_bytes();
    skiff_apimachinery::json::write(&Value::Object(list_meta(&page)), &mut head);
    head.extend_from_slice(br#","items":["#);
    let total = head.len() + 2 + page.objects.iter().map(|object| object.json().len() + 1).sum::<usize>();
    let mut chunks = Chunks { head: Some(head), objects: page.objects.into_iter(), pending: None, first: true };
    if total <= CHUNK || (total > response::GZIP_THRESHOLD && cx.accepts_gzip) {
        return small_or_compressed(cx, chunks, total);
    }
    let body = Body::from_stream(futures::stream::iter(std::iter::from_fn(move || {
        chunks.next_chunk().map(Ok::<_, std::convert::Infallible>)
    })));
    response::plain(StatusCode::OK, Encoding::Json.media_type(), body)
}

fn small_or_compressed(cx: &RequestContext, mut chunks: Chunks, total: usize) -> Response {
    if total <= CHUNK {
        let body = chunks.next_chunk().unwrap_or_default();
        return response::plain(StatusCode::OK, Encoding::Json.media_type(), body);
    }
    let mut compressor = response::Gzip::default();
    let mut finished = false;
    let stream = std::iter::from_fn(move || {
        while !finished {
            match chunks.next_chunk() {
                Some(chunk) => compressor.write(&chunk),
                None => {
                    finished = true;
                    return Some(Ok::<_, std::convert::Infallible>(compressor.finish()));
                }
            }
            if let Some(out) = compressor.take(CHUNK) {
                return Some(Ok(out));
            }
        }
        None
    });
    let body = Body::from_stream(futures::stream::iter(stream));
    let mut response = response::plain(StatusCode::OK, Encoding::Json.media_type(), body);
    response.headers_mut().insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    response.headers_mut().insert(header::VARY, HeaderValue::from_static("Accept-Encoding"));
    debug_assert!(cx.accepts_gzip);
    response
}

/// The text of a list in pieces of [`CHUNK`] bytes.
struct Chunks {
    head: Option<Vec<u8>>,
    objects: std::vec::IntoIter<Arc<CachedObject>>,
    /// An object that did not fit into the last chunk, and how much of it was sent.
    pending: Option<(Bytes, usize)>,
    first: bool,
}

impl Chunks {
    fn next_chunk(&mut self) -> Option<Bytes> {
        let mut out = BytesMut::with_capacity(CHUNK);
        let head = self.head.take();
        if let Some(head) = &head {
            out.extend_from_slice(head);
        } else if self.pending.is_none() && self.objects.len() == 0 {
            return None;
        }
        loop {
            if let Some((object, sent)) = self.pending.take() {
                let take = (CHUNK.saturating_sub(out.len())).min(object.len() - sent);
                out.extend_from_slice(&object[sent..sent + take]);
                if sent + take < object.len() {
                    self.pending = Some((object, sent + take));
                    return Some(out.freeze());
                }
                if self.objects.len() == 0 {
                    out.extend_from_slice(b"]}");
                    return Some(out.freeze());
                }
            }
            match self.objects.next() {
                Some(object) => {
                    if !std::mem::take(&mut self.first) {
                        out.extend_from_slice(b",");
                    }
                    self.pending = Some((object.json().clone(), 0));
                    if out.len() >= CHUNK {
                        return Some(out.freeze());
                    }
                }
                // Only an empty list gets here: the last object closes any other.
                None => {
                    out.extend_from_slice(b"]}");
                    return Some(out.freeze());
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn continue_tokens() {
        let token = ContinueToken { v: TOKEN_VERSION.into(), rv: 7, start: "demo/a\0".into() };
        assert_eq!(ContinueToken::decode(&token.encode()), Ok(token.clone()));
        for bad in ["", "%%%", "e30", &ContinueToken { start: "../x".into(), ..token.clone() }.encode()] {
            assert_eq!(ContinueToken::decode(bad).map_err(|e| e.code), Err(400), "{bad}");
        }
    }
}
