//! Importing images from a tar file: an OCI layout, or what `docker save` writes (newer versions write both in one).

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use serde::Deserialize;

use super::digest::{check, hex};
use super::reference::normalize;
use super::store::{ImageRecord, ImageStore, NewImage};
use super::unpack::decompressed;
use super::{ImageError, MAX_DOCUMENT, MAX_LAYERS};

/// Largest archive after decompression, in bytes.
const MAX_ARCHIVE: u64 = 64 << 30;
/// Most files in an archive.
const MAX_FILES: usize = 100_000;
/// Most images in one archive.
const MAX_IMAGES: usize = 256;
/// Deepest index in an index.
const MAX_DEPTH: usize = 4;
/// Annotations that carry a full name, best first: containerd's, then the standard one, which is often only a tag.
const NAME_ANNOTATIONS: [&str; 2] = ["io.containerd.image.name", "org.opencontainers.image.ref.name"];

/// An image that an import made, with its names.
#[derive(Debug)]
pub(crate) struct Imported {
    pub(crate) image: Arc<ImageRecord>,
    pub(crate) names: Vec<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Index {
    #[serde(default)]
    manifests: Vec<Descriptor>,
}

#[derive(Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Descriptor {
    digest: String,
    #[serde(default)]
    media_type: String,
    #[serde(default)]
    annotations: BTreeMap<String, String>,
    platform: Option<Platform>,
}

#[derive(Clone, Deserialize)]
struct Platform {
    #[serde(default)]
    architecture: String,
    #[serde(default)]
    os: String,
}

#[derive(Deserialize)]
struct Manifest {
    config: Descriptor,
    layers: Vec<Descriptor>,
}

/// One image in `manifest.json` of `docker save`.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct SavedImage {
    config: String,
    #[serde(default)]
    repo_tags: Option<Vec<String>>,
    layers: Vec<String>,
}

/// An image found in an archive, not unpacked yet.
struct Found {
    config: Vec<u8>,
    layers: Vec<Part>,
    names: BTreeSet<String>,
    digest: Option<String>,
}

/// Where a file of the archive lies.
#[derive(Clone, Copy)]
struct Part {
    offset: u64,
    size: u64,
}

struct Archive {
    file: File,
    parts: BTreeMap<String, Part>,
}

/// Imports every image in `file`. An image without a name in the archive gets `default_name`, if that is not empty.
/// Blocks.
pub(crate) fn import(store: &Arc<ImageStore>, file: File, default_name: &str) -> Result<Vec<Imported>, ImageError> {
    let archive = Archive::open(store, file)?;
    let found = archive.images()?;
    if found.is_empty() {
        return Err(ImageError::Invalid(format!("the archive holds no image for linux/{}", architecture())));
    }
    found.into_iter().map(|image| archive.register(store, image, default_name)).collect()
}

/// This machine's architecture as images name it.
pub(super) fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

// === impl Archive ===

impl Archive {
    /// Indexes the archive, after decompressing it as a whole if it is compressed.
    fn open(store: &ImageStore, mut file: File) -> Result<Self, ImageError> {
        let mut magic = [0_u8; 2];
        file.rewind()?;
        let read = file.read(&mut magic)?;
        file.rewind()?;
        if read == 0 {
            return Err(ImageError::Invalid("the archive is empty".to_owned()));
        }
        if magic == [0x1f, 0x8b] || magic == [0x28, 0xb5] {
            let mut plain = store.scratch()?;
            let mut content = decompressed(file)?.take(MAX_ARCHIVE);
            io::copy(&mut content, &mut plain).map_err(unreadable)?;
            plain.rewind()?;
            file = plain;
        }
        let mut archive = tar::Archive::new(&file);
        let mut parts = BTreeMap::new();
        let length = file.metadata()?.len();
        for entry in archive.entries_with_seek().map_err(unreadable)? {
            let entry = entry.map_err(unreadable)?;
            if parts.len() == MAX_FILES {
                return Err(ImageError::Invalid(format!("the archive holds more than {MAX_FILES} files")));
            }
            let path = entry.path().map_err(unreadable)?;
            let name = path.to_string_lossy().trim_start_matches("./").to_owned();
            let part = match entry.link_name().map_err(unreadable)? {
                // Older `docker save` links equal layers to each other.
                Some(target) => {
                    let folder = path.parent().unwrap_or(std::path::Path::new(""));
                    match parts.get(&lexically_joined(folder, &target)) {
                        Some(part) => *part,
                        None => continue,
                    }
                }
                None => Part { offset: entry.raw_file_position(), size: entry.size() },
            };
            if part.offset.saturating_add(part.size) > length {
                return Err(ImageError::Invalid(format!("the archive is cut off within {name}")));
            }
            parts.insert(name, part);
        }
        Ok(Self { parts, file })
    }

