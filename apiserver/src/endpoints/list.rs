//! GET of a collection: selected, paged, streamed.
//!
//! A list in the stored version as plain JSON is a concatenation of stored bytes, sent in bounded chunks; nothing is
//! parsed. Everything else is parsed and written object by object.

use std::sync::Arc;

use axum::body::Body;
use bytes::{Bytes, BytesMut};
use http::{HeaderValue, StatusCode, header};
use skiff_apimachinery::status::{self, Status};
use skiff_apimachinery::value;
use skiff_apimachinery::value::{Object, Value};

use super::continue_token::ContinueToken;
use super::params::{ListOptions, VersionMatch, revision};
use super::selection::predicate;
use super::{Call, partial_type, table};
use crate::cacher::{CachedObject, Freshness, ListRequest, ListResult, ListRevision};
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
    // Any state will do, so the answer is the cache's, whole.
    let limit = if options.resource_version == "0" { 0 } else { options.limit };
    if options.continue_token.is_empty() {
        let request = ListRequest { revision: list_revision(options)?, predicate, limit, start: None };
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
    let request = ListRequest { revision, predicate, limit, start: Some(token.start.clone()) };
    match cache.list(&request).await {
        Ok(result) => Ok(encode_page(result)),
        Err(error) => Err(token.expired(error.into())),
    }
}

fn encode_page(result: ListResult) -> Page {
    let continue_token = result.next.map_or(String::new(), |start| ContinueToken::new(result.revision, start).encode());
    Page { objects: result.objects, revision: result.revision, continue_token, remaining: result.remaining }
}

fn list_revision(options: &ListOptions) -> Result<ListRevision, Status> {
    let asked = revision(&options.resource_version)
        .map_err(|error| status::bad_request(format!("invalid resource version: {}", error.message)))?;
    Ok(match (options.resource_version.as_str(), options.version_match) {
        ("", _) => ListRevision::Fresh(Freshness::Latest),
        ("0", _) => ListRevision::Fresh(Freshness::Any),
        (_, VersionMatch::Exact) => ListRevision::Exact(asked),
        // Without a stated match a page of a certain version is that very version (legacy).
        (_, VersionMatch::Unset) if options.limit > 0 => ListRevision::Exact(asked),
        _ => ListRevision::Fresh(Freshness::NotOlderThan(asked)),
    })
}

/// Answers with a page.
pub fn respond(call: &Call<'_>, output: Output, page: Page) -> Result<Response, Status> {
    let info = &call.resource.info;
    let api_version = info.api_version();
    let kind = info.list_kind.as_deref().unwrap_or("List");
    match output.shape {
        Shape::Full if output == Output::JSON && call.resource.shows_stored_bytes() => {
            Ok(concatenated(call.cx, &api_version, kind, page))
        }
        Shape::Full => {
            let schema = info.list_type_id.map(|id| call.resource.schema_of(id)).unwrap_or(call.schema());
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
    Ok(page.objects.iter().map(|object| call.resource.read(object.json())))
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
