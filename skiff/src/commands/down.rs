//! `skiff down`: the cluster and everything it made on this machine goes; its data stays.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use clap::Args;
use nix::errno::Errno;
use nix::mount::{MntFlags, umount2};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::layout::Layout;
use crate::terminal::{line, note};
use crate::{Settings, endpoint, instance, kubeconfig, node};

/// How long the server may take to end by itself.
const GRACE: Duration = Duration::from_secs(20);
/// How long a killed server may take to go.
const KILLED: Duration = Duration::from_secs(5);
const POLL: Duration = Duration::from_millis(10);

/// Flags of `skiff down`.
#[derive(Debug, Args)]
pub(crate) struct Down {
    #[command(flatten)]
    settings: Settings,
    /// Remove the data, the logs and the context, too.
    #[arg(long)]
    delete_data: bool,
    /// Kubeconfig that has the context [default: $KUBECONFIG, else ~/.kube/config]
    #[arg(long)]
    kubeconfig: Option<PathBuf>,
}

impl Down {
    /// Stops and removes.
    pub(crate) async fn run(self) -> anyhow::Result<()> {
        let settings = endpoint::saved_settings(&self.settings)?;
        let (layout, name) = (Layout::new(&settings), settings.name.clone());
        let ran = stop(&layout).await?;
        // Not the proxy's rules first: while containers run, their Services answer.
        skiff_runtime::cleanup_all(&node::runtime_config(&settings, &layout)).await?;
        skiff_proxy::cleanup(&name, settings.service_cluster_ip_range).await?;
        unmount_below(&layout.kubelet())?;
        remove(&layout.run)?;
        if self.delete_data {
            remove(&layout.data)?;
            remove(&layout.logs)?;
            let path = self.kubeconfig.map_or_else(kubeconfig::default_path, Ok)?;
            if kubeconfig::remove(&path, &name)? {
                note(format_args!("Context {name} is no longer in {}", path.display()));
            }
            line(format_args!("Cluster {name} is down, and its data is removed."));
        } else if ran {
            line(format_args!("Cluster {name} is down. Its data stays in {}.", layout.data.display()));
        } else {
            line(format_args!("Cluster {name} does not run."));
        }
        Ok(())
    }
}

/// Ends the server. Says whether it ran.
async fn stop(layout: &Layout) -> anyhow::Result<bool> {
    let Some(pid) = instance::running(&layout.lock()) else { return Ok(false) };
    for (signal, patience) in [(Signal::SIGTERM, GRACE), (Signal::SIGKILL, KILLED)] {
        match kill(Pid::from_raw(pid), signal) {
            Ok(()) | Err(Errno::ESRCH) => {}
            Err(error) => return Err(error).with_context(|| format!("cannot end process {pid}; are you root?")),
        }
        let deadline = Instant::now() + patience;
        while Instant::now() < deadline {
            if instance::running(&layout.lock()).is_none() {
                return Ok(true);
            }
            tokio::time::sleep(POLL).await;
        }
        note(format_args!("The server did not end within {patience:?} after {signal}."));
    }
    bail!("process {pid} does not end")
}

/// Unmounts volumes, the innermost first.
fn unmount_below(folder: &std::path::Path) -> anyhow::Result<()> {
    let text = std::fs::read_to_string("/proc/self/mountinfo").context("cannot list mounts")?;
    for target in mounts_below(&text, folder).iter().rev() {
        umount2(target, MntFlags::MNT_DETACH | MntFlags::UMOUNT_NOFOLLOW)
            .with_context(|| format!("cannot unmount {}", target.display()))?;
    }
    Ok(())
}

/// Mount points below a folder, in the order of mounting.
fn mounts_below(mountinfo: &str, folder: &std::path::Path) -> Vec<PathBuf> {
    let targets = mountinfo.lines().filter_map(|line| line.split(' ').nth(4));
    targets.map(|target| PathBuf::from(unescape(target))).filter(|target| target.starts_with(folder)).collect()
}

/// The kernel writes blanks and backslashes of paths as octal numbers.
fn unescape(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        let code = after.get(..3).filter(|_| byte == b'\\').and_then(|digits| std::str::from_utf8(digits).ok());
        match code.and_then(|digits| u8::from_str_radix(digits, 8).ok()) {
            Some(decoded) => {
                bytes.push(decoded);
                rest = &after[3..];
            }
            None => bytes.push(byte),
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn remove(folder: &std::path::Path) -> anyhow::Result<()> {
    match std::fs::remove_dir_all(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove {}", folder.display()))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn only_mounts_below_the_folder_are_found() {
        let mountinfo = "1 0 8:1 / / rw - ext4 x rw\n2 1 0:5 / /data/a\\040b/v rw - tmpfs t rw\n3 1 0:6 / /database rw - \
                         tmpfs t rw\n4 2 0:7 / /data/a\\040b/v/w rw - tmpfs t rw\n";
        let found = mounts_below(mountinfo, Path::new("/data"));
        assert_eq!(found, [Path::new("/data/a b/v"), Path::new("/data/a b/v/w")]);
    }
}
