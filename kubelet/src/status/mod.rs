//! What the kubelet reports about pods: computed here, sent by [`manager`].

pub(crate) mod conditions;
mod containers;
pub(crate) mod generate;
pub(crate) mod manager;
pub(crate) mod patch;
pub(crate) mod phase;
