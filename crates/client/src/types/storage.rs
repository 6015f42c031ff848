//! Volumes, claims and storage classes, as far as scheduling reads them.

use serde::Deserialize;

use super::{Meta, NodeSelector, kind, nullable};

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

/// `v1.PersistentVolumeClaimSpec`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct PersistentVolumeClaimSpec {
    /// Volume that it is bound to, or asks for; empty before.
    pub volume_name: String,
    /// Class; empty for none.
    #[serde(deserialize_with = "nullable")]
    pub storage_class_name: String,
}

/// `v1.PersistentVolumeClaimStatus`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct PersistentVolumeClaimStatus {
    /// `Pending`, `Bound` or `Lost`.
    pub phase: String,
}

/// `v1.PersistentVolume`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct PersistentVolume {
    /// Metadata.
    pub metadata: Meta,
    /// What it is.
    pub spec: PersistentVolumeSpec,
}
kind!(PersistentVolume, "", "v1", "persistentvolumes", "PersistentVolume", false);

/// `v1.PersistentVolumeSpec`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct PersistentVolumeSpec {
    /// From which nodes it can be used; from all if absent.
    pub node_affinity: Option<VolumeNodeAffinity>,
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
    /// `Immediate` (also when empty) or `WaitForFirstConsumer`.
    #[serde(deserialize_with = "nullable")]
    pub volume_binding_mode: String,
}
kind!(StorageClass, "storage.k8s.io", "v1", "storageclasses", "StorageClass", false);
