//! The API server through its own front door, on a memory store: requests in, responses out.

mod bad_input;
mod certificates;
mod configmaps;
mod custom_resources;
mod discovery;
mod encodings;
mod metrics;
mod namespaces;
mod network;
mod openapi;
mod pods;
mod reviews;
mod services;
mod validation;
mod workloads;
