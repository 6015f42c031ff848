//! Objects reduced to their metadata: `PartialObjectMetadata` and its list.

use skiff_apimachinery::value::{Object, Value};

/// Version of the `meta.k8s.io` group that a client asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MetaVersion {
    /// `v1`.
    V1,
    /// `v1beta1`, which old clients still ask for.
    V1Beta1,
}

impl MetaVersion {
    /// The version with this name, if there is one.
    pub fn parse(name: &str) -> Option<Self> {
        match name {
            "v1" => Some(Self::V1),
            "v1beta1" => Some(Self::V1Beta1),
            _ => None,
        }
    }

    /// The `apiVersion` of its objects.
    pub fn api_version(self) -> &'static str {
        match self {
            Self::V1 => "meta.k8s.io/v1",
            Self::V1Beta1 => "meta.k8s.io/v1beta1",
        }
    }
}

/// The object's metadata, as an object of its own.
pub fn object(object: &Value, version: MetaVersion) -> Value {
    let metadata = object.get("metadata").cloned().unwrap_or_else(|| Value::Object(Object::new()));
    let members = [
        ("apiVersion", Value::from(version.api_version())),
        ("kind", Value::from("PartialObjectMetadata")),
        ("metadata", metadata),
    ];
    Value::Object(members.into_iter().collect())
}

/// A list's metadata and that of its items.
pub fn list(list: &Value, version: MetaVersion) -> Value {
    let items = list.array_at(&["items"]).iter().map(|item| object(item, version)).collect();
    let metadata = list.get("metadata").cloned().unwrap_or_else(|| Value::Object(Object::new()));
    let members = [
        ("apiVersion", Value::from(version.api_version())),
        ("items", Value::Array(items)),
        ("kind", Value::from("PartialObjectMetadataList")),
        ("metadata", metadata),
    ];
    Value::Object(members.into_iter().collect())
}
