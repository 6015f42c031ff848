//! What the server does for each verb and subresource.
//!
//! [`dispatch`] is the routing table. Everything is generic over the kind; what differs is in `registry`.

mod asked;
pub mod bind;
mod component_status;
pub mod connect;
mod connect_options;
pub mod continue_token;
pub mod create;
pub mod delete;
pub mod evict;
pub mod form;
pub mod get;
pub mod list;
pub mod params;
pub mod patch;
pub mod reset;
pub mod review;
pub mod selection;
pub mod stream;
pub mod table;
mod unstructured;
pub mod update;
pub mod watch;
pub mod websocket;

use std::sync::Arc;

use axum::body::Body;
use http::{Method, Request};
use skiff_api::Subresource;
use skiff_apimachinery::status::{self, Status};
use skiff_apimachinery::value::Value;

use crate::ApiServer;
use crate::admission::{self, Asked, Operation, chain};
use crate::cacher::WatchCache;
use crate::context::RequestContext;
use crate::negotiation::{self, Encoding, Offer, Output};
use crate::printers::partial;
use crate::registry::store::{Store, Write};
use crate::registry::{Resource, deprecated};
use crate::request_info::RequestInfo;
use crate::response::{self, ObjectType, Response};

/// One request for a resource.
pub struct Call<'a> {
    /// The server.
    pub server: &'a Arc<ApiServer>,
    /// The request.
    pub cx: &'a RequestContext,
    /// The resource.
    pub resource: &'a Arc<Resource>,
    /// The subresource, if the request names one.
    pub subresource: Option<&'a Subresource>,
}

