//! Requests for one resource in one encoding.

use std::sync::Arc;

use anyhow::{Context, ensure};
use serde_json::{Value, json};

use super::codec::Encoding;
use super::events::Events;
use super::resources::Resource;
use crate::target::Target;

/// Who asks for what, where.
pub struct Session {
    /// The server.
    pub target: Arc<Target>,
    /// Encoding of bodies and answers.
    pub encoding: Encoding,
    /// The resource.
    pub resource: Resource,
    /// A namespace for it.
    pub namespace: String,
    /// A number of this session's own.
    pub number: usize,
}

/// An answer, decoded.
#[derive(Debug)]
pub struct Reply {
    /// Code.
    pub code: u16,
    /// Body.
    pub value: Value,
}

impl Reply {
    /// The body, if the code is this one.
    pub fn expect(self, code: u16) -> anyhow::Result<Value> {
        ensure!(self.code == code, "{} instead of {code}: {}", self.code, self.value);
        Ok(self.value)
    }

    /// Fails unless it is an error with this code and reason.
    pub fn refused(self, code: u16, reason: &str) -> anyhow::Result<()> {
        let value = self.expect(code)?;
        ensure!(value["kind"] == "Status" && value["reason"] == reason, "not {reason}: {value}");
        ensure!(value["code"] == code && value["status"] == "Failure", "not {code}: {value}");
        Ok(())
    }
}

impl Session {
    /// Path of the collection.
    pub fn collection(&self) -> String {
        let Resource { base, entry, namespaced, .. } = &self.resource;
        if *namespaced {
            format!("{base}/namespaces/{}/{}", self.namespace, entry.name)
        } else {
            format!("{base}/{}", entry.name)
        }
    }

    /// Path of an object.
    pub fn item(&self, name: &str) -> String {
        format!("{}/{name}", self.collection())
    }

    /// Sends an object, or nothing.
    pub async fn send(&self, method: &str, path: &str, body: Option<&Value>) -> anyhow::Result<Reply> {
        let body = body.map(|body| self.encoding.encode(body)).transpose()?;
        self.raw(method, path, self.encoding.media(), body.unwrap_or_default()).await
    }

    /// Sends a patch; `kind` is the media type after `application/`.
    pub async fn patch(&self, path: &str, kind: &str, body: &Value) -> anyhow::Result<Reply> {
        self.raw("PATCH", path, &format!("application/{kind}"), body.to_string().into_bytes()).await
    }

    /// Reads.
    pub async fn get(&self, path: &str) -> anyhow::Result<Reply> {
        self.send("GET", path, None).await
    }

    async fn raw(&self, method: &str, path: &str, media: &str, body: Vec<u8>) -> anyhow::Result<Reply> {
        let headers = [("content-type", media), ("accept", self.encoding.media()), ("user-agent", "contract/1")];
        let answer = self.target.send(method, path, &headers, body).await?;
        let found = answer.header("content-type");
        ensure!(found == self.encoding.media(), "{method} {path}: {} as {found}: {}", answer.code, answer.text());
        let value = self.encoding.decode(&answer.body).with_context(|| format!("{method} {path}"))?;
        Ok(Reply { code: answer.code.as_u16(), value })
    }

    /// Deletes with options.
    pub async fn delete(&self, path: &str, options: Value) -> anyhow::Result<Reply> {
        let mut body = json!({"apiVersion": "v1", "kind": "DeleteOptions"});
        for (key, value) in options.as_object().into_iter().flatten() {
            body[key] = value.clone();
        }
        self.send("DELETE", path, Some(&body)).await
    }

    /// Opens a watch.
    pub async fn watch(&self, path: &str) -> anyhow::Result<Events> {
        let headers = [("accept", self.encoding.media())];
        let (code, headers, body) = self.target.open("GET", path, &headers, Vec::new()).await?;
        let found = headers.get("content-type").and_then(|value| value.to_str().ok()).unwrap_or_default();
        let wanted = match self.encoding {
            Encoding::Json => "application/json",
            Encoding::Protobuf => "application/vnd.kubernetes.protobuf;stream=watch",
        };
        ensure!(code == 200 && found == wanted, "GET {path}: {code} as {found}");
        Ok(Events::new(body, self.encoding))
    }
}
