//! Facts: named groups of named lines, and the files that keep them.
//!
//! A group's name stands at the beginning of a line, its entries below it behind a space, name and value with a tab
//! between. The order of entries means nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::path::PathBuf;

use anyhow::Context;

/// Facts by group and name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts(pub BTreeMap<String, BTreeMap<String, String>>);

impl Facts {
    /// Adds a fact; one that is known already must be the same.
    pub fn add(&mut self, group: &str, name: &str, value: String) -> anyhow::Result<()> {
        let entries = self.0.entry(group.to_owned()).or_default();
        if let Some(known) = entries.insert(name.to_owned(), value.clone()) {
            anyhow::ensure!(known == value, "{group} {name} is said twice: {known} and {value}");
        }
        Ok(())
    }

    /// All facts of another list, too.
    pub fn extend(&mut self, other: Facts) -> anyhow::Result<()> {
        for (group, entries) in other.0 {
            for (name, value) in entries {
                self.add(&group, &name, value)?;
            }
        }
        Ok(())
    }

    /// A fact.
    pub fn get(&self, group: &str, name: &str) -> Option<&str> {
        self.0.get(group)?.get(name).map(String::as_str)
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.values().map(BTreeMap::len).sum()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Those that stand otherwise in `base`, or not at all; where `base` says more, the value is `(none)`.
    pub fn beyond(&self, base: &Facts) -> Facts {
        let mut different = Facts::default();
        for (group, name) in self.names().union(&base.names()) {
            let value = self.get(group, name);
            if value != base.get(group, name) {
                let entries = different.0.entry((*group).to_owned()).or_default();
                entries.insert((*name).to_owned(), value.unwrap_or(NONE).to_owned());
            }
        }
        different
    }

    /// `base` with these instead: the reverse of [`Facts::beyond`].
    pub fn over(&self, base: &Facts) -> Facts {
        let mut whole = base.clone();
        for (group, entries) in &self.0 {
            for (name, value) in entries {
                let at = whole.0.entry(group.clone()).or_default();
                if value == NONE {
                    at.remove(name);
                } else {
                    at.insert(name.clone(), value.clone());
                }
            }
        }
        whole.0.retain(|_, entries| !entries.is_empty());
        whole
    }

    fn names(&self) -> BTreeSet<(&str, &str)> {
        self.0
            .iter()
            .flat_map(|(group, entries)| entries.keys().map(move |name| (group.as_str(), name.as_str())))
            .collect()
    }

    /// A line for each place where two lists differ.
    pub fn differences(&self, ours: &Facts) -> Vec<String> {
        let mut lines = Vec::new();
        for (group, name) in self.names().union(&ours.names()) {
            let (theirs, found) = (self.get(group, name), ours.get(group, name));
            if theirs != found {
                let shown = |value: Option<&str>| value.unwrap_or("(absent)").to_owned();
                lines.push(format!(
                    "{group} {name}\n  kube-apiserver  {}\n  skiff           {}",
                    shown(theirs),
                    shown(found)
                ));
            }
        }
        lines
    }

    /// Reads `facts/NAME.txt`.
    pub fn read(name: &str) -> anyhow::Result<Self> {
        let path = path(name);
        Self::parse(&std::fs::read_to_string(&path).with_context(|| path.display().to_string())?)
    }

    /// Writes `facts/NAME.txt`.
    pub fn write(&self, name: &str) -> anyhow::Result<()> {
        let path = path(name);
        std::fs::write(&path, self.render()).with_context(|| path.display().to_string())
    }

    fn parse(text: &str) -> anyhow::Result<Self> {
        let mut facts = Facts::default();
        let mut group = String::new();
        for line in text.lines() {
            match line.strip_prefix(' ') {
                None => group = line.to_owned(),
                Some(entry) => {
                    let (name, value) = entry.split_once('\t').context("an entry without a value")?;
                    facts.add(&group, name, value.to_owned())?;
                }
            }
        }
        Ok(facts)
    }

    fn render(&self) -> String {
        let mut text = String::new();
        for (group, entries) in &self.0 {
            let _ = writeln!(text, "{group}");
            for (name, value) in entries {
                let _ = writeln!(text, " {name}\t{value}");
            }
        }
        text
    }
}

/// What the newer list does not have.
const NONE: &str = "(none)";

fn path(name: &str) -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "facts", &format!("{name}.txt")].iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts(text: &str) -> Facts {
        Facts::parse(text).expect("facts")
    }

    #[test]
    fn files_and_differences() {
        let text = "a\n x\t1\n y\t2\nb\n \t3\n";
        let base = facts(text);
        assert_eq!((base.render().as_str(), base.len()), (text, 3));
        let other = facts("a\n x\t1\n z\t9\nb\n \t4\n");
        let beyond = other.beyond(&base);
        assert_eq!(beyond, facts("a\n y\t(none)\n z\t9\nb\n \t4\n"));
        assert_eq!(beyond.over(&base), other);
        assert_eq!(base.differences(&other).len(), 3);
        assert!(base.clone().add("a", "x", "2".into()).is_err());
    }
}
