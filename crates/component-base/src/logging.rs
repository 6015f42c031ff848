//! Where log lines go.
//!
//! Levels follow upstream's habit in one respect: `info` is what an operator wants to read, everything below is for
//! developers. `SKIFF_LOG` takes a filter such as `skiff_kubelet=debug` (levels below info are compiled out of release
//! builds).

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::Mutex;

use anyhow::Context;
use file_rotate::compression::Compression;
use file_rotate::suffix::AppendCount;
use file_rotate::{ContentLimit, FileRotate};
use tracing_subscriber::EnvFilter;

/// Environment variable with the filter.
pub const FILTER_VARIABLE: &str = "SKIFF_LOG";
/// Bytes after which a log file is put aside.
const FILE_BYTES: usize = 16 << 20;
/// Files that are kept beside the current one.
const FILES_KEPT: usize = 4;

/// What servers log.
pub const SERVER_FILTER: &str = "info";
/// What commands log beside what they print themselves: a server that is not there yet is no news.
pub const COMMAND_FILTER: &str = "warn,kube_client=off";

/// Logs to standard error what `filter` lets through, unless the environment says otherwise. Does nothing if this
/// process logs already.
pub fn to_stderr(filter: &str) {
    install(std::io::stderr, filter, true);
}

/// Logs to a file, which is put aside as `FILE.1` and so on when it has grown large.
pub fn to_file(path: &Path) -> anyhow::Result<()> {
    let folder = path.parent().context("a log file needs a folder")?;
    std::fs::create_dir_all(folder).with_context(|| format!("cannot make the log folder {}", folder.display()))?;
    // Opened once by hand: the rotating writer panics where a file cannot be opened.
    options().open(path).with_context(|| format!("cannot write the log {}", path.display()))?;
    let file = FileRotate::new(
        path,
        AppendCount::new(FILES_KEPT),
        ContentLimit::BytesSurpassed(FILE_BYTES),
        Compression::None,
        Some(options()),
    );
    let file = Mutex::new(Lossy(file));
    install(file, SERVER_FILTER, false);
    Ok(())
}

fn options() -> OpenOptions {
    let mut options = File::options();
    options.read(true).create(true).append(true).mode(0o640);
    options
}

fn install<W>(writer: W, filter: &str, colour: bool)
where
    W: for<'a> tracing_subscriber::fmt::MakeWriter<'a> + Send + Sync + 'static,
{
    let filter = EnvFilter::try_from_env(FILTER_VARIABLE).unwrap_or_else(|_| EnvFilter::new(filter));
    let colour = colour && std::io::IsTerminal::is_terminal(&std::io::stderr());
    let _ = tracing_subscriber::fmt().with_env_filter(filter).with_ansi(colour).with_writer(writer).try_init();
}

/// A log that cannot be written, on a full disk say, must not end the process.
struct Lossy<W>(W);

impl<W: Write> Write for Lossy<W> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let _ = self.0.write_all(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        let _ = self.0.flush();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_that_cannot_be_made_is_an_error_that_names_it() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("plain");
        std::fs::write(&file, "").expect("written");
        let error = to_file(&file.join("below/server.log")).expect_err("below a file");
        assert!(format!("{error:#}").contains("plain/below"), "{error:#}");
    }

    #[test]
    fn failing_writes_are_swallowed() {
        struct Full;
        impl Write for Full {
            fn write(&mut self, _: &[u8]) -> std::io::Result<usize> {
                Err(std::io::ErrorKind::StorageFull.into())
            }
            fn flush(&mut self) -> std::io::Result<()> {
                Err(std::io::ErrorKind::StorageFull.into())
            }
        }
        let mut lossy = Lossy(Full);
        assert_eq!(lossy.write(b"line").expect("never fails"), 4);
        lossy.flush().expect("never fails");
    }
}
