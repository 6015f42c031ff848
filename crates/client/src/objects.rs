//! Single requests: create, get, patch, replace, delete. Bodies are whatever serializes to the object's JSON; answers
//! are decoded to the slim form, so that reading an answer costs no more than reading an event.

use std::marker::PhantomData;

use bytes::Bytes;
use http::{Method, Request, StatusCode, header};
use http_body_util::BodyExt;
use kube::client::Body;
use kube::core::Status;
use kube::{Client, Error, Result};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::resource::{Kind, ResourceType};

/// Most bytes of an answer that is read at once. Lists are paged, so only a broken server exceeds it.
pub const MAX_ANSWER_BYTES: usize = 64 << 20;

/// Requests on one kind, in one namespace or on cluster-scoped objects. `K` is the form in which answers are read.
#[derive(Clone)]
pub struct Objects<K> {
    client: Client,
    resource: ResourceType,
    namespace: String,
    answer: PhantomData<fn() -> K>,
}

/// How a patch is to be understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PatchKind {
    /// RFC 7386: maps merge, lists are replaced, null deletes.
    Merge,
    /// RFC 6902: a list of operations.
    Json,
    /// Kubernetes' own: keyed lists merge.
    Strategic,
}

/// Options of a delete.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct DeleteOptions {
    /// Grace in seconds; the object's own if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub grace_period_seconds: Option<i64>,
    /// `Background`, `Foreground` or `Orphan`; the kind's default if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub propagation_policy: Option<&'static str>,
    /// What must still hold.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub preconditions: Option<Preconditions>,
}

/// Preconditions of a delete.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Preconditions {
    /// Only this very object.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uid: Option<String>,
    /// Only in this version.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resource_version: Option<String>,
}

impl DeleteOptions {
    /// Deletes only the object with this UID, not a successor of the same name.
    pub fn with_uid(uid: &str) -> Self {
        Self { preconditions: Some(Preconditions { uid: Some(uid.into()), ..Default::default() }), ..Self::default() }
    }

    /// Sets the propagation policy.
    pub fn propagation(mut self, policy: &'static str) -> Self {
        self.propagation_policy = Some(policy);
        self
    }
}

impl<K: Kind> Objects<K> {
    /// Requests on cluster-scoped objects, or on all namespaces (collections only).
    pub fn cluster(client: &Client) -> Self {
        Self::of(client, K::RESOURCE, "")
    }

    /// Requests in a namespace.
    pub fn namespaced(client: &Client, namespace: &str) -> Self {
        Self::of(client, K::RESOURCE, namespace)
    }
}

impl<K: DeserializeOwned> Objects<K> {
    /// Requests on any resource.
    pub fn of(client: &Client, resource: ResourceType, namespace: &str) -> Self {
        Self { client: client.clone(), resource, namespace: namespace.into(), answer: PhantomData }
    }

    fn path(&self, name: &str, subresource: &str) -> String {
        let mut path = self.resource.path(&self.namespace);
        for part in [name, subresource] {
            if !part.is_empty() {
                path.push('/');
                path.push_str(part);
            }
        }
        path
    }

    /// Reads one object from the server.
    pub async fn get(&self, name: &str) -> Result<K> {
        request(&self.client, Method::GET, &self.path(name, ""), None).await
    }

