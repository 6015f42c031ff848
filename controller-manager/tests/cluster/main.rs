//! All controllers against an API server of their own, on a memory store, in this process.

mod certificates;
mod cluster;
mod cron_jobs;
mod daemon_sets;
mod deployments;
mod disruption;
mod mirroring;
mod namespaces;
mod policies;
mod quotas;
mod roles;
mod stateful_sets;
mod volumes;
