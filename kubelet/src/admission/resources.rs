//! Whether what a pod asks for is free on the node.

use std::fmt;
use std::sync::Arc;

use k8s_openapi::api::core::v1::Pod;

use super::Offer;
use crate::quantity::{milli_value_of, value_of};
use crate::spec::resources::PodTotals;

/// What pods are counted by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Places on the node.
    Pods,
    /// Thousandths of a core.
    Cpu,
    /// Bytes.
    Memory,
    /// Bytes.
    EphemeralStorage,
}

impl Kind {
    /// The name of the API.
    pub(super) fn name(self) -> &'static str {
        match self {
            Kind::Pods => "pods",
            Kind::Cpu => "cpu",
            Kind::Memory => "memory",
            Kind::EphemeralStorage => "ephemeral-storage",
        }
    }
}

/// Something there is not enough of. Shown as upstream's message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Shortage {
    pub(super) kind: Kind,
    pub(super) requested: i64,
    pub(super) used: i64,
    pub(super) capacity: i64,
}

impl Shortage {
    /// How much has to be freed.
    pub(super) fn missing(&self) -> i64 {
        self.requested - (self.capacity - self.used)
    }
}

impl fmt::Display for Shortage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kind, requested, used, capacity } = self;
        let name = kind.name();
        write!(
            f,
            "Node didn't have enough resource: {name}, requested: {requested}, used: {used}, capacity: {capacity}"
        )
    }
}

/// What a pod takes of one resource.
pub(super) fn amount_of(totals: &PodTotals, kind: Kind) -> i64 {
    match kind {
        Kind::Pods => 1,
        Kind::Cpu => totals.cpu_request.unwrap_or(0),
        Kind::Memory => totals.memory_request,
        Kind::EphemeralStorage => totals.storage_request,
    }
}

/// Whether a pod asks for more than it was given.
pub(super) fn asks_for_more(pod: &Pod, given: &Pod) -> bool {
    let (wanted, given) = (PodTotals::of(pod), PodTotals::of(given));
    [Kind::Cpu, Kind::Memory].iter().any(|kind| amount_of(&wanted, *kind) > amount_of(&given, *kind))
}

/// What is missing for a pod beside the others.
pub(super) fn shortages(pod: &Pod, others: &[Arc<Pod>], offer: &Offer) -> Vec<Shortage> {
    let allocatable = Some(&offer.allocatable);
    let wanted = PodTotals::of(pod);
    let used: Vec<PodTotals> = others.iter().map(|other| PodTotals::of(other)).collect();
    let kinds = [Kind::Pods, Kind::Cpu, Kind::Memory, Kind::EphemeralStorage];
    let all = kinds.into_iter().map(|kind| Shortage {
        kind,
        requested: amount_of(&wanted, kind),
        used: used.iter().map(|totals| amount_of(totals, kind)).sum(),
        capacity: if kind == Kind::Cpu {
            milli_value_of(allocatable, "cpu")
        } else {
            value_of(allocatable, kind.name())
        },
    });
    // A node that does not say how many pods it takes takes any number.
    let counts = |short: &Shortage| short.requested > 0 && !(short.kind == Kind::Pods && short.capacity == 0);
    all.filter(|short| counts(short) && short.missing() > 0).collect()
}
