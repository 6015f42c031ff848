//! How much of what an object uses, and which ResourceQuotas that concerns: pure functions over objects, by which the
//! API server charges requests and the quota controller counts again.

pub mod amounts;
pub mod usage;

pub use amounts::{Amounts, amounts, pod_amounts, quantity};
pub use usage::Measured;
