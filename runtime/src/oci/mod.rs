//! From a CRI container to an OCI runtime specification.

pub(crate) mod capabilities;
mod devices;
mod mounts;
pub(crate) mod rootfs;
mod seccomp;
pub(crate) mod spec;
pub(crate) mod user;
