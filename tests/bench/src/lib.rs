//! A load generator that measures any Kubernetes API server, and the table of what it measured.
//!
//! Starts Skiff's API server alone with its embedded store, TLS, RBAC, admission, managedFields and fsync on, and puts it
//! under load. With `--server` and `--kubeconfig` another API server is measured in the same run, pair by pair.

pub mod options;
pub mod run;

pub mod rows;
pub mod terms;

pub mod application;
pub mod client;
pub mod kubeconfig;
pub mod objects;
pub mod process;
pub mod row;
pub mod sample;
pub mod table;
pub mod target;
