//! What every process of Skiff needs: a log, signals that end it, and tasks that are started again when they fail.

pub mod logging;
pub mod shutdown;
pub mod supervise;
