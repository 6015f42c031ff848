//! The contract of the API server with its clients, held against facts from a real kube-apiserver v1.36.
//!
//! `facts/` says, in a short form of ours, what kube-apiserver's discovery and OpenAPI documents say; the binary
//! `condense` takes them from a real server. The test `documents` condenses ours in the same way and compares; the test
//! `verbs` does everything that can be done on every resource that the facts name. Nothing here reads the tables of the
//! server that it tests.

pub mod answers;
pub mod condense;
pub mod facts;
pub mod gnostic;
pub mod metrics;
pub mod reads;
pub mod target;
pub mod verbs;
