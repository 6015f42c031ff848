//! Which addresses and ports are free: pure, without I/O.

pub mod allocator;
pub mod bitmap;
