//! Pulling from a registry.

use std::fs::File;
use std::io::{Seek, Write};
use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use futures::{StreamExt, TryStreamExt};
use oci_client::client::{Client, ClientConfig, ClientProtocol};
use oci_client::errors::{DigestError, OciDistributionError, OciErrorCode};
use oci_client::manifest::OciDescriptor;
use oci_client::secrets::RegistryAuth;
use oci_client::{Reference, client::current_platform_resolver};
use sha2::{Digest as _, Sha256};
use skiff_cri::v1;

use super::store::{ImageRecord, ImageStore, NewImage};
use super::{ImageError, LOCAL_REGISTRY, MAX_DOCUMENT, MAX_LAYERS, digest};

/// Layers of one image downloaded at a time.
const PARALLEL_LAYERS: usize = 3;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(15);
/// How long a registry may send nothing.
const READ_TIMEOUT: Duration = Duration::from_secs(60);
/// Largest compressed layer, in bytes.
const MAX_LAYER: u64 = 32 << 30;

/// Pulls images into a store.
pub(crate) struct Puller {
    store: Arc<ImageStore>,
    insecure: Vec<String>,
}

/// The credentials of a CRI request (upstream: containerd `internal/cri/server/images/image_pull.go`, ParseAuth).
pub(crate) fn credentials(auth: Option<v1::AuthConfig>) -> Result<RegistryAuth, ImageError> {
    let Some(auth) = auth else {
        return Ok(RegistryAuth::Anonymous);
    };
    if !auth.registry_token.is_empty() {
        return Ok(RegistryAuth::Bearer(auth.registry_token));
    }
    if !auth.identity_token.is_empty() {
        let text = "identity tokens (OAuth2 refresh tokens) are not supported; use a user name and a password";
        return Err(ImageError::Invalid(text.to_owned()));
    }
    if !auth.username.is_empty() {
        return Ok(RegistryAuth::Basic(auth.username, auth.password));
    }
    if auth.auth.is_empty() {
        return Ok(RegistryAuth::Anonymous);
    }
    let bad = || ImageError::Invalid("the registry credentials cannot be decoded".to_owned());
    let decoded = base64::engine::general_purpose::STANDARD.decode(auth.auth.trim()).map_err(|_| bad())?;
    let decoded = String::from_utf8(decoded).map_err(|_| bad())?;
    let (user, password) = decoded.split_once(':').ok_or_else(bad)?;
    Ok(RegistryAuth::Basic(user.to_owned(), password.trim_end_matches('\0').to_owned()))
}

// === impl Puller ===

impl Puller {
    /// `insecure` are registries spoken to without TLS, besides those on loopback.
    pub(crate) fn new(store: Arc<ImageStore>, insecure: Vec<String>) -> Self {
        Self { store, insecure }
    }

    fn client(&self, reference: &Reference) -> Client {
        let registry = reference.resolve_registry();
        let host = registry.rsplit_once(':').map_or(registry, |(host, _)| host);
        let local = host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback());
        let plain = local || self.insecure.iter().any(|insecure| insecure == registry);
        Client::new(ClientConfig {
            protocol: if plain { ClientProtocol::Http } else { ClientProtocol::Https },
            platform_resolver: Some(Box::new(current_platform_resolver)),
            connect_timeout: Some(CONNECT_TIMEOUT),
            read_timeout: Some(READ_TIMEOUT),
            user_agent: concat!("skiff/", env!("CARGO_PKG_VERSION")),
            ..ClientConfig::default()
        })
    }

    /// Pulls `reference` and returns the image, which then has that name.
    pub(crate) async fn pull(
        &self,
        reference: &Reference,
        auth: &RegistryAuth,
    ) -> Result<Arc<ImageRecord>, ImageError> {
        if reference.registry() == LOCAL_REGISTRY {
            return Err(ImageError::NotLoaded(reference.to_string()));
        }
        let client = self.client(reference);
        let failed = |error| explain(reference, error);
        let (manifest, digest, list_digest) =
            client.pull_image_manifest_and_list_digest(reference, auth).await.map_err(failed)?;
        if manifest.layers.len() > MAX_LAYERS {
            return Err(ImageError::Invalid(format!("the image has more than {MAX_LAYERS} layers")));
        }
        let size: i64 = manifest.layers.iter().map(|layer| layer.size).sum();
        let config = self.download(&client, reference, &manifest.config, MAX_DOCUMENT).await?;
        let mut document = Vec::new();
        std::io::Read::read_to_end(&mut &config, &mut document)?;
        let (known, held) = self.store.known_layers(&document)?;
        let client = &client;
        // `buffered` keeps the order of the manifest, whatever arrives first.
        let layers: Vec<Option<File>> = futures::stream::iter(manifest.layers.into_iter().enumerate())
            .map(|(index, layer)| {
                let known = known.get(index).copied().unwrap_or(false);
                async move {
                    if known {
                        return Ok(None);
                    }
                    self.download(client, reference, &layer, MAX_LAYER).await.map(Some)
                }
            })
            .buffered(PARALLEL_LAYERS)
            .try_collect()
            .await?;
        let (store, reference) = (Arc::clone(&self.store), reference.clone());
        let work = move || {
            let new = NewImage { config: document, layers, size: u64::try_from(size).unwrap_or(0) };
            let (image, _hold) = store.add(new)?;
            drop(held);
            store.name(&image.id, &reference, Some(list_digest.as_deref().unwrap_or(&digest)))?;
            store.set_imported(&image.id, false)?;
            Ok(store.find(&image.id).unwrap_or(image))
        };
        tokio::task::spawn_blocking(work).await.map_err(|_| std::io::Error::other("unpacking panicked"))?
    }

    /// Downloads a blob to an unnamed file, checking size and digest on the way.
    async fn download(
        &self,
        client: &Client,
        reference: &Reference,
        descriptor: &OciDescriptor,
        limit: u64,
    ) -> Result<File, ImageError> {
        let wrong_size =
            || ImageError::Invalid(format!("{} is not of the size that its manifest says", descriptor.digest));
        let expected = u64::try_from(descriptor.size).ok().filter(|size| *size <= limit).ok_or_else(wrong_size)?;
        digest::hex(&descriptor.digest)?;
        let mut stream =
            client.pull_blob_stream(reference, descriptor).await.map_err(|error| explain(reference, error))?;
        let mut file = self.store.scratch()?;
        let (mut hash, mut received) = (Sha256::new(), 0_u64);
        while let Some(chunk) = stream.next().await {
            let chunk = chunk.map_err(|error| broken_off(reference, &error))?;
            received += chunk.len() as u64;
            if received > expected {
                return Err(wrong_size());
            }
            hash.update(&chunk);
            // Chunks are small and go to the page cache; a blocking thread per chunk would cost more.
            file.write_all(&chunk)?;
        }
        if received != expected {
            return Err(wrong_size());
        }
        let actual = hash.finalize().iter().fold("sha256:".to_owned(), |text, byte| format!("{text}{byte:02x}"));
        if actual != descriptor.digest {
            return Err(digest::mismatch("a blob", &descriptor.digest, &actual));
        }
        file.rewind()?;
        Ok(file)
    }
}

