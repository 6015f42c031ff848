//! GET of a collection: selected, paged, streamed.
//!
//! A list in the stored version as plain JSON is a concatenation of stored bytes, and one in protobuf of the messages that
//! the cache keeps, sent in bounded chunks; nothing is parsed. Everything else is parsed and written object by object.

use std::sync::Arc;

use bytes::{Buf as _, Bytes};
use http::StatusCode;
use skiff_apimachinery::json::{self, DecodeError};
use skiff_apimachinery::protobuf;
use skiff_apimachinery::schema::SchemaRef;
use skiff_apimachinery::status::{self, Status};
use skiff_apimachinery::value;
use skiff_apimachinery::value::{Object, Value};

use super::continue_token::ContinueToken;
use super::params::{ListOptions, VersionMatch, revision};
use super::selection::predicate;
use super::stream::{self, Lead, Pieces};
use super::{Call, partial_type, table};
use crate::cacher::{CachedObject, Freshness, ListRequest, ListResult, ListRevision};
use crate::context::RequestContext;
use crate::negotiation::{Encoding, Output, Shape};
use crate::printers::partial;
use crate::response::{self, ObjectType, Response};

/// Objects that are encoded before others get their turn.
const ENCODED_AT_ONCE: usize = 100;

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
    respond(call, output, page).await
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
pub async fn respond(call: &Call<'_>, output: Output, page: Page) -> Result<Response, Status> {
    let info = &call.resource.info;
    let api_version = info.api_version();
    let kind = info.list_kind.as_deref().unwrap_or("List");
    match output.shape {
        Shape::Full if output == Output::JSON && call.resource.shows_stored_bytes() => {
            let around = around_items(call, &api_version, kind, &page);
            let own_type = ItemType::of(call, &api_version);
            let bytes = page.objects.iter().map(|object| object.json().len() - own_type.length_in(object.json())).sum();
            let items = page.objects.into_iter().map(move |object| own_type.left_out_of(object.json().clone()));
            Ok(concatenated(call.cx, around, bytes, items))
        }
        Shape::Full if output == Output::JSON => {
            let around = around_items(call, &api_version, kind, &page);
            let own_type = ItemType::of(call, &api_version);
            let objects = page.objects.iter().map(|object| call.resource.json_of(object));
            let objects = objects.collect::<Result<Vec<_>, _>>()?;
            let bytes = objects.iter().map(|object| object.len() - own_type.length_in(object)).sum();
            let items = objects.into_iter().map(move |object| own_type.left_out_of(object));
            Ok(concatenated(call.cx, around, bytes, items))
        }
        Shape::Full if output.encoding == Encoding::Protobuf && call.resource.shows_stored_bytes() => {
            messages(call, &api_version, kind, page).await
        }
        Shape::Full => {
            let schema = info.list_type_id.map(|id| call.resource.schema_of(id)).unwrap_or(call.schema());
            let mut items = served(call, &page)?.collect::<Result<Vec<_>, _>>()?;
            if call.resource.custom.is_none() {
                for item in &mut items {
                    item.remove_at(&["kind"]);
                    item.remove_at(&["apiVersion"]);
                }
            }
            let ty = ObjectType { api_version: &api_version, kind, schema };
            let list = list_object(&api_version, kind, full_list_meta(call, &page), items);
            response::value(call.cx, output, ty, StatusCode::OK, list)
        }
        Shape::PartialMetadata(version) => {
            let items = served(call, &page)?
                .map(|object| Ok(partial::object(&object?, version)))
                .collect::<Result<Vec<_>, Status>>()?;
            let ty = partial_type(version, "PartialObjectMetadataList")?;
            let list = list_object(ty.api_version, ty.kind, list_meta(&page), items);
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

fn list_object(api_version: &str, kind: &str, metadata: Object, items: Vec<Value>) -> Value {
    value!({
        "kind": kind,
        "apiVersion": api_version,
        "metadata": metadata,
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

/// The metadata of a list of whole objects: custom resources always say how it goes on.
fn full_list_meta(call: &Call<'_>, page: &Page) -> Object {
    let mut metadata = list_meta(page);
    if call.resource.custom.is_some() && metadata.get("continue").is_none() {
        metadata.insert("continue", "");
    }
    metadata
}

/// What stands before the items of a list, and behind them. Upstream sorts the members of custom resources, and has
/// those of its own kinds as their Go structs have them.
fn around_items(call: &Call<'_>, api_version: &str, kind: &str, page: &Page) -> (Vec<u8>, Vec<u8>) {
    let mut metadata = Vec::new();
    json::write(&Value::Object(full_list_meta(call, page)), &mut metadata);
    let metadata = String::from_utf8_lossy(&metadata);
    let (head, tail) = if call.resource.custom.is_some() {
        let head = format!(r#"{{"apiVersion":"{api_version}","items":["#);
        (head, format!(r#"],"kind":"{kind}","metadata":{metadata}}}"#))
    } else {
        let head = format!(r#"{{"kind":"{kind}","apiVersion":"{api_version}","metadata":{metadata},"items":["#);
        (head, "]}".to_owned())
    };
    (head.into_bytes(), tail.into_bytes())
}

/// The type that the items of a list do not repeat: it follows from the list's own. As upstream's Go structs have it, whose
/// lists are written without it; custom resources say it everywhere.
struct ItemType(Option<String>);

/// An object in a list of JSON.
struct Item {
    /// Whether it still needs its brace.
    opened: bool,
    json: Bytes,
}

impl ItemType {
    fn of(call: &Call<'_>, api_version: &str) -> Self {
        let kind = &call.resource.info.kind;
        let head = || format!(r#"{{"apiVersion":"{api_version}","kind":"{kind}","#);
        Self(call.resource.custom.is_none().then(head))
    }

    fn left_out_of(&self, mut object: Bytes) -> Item {
        let length = self.length_in(&object);
        if length > 0 {
            object.advance(length + 1);
        }
        Item { opened: length > 0, json: object }
    }

    /// How many bytes there are of it in an object, behind its brace.
    fn length_in(&self, object: &Bytes) -> usize {
        match &self.0 {
            Some(head) if object.starts_with(head.as_bytes()) => head.len() - 1,
            _ => 0,
        }
    }
}

/// Items, of so many bytes together, between a head and a tail.
fn concatenated(
    cx: &RequestContext,
    (head, tail): (Vec<u8>, Vec<u8>),
    bytes: usize,
    items: impl ExactSizeIterator<Item = Item> + Send + 'static,
) -> Response {
    let total = head.len() + bytes + items.len().saturating_sub(1) + tail.len();
    let objects = items.enumerate().map(|(index, item)| {
        let lead = match (index, item.opened) {
            (0, false) => Lead::default(),
            (0, true) => Lead::new(b"{"),
            (_, false) => Lead::new(b","),
            (_, true) => Lead::new(b",{"),
        };
        (lead, item.json)
    });
    stream::respond(cx, Encoding::Json.media_type(), Pieces { head, objects, tail, total })
}

/// The objects' messages as items of a message that is written around them. Its length stands at its beginning, so all
/// messages are made before the first is sent; those that are not kept are made again then, so that memory stays bounded.
async fn messages(call: &Call<'_>, api_version: &str, kind: &str, page: Page) -> Result<Response, Status> {
    let internal = |error: DecodeError| status::internal_error(format!("unable to encode the response: {error}"));
    let schema = call.resource.info.list_type_id.map(|id| call.resource.schema_of(id)).unwrap_or(call.schema());
    let items = schema.field_def("items").and_then(|items| items.wire.proto.numbers().first().copied());
    let items = u32::from(items.ok_or_else(|| status::internal_error(format!("{kind} has no items in protobuf")))?);
    let mut encoder = protobuf::Encoder::default();
    let mut metadata = Vec::new();
    json::write(&value!({"metadata": (list_meta(&page))}), &mut metadata);
    let metadata = encoder.message(schema, &metadata).map_err(internal)?.to_vec();
    let resource = call.resource.clone();
    let (mut length, mut lead) = (metadata.len(), Vec::new());
    for batch in page.objects.chunks(ENCODED_AT_ONCE) {
        for object in batch {
            let message = object.message(|json| encode(&mut encoder, resource.schema(), json)).map_err(internal)?;
            lead.clear();
            protobuf::begin_field(items, message.len(), &mut lead);
            length += lead.len() + message.len();
        }
        tokio::task::yield_now().await;
    }
    let (mut head, mut tail) = (Vec::new(), Vec::new());
    protobuf::begin_document(api_version, kind, length, &mut head);
    head.extend_from_slice(&metadata);
    protobuf::end_document(&mut tail);
    let total = head.len() - metadata.len() + length + tail.len();
    let objects = page.objects.into_iter().map(move |object| {
        // What could be encoded once can be encoded again.
        let message = object.message(|json| encode(&mut encoder, resource.schema(), json)).unwrap_or_default();
        lead.clear();
        protobuf::begin_field(items, message.len(), &mut lead);
        (Lead::new(&lead), message)
    });
    Ok(stream::respond(call.cx, Encoding::Protobuf.media_type(), Pieces { head, objects, tail, total }))
}

fn encode(encoder: &mut protobuf::Encoder, schema: SchemaRef<'_>, json: &[u8]) -> Result<Bytes, DecodeError> {
    encoder.message(schema, json).map(Bytes::copy_from_slice)
}