impl<'a> Call<'a> {
    /// The store; kinds without one never get here.
    pub fn store(&self) -> Result<&'a Arc<Store>, Status> {
        self.resource.store.as_ref().ok_or_else(|| {
            status::method_not_supported(&self.resource.info.group, &self.resource.info.plural, &self.cx.info.verb)
        })
    }

    /// The watch cache.
    pub fn cache(&self) -> Result<&'a Arc<WatchCache>, Status> {
        Ok(&self.store()?.cache)
    }

    /// The output form, for one object or a collection of the resource's kind.
    pub fn output(&self, collection: bool) -> Result<Output, Status> {
        // What is only asked has neither rows nor metadata of its own.
        let transforms = self.resource.info.has_verb("get");
        let offer = Offer { protobuf: self.has_protobuf(), transforms, collection, yaml: true };
        negotiation::negotiate(&self.cx.accept, offer, self.cx.pretty).map_err(|error| {
            let other = negotiation::negotiate(&self.cx.accept, Offer { collection: !collection, ..offer }, false);
            // One object's metadata asked for of a list, or the other way round.
            if other.is_ok() { self.not_the_shape(collection) } else { error }
        })
    }

    /// Whether what goes in and out has a protobuf form: everything but custom resources.
    pub fn has_protobuf(&self) -> bool {
        self.resource.custom.is_none() || self.subresource.is_some_and(|sub| sub.foreign_kind)
    }

    /// The encoding of the body.
    pub fn body_encoding(&self) -> Result<Encoding, Status> {
        negotiation::body_encoding(&self.cx.content_type, self.has_protobuf())
    }

    /// 406 for metadata of one object where there are several, or of several where there is one.
    fn not_the_shape(&self, collection: bool) -> Status {
        let info = &self.resource.info;
        // The name of upstream's internal type.
        let package = match info.group.split('.').next().unwrap_or_default() {
            "" | "events" => "core",
            group => group,
        };
        let message = if collection {
            let kind = info.list_kind.as_deref().unwrap_or_default();
            format!("you requested PartialObjectMetadata, but the requested object is a list (*{package}.{kind})")
        } else {
            let kind = &info.kind;
            format!(
                "you requested PartialObjectMetadataList, but the requested object is not a list (*{package}.{kind})"
            )
        };
        Status::new(406, "NotAcceptable", message)
    }

    /// Who writes what, for the store.
    pub fn write<'w>(&'w self, name: &'w str, dry_run: bool) -> Write<'w> {
        let info = &self.cx.info;
        Write {
            admission: &self.server.admission,
            user: &self.cx.user,
            warnings: &self.cx.warnings,
            group: Some(&info.group),
            version: &info.version,
            subresource: &info.subresource,
            namespace: if self.resource.info.namespaced { &info.namespace } else { "" },
            name,
            dry_run,
            force_create: false,
            uid_is_precondition: true,
            asked: Some(self),
        }
    }

    /// Asks the admission plugins about something that is not stored: a token, a binding, an eviction, a connection.
    pub async fn admit(&self, operation: Operation, name: &str, object: Option<&mut Value>) -> Result<(), Status> {
        let info = &self.cx.info;
        let mut warnings = Vec::new();
        let asked = asked::Direct(self);
        let mut request = admission::Request {
            user: &self.cx.user,
            operation,
            group: &info.group,
            version: &info.version,
            kind: self.subresource.map_or(self.resource.info.kind.as_str(), |s| s.kind.as_str()),
            resource: &info.resource,
            subresource: &info.subresource,
            namespace: &info.namespace,
            name,
            dry_run: !self.cx.query.text("dryRun").is_empty(),
            object,
            old_object: None,
            warnings: &mut warnings,
            asked: Some(&asked),
            delete_options: None,
            reinvocation: admission::Reinvocation::default(),
        };
        let mut admitted = chain::admit(&self.server.admission, &mut request).await;
        if admitted.is_ok() {
            admitted = chain::validate(&self.server.admission, &mut request).await;
        }
        self.cx.warnings.extend(warnings);
        admitted
    }

    /// From the served to the stored form.
    pub fn to_stored(&self, object: Value) -> Value {
        match self.resource.conversion {
            Some(conversion) => conversion.to_stored(object),
            None => object,
        }
    }

    /// Brings an object in the stored form into canonical form and fills in the defaults of the version that is asked.
    pub fn set_defaults(&self, object: &mut Value) -> Result<(), Status> {
        self.store()?.set_defaults_of(self.resource.conversion, object);
        Ok(())
    }

    /// From the stored to the served form.
    pub fn served_from(&self, object: Value) -> Value {
        match self.resource.conversion {
            Some(conversion) => conversion.from_stored(object),
            None => object,
        }
    }

    /// Answers with one stored object.
    pub fn respond(&self, output: Output, code: http::StatusCode, json: bytes::Bytes) -> Result<Response, Status> {
        let as_stored = self.resource.shows_stored_bytes() && self.cx.info.subresource != "scale";
        if as_stored && output == Output::JSON {
            return response::json(self.cx, code, json);
        }
        let expected = self.expected();
        let api_version = expected.api_version();
        let ty = ObjectType { api_version: &api_version, kind: expected.kind, schema: expected.schema };
        match output.shape {
            negotiation::Shape::Full if as_stored => response::object(self.cx, output, ty, code, json),
            negotiation::Shape::Full => response::value(self.cx, output, ty, code, self.shown_of_stored(&json)?),
            negotiation::Shape::PartialMetadata(version) => {
                let object = partial::object(&response::parse(&json)?, version);
                let ty = partial_type(version, "PartialObjectMetadata")?;
                response::value(self.cx, output, ty, code, object)
            }
            negotiation::Shape::Table(version) => {
                let object = self.shown_of_stored(&json)?;
                let table = table::of_object(self, &object, version)?;
                response::value(self.cx, output, partial_type(version, "Table")?, code, table)
            }
        }
    }
}

