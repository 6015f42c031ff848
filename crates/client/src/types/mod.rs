//! Slim objects: only the fields that some component reads, so that a cache of a hundred thousand pods stays small
//! (about 1.4 KB a pod, where the full typed form takes 19 KB and more).
//!
//! Absent and empty are one here, as in Go: strings are empty, lists and maps are empty. Unknown fields are ignored.
//! Slim objects are never written back: writes send patches or JSON built for the purpose, so a field that is not
//! listed here cannot be lost.

mod admission;
mod apps;
mod batch;
mod certificates;
mod core;
mod meta;
mod node;
mod node_selector;
mod pod;
mod policy;
mod raw;
mod service;
mod storage;

pub use self::core::*;
pub use admission::*;
pub use apps::*;
pub use batch::*;
pub use certificates::*;
pub use meta::*;
pub use node::*;
pub use node_selector::*;
pub use pod::*;
pub use policy::*;
pub use raw::*;
pub use service::*;
pub use storage::*;

use serde::{Deserialize, Deserializer};

/// Reads `null` as the default: Go writes nil slices and maps without `omitempty` as null.
pub(crate) fn nullable<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(d: D) -> Result<T, D::Error> {
    Ok(Option::<T>::deserialize(d)?.unwrap_or_default())
}

/// Makes a slim struct with `metadata: Meta` an [`crate::Object`] and a [`crate::Kind`].
macro_rules! kind {
    ($type:ty, $group:literal, $version:literal, $plural:literal, $kind:literal, $namespaced:literal) => {
        impl $crate::resource::Object for $type {
            fn name(&self) -> &str {
                &self.metadata.name
            }
            fn namespace(&self) -> &str {
                &self.metadata.namespace
            }
            fn uid(&self) -> &str {
                &self.metadata.uid
            }
            fn resource_version(&self) -> &str {
                &self.metadata.resource_version
            }
        }
        impl $crate::resource::Kind for $type {
            const RESOURCE: $crate::resource::ResourceType =
                $crate::resource::ResourceType::new($group, $version, $plural, $kind, $namespaced);
        }
        impl $crate::types::HasMeta for $type {
            fn meta(&self) -> &$crate::types::Meta {
                &self.metadata
            }
        }
    };
}
pub(crate) use kind;
