//! Answers: objects and errors in the encoding and shape the client asked for.

use std::io::Write;

use axum::body::Body;
use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use http::{HeaderValue, StatusCode, header};
use skiff_apimachinery::schema::SchemaRef;
use skiff_apimachinery::status::{self, Status};
use skiff_apimachinery::value::Value;
use skiff_apimachinery::{json, protobuf, yaml};

use crate::context::RequestContext;
use crate::negotiation::{self, Encoding, Offer, Output, Shape};
use crate::pretty;

/// A response of this server.
pub type Response = http::Response<Body>;

/// Bodies above this many bytes are compressed for clients that take gzip (upstream's threshold).
pub const GZIP_THRESHOLD: usize = 128 * 1024;

/// Fastest level: what upstream uses.
pub const GZIP_LEVEL: u32 = 1;

/// The type of an answer: what its protobuf envelope names and how it is transcoded.
#[derive(Clone, Copy, Debug)]
pub struct ObjectType<'a> {
    /// `group/version`.
    pub api_version: &'a str,
    /// Kind.
    pub kind: &'a str,
    /// Schema; needed for protobuf only.
    pub schema: SchemaRef<'a>,
}

/// An object whose JSON is at hand: sent as it is when the client wants plain JSON.
pub fn object(
    cx: &RequestContext,
    output: Output,
    ty: ObjectType<'_>,
    code: StatusCode,
    json: Bytes,
) -> Result<Response, Status> {
    if output == Output::JSON {
        return self::json(cx, code, json);
    }
    keep(cx, &json)?;
    if output.shape == Shape::Full && output.encoding == Encoding::Json {
        return Ok(finish(cx, code, output.encoding.media_type(), pretty::indent(&json).into()));
    }
    if output.shape == Shape::Full && output.encoding == Encoding::Protobuf {
        return Ok(finish(cx, code, output.encoding.media_type(), document(ty, &json)?));
    }
    let object = parse(&json)?;
    Ok(finish(cx, code, output.encoding.media_type(), encode(output, ty, &object)?))
}

/// An object whose JSON is at hand, as plain JSON.
pub fn json(cx: &RequestContext, code: StatusCode, json: Bytes) -> Result<Response, Status> {
    keep(cx, &json)?;
    Ok(finish(cx, code, negotiation::JSON, json))
}

/// Keeps what is answered in the request's record, if that wants it.
fn keep(cx: &RequestContext, json: &[u8]) -> Result<(), Status> {
    if let Some(audit) = cx.audit.as_ref().filter(|audit| audit.wants_response_object()) {
        audit.response_object(&parse(json)?);
    }
    Ok(())
}

/// The protobuf document of an object whose JSON is at hand.
pub fn document(ty: ObjectType<'_>, json: &[u8]) -> Result<Bytes, Status> {
    let (mut encoder, mut out) = (protobuf::Encoder::default(), Vec::new());
    let message = encoder.message(ty.schema, json);
    let message = message.map_err(|error| status::internal_error(format!("unable to encode the response: {error}")))?;
    protobuf::document(ty.api_version, ty.kind, message, &mut out);
    Ok(out.into())
}

/// An object as a tree.
pub fn value(
    cx: &RequestContext,
    output: Output,
    ty: ObjectType<'_>,
    code: StatusCode,
    object: Value,
) -> Result<Response, Status> {
    if let Some(audit) = &cx.audit {
        audit.response_object(&object);
    }
    let body = encode(output, ty, &object)?;
    Ok(finish(cx, code, output.encoding.media_type(), body))
}

/// Encodes a tree, indenting JSON where asked.
pub fn encode(output: Output, ty: ObjectType<'_>, object: &Value) -> Result<Bytes, Status> {
    let mut out = Vec::with_capacity(4096);
    match output.encoding {
        Encoding::Json => {
            json::write(object, &mut out);
            if output.pretty {
                out = pretty::indent(&out);
            }
        }
        Encoding::Yaml => yaml::write(object, &mut out),
        Encoding::Protobuf => protobuf::encode(object, ty.api_version, ty.kind, ty.schema, &mut out)
            .map_err(|error| status::internal_error(format!("unable to encode the response: {error}")))?,
    }
    Ok(out.into())
}

