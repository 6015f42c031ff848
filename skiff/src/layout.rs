//! Where everything of a cluster lies.

use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use anyhow::Context;

use crate::Settings;

/// The folders and files of one cluster.
#[derive(Clone, Debug)]
pub struct Layout {
    /// Everything that survives a reboot, 0700.
    pub data: PathBuf,
    /// Sockets, mounts, locks of this boot.
    pub run: PathBuf,
    /// Logs.
    pub logs: PathBuf,
}

impl Layout {
    /// Of the cluster with these settings.
    pub fn new(settings: &Settings) -> Self {
        let of = |folder: &Path| folder.join(&settings.name);
        Self { data: of(&settings.data_dir), run: of(&settings.run_dir), logs: of(&settings.log_dir) }
    }

    /// Makes the folders.
    pub fn create(&self) -> anyhow::Result<()> {
        for (folder, mode) in [(&self.data, 0o700), (&self.run, 0o711), (&self.logs, 0o755)] {
            std::fs::DirBuilder::new()
                .recursive(true)
                .mode(mode)
                .create(folder)
                .with_context(|| format!("cannot make the folder {}", folder.display()))?;
        }
        Ok(())
    }

    /// The embedded store.
    pub fn store(&self) -> PathBuf {
        self.data.join("store")
    }

    /// Keys and certificates.
    pub fn pki(&self) -> PathBuf {
        self.data.join("pki")
    }

    /// The administrator's kubeconfig.
    pub fn admin_kubeconfig(&self) -> PathBuf {
        self.data.join("admin.kubeconfig")
    }

    /// The settings that the cluster last ran with.
    pub fn settings(&self) -> PathBuf {
        self.data.join("settings.json")
    }

    /// Images and containers.
    pub fn runtime(&self) -> PathBuf {
        self.data.join("runtime")
    }

    /// Volumes.
    pub fn kubelet(&self) -> PathBuf {
        self.data.join("kubelet")
    }

    /// What the runtime keeps of this boot.
    pub fn runtime_state(&self) -> PathBuf {
        self.run.join("runtime")
    }

    /// Where our own runtime serves CRI.
    pub fn cri_socket(&self) -> PathBuf {
        self.run.join("cri.sock")
    }

    /// Held by the process that runs the cluster; says which it is.
    pub fn lock(&self) -> PathBuf {
        self.run.join("server.lock")
    }

    /// The log of the process.
    pub fn server_log(&self) -> PathBuf {
        self.logs.join("server.log")
    }

    /// What the process wrote before its log was open, and panics.
    pub fn server_errors(&self) -> PathBuf {
        self.logs.join("server.err")
    }

    /// Logs of containers.
    pub fn pod_logs(&self) -> PathBuf {
        self.logs.join("pods")
    }
}

/// Replaces a file as a whole, readable by its owner only; a crash leaves the old one or the new one.
pub fn write_private(path: &Path, content: &[u8]) -> anyhow::Result<()> {
    let failed = || format!("cannot write {}", path.display());
    let mut name = path.file_name().with_context(failed)?.to_owned();
    name.push(format!(".{}.tmp", std::process::id()));
    let temporary = path.with_file_name(name);
    let write = || -> std::io::Result<()> {
        let mut file = std::fs::File::options().create(true).truncate(true).write(true).mode(0o600).open(&temporary)?;
        file.write_all(content)?;
        file.sync_all()?;
        std::fs::rename(&temporary, path)
    };
    write().inspect_err(|_| drop(std::fs::remove_file(&temporary))).with_context(failed)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn private_files_are_private_and_whole() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("secret");
        std::fs::write(&path, "old and longer").expect("written");
        write_private(&path, b"new").expect("replaced");
        assert_eq!(std::fs::read(&path).expect("read"), b"new");
        assert_eq!(std::fs::metadata(&path).expect("there").permissions().mode() & 0o777, 0o600);
        assert_eq!(std::fs::read_dir(folder.path()).expect("a folder").count(), 1);
        let error = write_private(&folder.path().join("none/secret"), b"").expect_err("no folder");
        assert!(error.to_string().contains("none/secret"));
    }
}
