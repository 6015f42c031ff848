//! Changing the resources of a pod that runs (upstream: `pkg/kubelet/allocation`, `pkg/kubelet/events/resize.go`).
//!
//! A change of `spec.containers[].resources` is granted first ([`crate::admission`]), then carried out
//! ([`crate::sync`]): by the runtime, or by a restart where `resizePolicy` asks for one. Until it is granted the pod has
//! the condition `PodResizePending`, until it is carried out `PodResizeInProgress`.

pub(crate) mod actual;
pub(crate) mod allocation;
pub(crate) mod conditions;
pub(crate) mod plan;
