//! Rotation of log files that have grown large (upstream: `pkg/kubelet/logs/container_log_manager.go`).
//!
//! `0.log` becomes `0.log.TIME` and the runtime opens a new one. The next round compresses what was rotated before, but
//! never the youngest: somebody may be reading it. The oldest go when there are too many.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use flate2::Compression;
use flate2::write::GzEncoder;
use jiff::Zoned;
use skiff_cri::v1;
use tokio_util::sync::CancellationToken;

use crate::runtime::Runtime;

/// How often logs are looked at.
const PERIOD: Duration = Duration::from_secs(10);
/// End of the names of compressed logs.
const COMPRESSED: &str = ".gz";
/// End of the names of logs that are being compressed.
const TEMPORARY: &str = ".tmp";
/// The log that is written and the one that was rotated last are never removed.
const ALWAYS_KEPT: usize = 2;

/// When logs are rotated and how many are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Policy {
    /// Bytes.
    pub(crate) max_size: u64,
    /// Files of one container, the one that is written among them.
    pub(crate) max_files: usize,
}

/// Rotates logs until `shutdown`.
pub(crate) async fn run(runtime: Runtime, policy: Policy, shutdown: CancellationToken) {
    loop {
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = tokio::time::sleep(PERIOD) => {}
        }
        match runtime.list_containers().await {
            Ok(containers) => rotate_all(&runtime, policy, &containers).await,
            Err(error) => tracing::debug!(%error, "cannot look for logs to rotate"),
        }
    }
}

async fn rotate_all(runtime: &Runtime, policy: Policy, containers: &[v1::Container]) {
    for container in containers.iter().filter(|c| c.state() == v1::ContainerState::ContainerRunning) {
        if let Err(error) = check(runtime, policy, &container.id).await {
            tracing::warn!(%error, container = %container.id, "cannot rotate a log, will retry");
        }
    }
}

/// Rotates the log of one container if it is large.
async fn check(runtime: &Runtime, policy: Policy, id: &str) -> io::Result<()> {
    let status = match runtime.container_status(id).await {
        Ok(status) => status,
        Err(error) if error.is_not_found() => return Ok(()),
        Err(error) => return Err(io::Error::other(error)),
    };
    if status.log_path.is_empty() {
        return Ok(());
    }
    let log = PathBuf::from(status.log_path);
    let size = match fs::metadata(&log) {
        Ok(metadata) => metadata.len(),
        // Somebody removed it: the container would write into nothing until it ends.
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return runtime.reopen_log(id).await.map_err(io::Error::other);
        }
        Err(error) => return Err(error),
    };
    if size < policy.max_size {
        return Ok(());
    }
    let (path, now) = (log.clone(), Zoned::now());
    let rotated = crate::volumes::blocking(move || rotate(&path, policy.max_files, &now)).await?;
    if let Err(error) = runtime.reopen_log(id).await {
        // It still writes into the renamed file, so that has to be found under its name.
        fs::rename(&rotated, &log)?;
        return Err(io::Error::other(error));
    }
    Ok(())
}

/// Makes room and renames the log. Answers its new name. Blocks.
fn rotate(log: &Path, max_files: usize, now: &Zoned) -> io::Result<PathBuf> {
    let mut old = Vec::new();
    let all = rotated_logs(log)?;
    for path in &all {
        if is_in_use(path, &all) { old.push(path.clone()) } else { fs::remove_file(path)? }
    }
    let kept = max_files.saturating_sub(ALWAYS_KEPT);
    let excess = old.len().saturating_sub(kept);
    for path in old.drain(..excess) {
        fs::remove_file(path)?;
    }
    for path in old.iter().filter(|path| !ends_with(path, COMPRESSED)) {
        compress(path)?;
    }
    let rotated = with_suffix(log, &format!(".{}", now.strftime("%Y%m%d-%H%M%S")));
    fs::rename(log, &rotated)?;
    Ok(rotated)
}

/// What was rotated out of a log, the oldest first.
fn rotated_logs(log: &Path) -> io::Result<Vec<PathBuf>> {
    let (Some(dir), Some(name)) = (log.parent(), log.file_name().and_then(|name| name.to_str())) else {
        return Ok(Vec::new());
    };
    let prefix = format!("{name}.");
    let mut found = Vec::new();
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        if entry.file_name().to_str().is_some_and(|name| name.starts_with(&prefix)) {
            found.push(entry.path());
        }
    }
    found.sort();
    Ok(found)
}

