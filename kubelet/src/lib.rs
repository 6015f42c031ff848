//! The kubelet: runs the pods that are bound to one node through CRI v1, and reports on them.
//!
//! In reading order: [`Config`] says what is set, [`kubelet`] puts the parts together and runs them. Pods come from the API
//! to [`pod_workers`]: one worker per pod, which observes ([`runtime`], [`observed`]), plans ([`actions`], pure) and acts
//! ([`sync`]), with what pods are made of on the way ([`spec`], [`env`], [`volumes`], [`images`]). [`status`] computes and
//! sends what is reported, [`resize`] says what changes of resources mean, [`probes`] and [`pleg`] wake workers, [`node`] keeps the Node object, [`server`] answers logs, exec and
//! metrics, [`eviction`] keeps the node from running short, and [`housekeeping`] removes what nobody looks after.
//!
//! Invariants: everything is keyed by pod UID; nothing about a running pod is remembered that is not in the runtime or
//! the API, so a restart never disturbs containers; the API object of a pod is deleted only by UID and only after
//! everything of the pod is gone from the node; a container asks for nothing that is silently ignored.

mod actions;
mod admission;
mod backoff;
mod cgroups;
mod config;
mod container_hash;
mod context;
mod env;
mod events;
mod eviction;
mod housekeeping;
mod images;
mod kubelet;
mod labels;
mod lifecycle;
mod logs;
mod node;
mod objects;
mod observed;
mod pleg;
mod pod;
mod pod_workers;
mod probes;
mod quantity;
mod resize;
mod runtime;
mod server;
mod spec;
mod status;
mod sync;
mod termination_order;
mod volumes;

pub use config::{Config, DEFAULT_MAX_PODS, DEFAULT_PORT, ServingTls};
pub use eviction::thresholds::{EvictionPolicy, Thresholds};
pub use images::gc::ImageGcPolicy;
pub use kubelet::run;
