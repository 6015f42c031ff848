//! `skiff doctor`: whether this machine can run a cluster, by trying what a cluster needs.
//!
//! A check that needs something another one found missing is left out, so that exactly the cause is named.

mod capabilities;
mod kernel;
mod resources;

use std::process::ExitCode;

use anyhow::bail;
use clap::Args;

use crate::Settings;
use crate::settings::Component;
use crate::terminal::line;

/// Flags of `skiff doctor`.
#[derive(Debug, Args)]
pub(crate) struct Doctor {
    #[command(flatten)]
    settings: Settings,
}

/// What a check found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Finding {
    /// All is well.
    Fine,
    /// Works, but not as well as it could.
    Warning(String),
    /// Does not work: what is missing, and what to do.
    Missing(String),
}

/// One thing that is looked at.
struct Check {
    name: &'static str,
    /// Capabilities that the check itself needs; it is left out without them.
    needs: &'static [&'static str],
    look: fn(&Settings) -> Finding,
}

const CHECKS: &[Check] = &[
    Check { name: "overlay file system", needs: &["CAP_SYS_ADMIN"], look: kernel::overlay },
    Check { name: "network namespaces", needs: &["CAP_SYS_ADMIN"], look: kernel::network_namespaces },
    Check { name: "virtual links", needs: &["CAP_SYS_ADMIN", "CAP_NET_ADMIN"], look: kernel::veth },
    Check { name: "nftables", needs: &["CAP_SYS_ADMIN", "CAP_NET_ADMIN"], look: kernel::nftables },
    Check { name: "forwarding", needs: &["CAP_NET_ADMIN"], look: kernel::forwarding },
    Check { name: "seccomp", needs: &[], look: kernel::seccomp },
    Check { name: "cgroups", needs: &[], look: kernel::cgroups },
    Check { name: "data folder", needs: &[], look: resources::data_folder },
    Check { name: "disk space", needs: &[], look: resources::disk_space },
    Check { name: "ports", needs: &[], look: resources::ports },
];

impl Doctor {
    /// Prints every check; fails if something is missing.
    pub(crate) async fn run(self) -> anyhow::Result<ExitCode> {
        // The checks move threads of their own into namespaces and block.
        let findings = tokio::task::spawn_blocking(move || examine(&self.settings)).await?;
        let mut missing = 0;
        for (name, finding) in &findings {
            match finding {
                Finding::Fine => line(format_args!("ok       {name}")),
                Finding::Warning(text) => line(format_args!("warning  {name}: {text}")),
                Finding::Missing(text) => {
                    missing += 1;
                    line(format_args!("MISSING  {name}: {text}"));
                }
            }
        }
        if missing == 0 {
            line("This machine can run a cluster.");
            return Ok(ExitCode::SUCCESS);
        }
        Ok(ExitCode::FAILURE)
    }
}

/// Refuses to start where something is missing.
pub(crate) fn require(settings: &Settings) -> anyhow::Result<()> {
    if !settings.runs(Component::Node) || settings.container_runtime_endpoint.is_some() {
        return Ok(());
    }
    let missing = examine(settings).into_iter().filter_map(|(name, finding)| match finding {
        Finding::Missing(text) => Some(format!("{name}: {text}")),
        _ => None,
    });
    let missing = missing.collect::<Vec<_>>();
    if !missing.is_empty() {
        bail!("this machine cannot run a cluster (`skiff doctor` shows all checks)\n  {}", missing.join("\n  "));
    }
    Ok(())
}

fn examine(settings: &Settings) -> Vec<(&'static str, Finding)> {
    let held = capabilities::effective();
    let mut findings = vec![("capabilities", capabilities::look(&held))];
    for check in CHECKS {
        if check.needs.iter().all(|name| held.has(name)) {
            findings.push((check.name, (check.look)(settings)));
        }
    }
    findings
}
