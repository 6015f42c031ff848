//! ImageService of the fake runtime.

use std::collections::{BTreeSet, HashMap};
use std::hash::{DefaultHasher, Hash, Hasher};

use tonic::{Request, Response, Status};

use super::FakeRuntime;
use super::state::{Image, now};
use crate::v1;
use crate::v1::image_service_server::ImageService;

/// Size every image reports, in bytes.
const IMAGE_SIZE: u64 = 1_000_000;

impl FakeRuntime {
    /// Registers an image as if it had been pulled, and returns its id.
    pub fn add_image(&self, reference: &str) -> String {
        let id = image_id(reference);
        let mut state = self.shared.state.lock();
        let image = state.images.entry(id.clone());
        let image = image.or_insert_with(|| Image { tags: BTreeSet::new(), size: IMAGE_SIZE });
        image.tags.insert(reference.to_owned());
        id
    }
}

/// A made-up digest that only depends on the reference.
fn image_id(reference: &str) -> String {
    let mut hasher = DefaultHasher::new();
    reference.hash(&mut hasher);
    format!("sha256:{:064x}", hasher.finish())
}

fn view(id: &str, image: &Image) -> v1::Image {
    v1::Image {
        id: id.to_owned(),
        repo_tags: image.tags.iter().cloned().collect(),
        repo_digests: Vec::new(),
        size: image.size,
        uid: None,
        username: String::new(),
        spec: Some(v1::ImageSpec { image: id.to_owned(), ..Default::default() }),
        pinned: false,
    }
}

fn requested(image: Option<v1::ImageSpec>) -> Result<String, Status> {
    match image {
        Some(spec) if !spec.image.is_empty() => Ok(spec.image),
        _ => Err(Status::invalid_argument("image reference is empty")),
    }
}

#[tonic::async_trait]
impl ImageService for FakeRuntime {
    async fn list_images(
        &self,
        request: Request<v1::ListImagesRequest>,
    ) -> Result<Response<v1::ListImagesResponse>, Status> {
        self.enter("ListImages", "")?;
        let filter = request.into_inner().filter.and_then(|f| f.image).map(|spec| spec.image).unwrap_or_default();
        let state = self.shared.state.lock();
        let matching = state
            .images
            .iter()
            .filter(|(id, image)| filter.is_empty() || **id == filter || image.tags.contains(&filter));
        Ok(Response::new(v1::ListImagesResponse { images: matching.map(|(id, image)| view(id, image)).collect() }))
    }

    async fn image_status(
        &self,
        request: Request<v1::ImageStatusRequest>,
    ) -> Result<Response<v1::ImageStatusResponse>, Status> {
        let reference = requested(request.into_inner().image)?;
        self.enter("ImageStatus", &reference)?;
        let state = self.shared.state.lock();
        let image = state.image_of(&reference).map(|(id, image)| view(id, image));
        Ok(Response::new(v1::ImageStatusResponse { image, info: HashMap::new() }))
    }

    async fn pull_image(
        &self,
        request: Request<v1::PullImageRequest>,
    ) -> Result<Response<v1::PullImageResponse>, Status> {
        let reference = requested(request.into_inner().image)?;
        self.enter("PullImage", &reference)?;
        let (delay, error) = {
            let settings = self.shared.settings.lock();
            (settings.pull_delay, settings.pull_errors.get(&reference).cloned())
        };
        tokio::time::sleep(delay).await;
        match error {
            Some(error) => Err(error),
            None => Ok(Response::new(v1::PullImageResponse { image_ref: self.add_image(&reference) })),
        }
    }

    async fn remove_image(
        &self,
        request: Request<v1::RemoveImageRequest>,
    ) -> Result<Response<v1::RemoveImageResponse>, Status> {
        let reference = requested(request.into_inner().image)?;
        self.enter("RemoveImage", &reference)?;
        let mut state = self.shared.state.lock();
        if let Some(id) = state.image_of(&reference).map(|(id, _)| id.clone()) {
            state.images.remove(&id);
        }
        Ok(Response::new(v1::RemoveImageResponse {}))
    }

    async fn image_fs_info(
        &self,
        _: Request<v1::ImageFsInfoRequest>,
    ) -> Result<Response<v1::ImageFsInfoResponse>, Status> {
        self.enter("ImageFsInfo", "")?;
        let state = self.shared.state.lock();
        let used = state.images.values().map(|image| image.size).sum();
        let usage = v1::FilesystemUsage {
            timestamp: now(),
            fs_id: Some(v1::FilesystemIdentifier { mountpoint: "/".to_owned() }),
            used_bytes: Some(v1::UInt64Value { value: used }),
            inodes_used: Some(v1::UInt64Value { value: 1 }),
        };
        Ok(Response::new(v1::ImageFsInfoResponse {
            image_filesystems: vec![usage.clone()],
            container_filesystems: vec![usage],
        }))
    }
}
