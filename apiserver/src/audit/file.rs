//! The file of events, one in a line (`--audit-log-path` and its companions).
//!
//! Files are replaced as upstream's logger replaces them: a full one gets the time into its name, and of those the oldest
//! are deleted.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use anyhow::Context;
use jiff::Timestamp;
use jiff::civil::DateTime;

/// Where to log, and how much is kept.
#[derive(Clone, Debug)]
pub struct LogConfig {
    /// File; `-` for standard output.
    pub path: PathBuf,
    /// Bytes after which another file is begun; 0 for upstream's 100 MiB.
    pub max_bytes: u64,
    /// Full files that are kept; 0 for all.
    pub max_backups: usize,
    /// Age after which full ones are deleted; zero for never.
    pub max_age: Duration,
}

/// The time in the name of a full file.
const BACKUP_TIME: &str = "%Y-%m-%dT%H-%M-%S.%3f";
/// Upstream's logger takes 0 for this.
const DEFAULT_BYTES: u64 = 100 << 20;

/// An open file, or standard output.
#[derive(Debug)]
pub(super) struct LogFile {
    config: LogConfig,
    /// `None` for standard output.
    current: Option<Current>,
}

#[derive(Debug)]
struct Current {
    file: File,
    bytes: u64,
}

impl LogFile {
    /// Opens the file, behind what is in it.
    pub(super) fn open(config: LogConfig) -> anyhow::Result<Self> {
        let current = if config.path == Path::new("-") { None } else { Some(open(&config.path)?) };
        Ok(Self { config, current })
    }

    /// Writes a line; returns whether it is in the file.
    pub(super) fn write(&mut self, line: &[u8]) -> bool {
        let written = match &mut self.current {
            None => std::io::stdout().lock().write_all(line),
            Some(current) => append(&self.config, current, line),
        };
        if let Err(error) = &written {
            tracing::error!(path = %self.config.path.display(), %error, "an audit event was lost");
        }
        written.is_ok()
    }
}

fn append(config: &LogConfig, current: &mut Current, line: &[u8]) -> std::io::Result<()> {
    let most = if config.max_bytes == 0 { DEFAULT_BYTES } else { config.max_bytes };
    if current.bytes > 0 && current.bytes + line.len() as u64 > most {
        begin_another(config, current);
    }
    current.file.write_all(line)?;
    current.bytes += line.len() as u64;
    Ok(())
}

/// Puts the full file aside. Where that is not possible it goes on growing: no event is lost for it.
fn begin_another(config: &LogConfig, current: &mut Current) {
    let path = &config.path;
    let aside = match std::fs::rename(path, backup(path, Timestamp::now())) {
        // Somebody else has put it aside.
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        other => other,
    };
    match aside.map_err(anyhow::Error::from).and_then(|()| open(path)) {
        Ok(begun) => {
            *current = begun;
            clean(config);
        }
        Err(error) => tracing::error!(path = %path.display(), ?error, "the full audit log cannot be put aside"),
    }
}

/// Deletes full files that are too many or too old.
fn clean(config: &LogConfig) {
    let mut backups = backups(&config.path);
    let excess = if config.max_backups == 0 { 0 } else { backups.len().saturating_sub(config.max_backups) };
    let old = |path: &Path| {
        let modified = path.metadata().and_then(|metadata| metadata.modified());
        let age = modified.ok().and_then(|modified| SystemTime::now().duration_since(modified).ok());
        !config.max_age.is_zero() && age.is_some_and(|age| age > config.max_age)
    };
    for (index, path) in backups.drain(..).enumerate() {
        if (index < excess || old(&path))
            && let Err(error) = std::fs::remove_file(&path)
        {
            tracing::warn!(path = %path.display(), %error, "an old audit log could not be deleted");
        }
    }
}

fn open(path: &Path) -> anyhow::Result<Current> {
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        std::fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
    }
    let file = OpenOptions::new().create(true).append(true).mode(0o600).open(path);
    let file = file.with_context(|| format!("cannot open {}", path.display()))?;
    let bytes = file.metadata().map_or(0, |metadata| metadata.len());
    Ok(Current { file, bytes })
}

/// `audit-2026-01-02T03-04-05.678.log` of `audit.log`.
fn backup(path: &Path, now: Timestamp) -> PathBuf {
    let (stem, extension) = parts(path);
    path.with_file_name(format!("{stem}-{}{extension}", now.strftime(BACKUP_TIME)))
}

/// Full files of a log, oldest first.
fn backups(path: &Path) -> Vec<PathBuf> {
    let (stem, extension) = parts(path);
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let entries = std::fs::read_dir(folder).into_iter().flatten().filter_map(Result::ok).map(|entry| entry.path());
    let is_backup = |path: &PathBuf| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let time = name.strip_prefix(&format!("{stem}-")).and_then(|rest| rest.strip_suffix(&extension));
        // Other files beside it may begin and end like it.
        time.is_some_and(|time| DateTime::strptime(BACKUP_TIME, time).is_ok())
    };
    let mut found = entries.filter(is_backup).collect::<Vec<_>>();
    found.sort();
    found
}

fn parts(path: &Path) -> (String, String) {
    let stem = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    let extension = path.extension().map_or(String::new(), |extension| format!(".{}", extension.to_string_lossy()));
    (stem, extension)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn full_files_are_put_aside_and_the_oldest_deleted() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("audit.log");
        let another = folder.path().join("audit-webhook.log");
        std::fs::write(&another, "x").expect("a file");
        let config = LogConfig { path: path.clone(), max_bytes: 10, max_backups: 2, max_age: Duration::ZERO };
        let mut log = LogFile::open(config.clone()).expect("a log");
        for line in ["aaaaaaa\n", "bbbbbbb\n", "ccccccc\n", "ddddddd\n"] {
            log.write(line.as_bytes());
            // Names have milliseconds.
            std::thread::sleep(Duration::from_millis(2));
        }
        let read = |path: &Path| std::fs::read_to_string(path).expect("a file");
        assert_eq!(read(&path), "ddddddd\n");
        assert!(another.exists(), "it is no part of the log");
        assert_eq!(backups(&path).iter().map(|path| read(path)).collect::<Vec<_>>(), ["bbbbbbb\n", "ccccccc\n"]);
        drop(log);
        LogFile::open(config).expect("a log").write(b"e\n");
        assert_eq!(read(&path), "ddddddd\ne\n", "what is there stays");
    }

    #[test]
    fn a_log_that_somebody_took_away_is_begun_again() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("audit.log");
        let config = LogConfig { path: path.clone(), max_bytes: 10, max_backups: 2, max_age: Duration::ZERO };
        let mut log = LogFile::open(config).expect("a log");
        log.write(b"aaaaaaa\n");
        std::fs::remove_file(&path).expect("removed");
        log.write(b"bbbbbbb\n");
        assert_eq!(std::fs::read_to_string(&path).expect("a file"), "bbbbbbb\n");
    }
}
