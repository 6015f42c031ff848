//! The API server.
//!
//! A request passes, in order: listen, authenticate, flow control, authorize, admit, registry, watch cache, store.
//! Start reading at [`handler_chain`]: it is that order on one screen. [`endpoints`] has a file per verb, [`registry`]
//! a file per kind. `Config → ApiServer::build → run`.

pub mod config;
pub mod context;
pub mod options;
pub mod runtime_config;
pub mod server;
pub mod standalone;

pub mod handler_chain;

pub mod admission;
pub mod aggregator;
pub mod apiextensions;
pub mod audit;
pub mod authentication;
pub mod authorization;
pub mod flow_control;
pub mod impersonation;
pub mod pki;
pub mod query;
pub mod request_info;

pub mod body;
pub mod claim;
pub mod endpoints;
pub mod negotiation;
pub mod openapi;
pub mod pretty;
pub mod printers;
pub mod proxy;
pub mod response;
pub mod routes;
pub mod webhook;

pub mod cacher;
pub mod metrics;
pub mod objects;

pub mod registry;

pub use config::{Config, Security};
pub use server::ApiServer;
