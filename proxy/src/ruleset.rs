//! An nftables table as data, and the transaction that leads from one to the next.
//!
//! Only what changed is sent: a Service that did not change keeps its chains, and with them its affinity sets.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use skiff_netlink::nft::TableNames;

/// A table: fixed part, chains, map elements, sets.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ruleset {
    /// Rules by chain name (chains without a hook).
    pub chains: BTreeMap<String, Vec<String>>,
    /// Verdict by map name and key; empty for an element of a set.
    pub elements: BTreeMap<(&'static str, String), String>,
    /// Definition by set name (dynamic sets of client addresses).
    pub sets: BTreeMap<String, String>,
}

impl Ruleset {
    /// Puts another one's parts in; where both have a part, the first one's stays.
    pub fn merge(&mut self, other: Ruleset) {
        for (name, rules) in other.chains {
            self.chains.entry(name).or_insert(rules);
        }
        for (key, verdict) in other.elements {
            self.elements.entry(key).or_insert(verdict);
        }
        for (name, definition) in other.sets {
            self.sets.entry(name).or_insert(definition);
        }
    }
}

/// The part of a table that never changes: maps, hooks and the chains that they share.
#[derive(Clone, Debug)]
pub struct Base {
    /// Declarations, as inside of `table { }`.
    pub text: String,
    /// Names of the maps in it.
    pub maps: &'static [&'static str],
    /// Names of the sets in it.
    pub sets: &'static [&'static str],
    /// Names of the chains in it.
    pub chains: &'static [&'static str],
}

/// The transaction that builds `table` from nothing, replacing one that is there.
pub fn replace(table: &str, base: &Base, ruleset: &Ruleset) -> String {
    let mut text = format!("add table ip {table}\ndelete table ip {table}\ntable ip {table} {{\n{}}}\n", base.text);
    write_changes(&mut text, table, &Ruleset::default(), ruleset);
    text
}

/// The transaction that makes an `existing` table say `ruleset` without deleting it: hooks never miss a packet and the
/// affinity sets that are still wanted keep their clients. The table must have been made by [`replace`] from the same
/// `base` but for the rules in it; the kernel refuses otherwise.
pub fn adopt(table: &str, base: &Base, existing: &TableNames, ruleset: &Ruleset) -> String {
    let mut text = format!("flush table ip {table}\ntable ip {table} {{\n{}}}\n", base.text);
    // Writing to a String cannot fail.
    for map in base.maps {
        let _ = writeln!(text, "flush map ip {table} {map}");
    }
    for set in base.sets {
        let _ = writeln!(text, "flush set ip {table} {set}");
    }
    let kept = ruleset.sets.iter().filter(|(name, _)| existing.sets.contains(*name));
    let old = Ruleset { sets: kept.map(|(n, d)| (n.clone(), d.clone())).collect(), ..Ruleset::default() };
    write_changes(&mut text, table, &old, ruleset);
    let wanted = |name: &str| ruleset.chains.contains_key(name) || base.chains.contains(&name);
    for name in existing.chains.iter().filter(|name| !wanted(name)) {
        let _ = writeln!(text, "delete chain ip {table} {name}");
    }
    for name in existing.sets.iter().filter(|n| !ruleset.sets.contains_key(*n) && !base.sets.contains(&n.as_str())) {
        let _ = writeln!(text, "delete set ip {table} {name}");
    }
    text
}

/// The transaction that leads from `old` to `new`; `None` when they are equal.
pub fn change(table: &str, old: &Ruleset, new: &Ruleset) -> Option<String> {
    if old == new {
        return None;
    }
    let mut text = String::new();
    write_changes(&mut text, table, old, new);
    Some(text)
}

