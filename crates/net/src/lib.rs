//! Which addresses, ports and ranges are free: pure, without I/O.

pub mod allocator;
pub mod bitmap;
pub mod subnets;
