//! The scheduler: gives every pod a node.
//!
//! In reading order: [`queue`] holds the pods that wait, [`cache`] knows the nodes and what runs or will run on them,
//! [`schedule_one`] takes one pod through one cycle, asking the plugins of a [`framework::Profile`]; [`binding`] tells
//! the API and [`failure`] tells the user. [`event_handlers`] feed queue and cache from informers. A plugin is one file
//! of [`plugins`], which also says which events could make a pod that it refused schedulable.
//!
//! One task runs the cycles, one after the other, on plain memory: a cycle decides on a state that no other cycle
//! changes. Only requests run beside it: once a pod is assumed on its node, its binding is written while the next
//! cycle runs.

pub mod binding;
pub mod cache;
pub mod config;
mod config_file;
pub mod event_handlers;
pub mod failure;
pub mod framework;
pub mod options;
pub mod plugins;
pub mod quantity;
pub mod queue;
pub mod resources;
pub mod schedule_one;
mod scheduler;

#[cfg(test)]
mod testing;

pub use config::Config;
pub use scheduler::run;