/// A failure, in the encoding that the client asked for, or in JSON if there is none that it takes.
pub fn error(cx: Option<&RequestContext>, error: &Status) -> Response {
    let object = error.to_value();
    if let Some(audit) = cx.and_then(|cx| cx.audit.as_ref()) {
        audit.failed(error);
    }
    let (content_type, body) = cx.and_then(|cx| negotiated(cx, &object)).unwrap_or_else(|| {
        let mut body = Vec::with_capacity(512);
        json::write(&object, &mut body);
        if cx.is_some_and(|cx| cx.pretty) {
            body = pretty::indent(&body);
        }
        body.push(b'\n');
        ("application/json", body.into())
    });
    let code = StatusCode::from_u16(error.code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = plain(code, content_type, body);
    if error.details.retry_after_seconds > 0 {
        response.headers_mut().insert(header::RETRY_AFTER, error.details.retry_after_seconds.into());
    }
    response
}

/// The answer to somebody who may not ask this, which a browser is not to take for anything else.
pub fn refused(cx: &RequestContext, status: &Status) -> Response {
    let mut response = error(Some(cx), status);
    response.headers_mut().insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

/// A Status in an encoding other than JSON.
fn negotiated(cx: &RequestContext, object: &Value) -> Option<(&'static str, Bytes)> {
    let offer = Offer { protobuf: true, transforms: false, collection: false, yaml: true };
    let output = negotiation::negotiate(&cx.accept, offer, false).ok()?;
    if output.encoding == Encoding::Json {
        return None;
    }
    let schema = skiff_api::builtin().schema_of("", "v1", "Status")?;
    let body = encode(output, ObjectType { api_version: "v1", kind: "Status", schema }, object).ok()?;
    Some((output.encoding.media_type(), body))
}

/// A body of any media type.
pub fn plain(code: StatusCode, content_type: &'static str, body: impl Into<Body>) -> Response {
    let mut response = http::Response::new(body.into());
    *response.status_mut() = code;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

/// What a mux answers for a path nobody serves.
pub fn not_found_path() -> Response {
    text(StatusCode::NOT_FOUND, "404 page not found\n")
}

/// Text that a browser is not to take for anything else.
pub fn text(code: StatusCode, body: impl Into<Body>) -> Response {
    let mut response = plain(code, "text/plain; charset=utf-8", body);
    response.headers_mut().insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

/// Sends a finished body, compressed if it is large and the client takes gzip.
pub fn finish(cx: &RequestContext, code: StatusCode, content_type: &'static str, body: Bytes) -> Response {
    if body.len() <= GZIP_THRESHOLD || !cx.accepts_gzip {
        return plain(code, content_type, body);
    }
    match gzip(&body) {
        Ok(compressed) => {
            let mut response = plain(code, content_type, compressed);
            let headers = response.headers_mut();
            headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
            headers.insert(header::VARY, HeaderValue::from_static("Accept-Encoding"));
            response
        }
        Err(_) => plain(code, content_type, body),
    }
}

fn gzip(body: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::with_capacity(body.len() / 4), Compression::new(GZIP_LEVEL));
    encoder.write_all(body)?;
    encoder.finish()
}

/// Compresses a stream piece by piece.
pub struct Gzip(GzEncoder<Vec<u8>>);

impl Default for Gzip {
    fn default() -> Self {
        Self(GzEncoder::new(Vec::new(), Compression::new(GZIP_LEVEL)))
    }
}

impl Gzip {
    /// Adds input. Writing to memory cannot fail.
    pub fn write(&mut self, input: &[u8]) {
        let _ = self.0.write_all(input);
    }

    /// What is compressed so far, once it is at least `enough` bytes.
    pub fn take(&mut self, enough: usize) -> Option<Bytes> {
        (self.0.get_ref().len() >= enough).then(|| std::mem::take(self.0.get_mut()).into())
    }

    /// The rest.
    pub fn finish(&mut self) -> Bytes {
        let _ = self.0.try_finish();
        std::mem::take(self.0.get_mut()).into()
    }
}

/// Parses JSON that this server wrote.
pub fn parse(json: &[u8]) -> Result<Value, Status> {
    json::parse(json).map_err(|error| status::internal_error(format!("stored object cannot be read: {error}")))
}
