//! The answer of a request, where it is kept only once it is put together: lists, and whatever is sent as it is stored.

use std::io::Read;

use axum::body::Body;
use bytes::Bytes;
use flate2::read::GzDecoder;
use futures::{StreamExt, stream};
use http::{HeaderMap, header};
use http_body::Body as _;
use skiff_apimachinery::value::Value;
use skiff_apimachinery::{json, protobuf, yaml};

use crate::response::Response;

/// Longest answer that is kept, in bytes as it is before it is compressed; of longer ones an event says only how they
/// ended.
const LONGEST: usize = 32 << 20;

/// Reads the object that a response answers, if it does and is not too long; the response is what it was.
pub(super) async fn object(response: Response) -> (Response, Option<Value>) {
    let short = response.body().size_hint().exact().is_none_or(|size| size <= LONGEST as u64);
    let Some(form) = Form::of(response.headers()).filter(|_| short) else { return (response, None) };
    let (parts, body) = response.into_parts();
    let (body, bytes) = collect(body).await;
    let object = bytes.and_then(|bytes| match parts.headers.get(header::CONTENT_ENCODING) {
        None => form.read(&bytes),
        Some(coding) if coding == "gzip" => form.read(&unpacked(&bytes)?),
        Some(_) => None,
    });
    let object = object.filter(|object| object.str_at(&["kind"]).is_some());
    (Response::from_parts(parts, body), object)
}

/// The same body and, if it is not too long, its bytes.
async fn collect(body: Body) -> (Body, Option<Bytes>) {
    let (mut rest, mut pieces, mut length) = (body.into_data_stream(), Vec::new(), 0);
    while length <= LONGEST {
        match rest.next().await {
            Some(Ok(piece)) => {
                length += piece.len();
                pieces.push(Ok(piece));
            }
            Some(Err(error)) => {
                pieces.push(Err(error));
                return (Body::from_stream(stream::iter(pieces)), None);
            }
            None => {
                let all = match pieces.len() {
                    1 => pieces.swap_remove(0).unwrap_or_default(),
                    _ => pieces.into_iter().flatten().collect::<Vec<_>>().concat().into(),
                };
                return (Body::from(all.clone()), Some(all));
            }
        }
    }
    (Body::from_stream(stream::iter(pieces).chain(rest)), None)
}

#[derive(Clone, Copy)]
enum Form {
    Json,
    Yaml,
    Protobuf,
}

impl Form {
    fn of(headers: &HeaderMap) -> Option<Self> {
        let media = headers.get(header::CONTENT_TYPE)?.to_str().ok()?;
        match media.split(';').next()?.trim() {
            "application/json" => Some(Self::Json),
            "application/yaml" => Some(Self::Yaml),
            "application/vnd.kubernetes.protobuf" => Some(Self::Protobuf),
            _ => None,
        }
    }

    fn read(self, bytes: &[u8]) -> Option<Value> {
        match self {
            Self::Json => json::parse(bytes).ok(),
            Self::Yaml => yaml::parse(bytes).ok(),
            Self::Protobuf => {
                let (api_version, kind) = protobuf::kind(bytes).ok()?;
                let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
                protobuf::decode(bytes, skiff_api::builtin().schema_of(group, version, kind)?).ok()
            }
        }
    }
}

fn unpacked(bytes: &[u8]) -> Option<Vec<u8>> {
    let mut plain = Vec::new();
    let read = GzDecoder::new(bytes).take(LONGEST as u64 + 1).read_to_end(&mut plain).ok()?;
    (read <= LONGEST).then_some(plain)
}
