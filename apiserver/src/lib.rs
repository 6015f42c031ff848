//! The API server.
//!
//! A request passes, in order: listen, authenticate, flow control, authorize, admit, registry, watch cache, store.
//! Start reading at [`handler_chain`]: it is that order on one screen. [`endpoints`] has a file per verb, [`registry`]
//! a file per kind. `Config → ApiServer::build → run`.

pub mod config;
pub mod options;
pub mod standalone;
pub mod context;
pub mod server;

pub mod handler_chain;

pub mod request_info;
pub mod query;
pub mod pki;
pub mod authentication;
pub mod impersonation;
pub mod flow_control;
pub mod authorization;
pub mod admission;

pub mod endpoints;
pub mod negotiation;
pub mod body;
pub mod response;
pub mod pretty;
pub mod printers;
pub mod proxy;
pub mod routes;

pub mod registry;
pub mod cacher;
pub mod objects;
pub mod metrics;

pub use config::{Config, Security};
pub use server::ApiServer;
