//! `cargo xtask tidy`: rules of the project that no compiler checks. Also a test of this crate.

mod arrows;
mod dependencies;
mod files;

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, bail};

use crate::codegen;

/// Fails with everything that breaks a rule.
pub(crate) fn run(root: &Path) -> anyhow::Result<()> {
    let problems = problems(root)?;
    if !problems.is_empty() {
        bail!("{} problems:\n{}", problems.len(), problems.join("\n"));
    }
    Ok(())
}

fn problems(root: &Path) -> anyhow::Result<Vec<String>> {
    let workspace = dependencies::workspace(root)?;
    let mut problems = arrows::check(&workspace.packages);
    problems.extend(dependencies::check(root, &workspace)?);
    for file in tracked(root)? {
        // A file can be tracked and deleted at once, and some are not text.
        let Ok(text) = std::fs::read_to_string(root.join(&file)) else { continue };
        problems.extend(files::check(&file, &text));
    }
    problems.extend(codegen::run(root, true).err().map(|error| format!("{error:#}")));
    Ok(problems)
}

/// The files that git knows, relative to the root.
fn tracked(root: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let listed = Command::new("git").args(["ls-files", "-z"]).current_dir(root).output().context("cannot run git")?;
    if !listed.status.success() {
        bail!("git ls-files: {}", String::from_utf8_lossy(&listed.stderr));
    }
    let names = String::from_utf8(listed.stdout).context("a file name is not UTF-8")?;
    Ok(names.split_terminator('\0').map(PathBuf::from).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_project_is_tidy() {
        run(&Path::new(env!("CARGO_MANIFEST_DIR")).join("..")).unwrap();
    }
}