fn ends_with(path: &Path, suffix: &str) -> bool {
    path.to_str().is_some_and(|path| path.ends_with(suffix))
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// False for what an interrupted round has left: half a compressed log, or one whose compressed form is there.
fn is_in_use(path: &Path, all: &[PathBuf]) -> bool {
    !ends_with(path, TEMPORARY) && (ends_with(path, COMPRESSED) || !all.contains(&with_suffix(path, COMPRESSED)))
}

/// Puts a compressed file in the place of a log.
fn compress(log: &Path) -> io::Result<()> {
    let temporary = with_suffix(log, TEMPORARY);
    let done = (|| {
        let mut plain = File::open(log)?;
        let mode = plain.metadata()?.permissions().mode();
        let file = File::options().write(true).create(true).truncate(true).mode(mode).open(&temporary)?;
        let mut encoder = GzEncoder::new(file, Compression::default());
        io::copy(&mut plain, &mut encoder)?;
        encoder.finish()?;
        fs::rename(&temporary, with_suffix(log, COMPRESSED))
    })();
    if done.is_err() {
        let _ = fs::remove_file(&temporary);
    }
    done?;
    fs::remove_file(log)
}

#[cfg(test)]
mod tests {
    use super::*;
    use skiff_cri::fake::FakeRuntime;
    use std::io::Read;

    fn names(dir: &Path) -> Vec<String> {
        let entries = fs::read_dir(dir).expect("a folder").flatten();
        let mut names: Vec<String> = entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
        names.sort();
        names
    }

    fn at(second: i64) -> Zoned {
        jiff::Timestamp::from_second(second).expect("a time").to_zoned(jiff::tz::TimeZone::UTC)
    }

    #[test]
    fn rotated_logs_are_compressed_and_the_oldest_go() {
        let dir = tempfile::tempdir().expect("a folder");
        let log = dir.path().join("0.log");
        fs::write(dir.path().join("1.log"), "another run").expect("a file");
        for round in 0..5 {
            fs::write(&log, format!("round {round}")).expect("a log");
            rotate(&log, 4, &at(round)).expect("rotated");
        }
        let expected = ["0.log.19700101-000002.gz", "0.log.19700101-000003.gz", "0.log.19700101-000004", "1.log"];
        assert_eq!(names(dir.path()), expected);
        let mut text = String::new();
        let file = File::open(dir.path().join(expected[1])).expect("a file");
        flate2::read::GzDecoder::new(file).read_to_string(&mut text).expect("gzip");
        assert_eq!(text, "round 3");
        assert_eq!(fs::read_to_string(dir.path().join(expected[2])).expect("a file"), "round 4");
    }

    #[test]
    fn what_an_interrupted_round_left_is_removed() {
        let dir = tempfile::tempdir().expect("a folder");
        for name in ["0.log", "0.log.1", "0.log.1.gz", "0.log.2", "0.log.2.tmp"] {
            fs::write(dir.path().join(name), "x").expect("a file");
        }
        rotate(&dir.path().join("0.log"), 5, &at(0)).expect("rotated");
        assert_eq!(names(dir.path()), ["0.log.1.gz", "0.log.19700101-000000", "0.log.2.gz"]);
    }

    #[tokio::test]
    async fn large_logs_of_running_containers_are_rotated() {
        let dir = tempfile::tempdir().expect("a folder");
        let fake = FakeRuntime::new();
        let runtime = Runtime::new(fake.connect().await.expect("a client"));
        let sandbox = v1::PodSandboxConfig { log_directory: dir.path().display().to_string(), ..Default::default() };
        let sandbox_id = runtime.run_sandbox(sandbox.clone(), "").await.expect("a sandbox");
        let config = v1::ContainerConfig {
            metadata: Some(v1::ContainerMetadata { name: "c".into(), attempt: 0 }),
            image: Some(v1::ImageSpec { image: "i".into(), ..Default::default() }),
            log_path: "0.log".into(),
            ..Default::default()
        };
        runtime.pull_image(config.image.clone().expect("an image"), None, sandbox.clone()).await.expect("pulled");
        let id = runtime.create_container(&sandbox_id, config, sandbox).await.expect("a container");
        runtime.start_container(&id).await.expect("started");
        let log = dir.path().join("0.log");
        let policy = Policy { max_size: 10, max_files: 5 };
        fs::write(&log, "short").expect("a log");
        check(&runtime, policy, &id).await.expect("checked");
        assert_eq!(names(dir.path()), ["0.log"]);
        fs::write(&log, "long enough").expect("a log");
        check(&runtime, policy, &id).await.expect("checked");
        assert_eq!(names(dir.path()).len(), names(dir.path()).iter().filter(|name| name.starts_with("0.log")).count());
        assert!(names(dir.path()).iter().any(|name| name.starts_with("0.log.2")), "{:?}", names(dir.path()));
        assert!(fake.calls().iter().any(|call| call.starts_with("ReopenContainerLog")));
    }
}
