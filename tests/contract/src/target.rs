//! Who is asked: ours in this process, or a real server by its kubeconfig.

use std::path::Path;

use anyhow::Context;
use bytes::Bytes;
use http::{HeaderMap, Request, StatusCode};
use http_body_util::BodyExt;
use http_body_util::combinators::UnsyncBoxBody;
use kube::config::{KubeConfigOptions, Kubeconfig};
use serde_json::Value;
use skiff_fixture::Api;

/// A server.
pub enum Target {
    /// One that listens.
    Real(kube::Client),
    /// Ours.
    Ours(Box<Api>),
}

/// A body that is still to be read.
pub type Stream = UnsyncBoxBody<Bytes, anyhow::Error>;

/// An answer.
#[derive(Debug)]
pub struct Answer {
    /// Code.
    pub code: StatusCode,
    /// Headers.
    pub headers: HeaderMap,
    /// Body.
    pub body: Bytes,
}

impl Answer {
    /// The body as JSON.
    pub fn json(&self) -> anyhow::Result<Value> {
        serde_json::from_slice(&self.body).with_context(|| self.text())
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// A header; empty if there is none.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or("")
    }
}

impl Target {
    /// A new server of ours, as users run it.
    pub async fn ours() -> Self {
        Self::Ours(Box::new(Api::secured().await))
    }

    /// The server of a kubeconfig's current context.
    pub async fn real(kubeconfig: &Path) -> anyhow::Result<Self> {
        // Fails if there is one already, which is as good.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let kubeconfig = Kubeconfig::read_from(kubeconfig)?;
        let config = kube::Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?;
        Ok(Self::Real(kube::Client::try_from(config)?))
    }

    /// The server that `CONTRACT_KUBECONFIG` names, to try a test on a real one; ours without.
    pub async fn from_environment() -> anyhow::Result<Self> {
        match std::env::var_os("CONTRACT_KUBECONFIG") {
            Some(path) => Self::real(Path::new(&path)).await,
            None => Ok(Self::ours().await),
        }
    }

    /// Whether it is ours.
    pub fn is_ours(&self) -> bool {
        matches!(self, Self::Ours(_))
    }

    /// Sends a request; the body of the answer is still to be read.
    pub async fn open(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Vec<u8>>,
    ) -> anyhow::Result<(StatusCode, HeaderMap, Stream)> {
        match self {
            Self::Real(client) => {
                let mut request = Request::builder().method(method).uri(path);
                for (name, value) in headers {
                    request = request.header(*name, *value);
                }
                let request = request.body(kube::client::Body::from(body.into()))?;
                let (parts, body) = client.send(request).await?.into_parts();
                Ok((parts.status, parts.headers, body.map_err(anyhow::Error::from).boxed_unsync()))
            }
            Self::Ours(api) => {
                let (parts, body) = api.raw(method, path, headers, body.into()).await.into_parts();
                Ok((parts.status, parts.headers, body.map_err(|error| anyhow::anyhow!("{error}")).boxed_unsync()))
            }
        }
    }

    /// Sends a request and reads the answer.
    pub async fn send(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Vec<u8>>,
    ) -> anyhow::Result<Answer> {
        let (code, headers, body) = self.open(method, path, headers, body).await?;
        Ok(Answer { code, headers, body: body.collect().await?.to_bytes() })
    }

    /// Reads JSON.
    pub async fn get(&self, path: &str) -> anyhow::Result<Value> {
        let answer = self.send("GET", path, &[("accept", "application/json")], Vec::new()).await?;
        anyhow::ensure!(answer.code == StatusCode::OK, "GET {path}: {} {}", answer.code, answer.text());
        answer.json()
    }
}
