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
    Real {
        /// With the administrator's credentials.
        administrator: kube::Client,
        /// With none.
        nobody: kube::Client,
    },
    /// Ours.
    Ours(Box<Api>),
}

/// An answer as it came.
pub struct Raw {
    /// Code.
    pub code: u16,
    /// Headers.
    pub headers: http::HeaderMap,
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
        let mut nobody = config.clone();
        nobody.auth_info = kube::config::AuthInfo::default();
        Ok(Self::Real { administrator: kube::Client::try_from(config)?, nobody: kube::Client::try_from(nobody)? })
    }

    /// A new server of ours for the cases of an area: those of `beta` are asked of one that serves every version.
    pub async fn ours(area: &str) -> Self {
        let api = if area == "beta" { Api::serving(&["api/all=true"]).await } else { Api::secured().await };
        Self::Ours(Box::new(api))
    }

    /// Returns when everything in the server knows what was written; a real one does after `at_most`.
    pub async fn settle(&self, at_most: std::time::Duration) {
        match self {
            Self::Real { .. } => tokio::time::sleep(at_most).await,
            Self::Ours(api) => api.caught_up().await,
        }
    }

    /// Sends a request: the administrator's, unless it has an `Authorization`.
    pub async fn send(&self, mut request: Request<Vec<u8>>) -> anyhow::Result<Raw> {
        let credentials = request.headers().get(http::header::AUTHORIZATION).cloned();
        if credentials.as_ref().is_some_and(http::HeaderValue::is_empty) {
            request.headers_mut().remove(http::header::AUTHORIZATION);
        }
        let (parts, body) = match self {
            Self::Real { administrator, nobody } => {
                let client = if credentials.is_none() { administrator } else { nobody };
                let (parts, body) = client.send(request.map(kube::client::Body::from)).await?.into_parts();
                (parts, body.collect().await.context("reading the answer")?.to_bytes())
            }
            Self::Ours(api) => {
                let headers =
                    request.headers().iter().map(|(name, value)| (name.as_str(), value.to_str().unwrap_or("")));
                let headers = headers.collect::<Vec<_>>();
                let (method, path) = (request.method().as_str(), request.uri().to_string());
                let body = request.body().clone();
                let answer = match credentials {
                    None => api.raw(method, &path, &headers, body).await,
                    Some(_) => api.stranger(method, &path, &headers, body).await,
                };
                let (parts, body) = answer.into_parts();
                (parts, body.collect().await.map_err(|error| anyhow::anyhow!("{error}"))?.to_bytes())
            }
        };
        let warnings = parts.headers.get_all(http::header::WARNING).iter();
        let warnings = warnings.map(|value| warning(&String::from_utf8_lossy(value.as_bytes()))).collect();
        Ok(Raw { code: parts.status.as_u16(), headers: parts.headers, warnings, body: body.into() })
    }
}

/// The text of `299 - "text"`.
fn warning(header: &str) -> String {
    let text = header.split_once('"').map_or(header, |(_, text)| text);
    text.strip_suffix('"').unwrap_or(text).replace("\\\"", "\"").replace("\\\\", "\\")
}
