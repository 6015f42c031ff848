//! The service proxy: Services and EndpointSlices in, nftables out.
//!
//! In reading order: [`model`] is what the proxy knows, [`endpoints`] chooses where traffic goes, [`rules`] says it in
//! nftables (all three pure), [`ruleset`] turns two states into one transaction, [`run`] keeps the kernel in step.
//! Behaviour follows upstream's `pkg/proxy` (topology.go, nftables/proxier.go).

pub mod config;
pub mod endpoints;
pub mod kernel;
pub mod model;
pub mod rules;
pub mod ruleset;

pub use config::Config;
