//! The API server.
//!
//! A request passes, in order: listen, authenticate, flow control, authorize, admit, registry, watch cache, store.

pub mod admission;
pub mod authentication;
pub mod authorization;
pub mod cacher;
pub mod objects;
pub mod pki;
pub mod printers;
