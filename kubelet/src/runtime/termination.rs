//! The last words of a container: what it wrote to its termination log, or the end of its output.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::os::fd::AsRawFd;
use std::path::Path;

use rustix::fs::{FileType, Mode, OFlags};
use skiff_cri::v1;

use crate::labels::Remembered;
use crate::logs::tail;

/// Most bytes taken from a termination log (upstream: MaxContainerTerminationMessageLength).
const MESSAGE_BYTES_MAX: u64 = 4096;
/// Most lines and bytes taken from the output instead.
const LOG_LINES_MAX: usize = 80;
const LOG_BYTES_MAX: usize = 2048;

/// The message of an exited container: the runtime's own, followed by the container's.
pub(super) fn message(status: &v1::ContainerStatus, notes: &Remembered<'_>) -> String {
    // A container that could not be started has no output to fall back to.
    let fall_back = notes.fall_back_to_logs && status.exit_code != 0 && status.reason != "ContainerCannotRun";
    let own = match read_termination_log(status, notes.termination_path) {
        Ok(text) if text.is_empty() && fall_back => {
            tail::last_output(Path::new(&status.log_path), LOG_LINES_MAX, LOG_BYTES_MAX)
        }
        Ok(text) => text,
        Err(text) => text,
    };
    match (status.message.is_empty(), own.is_empty()) {
        (_, true) => status.message.clone(),
        (true, _) => own,
        (false, false) => format!("{}: {own}", status.message),
    }
}

/// The end of the file that is mounted at the termination message path. A missing file is empty.
fn read_termination_log(status: &v1::ContainerStatus, path: &str) -> Result<String, String> {
    let mount = status.mounts.iter().find(|mount| !path.is_empty() && mount.container_path == path);
    let Some(mount) = mount else {
        return Ok(String::new());
    };
    match read_end(Path::new(&mount.host_path), MESSAGE_BYTES_MAX) {
        Ok(bytes) => Ok(String::from_utf8_lossy(&bytes).into_owned()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(String::new()),
        Err(error) => Err(format!("Error on reading termination log {}: {error}", mount.host_path)),
    }
}

/// The last `limit` bytes of a regular file. A volume may be mounted in the file's place, and what is there is the
/// container's choice: opening a pipe would wait for ever, and opening a device may do anything.
fn read_end(path: &Path, limit: u64) -> std::io::Result<Vec<u8>> {
    let found = rustix::fs::open(path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
    let mode = rustix::fs::fstat(&found)?.st_mode;
    if FileType::from_raw_mode(mode) != FileType::RegularFile {
        return Err(std::io::Error::new(std::io::ErrorKind::InvalidInput, "it is not a regular file"));
    }
    let mut file = File::open(format!("/proc/self/fd/{}", found.as_raw_fd()))?;
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(limit)))?;
    let mut bytes = Vec::new();
    file.take(limit).read_to_end(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(dir: &Path, code: i32) -> v1::ContainerStatus {
        v1::ContainerStatus {
            exit_code: code,
            log_path: dir.join("0.log").display().to_string(),
            mounts: vec![v1::Mount {
                container_path: "/dev/termination-log".into(),
                host_path: dir.join("message").display().to_string(),
                ..Default::default()
            }],
            ..Default::default()
        }
    }

    fn notes(fall_back_to_logs: bool) -> Remembered<'static> {
        Remembered { termination_path: "/dev/termination-log", fall_back_to_logs, ..Default::default() }
    }

    #[test]
    fn the_file_wins_and_the_output_is_the_fallback() {
        let dir = tempfile::tempdir().expect("a folder");
        let log = "2026-01-01T00:00:00Z stdout F one\n2026-01-01T00:00:00Z stderr F two\n";
        std::fs::write(dir.path().join("0.log"), log).expect("a log");
        let failed = status(dir.path(), 1);
        assert_eq!(message(&failed, &notes(false)), "");
        assert_eq!(message(&failed, &notes(true)), "one\ntwo\n");
        assert_eq!(message(&status(dir.path(), 0), &notes(true)), "");
        std::fs::write(dir.path().join("message"), "DONE").expect("a message");
        assert_eq!(message(&failed, &notes(true)), "DONE");
        let with_own = v1::ContainerStatus { message: "boom".into(), ..failed };
        assert_eq!(message(&with_own, &notes(true)), "boom: DONE");
    }

    #[test]
    fn only_regular_files_are_read() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("message");
        rustix::fs::mkfifoat(rustix::fs::CWD, &path, Mode::RWXU).expect("a pipe");
        let text = message(&status(dir.path(), 1), &notes(false));
        assert_eq!(text, format!("Error on reading termination log {}: it is not a regular file", path.display()));
    }

    #[test]
    fn only_the_end_of_a_long_message_is_read() {
        let dir = tempfile::tempdir().expect("a folder");
        std::fs::write(dir.path().join("message"), "x".repeat(5000) + "end").expect("a message");
        let text = message(&status(dir.path(), 0), &notes(false));
        assert_eq!(text.len(), 4096);
        assert!(text.ends_with("end"));
    }
}
