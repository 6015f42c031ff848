//! The scheduler against an API server of its own, on a memory store, in this process.

mod cluster;
mod capacity;
mod leadership;
mod placement;
mod preemption;
mod waiting;
