//! The operating system's side of networking: namespaces, links, routes, nftables, and the pod network built on them.
//!
//! Everything here names what it makes after the cluster, so that clusters and tests run side by side on one machine,
//! and each `cleanup` removes what a cluster made and nothing else.

pub mod conntrack;
pub mod error;
pub mod forwarding;
pub mod hostport;
pub mod link;
pub mod netns;
pub mod nft;
pub mod pod_ipam;
pub mod pod_network;
pub mod sysctl;

pub use error::{Error, Result};