/// What ended a download early. The client checks digests as well, and says so with an error of its own kind.
fn broken_off(reference: &Reference, error: &std::io::Error) -> ImageError {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<DigestError>());
    match inner {
        Some(damage) => ImageError::Invalid(format!("{reference} is damaged: {damage}")),
        None => unavailable(reference, error),
    }
}

fn unavailable(reference: &Reference, error: &dyn std::error::Error) -> ImageError {
    // The innermost cause is what a user can act on ("connection refused", "certificate expired").
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        let inner_text = inner.to_string();
        if !text.contains(&inner_text) {
            text = format!("{text}: {inner_text}");
        }
        cause = inner.source();
    }
    ImageError::Unavailable(reference.to_string(), text)
}

fn explain(reference: &Reference, error: OciDistributionError) -> ImageError {
    use OciDistributionError as E;
    let name = reference.to_string();
    match error {
        E::ImageManifestNotFoundError(_) => ImageError::NotFound(name),
        E::ServerError { code: 404, .. } => ImageError::NotFound(name),
        E::ServerError { code: 401 | 403, message, .. } => ImageError::Denied(name, message),
        E::UnauthorizedError { .. } => {
            ImageError::Denied(name, "repository does not exist or may require authorization".to_owned())
        }
        E::AuthenticationFailure(text) => ImageError::Denied(name, text),
        E::RegistryError { envelope, .. } => {
            let codes = envelope.errors.iter().map(|error| &error.code).collect::<Vec<_>>();
            let any = |wanted: &[OciErrorCode]| codes.iter().any(|code| wanted.contains(code));
            if any(&[
                OciErrorCode::ManifestUnknown,
                OciErrorCode::NameUnknown,
                OciErrorCode::NotFound,
                OciErrorCode::BlobUnknown,
            ]) {
                ImageError::NotFound(name)
            } else if any(&[OciErrorCode::Unauthorized, OciErrorCode::Denied]) {
                ImageError::Denied(name, envelope.to_string())
            } else {
                ImageError::Unavailable(name, envelope.to_string())
            }
        }
        E::RequestError(_) | E::IoError(_) | E::ServerError { .. } => unavailable(reference, &error),
        other => ImageError::Invalid(format!("{name}: {other}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_in_every_form() {
        let auth = |auth: v1::AuthConfig| format!("{:?}", credentials(Some(auth)).expect("valid"));
        let basic = format!("{:?}", RegistryAuth::Basic("u".into(), "p:w".into()));
        assert_eq!(auth(v1::AuthConfig { username: "u".into(), password: "p:w".into(), ..Default::default() }), basic);
        assert_eq!(auth(v1::AuthConfig { auth: "dTpwOnc=".into(), ..Default::default() }), basic);
        let bearer = format!("{:?}", RegistryAuth::Bearer("t".into()));
        assert_eq!(auth(v1::AuthConfig { registry_token: "t".into(), ..Default::default() }), bearer);
        assert!(matches!(credentials(None), Ok(RegistryAuth::Anonymous)));
        let bad = v1::AuthConfig { auth: "!!".into(), ..Default::default() };
        assert!(matches!(credentials(Some(bad)), Err(ImageError::Invalid(_))));
    }
}
