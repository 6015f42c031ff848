//! Validation of core types, one file per part of a pod.
//!
//! Follows `pkg/apis/core/validation/validation.go`. Every function reports into one list, in field order, with
//! upstream's texts.

pub mod conditions;
pub mod container;
pub mod env;
pub mod formats;
pub mod ip;
pub mod label_selector;
pub mod os;
pub mod pod_annotations;
pub mod pod_claims;
pub mod pod_level;
pub mod pod_resize;
pub mod pod_spec;
pub mod pod_status;
pub mod pod_update;
pub mod probe;
pub mod resources;
pub mod scheduling;
pub mod security_context;
pub mod volume;
pub mod volume_sources;
