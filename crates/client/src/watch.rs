//! Listing in pages and watching, as plain asynchronous functions: the I/O under an informer.

use bytes::{Buf, BytesMut};
use http::{Method, Request, header};
use http_body_util::BodyExt;
use kube::client::Body;
use kube::{Client, Error, Result};
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::objects;
use crate::resource::{Object, ResourceType};

/// Objects per page of a list.
pub const PAGE_SIZE: usize = 500;
/// Longest watch event that is accepted, in bytes. The server's own limit for an object is well below.
pub const MAX_EVENT_BYTES: usize = 16 << 20;
/// How long the server is asked to keep a watch open, in seconds; a random share of it is added.
pub const WATCH_SECONDS: u32 = 300;

/// What to list and watch.
#[derive(Clone, Debug)]
pub struct Source {
    /// The resource.
    pub resource: ResourceType,
    /// Only this namespace; empty for all.
    pub namespace: String,
    /// Only objects with these labels; empty for all.
    pub label_selector: String,
    /// Only objects with these fields; empty for all.
    pub field_selector: String,
    /// Only their metadata is asked for.
    pub metadata_only: bool,
}

/// An event of a watch.
#[derive(Debug)]
pub enum WatchEvent<K> {
    /// An object was created or changed, or came to match the selector.
    Applied(K),
    /// An object was deleted, or ceased to match the selector.
    Deleted(K),
    /// Nothing happened up to this resource version.
    Bookmark(String),
}

#[derive(Deserialize)]
#[serde(bound = "K: Deserialize<'de>")]
struct ListAnswer<K> {
    metadata: ListMeta,
    #[serde(default = "Vec::new", deserialize_with = "crate::types::nullable")]
    items: Vec<K>,
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
struct ListMeta {
    resource_version: String,
    #[serde(rename = "continue")]
    continue_: String,
}

#[derive(Deserialize)]
struct Frame<'a> {
    #[serde(rename = "type", borrow)]
    type_: std::borrow::Cow<'a, str>,
    #[serde(borrow)]
    object: &'a RawValue,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct BookmarkObject {
    metadata: ListMeta,
}

impl Source {
    /// All objects of a resource.
    pub fn all(resource: ResourceType) -> Self {
        Self {
            resource,
            namespace: String::new(),
            label_selector: String::new(),
            field_selector: String::new(),
            metadata_only: false,
        }
    }

    fn uri(&self, parameters: &[(&str, &str)]) -> String {
        let mut uri = self.resource.path(&self.namespace);
        let mut separator = '?';
        let selectors = [("labelSelector", &*self.label_selector), ("fieldSelector", &*self.field_selector)];
        for (name, value) in selectors.iter().chain(parameters).filter(|(_, value)| !value.is_empty()) {
            uri.push(separator);
            separator = '&';
            uri.push_str(name);
            uri.push('=');
            push_percent_encoded(&mut uri, value);
        }
        uri
    }

    fn accept(&self, as_kind: &str) -> String {
        if self.metadata_only {
            format!("application/json;as={as_kind};g=meta.k8s.io;v=v1")
        } else {
            "application/json".into()
        }
    }

    /// Reads the whole collection, page by page, and the resource version that it shows.
    pub async fn list<K: Object>(&self, client: &Client) -> Result<(Vec<K>, String)> {
        let mut all = Vec::new();
        let mut continue_ = String::new();
        let limit = PAGE_SIZE.to_string();
        loop {
            let uri = self.uri(&[("limit", &limit), ("continue", &continue_)]);
            let accept = self.accept("PartialObjectMetadataList");
            let bytes = objects::send(client, Method::GET, &uri, &accept, None).await?;
            let page: ListAnswer<K> = serde_json::from_slice(&bytes).map_err(Error::SerdeError)?;
            all.extend(page.items.into_iter().map(|mut object| {
                object.prune();
                object
            }));
            if page.metadata.continue_.is_empty() {
                return Ok((all, page.metadata.resource_version));
            }
            continue_ = page.metadata.continue_;
        }
    }

