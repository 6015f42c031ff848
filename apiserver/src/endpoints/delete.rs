//! DELETE of an object and of a collection.

use std::sync::Arc;

use axum::body::Body;
use futures::StreamExt;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use http::{Request, StatusCode};
use skiff_apimachinery::status::{self, Status};
use skiff_apimachinery::value::{Object, Value};
use skiff_apimachinery::{json, protobuf, yaml};

use super::Call;
use super::list;
use super::params::{ListOptions, delete_options};
use crate::body;
use crate::cacher::CachedObject;
use crate::negotiation::{self, Encoding, Output, Shape};
use crate::registry::deletion::DeleteOptions;
use crate::registry::store::Store;
use crate::response::{self, ObjectType, Response};

/// Objects of a collection that are deleted at the same time.
const COLLECTION_WORKERS: usize = 16;

/// Deletes one object.
pub async fn delete(call: &Call<'_>, request: Request<Body>) -> Result<Response, Status> {
    let output = call.output(false)?;
    let options = read_options(call, request).await?;
    let store = call.store()?;
    let name = call.cx.info.name.as_str();
    let deleted = store.delete(&call.write(name, options.dry_run), &options).await?;
    // Asked in the old way to wait for dependents, a client is told that it is not done yet.
    let accepted = !deleted.gone && options.orphan_dependents == Some(false);
    let code = if accepted { StatusCode::ACCEPTED } else { StatusCode::OK };
    if !deleted.gone || store.strategy.returns_deleted_object() {
        return call.respond(output, code, deleted.json);
    }
    let mut details = Object::new();
    details.insert("name", name);
    if !call.resource.info.group.is_empty() {
        details.insert("group", call.resource.info.group.clone());
    }
    details.insert("kind", call.resource.info.plural.clone());
    details.insert("uid", deleted.uid);
    success(call, output, code, Some(details))
}

/// `Status` that reports success.
pub fn success(call: &Call<'_>, output: Output, code: StatusCode, details: Option<Object>) -> Result<Response, Status> {
    let mut object: Object =
        [("kind", Value::from("Status")), ("apiVersion", Value::from("v1")), ("status", Value::from("Success"))]
            .into_iter()
            .collect();
    object.insert("metadata", Object::new());
    if code != StatusCode::OK {
        object.insert("code", i64::from(code.as_u16()));
    }
    if let Some(details) = details {
        object.insert("details", details);
    }
    let schema = skiff_api::builtin()
        .schema_of("", "v1", "Status")
        .ok_or_else(|| status::internal_error("no schema for v1 Status"))?;
    let output = Output { shape: Shape::Full, ..output };
    response::value(call.cx, output, ObjectType { api_version: "v1", kind: "Status", schema }, code, object.into())
}

/// Reads `DeleteOptions` from the body, else from the query. Any registered apiVersion will do: the kind is the same in
/// all groups.
async fn read_options(call: &Call<'_>, request: Request<Body>) -> Result<DeleteOptions, Status> {
    let bytes = body::read(request.into_body()).await?;
    if bytes.is_empty() {
        return delete_options(None, &call.cx.query);
    }
    let encoding = negotiation::body_encoding(&call.cx.content_type, true)?;
    let schema = skiff_api::builtin()
        .schema_of("", "v1", "DeleteOptions")
        .ok_or_else(|| status::internal_error("no schema for DeleteOptions"))?;
    let undecodable = |error: &dyn std::fmt::Display| status::bad_request(error.to_string());
    let value = match encoding {
        Encoding::Json => json::decode(&bytes, schema).map_err(|e| undecodable(&e))?.value,
        Encoding::Yaml => yaml::decode(&bytes, schema).map_err(|e| undecodable(&e))?.value,
        Encoding::Protobuf => protobuf::decode(&bytes, schema).map_err(|e| undecodable(&e))?,
    };
    if let Some(audit) = &call.cx.audit {
        // The kind of all versions, by the name that upstream has for it.
        let mut options = value.clone();
        options.set_at(&["kind"], "DeleteOptions");
        options.set_at(&["apiVersion"], "meta.k8s.io/__internal");
        audit.request_object(&options);
    }
    if value.str_at(&["kind"]).is_some_and(|kind| !kind.is_empty() && kind != "DeleteOptions") {
        return Err(status::bad_request("decoded object cannot be converted to DeleteOptions"));
    }
    delete_options(Some(&value), &call.cx.query)
}

/// Deletes every object that the selectors choose; answers with the list as it was.
pub async fn delete_collection(call: &Call<'_>, request: Request<Body>) -> Result<Response, Status> {
    let output = call.output(true)?;
    let list_options = ListOptions::from_query(&call.cx.query, false)?;
    let options = read_options(call, request).await?;
    let store = call.store()?;
    let page = list::page(call, &list_options).await?;
    let mut items = page.objects.clone().into_iter();
    let mut running = FuturesUnordered::new();
    loop {
        while running.len() < COLLECTION_WORKERS
            && let Some(item) = items.next()
        {
            running.push(delete_item(call, store, item, &options));
        }
        match running.next().await {
            Some(deleted) => deleted?,
            None => break,
        }
    }
    drop(running);
    list::respond(call, output, page).await
}

fn delete_item<'a>(
    call: &'a Call<'_>,
    store: &'a Store,
    item: Arc<CachedObject>,
    options: &'a DeleteOptions,
) -> BoxFuture<'a, Result<(), Status>> {
    Box::pin(async move {
        let mut write = call.write(item.name(), options.dry_run);
        write.namespace = item.namespace();
        match store.delete(&write, options).await {
            Ok(_) => Ok(()),
            // Somebody else was faster.
            Err(error) if error.code == 404 => Ok(()),
            Err(error) => Err(error),
        }
    })
}
