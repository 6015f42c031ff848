//! The machinery under every Kubernetes object, without I/O and without async.
//!
//! In reading order: [`value`] is an object in flight, [`schema`] says what it may hold, the codecs read and write it
//! under that schema, and the patch modules change it. Field names are Kubernetes' JSON names throughout.

pub mod cron;
pub mod field;
pub mod fields;
#[cfg(test)]
mod fixture;
pub mod json;
pub mod labels;
pub mod managedfields;
pub mod meta;
pub mod names;
mod order;
pub mod patch;
pub mod protobuf;
pub mod quantity;
pub mod schema;
pub mod status;
pub mod time;
pub mod value;
pub mod yaml;