    /// Reads one object from the server; `None` if it is not there.
    pub async fn get_opt(&self, name: &str) -> Result<Option<K>> {
        match self.get(name).await {
            Ok(object) => Ok(Some(object)),
            Err(error) if crate::errors::is_not_found(&error) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Creates an object. apiVersion and kind are filled in if the body is a JSON tree without them.
    pub async fn create(&self, body: &impl Serialize) -> Result<K> {
        let mut body = serde_json::to_value(body).map_err(Error::SerdeError)?;
        if let Value::Object(fields) = &mut body {
            fields.entry("apiVersion").or_insert_with(|| json!(self.resource.api_version()));
            fields.entry("kind").or_insert_with(|| json!(self.resource.kind));
        }
        self.write(Method::POST, &self.path("", ""), "application/json", &body).await
    }

    /// Creates a subresource of an object, such as `binding` or `eviction`, and returns the answer.
    pub async fn create_subresource<A: DeserializeOwned>(
        &self,
        name: &str,
        subresource: &str,
        body: &impl Serialize,
    ) -> Result<A> {
        let body = serde_json::to_vec(body).map_err(Error::SerdeError)?;
        let path = self.path(name, subresource);
        request(&self.client, Method::POST, &path, Some(("application/json", body))).await
    }

    /// Replaces an object, or a subresource of it (empty for the object).
    pub async fn replace(&self, name: &str, subresource: &str, body: &impl Serialize) -> Result<K> {
        self.write(Method::PUT, &self.path(name, subresource), "application/json", body).await
    }

    /// Patches an object, or a subresource of it (empty for the object).
    pub async fn patch(&self, name: &str, subresource: &str, kind: PatchKind, patch: &impl Serialize) -> Result<K> {
        let content_type = match kind {
            PatchKind::Merge => "application/merge-patch+json",
            PatchKind::Json => "application/json-patch+json",
            PatchKind::Strategic => "application/strategic-merge-patch+json",
        };
        self.write(Method::PATCH, &self.path(name, subresource), content_type, patch).await
    }

    /// Writes the status by a merge patch. With a resource version the write fails with a conflict if the object has
    /// changed since; without one it applies to whatever is there.
    pub async fn patch_status(&self, name: &str, resource_version: Option<&str>, status: &Value) -> Result<K> {
        let mut patch = json!({ "status": status });
        if let Some(version) = resource_version {
            patch["metadata"] = json!({ "resourceVersion": version });
        }
        self.patch(name, "status", PatchKind::Merge, &patch).await
    }

    /// Writes the status by reading the object, merging the status into it and putting it back: for those who may
    /// update a status and not patch it, as most controllers. The resource version is as in [`Objects::patch_status`].
    pub async fn update_status(&self, name: &str, resource_version: Option<&str>, status: &Value) -> Result<K> {
        let changes = json!({ "status": status });
        self.update(name, "status", resource_version, &changes).await
    }

    /// Changes an object, or a subresource of it (empty for the object), by reading it, merging the changes (RFC 7386)
    /// into it and putting it back.
    pub async fn update(
        &self,
        name: &str,
        subresource: &str,
        resource_version: Option<&str>,
        changes: &Value,
    ) -> Result<K> {
        let mut object: Value = request(&self.client, Method::GET, &self.path(name, ""), None).await?;
        merge(&mut object, changes);
        if let Some(version) = resource_version {
            object["metadata"]["resourceVersion"] = json!(version);
        }
        self.replace(name, subresource, &object).await
    }

    /// Deletes an object. The answer (the object on its way, or a Status) is not read.
    pub async fn delete(&self, name: &str, options: &DeleteOptions) -> Result<()> {
        let body = serde_json::to_vec(options).map_err(Error::SerdeError)?;
        let path = self.path(name, "");
        send(&self.client, Method::DELETE, &path, "application/json", Some(("application/json", body))).await?;
        Ok(())
    }

    /// Deletes all objects of the collection.
    pub async fn delete_collection(&self, options: &DeleteOptions) -> Result<()> {
        self.delete("", options).await
    }

    async fn write(&self, method: Method, path: &str, content_type: &str, body: &impl Serialize) -> Result<K> {
        let body = serde_json::to_vec(body).map_err(Error::SerdeError)?;
        request(&self.client, method, path, Some((content_type, body))).await
    }
}

/// Merges changes into an object as a merge patch does: maps merge, null deletes, all else replaces.
fn merge(object: &mut Value, changes: &Value) {
    let Value::Object(changes) = changes else {
        *object = changes.clone();
        return;
    };
    if !object.is_object() {
        *object = json!({});
    }
    let Value::Object(fields) = object else { return };
    for (name, change) in changes {
        if change.is_null() {
            fields.remove(name);
        } else {
            merge(fields.entry(name.as_str()).or_insert(Value::Null), change);
        }
    }
}

/// Sends a request and decodes the answer as JSON. The body comes with its content type.
pub async fn request<A: DeserializeOwned>(
    client: &Client,
    method: Method,
    path_and_query: &str,
    body: Option<(&str, Vec<u8>)>,
) -> Result<A> {
    let answer = send(client, method, path_and_query, "application/json", body).await?;
    serde_json::from_slice(&answer).map_err(Error::SerdeError)
}

/// Sends a request and returns the answer's bytes; an answer of 400 and above is [`Error::Api`].
pub async fn send(
    client: &Client,
    method: Method,
    path_and_query: &str,
    accept: &str,
    body: Option<(&str, Vec<u8>)>,
) -> Result<Bytes> {
    let mut request = Request::builder().method(method).uri(path_and_query).header(header::ACCEPT, accept);
    if let Some((content_type, _)) = &body {
        request = request.header(header::CONTENT_TYPE, *content_type);
    }
    let body = body.map_or_else(Body::empty, |(_, bytes)| Body::from(bytes));
    let answer = client.send(request.body(body).map_err(Error::HttpError)?).await?;
    let code = answer.status();
    let bytes = read_body(answer.into_body()).await?;
    if code.is_client_error() || code.is_server_error() { Err(failure(code, &bytes)) } else { Ok(bytes) }
}

/// Reads a body to its end, up to [`MAX_ANSWER_BYTES`].
pub(crate) async fn read_body(body: Body) -> Result<Bytes> {
    match http_body_util::Limited::new(body, MAX_ANSWER_BYTES).collect().await {
        Ok(collected) => Ok(collected.to_bytes()),
        Err(error) => Err(Error::Service(error)),
    }
}

/// The error of an answer that is not a success: its Status, or one made of its text.
pub(crate) fn failure(code: StatusCode, body: &[u8]) -> Error {
    let status = serde_json::from_slice::<Status>(body).ok().filter(Status::is_failure).unwrap_or_else(|| {
        let text: String = String::from_utf8_lossy(body).trim().chars().take(1024).collect();
        Status::failure(&text, "").with_code(code.as_u16())
    });
    Error::Api(status.boxed())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::errors;

    #[test]
    fn changes_merge() {
        let mut object = json!({"a": {"b": 1, "c": [1]}, "d": 2});
        merge(&mut object, &json!({"a": {"b": null, "c": [2]}, "e": {"f": 3, "g": null}}));
        assert_eq!(object, json!({"a": {"c": [2]}, "d": 2, "e": {"f": 3}}));
    }

    #[test]
    fn a_failure_is_its_status_or_its_text() {
        let body = br#"{"kind":"Status","status":"Failure","reason":"NotFound","code":404,"message":"no"}"#;
        assert!(errors::is_not_found(&failure(StatusCode::NOT_FOUND, body)));
        let plain = failure(StatusCode::CONFLICT, b" text ");
        assert!(errors::is_conflict(&plain));
        assert_eq!(errors::status(&plain).map(|status| status.message.as_str()), Some("text"));
    }
}
