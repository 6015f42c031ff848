//! Selectors of this test, twice: as the server's query, and as a function of our own.

use crate::truth::Object;

/// Which Events a watcher wants.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Selector {
    All,
    Namespace(&'static str),
    Tier(&'static str),
    TierIn(&'static [&'static str]),
    NotTier(&'static str),
    Reason(&'static str),
    NotReason(&'static str),
    Name(&'static str),
    Both { namespace: &'static str, tier: &'static str, reason: &'static str },
    Nothing,
}

/// One of each kind and a few more.
pub(crate) const SELECTORS: [Selector; 12] = [
    Selector::All,
    Selector::Namespace("storm-1"),
    Selector::Tier("a"),
    Selector::TierIn(&["a", "b"]),
    Selector::NotTier("c"),
    Selector::Reason("R1"),
    Selector::NotReason("R0"),
    Selector::Name("e-07"),
    Selector::Both { namespace: "storm-2", tier: "b", reason: "R2" },
    Selector::Nothing,
    Selector::Tier("c"),
    Selector::Namespace("storm-3"),
];

impl Selector {
    /// The namespace in the path, and the query.
    pub(crate) fn request(self) -> (Option<&'static str>, String) {
        match self {
            Selector::All => (None, String::new()),
            Selector::Namespace(namespace) => (Some(namespace), String::new()),
            Selector::Tier(tier) => (None, format!("labelSelector=tier%3D{tier}")),
            Selector::TierIn(tiers) => (None, format!("labelSelector=tier+in+({})", tiers.join(","))),
            Selector::NotTier(tier) => (None, format!("labelSelector=tier!%3D{tier}")),
            Selector::Reason(reason) => (None, format!("fieldSelector=reason%3D{reason}")),
            Selector::NotReason(reason) => (None, format!("fieldSelector=reason!%3D{reason}")),
            Selector::Name(name) => (None, format!("fieldSelector=metadata.name%3D{name}")),
            Selector::Both { namespace, tier, reason } => {
                (Some(namespace), format!("labelSelector=tier%3D{tier}&fieldSelector=reason%3D{reason}"))
            }
            Selector::Nothing => (None, "labelSelector=tier,!tier".to_owned()),
        }
    }

    pub(crate) fn matches(self, object: &Object) -> bool {
        match self {
            Selector::All => true,
            Selector::Namespace(namespace) => object.namespace() == namespace,
            Selector::Tier(tier) => object.tier == tier,
            Selector::TierIn(tiers) => tiers.contains(&object.tier.as_str()),
            Selector::NotTier(tier) => object.tier != tier,
            Selector::Reason(reason) => object.reason == reason,
            Selector::NotReason(reason) => object.reason != reason,
            Selector::Name(name) => object.key.ends_with(&format!("/{name}")),
            Selector::Both { namespace, tier, reason } => {
                object.namespace() == namespace && object.tier == tier && object.reason == reason
            }
            Selector::Nothing => false,
        }
    }
}
