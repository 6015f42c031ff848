//! The API server through its own front door, on a memory store: requests in, responses out.

mod bad_input;
mod configmaps;
mod discovery;
mod namespaces;
mod network;
mod pods;
mod reviews;
mod services;
mod workloads;
mod validation;
mod openapi;
mod metrics;
mod certificates;
