//! `cargo xtask bench`: builds what users get and the load generator, and measures the one with the other.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, bail};

use crate::images;

/// File whose table is replaced.
const TABLE: &str = "SPECIFICATION.md";

/// Builds, measures, writes the table; fails if a floor does not hold. `arguments` go to the load generator.
pub(crate) fn run(root: &Path, arguments: &[String]) -> anyhow::Result<()> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let build = Command::new(cargo)
        .args(["build", "--release", "--locked", "-p", "skiff", "-p", "skiff-bench"])
        .current_dir(root)
        .status()
        .context("cannot run cargo")?;
    if !build.success() {
        bail!("the build failed");
    }
    let release = target_folder(root).join("release");
    let archives = target_folder(root).join("images");
    images::run(root, &archives)?;
    let mut bench = Command::new(release.join("skiff-bench"));
    bench.arg("--program").arg(release.join("skiff")).arg("--images").arg(archives);
    bench.arg("--manifest").arg(root.join("manifests/samples/app.yaml"));
    // A part of the rows is no table.
    if !arguments.iter().any(|argument| argument.starts_with("--rows")) {
        bench.arg("--write").arg(root.join(TABLE));
    }
    let measured = bench.args(arguments).status().context("cannot run the load generator")?;
    if !measured.success() {
        bail!("the load generator failed or a floor does not hold");
    }
    Ok(())
}

fn target_folder(root: &Path) -> std::path::PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), |folder| root.join(folder))
}
