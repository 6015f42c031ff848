//! The machinery under every Kubernetes object, without I/O and without async.
//!
//! In reading order: [`value`] is an object in flight, [`schema`] says what it may hold, the codecs read and write it
//! under that schema, and the patch modules change it. Field names are Kubernetes' JSON names throughout.

#[cfg(test)]
mod fixture;
pub mod managedfields;
pub mod patch;
pub mod schema;
pub mod status;
pub mod value;
