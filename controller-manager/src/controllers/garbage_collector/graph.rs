//! Who owns whom. Pure: changes come in, and what has to be looked at comes out.

use std::collections::{HashMap, HashSet};

use skiff_client::ResourceType;
use skiff_client::types::OwnerReference;

/// Finalizer of an owner that goes after its dependents.
pub(super) const FOREGROUND: &str = "foregroundDeletion";
/// Finalizer of an owner that leaves its dependents behind.
pub(super) const ORPHAN: &str = "orphan";

/// What there is to know about an object.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Node {
    /// How it is reached; for an owner that nobody has seen, as its dependent names it.
    pub(super) resource: Option<ResourceType>,
    pub(super) namespace: String,
    pub(super) name: String,
    pub(super) owners: Vec<OwnerReference>,
    pub(super) finalizers: Vec<String>,
    pub(super) deleting: bool,
}

impl Node {
    /// Waits for its dependents to go.
    pub(super) fn deletes_dependents(&self) -> bool {
        self.deleting && self.finalizers.iter().any(|finalizer| finalizer == FOREGROUND)
    }

    /// Leaves its dependents behind.
    pub(super) fn orphans_dependents(&self) -> bool {
        self.deleting && self.finalizers.iter().any(|finalizer| finalizer == ORPHAN)
    }
}

/// A place in the graph.
#[derive(Debug, Default)]
struct Entry {
    /// None: named by a dependent, but not seen.
    node: Option<Node>,
    /// How the first dependent that named it did, and where that lives.
    named: Option<(OwnerReference, String)>,
    dependents: HashSet<String>,
}

/// What to look at.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Work {
    /// Whether this object has to go, or its owners' names are to be taken off.
    Delete(String),
    /// Take this owner's name off its dependents.
    Orphan(String),
}

impl std::fmt::Display for Work {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Work::Delete(uid) => write!(f, "delete {uid}"),
            Work::Orphan(uid) => write!(f, "orphan dependents of {uid}"),
        }
    }
}

/// All objects by UID.
#[derive(Debug, Default)]
pub(super) struct Graph {
    entries: HashMap<String, Entry>,
}

impl Graph {
    /// Notes an object as it is now.
    pub(super) fn set(&mut self, uid: &str, node: Node) -> Vec<Work> {
        let mut work = Vec::new();
        let entry = self.entries.entry(uid.to_owned()).or_default();
        let before = entry.node.replace(node.clone());
        let dependents = || entry.dependents.iter().map(|uid| Work::Delete(uid.clone()));
        if node.orphans_dependents() {
            work.push(Work::Orphan(uid.to_owned()));
        } else if node.deletes_dependents() {
            work.extend(dependents());
            work.push(Work::Delete(uid.to_owned()));
        }
        let old_owners = before.map_or(Vec::new(), |before| before.owners);
        if old_owners != node.owners {
            for gone in old_owners.iter().filter(|old| !node.owners.iter().any(|new| new.uid == old.uid)) {
                self.unlink(&gone.uid, uid, &mut work);
            }
            for owner in &node.owners {
                self.link(owner, uid, &node.namespace, &mut work);
            }
            // A dependent may have ceased to block its owner.
            for owner in node.owners.iter().filter(|owner| self.waits(&owner.uid)) {
                work.push(Work::Delete(owner.uid.clone()));
            }
            if !node.owners.is_empty() {
                work.push(Work::Delete(uid.to_owned()));
            }
        }
        work
    }

    /// Notes that an object is gone.
    pub(super) fn remove(&mut self, uid: &str) -> Vec<Work> {
        let mut work = Vec::new();
        let Some(entry) = self.entries.get_mut(uid) else { return work };
        let node = entry.node.take();
        work.extend(entry.dependents.iter().map(|uid| Work::Delete(uid.clone())));
        if entry.dependents.is_empty() {
            self.entries.remove(uid);
        }
        for owner in node.iter().flat_map(|node| &node.owners) {
            self.unlink(&owner.uid, uid, &mut work);
        }
        work
    }

    /// The object of a UID, if it was seen.
    pub(super) fn node(&self, uid: &str) -> Option<&Node> {
        self.entries.get(uid)?.node.as_ref()
    }

    /// An owner that was not seen: how it was named, and where the dependent lives.
    pub(super) fn unseen(&self, uid: &str) -> Option<&(OwnerReference, String)> {
        self.entries.get(uid).filter(|entry| entry.node.is_none())?.named.as_ref()
    }

