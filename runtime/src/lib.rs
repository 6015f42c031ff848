//! Skiff's container runtime: a CRI v1 server on libcontainer, overlayfs and one shim process per container.
//!
//! `engine` does the work and `service` translates CRI to it; `image` and `oci` turn registries, archives and CRI
//! configurations into folders and OCI specifications; `shim` is what runs beside each container, in processes of its
//! own. The records in `root_dir` and the shims in `state_dir` survive this process: a restart disturbs no container.

mod cgroup;
mod cleanup;
mod config;
mod container;
mod device_filter;
mod engine;
mod files;
mod image;
mod mounts;
mod oci;
mod options;
mod sandbox;
mod service;
mod shim;
mod shim_client;
mod signal;
mod stats;
mod streams;

pub use cleanup::cleanup_all;
pub use config::Config;
pub use options::Options;
pub use service::{run, run_alone};
pub use shim::shim_main;