fn write_changes(text: &mut String, table: &str, old: &Ruleset, new: &Ruleset) {
    // Writing to a String cannot fail. Order matters: what is referred to must exist first and go last.
    let _ = (|| -> std::fmt::Result {
        for (name, definition) in new.sets.iter().filter(|(name, d)| old.sets.get(*name) != Some(*d)) {
            writeln!(text, "add set ip {table} {name} {{ {definition} }}")?;
        }
        let changed: BTreeSet<&String> =
            new.chains.iter().filter(|(name, rules)| old.chains.get(*name) != Some(*rules)).map(|(n, _)| n).collect();
        for name in &changed {
            writeln!(text, "add chain ip {table} {name}")?;
            if old.chains.contains_key(*name) {
                writeln!(text, "flush chain ip {table} {name}")?;
            }
        }
        for name in &changed {
            for rule in &new.chains[*name] {
                writeln!(text, "add rule ip {table} {name} {rule}")?;
            }
        }
        for ((map, key), verdict) in &old.elements {
            if new.elements.get(&(*map, key.clone())) != Some(verdict) {
                writeln!(text, "delete element ip {table} {map} {{ {key} }}")?;
            }
        }
        for ((map, key), verdict) in &new.elements {
            if old.elements.get(&(*map, key.clone())) != Some(verdict) {
                let separator = if verdict.is_empty() { "" } else { " : " };
                writeln!(text, "add element ip {table} {map} {{ {key}{separator}{verdict} }}")?;
            }
        }
        let gone: Vec<&String> = old.chains.keys().filter(|name| !new.chains.contains_key(*name)).collect();
        for name in &gone {
            writeln!(text, "flush chain ip {table} {name}")?;
        }
        for name in &gone {
            writeln!(text, "delete chain ip {table} {name}")?;
        }
        for name in old.sets.keys().filter(|name| !new.sets.contains_key(*name)) {
            writeln!(text, "delete set ip {table} {name}")?;
        }
        Ok(())
    })();
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ruleset(chains: &[(&str, &str)], elements: &[(&str, &str)]) -> Ruleset {
        Ruleset {
            chains: chains.iter().map(|(n, r)| ((*n).to_owned(), vec![(*r).to_owned()])).collect(),
            elements: elements.iter().map(|(k, v)| (("m", (*k).to_owned()), (*v).to_owned())).collect(),
            sets: BTreeMap::new(),
        }
    }

    #[test]
    fn only_changes_are_sent_in_an_order_that_nft_takes() {
        let old = ruleset(&[("a", "r1"), ("b", "r1")], &[("1", "goto a"), ("2", "goto b")]);
        let new = ruleset(&[("a", "r2"), ("c", "r1")], &[("1", "goto a"), ("2", "goto c")]);
        assert_eq!(
            change("t", &old, &new).expect("a change"),
            "add chain ip t a\nflush chain ip t a\nadd chain ip t c\nadd rule ip t a r2\nadd rule ip t c r1\n\
             delete element ip t m { 2 }\nadd element ip t m { 2 : goto c }\nflush chain ip t b\ndelete chain ip t b\n"
        );
        assert_eq!(change("t", &new, &new), None);
    }

    #[test]
    fn an_existing_table_is_taken_over_without_deleting_it() {
        let base = Base { text: " chain hook {\n }\n".into(), maps: &["m"], sets: &["s"], chains: &["hook"] };
        let mut wanted = ruleset(&[("a", "r1")], &[("1", "goto a")]);
        wanted.elements.insert(("s", "2".to_owned()), String::new());
        wanted.sets = [("kept".to_owned(), "d".to_owned()), ("new".to_owned(), "d".to_owned())].into();
        let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        let existing = TableNames { chains: names(&["hook", "a", "stale"]), sets: names(&["kept", "gone", "s"]) };
        assert_eq!(
            adopt("t", &base, &existing, &wanted),
            "flush table ip t\ntable ip t {\n chain hook {\n }\n}\nflush map ip t m\nflush set ip t s\n\
             add set ip t new { d }\nadd chain ip t a\nadd rule ip t a r1\nadd element ip t m { 1 : goto a }\n\
             add element ip t s { 2 }\ndelete chain ip t stale\ndelete set ip t gone\n"
        );
    }
}