    /// Opens a watch of what happens after a resource version.
    pub async fn watch(&self, client: &Client, resource_version: &str) -> Result<Watch> {
        let seconds = (WATCH_SECONDS + rand::random_range(0..=WATCH_SECONDS)).to_string();
        let uri = self.uri(&[
            ("watch", "true"),
            ("allowWatchBookmarks", "true"),
            ("resourceVersion", resource_version),
            ("timeoutSeconds", &seconds),
        ]);
        let request = Request::builder()
            .method(Method::GET)
            .uri(uri)
            .header(header::ACCEPT, self.accept("PartialObjectMetadata"))
            .body(Body::empty())
            .map_err(Error::HttpError)?;
        let answer = client.send(request).await?;
        let code = answer.status();
        if code.is_client_error() || code.is_server_error() {
            return Err(objects::failure(code, &objects::read_body(answer.into_body()).await?));
        }
        Ok(Watch { body: answer.into_body(), buffer: BytesMut::new(), scanned: 0 })
    }
}

/// An open watch: a body of JSON documents, one a line.
pub struct Watch {
    body: Body,
    buffer: BytesMut,
    /// Bytes of the buffer that are known to hold no line end.
    scanned: usize,
}

impl Watch {
    /// The next event; `None` when the server has closed the watch, which it does as a matter of course.
    pub async fn next<K: Object>(&mut self) -> Result<Option<WatchEvent<K>>> {
        loop {
            if let Some(end) = self.buffer[self.scanned..].iter().position(|byte| *byte == b'\n') {
                let end = self.scanned + end;
                self.scanned = 0;
                let line = self.buffer.split_to(end);
                self.buffer.advance(1);
                if line.iter().all(u8::is_ascii_whitespace) {
                    continue;
                }
                return decode(&line).map(Some);
            }
            self.scanned = self.buffer.len();
            if self.scanned > MAX_EVENT_BYTES {
                return Err(Error::LinesCodecMaxLineLengthExceeded);
            }
            let Some(frame) = self.body.frame().await else {
                if self.buffer.iter().all(u8::is_ascii_whitespace) {
                    return Ok(None);
                }
                let line = self.buffer.split();
                self.scanned = 0;
                return decode(&line).map(Some);
            };
            if let Ok(data) = frame?.into_data() {
                self.buffer.extend_from_slice(&data);
            }
        }
    }
}

fn decode<K: Object>(line: &[u8]) -> Result<WatchEvent<K>> {
    let frame: Frame<'_> = serde_json::from_slice(line).map_err(Error::SerdeError)?;
    let object = || -> Result<K> {
        let mut object: K = serde_json::from_str(frame.object.get()).map_err(Error::SerdeError)?;
        object.prune();
        Ok(object)
    };
    match &*frame.type_ {
        "ADDED" | "MODIFIED" => Ok(WatchEvent::Applied(object()?)),
        "DELETED" => Ok(WatchEvent::Deleted(object()?)),
        "BOOKMARK" => {
            let bookmark: BookmarkObject = serde_json::from_str(frame.object.get()).map_err(Error::SerdeError)?;
            Ok(WatchEvent::Bookmark(bookmark.metadata.resource_version))
        }
        _ => Err(objects::failure(http::StatusCode::INTERNAL_SERVER_ERROR, frame.object.get().as_bytes())),
    }
}

fn push_percent_encoded(out: &mut String, value: &str) {
    use std::fmt::Write;
    for byte in value.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => out.push(byte as char),
            // Writing to a string cannot fail.
            _ => drop(write!(out, "%{byte:02X}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::Pod;

    #[test]
    fn queries_are_encoded() {
        let mut source = Source::all(<Pod as crate::Kind>::RESOURCE);
        source.field_selector = "spec.nodeName=a b".into();
        source.namespace = "demo".into();
        assert_eq!(
            source.uri(&[("watch", "true"), ("continue", "")]),
            "/api/v1/namespaces/demo/pods?fieldSelector=spec.nodeName%3Da%20b&watch=true"
        );
    }

    #[test]
    fn frames_decode_to_events() {
        let applied = decode::<Pod>(br#"{"type":"ADDED","object":{"metadata":{"name":"a"}}}"#).expect("an event");
        assert!(matches!(applied, WatchEvent::Applied(pod) if pod.metadata.name == "a"));
        let bookmark = br#"{"object":{"metadata":{"resourceVersion":"7"}},"type":"BOOKMARK"}"#;
        assert!(matches!(decode::<Pod>(bookmark), Ok(WatchEvent::Bookmark(version)) if version == "7"));
        let gone = br#"{"type":"ERROR","object":{"kind":"Status","status":"Failure","code":410,"reason":"Expired"}}"#;
        assert!(decode::<Pod>(gone).is_err_and(|error| crate::errors::is_expired(&error)));
        assert!(decode::<Pod>(b"{").is_err());
    }
}