    /// Objects that name this one as an owner.
    pub(super) fn dependents(&self, uid: &str) -> Vec<String> {
        self.entries.get(uid).map_or(Vec::new(), |entry| entry.dependents.iter().cloned().collect())
    }

    /// Dependents that an owner has to wait for in foreground deletion.
    pub(super) fn blocking(&self, uid: &str) -> Vec<String> {
        let blocks = |dependent: &String| {
            let owners = self.node(dependent).map(|node| node.owners.as_slice()).unwrap_or_default();
            owners.iter().any(|owner| owner.uid == uid && owner.block_owner_deletion)
        };
        self.dependents(uid).into_iter().filter(blocks).collect()
    }

    fn waits(&self, uid: &str) -> bool {
        self.node(uid).is_some_and(Node::deletes_dependents)
    }

    fn link(&mut self, owner: &OwnerReference, uid: &str, namespace: &str, work: &mut Vec<Work>) {
        let entry = self.entries.entry(owner.uid.clone()).or_default();
        entry.dependents.insert(uid.to_owned());
        if entry.node.is_none() {
            entry.named.get_or_insert_with(|| (owner.clone(), namespace.to_owned()));
            work.push(Work::Delete(owner.uid.clone()));
        }
    }

    fn unlink(&mut self, owner: &str, uid: &str, work: &mut Vec<Work>) {
        let Some(entry) = self.entries.get_mut(owner) else { return };
        entry.dependents.remove(uid);
        let unused = entry.node.is_none() && entry.dependents.is_empty();
        if unused {
            self.entries.remove(owner);
        } else if self.waits(owner) {
            work.push(Work::Delete(owner.to_owned()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owner(uid: &str, blocks: bool) -> OwnerReference {
        OwnerReference { uid: uid.into(), name: uid.into(), block_owner_deletion: blocks, ..OwnerReference::default() }
    }

    fn node(owners: &[OwnerReference], finalizers: &[&str], deleting: bool) -> Node {
        Node {
            resource: None,
            namespace: "n".into(),
            name: "x".into(),
            owners: owners.to_vec(),
            finalizers: finalizers.iter().map(|text| (*text).to_owned()).collect(),
            deleting,
        }
    }

    fn delete(uid: &str) -> Work {
        Work::Delete(uid.into())
    }

    #[test]
    fn an_owner_that_was_not_seen_is_asked_about() {
        let mut graph = Graph::default();
        assert_eq!(graph.set("pod", node(&[owner("rs", true)], &[], false)), [delete("rs"), delete("pod")]);
        assert_eq!(graph.unseen("rs").map(|(owner, place)| (owner.name.as_str(), place.as_str())), Some(("rs", "n")));
        assert_eq!(graph.set("rs", node(&[], &[], false)), []);
        assert_eq!(graph.unseen("rs"), None);
        // When it goes, its dependents are looked at, and with the last of them it is forgotten.
        assert_eq!(graph.remove("rs"), [delete("pod")]);
        graph.remove("pod");
        assert!(graph.entries.is_empty(), "nothing leaks");
    }

    #[test]
    fn foreground_deletion_waits_for_those_that_block() {
        let mut graph = Graph::default();
        graph.set("rs", node(&[], &[], false));
        graph.set("a", node(&[owner("rs", true)], &[], false));
        graph.set("b", node(&[owner("rs", false)], &[], false));
        let mut work = graph.set("rs", node(&[], &[FOREGROUND], true));
        work.sort();
        assert_eq!(work, [delete("a"), delete("b"), delete("rs")]);
        assert_eq!(graph.blocking("rs"), ["a"]);
        assert_eq!(graph.remove("a"), [delete("rs")], "the owner may go now");
        assert!(graph.blocking("rs").is_empty());
    }

    #[test]
    fn orphans_are_left_behind_first() {
        let mut graph = Graph::default();
        assert_eq!(graph.set("rs", node(&[], &[ORPHAN], true)), [Work::Orphan("rs".into())]);
    }

    #[test]
    fn a_changed_owner_is_linked_anew() {
        let mut graph = Graph::default();
        graph.set("one", node(&[], &[], false));
        graph.set("two", node(&[], &[], false));
        graph.set("pod", node(&[owner("one", true)], &[], false));
        assert_eq!(graph.set("pod", node(&[owner("two", true)], &[], false)), [delete("pod")]);
        assert_eq!((graph.dependents("one").len(), graph.dependents("two").len()), (0, 1));
        assert_eq!(graph.set("pod", node(&[owner("two", true)], &[], false)), [], "nothing has changed");
    }
}
