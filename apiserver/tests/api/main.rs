//! The API server through its own front door, on a memory store: requests in, responses out.

mod client;
mod configmaps;
