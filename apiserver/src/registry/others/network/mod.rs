//! networking.k8s.io.
//!
//! Follows `pkg/registry/networking` and `pkg/apis/networking/{v1/defaults.go,validation}`.

pub mod addresses;
pub mod ingress;
pub mod ingress_class;
pub mod network_policy;
