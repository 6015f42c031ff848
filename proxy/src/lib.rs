//! The service proxy: Services and EndpointSlices in, nftables out.
//!
//! ```text
//!   API ─► informers ─► tracker (model, which Services changed) ─► rules of those ─► table ─► one transaction ─► kernel
//! ```
//!
//! In reading order: [`model`] is what the proxy knows, [`convert`] makes it of API objects, [`endpoints`] chooses where
//! traffic goes, [`rules`] says it in nftables, [`ruleset`] turns two states into one transaction, [`table`] holds the
//! rules by Service (all pure); [`tracker`] follows the informers, [`kernel`] holds the table in the kernel,
//! [`conntrack`] and [`flow_cleaner`] forget flows to endpoints that are gone, and [`run`] keeps all in step. [`health`] and [`servers`]
//! tell how it goes. Behaviour follows upstream's `pkg/proxy` (topology.go, nftables/proxier.go).

pub mod config;
pub mod conntrack;
pub mod convert;
pub mod endpoints;
pub mod flow_cleaner;
pub mod health;
pub mod kernel;
pub mod metrics;
pub mod model;
pub mod options;
pub mod rules;
pub mod ruleset;
pub mod run;
pub mod servers;
pub mod table;
pub mod tracker;

pub use config::Config;
pub use kernel::cleanup;
pub use run::run;
