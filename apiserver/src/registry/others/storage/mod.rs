//! storage.k8s.io.
//!
//! Follows `pkg/registry/storage` and `pkg/apis/storage/{v1/defaults.go,validation}`.

pub mod attachment;
pub mod classes;
pub mod csi;
