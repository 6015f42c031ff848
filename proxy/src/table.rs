//! What the whole table holds, by Service, and what of it a change of some Services concerns.

use std::collections::BTreeMap;

use crate::model::Key;
use crate::ruleset::Ruleset;

/// Key of a map element: the map and the key in it.
type ElementKey = (&'static str, String);

/// The parts of all Services. Two Services may claim one element (the same external address and port, say): the first
/// by name has it, and the next one gets it when the first gives it up.
#[derive(Debug, Default)]
pub struct Table {
    parts: BTreeMap<Key, Ruleset>,
    claims: BTreeMap<ElementKey, BTreeMap<Key, String>>,
}

/// The parts of the table that a change concerns, as they were and as they are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Change {
    /// Before.
    pub old: Ruleset,
    /// After.
    pub new: Ruleset,
}

impl Table {
    /// Replaces the parts of some Services; `None` for a Service that is gone.
    pub fn update(&mut self, parts: impl IntoIterator<Item = (Key, Option<Ruleset>)>) -> Change {
        let mut change = Change::default();
        let mut before: BTreeMap<ElementKey, Option<String>> = BTreeMap::new();
        for (key, part) in parts {
            let old = self.parts.remove(&key).unwrap_or_default();
            let new = part.unwrap_or_default();
            for element in old.elements.keys().chain(new.elements.keys()) {
                if !before.contains_key(element) {
                    before.insert(element.clone(), self.winner(element));
                }
            }
            for element in old.elements.keys() {
                self.release(&key, element);
            }
            for (element, verdict) in &new.elements {
                self.claims.entry(element.clone()).or_default().insert(key.clone(), verdict.clone());
            }
            change.old.chains.extend(old.chains);
            change.old.sets.extend(old.sets);
            change.new.chains.extend(new.chains.clone());
            change.new.sets.extend(new.sets.clone());
            if new != Ruleset::default() {
                self.parts.insert(key, new);
            }
        }
        for (element, verdict) in before {
            if let Some(verdict) = self.winner(&element) {
                change.new.elements.insert(element.clone(), verdict);
            }
            if let Some(verdict) = verdict {
                change.old.elements.insert(element, verdict);
            }
        }
        change
    }

    /// Everything.
    pub fn whole(&self) -> Ruleset {
        let mut whole = Ruleset::default();
        for part in self.parts.values() {
            whole.merge(part.clone());
        }
        whole
    }

    fn winner(&self, element: &ElementKey) -> Option<String> {
        self.claims.get(element)?.values().next().cloned()
    }

    fn release(&mut self, key: &Key, element: &ElementKey) {
        if let Some(claims) = self.claims.get_mut(element) {
            claims.remove(key);
            if claims.is_empty() {
                self.claims.remove(element);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(name: &str) -> Key {
        Key { namespace: "n".into(), name: name.into() }
    }

    fn part(chain: &str, element: &str) -> Ruleset {
        Ruleset {
            chains: [(chain.to_owned(), vec!["rule".to_owned()])].into(),
            elements: [(("m", element.to_owned()), format!("goto {chain}"))].into(),
            ..Ruleset::default()
        }
    }

    #[test]
    fn only_the_services_concerned_are_in_a_change() {
        let mut table = Table::default();
        table.update([(key("a"), Some(part("ca", "1"))), (key("b"), Some(part("cb", "2")))]);
        let change = table.update([(key("b"), Some(part("cb", "3")))]);
        assert_eq!(change, Change { old: part("cb", "2"), new: part("cb", "3") });
        let change = table.update([(key("a"), None)]);
        assert_eq!(change, Change { old: part("ca", "1"), new: Ruleset::default() });
        assert_eq!(table.whole(), part("cb", "3"));
    }

    #[test]
    fn an_element_that_two_claim_goes_to_the_first_and_then_to_the_next() {
        let mut table = Table::default();
        table.update([(key("b"), Some(part("cb", "1")))]);
        let change = table.update([(key("a"), Some(part("ca", "1")))]);
        let element = ("m", "1".to_owned());
        assert_eq!(change.old.elements[&element], "goto cb");
        assert_eq!(change.new.elements[&element], "goto ca");
        assert_eq!(table.whole().elements[&element], "goto ca");
        let change = table.update([(key("a"), None)]);
        assert_eq!((&*change.old.elements[&element], &*change.new.elements[&element]), ("goto ca", "goto cb"));
        let change = table.update([(key("b"), None)]);
        assert!(change.new.elements.is_empty() && table.claims.is_empty() && table.parts.is_empty());
    }
}
