//! Kinds of the core group.

pub mod configmap;
pub mod endpoints;
pub mod event;
mod image_name;
pub mod limits;
pub mod namespace;
pub mod node;
pub mod node_labels;
pub mod pod;
pub mod pod_defaults;
pub mod pod_resources;
pub mod pod_warnings;
pub mod service;
pub mod storage;
mod tls_pair;
pub mod validation;
pub mod workload;
