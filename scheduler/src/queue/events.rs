//! What can happen in the cluster that could make a pod schedulable.

/// A set of kinds of events.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ClusterEvents(u32);

impl ClusterEvents {
    /// None.
    pub const NONE: Self = Self(0);
    /// A node came.
    pub const NODE_ADD: Self = Self(1);
    /// A node has more to give.
    pub const NODE_ALLOCATABLE: Self = Self(1 << 1);
    /// A node's labels changed.
    pub const NODE_LABEL: Self = Self(1 << 2);
    /// A node's taints changed, or it was uncordoned.
    pub const NODE_TAINT: Self = Self(1 << 3);
    /// A pod came to a node.
    pub const ASSIGNED_POD_ADD: Self = Self(1 << 4);
    /// A pod on a node changed its labels or asks for less.
    pub const ASSIGNED_POD_UPDATE: Self = Self(1 << 5);
    /// A pod on a node went or finished.
    pub const ASSIGNED_POD_DELETE: Self = Self(1 << 6);
    /// The waiting pod itself changed.
    pub const UNSCHEDULED_POD_UPDATE: Self = Self(1 << 7);
    /// A namespace's labels changed, or it came.
    pub const NAMESPACE: Self = Self(1 << 8);
    /// A volume, claim or storage class changed.
    pub const STORAGE: Self = Self(1 << 9);
    /// All of them.
    pub const ALL: Self = Self(u32::MAX);

    /// Either.
    pub const fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether the two have a kind in common.
    pub const fn intersects(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }
}

impl std::ops::BitOr for ClusterEvents {
    type Output = Self;
    fn bitor(self, other: Self) -> Self {
        self.union(other)
    }
}