/// The type of a `meta.k8s.io` kind.
pub fn partial_type(version: negotiation::MetaVersion, kind: &'static str) -> Result<ObjectType<'static>, Status> {
    let api_version = version.api_version();
    let (group, name) = api_version.split_once('/').unwrap_or(("", api_version));
    let schema = skiff_api::builtin()
        .schema_of(group, name, kind)
        .ok_or_else(|| status::internal_error(format!("no schema for {api_version} {kind}")))?;
    Ok(ObjectType { api_version, kind, schema })
}

/// Why a verb is refused: a path without that method, or a list that cannot be watched.
fn not_a_verb(resource: &Resource, info: &RequestInfo) -> Status {
    let has = |verb| resource.info.has_verb(verb);
    match info.verb.as_str() {
        _ if resource.custom.is_some() => status::method_not_supported(&info.group, &info.resource, &info.verb),
        "watch" if has("list") => status::method_not_supported(&info.group, &info.resource, &info.verb),
        // A resource that has no objects has no paths for them.
        _ if info.subresource.is_empty() && !info.name.is_empty() && !has("get") => status::no_such_resource(),
        _ => status::method_not_routed(),
    }
}

/// Routes a resource request to its verb.
pub async fn dispatch(
    server: &Arc<ApiServer>,
    cx: &RequestContext,
    request: Request<Body>,
) -> Result<Response, Status> {
    let info = &cx.info;
    let Some(resource) = &server.registry.resource(&info.group, &info.version, &info.resource) else {
        // Whatever is below a built-in group is looked for in that group.
        let built_in = skiff_api::builtin().groups.iter().any(|group| group.name == info.group);
        let known = built_in && server.registry.served().group(&info.group).is_some();
        return if known { Err(status::no_such_resource()) } else { Ok(response::not_found_path()) };
    };
    // "/api/v1/namespaces/x/nodes" and an object without its namespace are no paths of the API.
    let wants_namespace = resource.info.namespaced && !info.name_from_selector && !info.name.is_empty();
    if (!resource.info.namespaced && !info.namespace.is_empty() && info.resource != "namespaces")
        || (wants_namespace && info.namespace.is_empty())
    {
        return Err(status::no_such_resource());
    }
    let subresource = match info.subresource.as_str() {
        "" => None,
        name => match resource.info.subresource(name) {
            Some(subresource) => Some(subresource),
            None => return Err(status::no_such_resource()),
        },
    };
    let custom = resource.custom.as_ref().and_then(|custom| custom.warning.as_deref());
    if let Some(warning) = custom.or_else(|| deprecated::warning(&info.group, &info.version, &info.resource)) {
        cx.warnings.add(warning);
        cx.audit.iter().for_each(|audit| audit.annotate("k8s.io/deprecated", "true"));
    }
    // Collections are not written as a whole, and objects are not made where they already have a name.
    let misplaced = match info.verb.as_str() {
        "update" | "patch" => info.name.is_empty(),
        "create" => subresource.is_none() && !info.name.is_empty(),
        _ => false,
    };
    if misplaced {
        return Err(status::method_not_routed());
    }
    let verbs = subresource.map_or(&resource.info.verbs, |s| &s.verbs);
    // A proxy takes every method; OPTIONS has no verb of its own.
    let options = info.subresource == "proxy" && *request.method() == Method::OPTIONS;
    if !options && !verbs.iter().any(|v| *v == info.verb) {
        return Err(not_a_verb(resource, info));
    }
    // The older paths of watches have a verb whatever the method is.
    if info.verb == "watch" && *request.method() != Method::GET {
        return Err(status::method_not_routed());
    }
    // Proxies pass every method on; HEAD of anything else is no method, but of reading it.
    if *request.method() == Method::HEAD && info.subresource != "proxy" {
        return Err(status::method_not_routed());
    }
    let call = Call { server, cx, resource, subresource };
    // Only what is asked most and needs little room is worked on in place: a request's future is as large as the largest
    // of what it may become, and is allocated as a whole.
    match (info.subresource.as_str(), info.verb.as_str()) {
        ("", "list") if resource.store.is_none() => component_status::list(&call),
        ("", "get") if resource.store.is_none() => component_status::get(&call),
        ("", "create") if resource.info.plural == "bindings" => Box::pin(bind::bind(&call, request)).await,
        ("", "create") if resource.store.is_none() => Box::pin(review::review(&call, request)).await,
        ("", "create") => Box::pin(create::create(&call, request)).await,
        ("binding", "create") => Box::pin(bind::bind(&call, request)).await,
        ("eviction", "create") => Box::pin(evict::evict(&call, request)).await,
        ("token", "create") => Box::pin(review::token(&call, request)).await,
        ("", "list") => list::list(&call).await,
        ("", "watch") => Box::pin(watch::watch(&call, request)).await,
        ("", "deletecollection") => Box::pin(delete::delete_collection(&call, request)).await,
        ("", "delete") => Box::pin(delete::delete(&call, request)).await,
        ("log", "get") => Box::pin(connect::log(&call, request)).await,
        ("exec" | "attach", _) => Box::pin(connect::exec_or_attach(&call, request)).await,
        ("portforward", _) => Box::pin(connect::port_forward(&call, request)).await,
        ("proxy", _) => Box::pin(connect::proxy(&call, request)).await,
        (_, "get") => get::get(&call).await,
        (_, "update") => Box::pin(update::update(&call, request)).await,
        (_, "patch") => Box::pin(patch::patch(&call, request)).await,
        _ => Err(status::method_not_supported(&info.group, &info.resource, &info.verb)),
    }
}
