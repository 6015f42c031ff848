//! The Container Runtime Interface v1: generated messages, clients and server traits, a client helper, and a scripted
//! fake runtime for tests.
//!
//! The descriptions in `proto/` are compiled by the build script. Methods a server does not override answer
//! `UNIMPLEMENTED`, as a runtime of an older CRI revision would.

/// Generated types of package `runtime.v1` (CRI v1). Names and numbers are upstream's
/// (`staging/src/k8s.io/cri-api/pkg/apis/runtime/v1/api.proto`).
#[allow(missing_docs, unreachable_pub, clippy::all)]
pub mod v1 {
    tonic::include_proto!("runtime.v1");
}

/// Generated types of package `skiff.runtime.v1`: what our own runtime offers beyond CRI on the same socket.
#[allow(missing_docs, unreachable_pub, clippy::all)]
pub mod extension {
    tonic::include_proto!("skiff.runtime.v1");
}

mod client;
pub mod fake;

pub use client::{Client, ConnectError, socket_path};

/// Largest CRI message either side accepts, in bytes (upstream: `cri-client/pkg/remote_runtime.go`, maxMsgSize).
pub const MAX_MESSAGE_SIZE: usize = 16 * 1024 * 1024;
