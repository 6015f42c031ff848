//! What every process of Skiff needs: a log, pages for probes, signals that end it, and tasks that are started again when they fail.

pub mod logging;
pub mod pages;
pub mod shutdown;
pub mod supervise;
