//! The scheduler against an API server of its own, on a memory store, in this process.

mod capacity;
mod cluster;
mod leadership;
mod placement;
mod preemption;
mod waiting;
