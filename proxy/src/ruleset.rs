//! An nftables table as data, and the transaction that leads from one to the next.
//!
//! Only what changed is sent: a Service that did not change keeps its chains, and with them its affinity sets.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

/// A table: fixed part, chains, map elements, sets.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ruleset {
    /// Rules by chain name (chains without a hook).
    pub chains: BTreeMap<String, Vec<String>>,
    /// Verdict by map name and key.
    pub elements: BTreeMap<(&'static str, String), String>,
    /// Definition by set name (dynamic sets of client addresses).
    pub sets: BTreeMap<String, String>,
}

/// The transaction that builds `table` from nothing, replacing one that is there. `base` declares maps and hooks.
pub fn replace(table: &str, base: &str, ruleset: &Ruleset) -> String {
    let mut text = format!("add table ip {table}\ndelete table ip {table}\ntable ip {table} {{\n{base}}}\n");
    write_changes(&mut text, table, &Ruleset::default(), ruleset);
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
                writeln!(text, "add element ip {table} {map} {{ {key} : {verdict} }}")?;
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
}