    fn part(&self, name: &str) -> Result<Part, ImageError> {
        self.parts.get(name).copied().ok_or_else(|| ImageError::Invalid(format!("the archive lacks {name}")))
    }

    fn document(&self, name: &str) -> Result<Vec<u8>, ImageError> {
        let part = self.part(name)?;
        if part.size > MAX_DOCUMENT {
            return Err(ImageError::Invalid(format!("{name} is larger than {MAX_DOCUMENT} bytes")));
        }
        let mut content = vec![0; usize::try_from(part.size).unwrap_or(0)];
        self.file.read_exact_at(&mut content, part.offset).map_err(unreadable)?;
        Ok(content)
    }

    fn blob(&self, digest: &str) -> Result<Vec<u8>, ImageError> {
        let name = blob_name(digest)?;
        let content = self.document(&name)?;
        check(&content, digest, &name)?;
        Ok(content)
    }

    fn images(&self) -> Result<Vec<Found>, ImageError> {
        let mut found = Vec::new();
        if self.parts.contains_key("index.json") {
            let index: Index = decode(&self.document("index.json")?, "index.json")?;
            self.images_of_index(&index, &BTreeSet::new(), 0, &mut found)?;
        }
        if self.parts.contains_key("manifest.json") {
            self.images_of_docker(&mut found)?;
        } else if !self.parts.contains_key("index.json") {
            let text = "neither an OCI archive (index.json) nor a docker-save archive (manifest.json)";
            return Err(ImageError::Invalid(text.to_owned()));
        }
        Ok(found)
    }

    fn images_of_index(
        &self,
        index: &Index,
        inherited: &BTreeSet<String>,
        depth: usize,
        found: &mut Vec<Found>,
    ) -> Result<(), ImageError> {
        if depth > MAX_DEPTH || index.manifests.len() > MAX_IMAGES {
            return Err(ImageError::Invalid("the index is too deep or too long".to_owned()));
        }
        for descriptor in index.manifests.iter().filter(|descriptor| fits(descriptor.platform.as_ref())) {
            let mut names = inherited.clone();
            names.extend(names_of(descriptor));
            // Parts for other platforms may be left out of an archive.
            if descriptor.platform.is_some() && !self.parts.contains_key(&blob_name(&descriptor.digest)?) {
                continue;
            }
            let content = self.blob(&descriptor.digest)?;
            if descriptor.media_type.ends_with("index.v1+json") || descriptor.media_type.ends_with("list.v2+json") {
                let inner: Index = decode(&content, &descriptor.digest)?;
                self.images_of_index(&inner, &names, depth + 1, found)?;
                continue;
            }
            let manifest: Manifest = decode(&content, &descriptor.digest)?;
            let layers = manifest.layers.iter().map(|layer| self.part(&blob_name(&layer.digest)?));
            found.push(Found {
                config: self.blob(&manifest.config.digest)?,
                layers: layers.collect::<Result<_, _>>()?,
                names,
                digest: Some(descriptor.digest.clone()),
            });
        }
        Ok(())
    }

