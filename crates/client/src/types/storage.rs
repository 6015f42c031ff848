//! Volumes, claims and classes, as scheduling and binding read them.

use serde::{Deserialize, Serialize};

use super::{Meta, NodeSelector, RawJson, Resources, StringMap, kind, nullable};
use crate::selector::LabelSelector;

/// `v1.PersistentVolumeClaim`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct PersistentVolumeClaim {
    /// Metadata.
    pub metadata: Meta,
    /// What is wanted.
    pub spec: PersistentVolumeClaimSpec,
    /// What it is.
    pub status: PersistentVolumeClaimStatus,
}
kind!(PersistentVolumeClaim, "", "v1", "persistentvolumeclaims", "PersistentVolumeClaim", true);

/// Annotation that named the class before there was a field for it.
const OLD_CLASS: &str = "volume.beta.kubernetes.io/storage-class";

impl PersistentVolumeClaim {
    /// Its class; empty for none.
    pub fn class(&self) -> &str {
        let field = self.spec.storage_class_name.as_deref().unwrap_or_default();
        self.metadata.annotations.get(OLD_CLASS).unwrap_or(field)
    }

    /// Whether it names a class, be it the empty one.
    pub fn has_class(&self) -> bool {
        self.metadata.annotations.contains_key(OLD_CLASS) || self.spec.storage_class_name.is_some()
    }
}

/// `v1.PersistentVolumeClaimSpec`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct PersistentVolumeClaimSpec {
    /// How it will be used.
    #[serde(deserialize_with = "nullable")]
    pub access_modes: Vec<String>,
    /// Labels of volumes that will do.
    pub selector: Option<LabelSelector>,
    /// How much is wanted.
    pub resources: Resources,
    /// Volume that it is bound to, or asks for; empty before.
    pub volume_name: String,
    /// Class; empty for none, absent for the default one.
    pub storage_class_name: Option<String>,
    /// `Filesystem` (also if absent) or `Block`.
    #[serde(deserialize_with = "nullable")]
    pub volume_mode: String,
    /// Class of attributes; empty for none.
    #[serde(deserialize_with = "nullable")]
    pub volume_attributes_class_name: String,
}

/// `v1.PersistentVolumeClaimStatus`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct PersistentVolumeClaimStatus {
    /// `Pending`, `Bound` or `Lost`.
    pub phase: String,
    /// How it can be used.
    #[serde(deserialize_with = "nullable")]
    pub access_modes: Vec<String>,
    /// How much there is.
    #[serde(deserialize_with = "nullable")]
    pub capacity: StringMap,
    /// Class of attributes that it has; empty for none.
    #[serde(deserialize_with = "nullable")]
    pub current_volume_attributes_class_name: String,
    /// A change of class that is under way.
    pub modify_volume_status: Option<ModifyVolumeStatus>,
}

/// `v1.ModifyVolumeStatus`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ModifyVolumeStatus {
    /// Class that it is to have.
    pub target_volume_attributes_class_name: String,
}

/// `v1.PersistentVolume`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct PersistentVolume {
    /// Metadata.
    pub metadata: Meta,
    /// What it is.
    pub spec: PersistentVolumeSpec,
    /// Whose it is.
    pub status: PersistentVolumeStatus,
}
kind!(PersistentVolume, "", "v1", "persistentvolumes", "PersistentVolume", false);

impl PersistentVolume {
    /// Its class; empty for none.
    pub fn class(&self) -> &str {
        self.metadata.annotations.get(OLD_CLASS).unwrap_or(&self.spec.storage_class_name)
    }
}

/// `v1.PersistentVolumeSpec`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct PersistentVolumeSpec {
    /// How much there is.
    #[serde(deserialize_with = "nullable")]
    pub capacity: StringMap,
    /// How it can be used.
    #[serde(deserialize_with = "nullable")]
    pub access_modes: Vec<String>,
    /// The claim that it is bound to or kept for.
    pub claim_ref: Option<ClaimReference>,
    /// `Retain`, `Delete` or `Recycle`.
    pub persistent_volume_reclaim_policy: String,
    /// Class; empty for none.
    pub storage_class_name: String,
    /// `Filesystem` (also if absent) or `Block`.
    #[serde(deserialize_with = "nullable")]
    pub volume_mode: String,
    /// Class of attributes; empty for none.
    #[serde(deserialize_with = "nullable")]
    pub volume_attributes_class_name: String,
    /// From which nodes it can be used; from all if absent.
    pub node_affinity: Option<VolumeNodeAffinity>,
    /// A folder of a node.
    pub host_path: Option<HostPath>,
    /// Storage of a driver.
    pub csi: Option<RawJson>,
}

/// `v1.HostPathVolumeSource`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct HostPath {
    /// The folder.
    pub path: String,
}

/// `v1.ObjectReference` to a claim.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ClaimReference {
    /// `PersistentVolumeClaim`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub kind: String,
    /// `v1`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub api_version: String,
    /// Namespace.
    pub namespace: String,
    /// Name.
    pub name: String,
    /// UID; empty while the volume is only kept for the claim.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub uid: String,
    /// Version of the claim when it was bound.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub resource_version: String,
}

/// `v1.PersistentVolumeStatus`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct PersistentVolumeStatus {
    /// `Pending`, `Available`, `Bound`, `Released` or `Failed`.
    pub phase: String,
}

/// `v1.VolumeNodeAffinity`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct VolumeNodeAffinity {
    /// Terms of which one must match.
    pub required: Option<NodeSelector>,
}

/// `storage.k8s.io/v1 StorageClass`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct StorageClass {
    /// Metadata.
    pub metadata: Meta,
    /// Who makes volumes.
    pub provisioner: String,
    /// `Immediate` (also when empty) or `WaitForFirstConsumer`.
    #[serde(deserialize_with = "nullable")]
    pub volume_binding_mode: String,
}
kind!(StorageClass, "storage.k8s.io", "v1", "storageclasses", "StorageClass", false);

/// `storage.k8s.io/v1 VolumeAttributesClass`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct VolumeAttributesClass {
    /// Metadata.
    pub metadata: Meta,
}
kind!(VolumeAttributesClass, "storage.k8s.io", "v1", "volumeattributesclasses", "VolumeAttributesClass", false);
