//! ImageService and the import extension.

use std::collections::HashMap;
use std::io::Write;
use std::sync::Arc;

use oci_spec::image::ImageConfiguration;
use skiff_cri::extension::image_import_server::ImageImport;
use skiff_cri::extension::{ImportRequest, ImportResponse, ImportedImage};
use skiff_cri::v1;
use skiff_cri::v1::image_service_server::ImageService;
use tonic::{Request, Response, Status, Streaming};

use super::Service;
use crate::engine::{blocking, now, status};
use crate::image::{ImageRecord, credentials, import, normalize};
use crate::stats::disk_usage;

/// Largest archive that is taken, in bytes.
const MAX_ARCHIVE: u64 = 64 << 30;

type Answer<T> = Result<Response<T>, Status>;

impl Service {
    fn view(&self, image: &ImageRecord) -> v1::Image {
        let user = self.engine.images.config(image).ok().and_then(|config| user_of(&config));
        let user = user.unwrap_or_default();
        let user = user.split(':').next().unwrap_or_default();
        let uid: Option<i64> = user.parse().ok();
        v1::Image {
            id: image.id.clone(),
            repo_tags: image.names.iter().cloned().collect(),
            repo_digests: image.digests.iter().cloned().collect(),
            size: image.size,
            // Without a user an image runs as root, which the kubelet takes an absent number for as well.
            username: if uid.is_none() { user.to_owned() } else { String::new() },
            uid: uid.map(|value| v1::Int64Value { value }),
            spec: Some(v1::ImageSpec { image: image.id.clone(), ..Default::default() }),
            // The kubelet keeps pinned images when it makes room.
            pinned: image.imported,
        }
    }
}

fn user_of(config: &ImageConfiguration) -> Option<String> {
    config.config().as_ref()?.user().clone()
}

fn requested(image: Option<v1::ImageSpec>) -> Result<String, Status> {
    match image {
        Some(spec) if !spec.image.is_empty() => Ok(spec.image),
        _ => Err(Status::invalid_argument("image reference is empty")),
    }
}

#[tonic::async_trait]
impl ImageService for Service {
    async fn list_images(&self, request: Request<v1::ListImagesRequest>) -> Answer<v1::ListImagesResponse> {
        let wanted = request.into_inner().filter.and_then(|filter| filter.image).map(|spec| spec.image);
        let images = match wanted.filter(|name| !name.is_empty()) {
            Some(name) => self.engine.images.find(&name).into_iter().collect(),
            None => self.engine.images.list(),
        };
        Ok(Response::new(v1::ListImagesResponse { images: images.iter().map(|image| self.view(image)).collect() }))
    }

    async fn image_status(&self, request: Request<v1::ImageStatusRequest>) -> Answer<v1::ImageStatusResponse> {
        let request = request.into_inner();
        let image = self.engine.images.find(&requested(request.image)?);
        let mut info = HashMap::new();
        if let Some(image) = image.as_ref().filter(|_| request.verbose) {
            let config = self.engine.images.config(image)?;
            let text = serde_json::json!({ "imageSpec": config, "layers": image.layers }).to_string();
            info.insert("info".to_owned(), text);
        }
        Ok(Response::new(v1::ImageStatusResponse { image: image.map(|image| self.view(&image)), info }))
    }

    async fn pull_image(&self, request: Request<v1::PullImageRequest>) -> Answer<v1::PullImageResponse> {
        let request = request.into_inner();
        let reference = normalize(&requested(request.image)?)?;
        let auth = credentials(request.auth)?;
        let image = self.engine.puller.pull(&reference, &auth).await?;
        tracing::info!(image = %reference, id = image.id, "pulled");
        Ok(Response::new(v1::PullImageResponse { image_ref: image.id.clone() }))
    }

    async fn remove_image(&self, request: Request<v1::RemoveImageRequest>) -> Answer<v1::RemoveImageResponse> {
        let name = requested(request.into_inner().image)?;
        let images = Arc::clone(&self.engine.images);
        blocking(move || images.remove(&name).map_err(std::io::Error::other))
            .await
            .map_err(status("failed to remove the image"))?;
        Ok(Response::new(v1::RemoveImageResponse {}))
    }

    async fn image_fs_info(&self, _: Request<v1::ImageFsInfoRequest>) -> Answer<v1::ImageFsInfoResponse> {
        let layers = self.engine.images.layers();
        let containers = self.engine.paths.containers_root();
        let usages = blocking(move || Ok((disk_usage(&layers), disk_usage(&containers)))).await;
        let (images, writable) = usages.map_err(status("failed to measure the images"))?;
        let mountpoint = self.engine.paths.root().display().to_string();
        let usage = |usage: crate::stats::DiskUsage| v1::FilesystemUsage {
            timestamp: now(),
            fs_id: Some(v1::FilesystemIdentifier { mountpoint: mountpoint.clone() }),
            used_bytes: Some(v1::UInt64Value { value: usage.bytes }),
            inodes_used: Some(v1::UInt64Value { value: usage.inodes }),
        };
        Ok(Response::new(v1::ImageFsInfoResponse {
            image_filesystems: vec![usage(images)],
            container_filesystems: vec![usage(writable)],
        }))
    }
}

#[tonic::async_trait]
impl ImageImport for Service {
    async fn import(&self, request: Request<Streaming<ImportRequest>>) -> Answer<ImportResponse> {
        let mut chunks = request.into_inner();
        let mut file = self.engine.images.scratch().map_err(status("failed to store the archive"))?;
        let (mut default_name, mut received) = (None, 0_u64);
        while let Some(message) = chunks.message().await? {
            received += message.chunk.len() as u64;
            if received > MAX_ARCHIVE {
                return Err(Status::resource_exhausted(format!("the archive is larger than {MAX_ARCHIVE} bytes")));
            }
            default_name.get_or_insert(message.default_name);
            file.write_all(&message.chunk).map_err(status("failed to store the archive"))?;
        }
        let (images, default_name) = (Arc::clone(&self.engine.images), default_name.unwrap_or_default());
        let imported = tokio::task::spawn_blocking(move || import(&images, file, &default_name))
            .await
            .map_err(|_| Status::internal("the import panicked"))??;
        let imported =
            imported.into_iter().map(|imported| ImportedImage { id: imported.image.id.clone(), names: imported.names });
        Ok(Response::new(ImportResponse { images: imported.collect() }))
    }
}
