//! What crates depend on: read from cargo, and nothing that nobody uses.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, bail};
use regex::Regex;
use serde::Deserialize;

/// The crates of the workspace.
#[derive(Deserialize)]
pub(super) struct Workspace {
    /// Each of them.
    pub(super) packages: Vec<Package>,
}

/// One crate.
#[derive(Deserialize)]
#[serde(from = "Metadata")]
pub(super) struct Package {
    /// Its name.
    pub(super) name: String,
    /// Where it lies.
    pub(super) folder: PathBuf,
    /// Names of what it depends on, for itself, its tests or its build.
    pub(super) dependencies: Vec<String>,
    /// Those of them that only its tests need.
    pub(super) for_tests: Vec<String>,
}

#[derive(Deserialize)]
struct Metadata {
    name: String,
    manifest_path: PathBuf,
    dependencies: Vec<Dependency>,
}

#[derive(Deserialize)]
struct Dependency {
    name: String,
    kind: Option<String>,
}

impl From<Metadata> for Package {
    fn from(metadata: Metadata) -> Package {
        let folder = metadata.manifest_path.parent().map(Path::to_owned).unwrap_or_default();
        let (tests, product): (Vec<_>, Vec<_>) =
            metadata.dependencies.iter().partition(|dependency| dependency.kind.as_deref() == Some("dev"));
        let names = |of: &[&Dependency]| of.iter().map(|dependency| dependency.name.clone()).collect::<Vec<_>>();
        let for_tests = names(&tests).into_iter().filter(|name| !names(&product).contains(name)).collect();
        let dependencies = metadata.dependencies.iter().map(|dependency| dependency.name.clone()).collect();
        Package { name: metadata.name, folder, dependencies, for_tests }
    }
}

/// What cargo knows of the workspace.
pub(super) fn workspace(root: &Path) -> anyhow::Result<Workspace> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let arguments = ["metadata", "--no-deps", "--offline", "--format-version", "1"];
    let output = Command::new(cargo).args(arguments).current_dir(root).output().context("cannot run cargo")?;
    if !output.status.success() {
        bail!("cargo metadata: {}", String::from_utf8_lossy(&output.stderr));
    }
    serde_json::from_slice(&output.stdout).context("cargo metadata answered something else")
}

/// Unused dependencies that are tolerated: planned for parts that are being built. The number may only fall.
const MOST_UNUSED: usize = 45;

/// Dependencies that nothing uses, if they are more than are tolerated.
pub(super) fn check(root: &Path, workspace: &Workspace) -> anyhow::Result<Vec<String>> {
    let manifest = std::fs::read_to_string(root.join("Cargo.toml")).context("cannot read Cargo.toml")?;
    let taken: HashSet<_> = workspace.packages.iter().flat_map(|package| &package.dependencies).collect();
    let unused = declared(&manifest).into_iter().filter(|name| !taken.contains(&(*name).to_owned()));
    let mut problems: Vec<_> = unused.map(|name| format!("Cargo.toml: no crate depends on {name}")).collect();
    for package in &workspace.packages {
        let mut source = String::new();
        read_sources(&package.folder, &mut source)?;
        let unused = package.dependencies.iter().filter(|name| !uses(&source, name));
        problems.extend(unused.map(|name| format!("{}: {name} is not used", package.name)));
    }
    Ok(if problems.len() > MOST_UNUSED { problems } else { Vec::new() })
}

/// The names in `[workspace.dependencies]`.
fn declared(manifest: &str) -> Vec<&str> {
    let lines = manifest.lines().skip_while(|line| *line != "[workspace.dependencies]").skip(1);
    let lines = lines.take_while(|line| !line.starts_with('['));
    lines.filter(|line| !line.starts_with('#')).filter_map(|line| Some(line.split_once('=')?.0.trim())).collect()
}

/// Crates whose use is not to be seen: generated code has it, or a feature of theirs switches something on in another.
const SILENT: [&str; 3] = ["libsqlite3-sys", "prost", "tonic-prost"];

fn uses(source: &str, name: &str) -> bool {
    let name = name.replace('-', "_");
    let word = Regex::new(&format!(r"\b{}\b", regex::escape(&name)));
    SILENT.contains(&name.replace('_', "-").as_str()) || word.is_ok_and(|word| word.is_match(source))
}

/// All Rust below a crate's folder, but not that of crates inside it.
fn read_sources(folder: &Path, source: &mut String) -> anyhow::Result<()> {
    let entries = std::fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))?;
    for entry in entries {
        let path = entry?.path();
        if path.is_dir() {
            if !path.join("Cargo.toml").exists() && !path.ends_with("target") {
                read_sources(&path, source)?;
            }
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            source.push_str(&std::fs::read_to_string(&path)?);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn declared_names_are_those_of_their_section() {
        let manifest = "[a]\nx = 1\n[workspace.dependencies]\n# why\nfoo-bar = \"1\"\nbaz = { v = 1 }\n[b]\ny = 1\n";
        assert_eq!(declared(manifest), ["foo-bar", "baz"]);
    }

    #[test]
    fn a_crate_is_used_by_its_whole_name() {
        assert!(uses("use foo_bar::x;", "foo-bar"));
        assert!(!uses("use foo_bar_baz::x;", "foo-bar"));
    }
}
