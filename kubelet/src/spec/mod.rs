//! From a Pod to what CRI is asked for: sandbox and container configurations. Pure, but for the host's resolver file
//! and hosts file, which are read by the callers.

pub(crate) mod container;
pub(crate) mod dns;
pub(crate) mod hostname;
pub(crate) mod hosts;
pub(crate) mod qos;
pub(crate) mod resources;
pub(crate) mod sandbox;
pub(crate) mod security;
pub(crate) mod unsupported;
