//! Who is asked: a real server by its kubeconfig, or ours in this process.

use std::path::Path;

use anyhow::Context;
use http::Request;
use http_body_util::BodyExt;
use kube::config::{KubeConfigOptions, Kubeconfig};
use skiff_fixture::Api;

/// A server.
pub enum Server {
    /// One that listens.
    Real(kube::Client),
    /// Ours.
    Ours(Box<Api>),
}

/// An answer as it came.
pub struct Raw {
    /// Code.
    pub code: u16,
    /// Texts of the Warning headers.
    pub warnings: Vec<String>,
    /// Body.
    pub body: Vec<u8>,
}

impl Server {
    /// The server of a kubeconfig's current context.
    pub async fn real(kubeconfig: &Path) -> anyhow::Result<Self> {
        // Fails if there is one already, which is as good.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let kubeconfig = Kubeconfig::read_from(kubeconfig)?;
        let config = kube::Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?;
        Ok(Self::Real(kube::Client::try_from(config)?))
    }

    /// A new server of ours.
    pub async fn ours() -> Self {
        Self::Ours(Box::new(Api::secured().await))
    }

    /// Sends a request.
    pub async fn send(&self, request: Request<Vec<u8>>) -> anyhow::Result<Raw> {
        let (parts, body) = match self {
            Self::Real(client) => {
                let (parts, body) = client.send(request.map(kube::client::Body::from)).await?.into_parts();
                (parts, body.collect().await.context("reading the answer")?.to_bytes())
            }
            Self::Ours(api) => {
                let headers = request.headers().iter().map(|(name, value)| (name.as_str(), value.to_str().unwrap_or("")));
                let headers = headers.collect::<Vec<_>>();
                let (method, path) = (request.method().as_str(), request.uri().to_string());
                let (parts, body) = api.raw(method, &path, &headers, request.body().clone()).await.into_parts();
                (parts, body.collect().await.map_err(|error| anyhow::anyhow!("{error}"))?.to_bytes())
            }
        };
        let warnings = parts.headers.get_all(http::header::WARNING).iter();
        let warnings = warnings.map(|value| warning(&String::from_utf8_lossy(value.as_bytes()))).collect();
        Ok(Raw { code: parts.status.as_u16(), warnings, body: body.into() })
    }
}

/// The text of `299 - "text"`.
fn warning(header: &str) -> String {
    let text = header.split_once('"').map_or(header, |(_, text)| text);
    text.strip_suffix('"').unwrap_or(text).replace("\\\"", "\"").replace("\\\\", "\\")
}
