//! Images: pulling, importing, unpacking into layers, and forgetting them again.
//!
//! An image is a record (names, digests, configuration) and a list of layers. A layer is a folder named after its
//! chain id, shared by all images that begin with the same layers, in the form overlayfs wants: whiteouts as device
//! 0:0, opaque folders by an attribute. Compressed layers are not kept.

mod archive;
mod digest;
mod pull;
mod reference;
mod store;
mod unpack;

pub(crate) use archive::import;
pub(crate) use pull::{Puller, credentials};
pub(crate) use reference::normalize;
pub(crate) use store::{Hold, ImageRecord, ImageStore};

/// What went wrong with an image.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ImageError {
    #[error("invalid image reference {0:?}: {1}")]
    Reference(String, String),
    #[error("{0}: not found")]
    NotFound(String),
    /// Images of [`LOCAL_REGISTRY`] are not in any registry.
    #[error("{0}: not found: images of {LOCAL_REGISTRY} are only loaded, with `skiff image load`")]
    NotLoaded(String),
    /// The registry refused the credentials, or wants some.
    #[error("{0}: pull access denied: {1}")]
    Denied(String, String),
    /// The registry could not be reached or failed.
    #[error("{0}: registry unavailable: {1}")]
    Unavailable(String, String),
    /// The content is not what it should be: damaged, malicious or of an unknown form.
    #[error("invalid image: {0}")]
    Invalid(String),
    #[error(transparent)]
    Io(#[from] std::io::Error),
}

/// The registry in the names of images that are loaded from archives, such as Skiff's samples. Nobody is asked for it:
/// a host of that name, which multicast DNS would let any machine on the local network be, must not supply images.
const LOCAL_REGISTRY: &str = "skiff.local";
/// Largest manifest, index or configuration, in bytes.
const MAX_DOCUMENT: u64 = 4 * 1024 * 1024;
/// Most layers of one image; overlayfs and the one page of mount options carry no more.
const MAX_LAYERS: usize = 127;

impl From<ImageError> for tonic::Status {
    fn from(error: ImageError) -> Self {
        let text = error.to_string();
        match error {
            ImageError::Reference(..) | ImageError::Invalid(_) => Self::invalid_argument(text),
            ImageError::NotFound(_) | ImageError::NotLoaded(_) => Self::not_found(text),
            ImageError::Denied(..) => Self::permission_denied(text),
            ImageError::Unavailable(..) => Self::unavailable(text),
            ImageError::Io(error) if error.kind() == std::io::ErrorKind::StorageFull => Self::resource_exhausted(text),
            ImageError::Io(_) => Self::internal(text),
        }
    }
}
