//! Volumes that are images: read-only views of an image's files, one per mount of a container.

use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;
use skiff_cri::v1;

use super::Engine;
use crate::files::at;
use crate::image::Hold;
use crate::mounts::mount_layers;
use crate::oci::rootfs;

/// Folder of these mounts in the state of a container; everything there is unmounted with the container's root.
const FOLDER: &str = "images";

/// What a container's image volumes come to.
pub(super) struct ImageVolumes {
    /// All mounts of the container, those of images as folders of the node.
    pub(super) mounts: Vec<v1::Mount>,
    /// Their layers, to be kept while the container exists.
    pub(super) layers: Vec<String>,
    /// Keeps the layers until then.
    #[allow(dead_code, reason = "held, not read")]
    holds: Vec<Hold>,
}

impl Engine {
    /// Mounts the images that `config` wants as volumes below `state`, and notes in `config` which images they are.
    /// Blocks.
    pub(super) fn mount_image_volumes(
        &self,
        state: &Path,
        config: &mut v1::ContainerConfig,
    ) -> io::Result<ImageVolumes> {
        let mut volumes = ImageVolumes { mounts: config.mounts.clone(), layers: Vec::new(), holds: Vec::new() };
        let pairs = config.mounts.iter_mut().zip(&mut volumes.mounts);
        for (index, (asked, made)) in pairs.enumerate() {
            let Some(spec) = &mut asked.image else {
                continue;
            };
            if !asked.readonly {
                return Err(io::Error::new(
                    io::ErrorKind::InvalidInput,
                    format!("mount {}: an image can only be mounted read-only", asked.container_path),
                ));
            }
            let image = self.images.find(&spec.image).ok_or_else(|| {
                let text = format!("image {:?}: not found", spec.image);
                io::Error::new(io::ErrorKind::NotFound, text)
            })?;
            let (empty, held_empty) = self.empty_layer()?;
            volumes.holds.push(held_empty);
            let used = [image.layers.as_slice(), std::slice::from_ref(&empty)].concat();
            volumes.holds.push(self.images.hold(&used));
            volumes.layers.extend(used);
            let target = state.join(FOLDER).join(index.to_string());
            std::fs::create_dir_all(&target).map_err(at("create", &target))?;
            if !image.layers.is_empty() {
                mount_layers(&self.images.layers(), &empty, &image.layers, &target)?;
            }
            spec.image_ref.clone_from(&image.id);
            made.host_path = sub_path(&target, &asked.image_sub_path)?.display().to_string();
            made.image = None;
        }
        Ok(volumes)
    }
}

/// Where `path` in an image lies on the node. The image's links lead nowhere but into the image, and as nothing in it
/// changes, they will not later.
fn sub_path(root: &Path, path: &str) -> io::Result<PathBuf> {
    if path.is_empty() {
        return Ok(root.to_owned());
    }
    let missing = |error: io::Error| {
        io::Error::new(error.kind(), format!("failed to find {path:?} in the image volume: {error}"))
    };
    let handle = rootfs::open_root(root)?;
    let found = rootfs::open_in(&handle, Path::new(path), OFlags::PATH).map_err(missing)?;
    let link = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&found));
    std::fs::read_link(link)
}
