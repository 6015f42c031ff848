//! Kinds of the smaller groups: rbac, coordination, policy, scheduling, discovery, autoscaling, networking, storage,
//! certificates, node, and those that only alpha and beta versions have.
//!
//! Follows the strategies and validations in `pkg/registry` and `pkg/apis` of the same names.

pub mod access;
pub mod admission_registration;
pub mod aggregation;
pub mod autoscaling;
pub mod certificates;
pub mod devices;
pub mod discovery;
pub mod flow_control;
pub mod lease_candidate;
pub mod network;
pub mod policy;
pub mod runtime_class;
pub mod storage;
pub mod storage_version;
