//! `cargo xtask record`: keeps what a real kube-apiserver answers to the cases in tests/recorded.

use std::process::Command;

use anyhow::{Context, bail};

/// Builds the recorder and passes `arguments` on to it.
pub(crate) fn run(arguments: &[String]) -> anyhow::Result<()> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let recorded = Command::new(cargo)
        .args(["run", "--quiet", "--locked", "--package", "skiff-recorded", "--bin", "record", "--"])
        .args(arguments)
        .status()
        .context("cannot run cargo")?;
    if !recorded.success() {
        bail!("the answers could not be recorded");
    }
    Ok(())
}
