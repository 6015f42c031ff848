//! The cluster's DNS: names of Services and pods, and the way out for all others.
//!
//! ```text
//!   API ─► informers ─► index ─┐
//!   query ─► decide ◄──────────┘─► response, or ask the host's name servers
//! ```
//!
//! In reading order: [`index`] is what the zone contains, [`lookup`] turns names to records, [`answer`] queries to
//! responses (all pure); [`forward`] asks for names outside, [`server`] has the sockets, [`publish`] tells the cluster
//! where they are, and [`run`] starts all. Names follow the specification of DNS-based service discovery in Kubernetes,
//! version 1.1.0.

pub mod answer;
pub mod config;
pub mod forward;
pub mod index;
pub mod lookup;
pub mod metrics;
pub mod options;
pub mod publish;
pub mod resolv_conf;
pub mod run;
pub mod server;

pub use config::{Config, Upstream};
pub use run::run;