    /// Adds what `manifest.json` says: images of their own, or names for those already found.
    fn images_of_docker(&self, found: &mut Vec<Found>) -> Result<(), ImageError> {
        let saved: Vec<SavedImage> = decode(&self.document("manifest.json")?, "manifest.json")?;
        if saved.len() > MAX_IMAGES {
            return Err(ImageError::Invalid(format!("the archive holds more than {MAX_IMAGES} images")));
        }
        for image in saved {
            let config = self.document(&image.config)?;
            let names = image.repo_tags.unwrap_or_default();
            if let Some(known) = found.iter_mut().find(|known| known.config == config) {
                known.names.extend(names);
                continue;
            }
            let layers = image.layers.iter().map(|layer| self.part(layer)).collect::<Result<_, _>>()?;
            found.push(Found { config, layers, names: names.into_iter().collect(), digest: None });
        }
        Ok(())
    }

    fn register(&self, store: &Arc<ImageStore>, found: Found, default_name: &str) -> Result<Imported, ImageError> {
        if found.layers.len() > MAX_LAYERS {
            return Err(ImageError::Invalid(format!("the image has more than {MAX_LAYERS} layers")));
        }
        let mut names = found.names;
        if names.is_empty() && !default_name.is_empty() {
            names.insert(default_name.to_owned());
        }
        // Names are checked before anything is unpacked.
        let references = names.iter().map(|name| normalize(name)).collect::<Result<Vec<_>, _>>()?;
        let (known, _known) = store.known_layers(&found.config)?;
        let layers = found.layers.iter().enumerate().map(|(index, part)| {
            // A configuration that does not fit the layers is refused later.
            let known = known.get(index).copied().unwrap_or(false);
            (!known).then(|| self.extract(store, *part)).transpose()
        });
        let layers = layers.collect::<Result<_, _>>()?;
        let size = found.layers.iter().map(|part| part.size).sum();
        let (image, _hold) = store.add(NewImage { config: found.config, layers, size })?;
        for reference in &references {
            store.name(&image.id, reference, found.digest.as_deref())?;
        }
        store.set_imported(&image.id, true)?;
        let image = store.find(&image.id).unwrap_or(image);
        Ok(Imported { names: references.iter().map(ToString::to_string).collect(), image })
    }

    /// A layer as a file of its own; its content is checked when it is unpacked.
    fn extract(&self, store: &ImageStore, part: Part) -> Result<File, ImageError> {
        let mut copy = store.scratch()?;
        let mut source = self.file.try_clone()?;
        source.seek(SeekFrom::Start(part.offset))?;
        io::copy(&mut source.take(part.size), &mut copy)?;
        copy.flush()?;
        copy.rewind()?;
        Ok(copy)
    }
}

fn decode<T: for<'a> Deserialize<'a>>(content: &[u8], name: &str) -> Result<T, ImageError> {
    serde_json::from_slice(content).map_err(|error| ImageError::Invalid(format!("{name} cannot be read: {error}")))
}

fn unreadable(error: io::Error) -> ImageError {
    match error.kind() {
        io::ErrorKind::StorageFull => ImageError::Io(error),
        _ => ImageError::Invalid(format!("the archive is damaged: {error}")),
    }
}

fn blob_name(digest: &str) -> Result<String, ImageError> {
    Ok(format!("blobs/sha256/{}", hex(digest)?))
}

/// True for this machine's platform, and for descriptors that name none.
fn fits(platform: Option<&Platform>) -> bool {
    platform.is_none_or(|platform| {
        let any = |value: &str, wanted: &str| value.is_empty() || value == wanted;
        any(&platform.os, "linux") && any(&platform.architecture, architecture())
    })
}

fn names_of(descriptor: &Descriptor) -> Option<String> {
    let name = NAME_ANNOTATIONS.iter().find_map(|key| descriptor.annotations.get(*key))?;
    // A bare tag, as skopeo writes it, is no name.
    (name.contains('/') || name.contains(':')).then(|| name.clone())
}

fn lexically_joined(folder: &std::path::Path, target: &std::path::Path) -> String {
    let mut joined = std::path::PathBuf::new();
    for component in folder.join(target).components() {
        match component {
            std::path::Component::ParentDir => drop(joined.pop()),
            std::path::Component::Normal(name) => joined.push(name),
            _ => {}
        }
    }
    joined.to_string_lossy().into_owned()
}
