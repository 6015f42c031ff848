//! The resources of kube-apiserver v1.36, from the facts of its discovery.

use anyhow::Context;

use crate::facts::Facts;

/// A resource or a subresource.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Name; a subresource's without the resource.
    pub name: String,
    /// Group of its kind.
    pub group: String,
    /// Version of its kind.
    pub version: String,
    /// Its kind.
    pub kind: String,
    /// What can be done with it.
    pub verbs: Vec<String>,
}

impl Entry {
    /// `group/version`, or the version alone for the core group.
    pub fn api_version(&self) -> String {
        if self.group.is_empty() { self.version.clone() } else { format!("{}/{}", self.group, self.version) }
    }
}

/// A resource with its subresources.
#[derive(Clone, Debug)]
pub struct Resource {
    /// Where its group version is, e.g. `/apis/apps/v1`.
    pub base: String,
    /// The resource itself.
    pub entry: Entry,
    /// Whether its objects are in namespaces.
    pub namespaced: bool,
    /// Subresources.
    pub subresources: Vec<Entry>,
}

impl Resource {
    /// Whether it has a verb.
    pub fn has(&self, verb: &str) -> bool {
        self.entry.verbs.iter().any(|known| known == verb)
    }

    /// The subresource of this name.
    pub fn subresource(&self, name: &str) -> Option<&Entry> {
        self.subresources.iter().find(|sub| sub.name == name)
    }

    /// What it is called in tables.
    pub fn title(&self) -> String {
        format!("{} {}", self.entry.api_version(), self.entry.name)
    }
}

/// All resources that are served by default.
pub fn all(facts: &Facts) -> anyhow::Result<Vec<Resource>> {
    let mut resources: Vec<Resource> = Vec::new();
    for (group, entries) in &facts.0 {
        let Some(base) = group.strip_prefix("resources ") else { continue };
        for (name, said) in entries.iter().filter(|(name, _)| !name.starts_with('(')) {
            let (entry, namespaced) = entry(base, name, said).with_context(|| format!("{base} {name}"))?;
            match name.split_once('/') {
                // A resource stands before its subresources.
                Some(_) => resources.last_mut().context("a resource first")?.subresources.push(entry),
                None => {
                    let base = base.to_owned();
                    resources.push(Resource { base, entry, namespaced, subresources: Vec::new() });
                }
            }
        }
    }
    Ok(resources)
}

/// Reads `GROUP/VERSION/KIND SCOPE singular=.. verbs=.. ..`; group and version are those of the path if they are empty.
fn entry(base: &str, name: &str, said: &str) -> anyhow::Result<(Entry, bool)> {
    let mut words = said.split(' ');
    let mut kind = words.next().unwrap_or_default().splitn(3, '/');
    let mut part = || kind.next().unwrap_or_default().to_owned();
    let (mut group, mut version, kind) = (part(), part(), part());
    if version.is_empty() {
        let own = base.trim_start_matches("/apis/").trim_start_matches("/api/");
        let (own_group, own_version) = own.split_once('/').unwrap_or(("", own));
        (group, version) = (own_group.to_owned(), own_version.to_owned());
    }
    let namespaced = words.next().context("a scope")? == "namespaced";
    let verbs = words.find_map(|word| word.strip_prefix("verbs=")).context("verbs")?;
    let verbs = verbs.split(',').map(str::to_owned).collect();
    let name = name.rsplit('/').next().unwrap_or_default().to_owned();
    Ok((Entry { name, group, version, kind, verbs }, namespaced))
}
